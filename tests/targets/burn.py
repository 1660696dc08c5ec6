# What every target of the process tests begins with.
import os
import sys
import time

now = time.process_time_ns


def burn(ms):
    begin = now()
    end = begin + int(ms * 1000000)
    while now() < end:
        for _ in range(2000):
            pass
    return now() - begin


def rest(ms=1000):
    # The rest of a life of so much CPU, the start of the interpreter included.
    return burn(ms - now() / 1e6)


def say(what, ns, pid=None):
    os.write(1, b"%s %d %d\n" % (what.encode(), pid or os.getpid(), ns))


def total(pid):
    # What the kernel charged a child, as wait4 tells it.
    usage = os.wait4(pid, 0)[2]
    say("total", int((usage.ru_utime + usage.ru_stime) * 1e9), pid)


def go():
    # Ready; the capture runs when a line comes.
    say("ready", 0)
    os.read(0, 100)
    say("before", now())
