"""Crowds: thousands of threads in one process, or hundreds of processes with a few threads each.

`crowd.py threads COUNT`: threads that stand and wait for a word on standard input, kind by kind.
`crowd.py processes COUNT THREADS`: children that work when told to, and end.
"""
import ctypes
import os
import sys
import threading
import time

clock = time.thread_time_ns


def set_name(name):
    with open("/proc/self/task/%d/comm" % threading.get_native_id(), "w") as comm:
        comm.write(name)


def burn(ns):
    begin = clock()
    while clock() < begin + ns:
        sum(range(100))
    return clock() - begin


def crowd_work(ns):
    return burn(ns)


def short_work(ns):
    return burn(ns)


def say(what, ns):
    os.write(1, b"%s %d\n" % (what.encode(), ns))


class Crowd:
    """Threads that all live at once and work one after the other, the oldest first."""

    def __init__(self, count):
        # Locks of the lowest kind: nobody polls, nobody is woken in vain.
        self.turns = [threading.Lock() for _ in range(count)]
        self.ready, self.done, self.ended = threading.Lock(), threading.Lock(), threading.Lock()
        for lock in self.turns + [self.ready, self.done]:
            lock.acquire()
        self.used = 0
        for number in range(count):
            threading.Thread(target=self.stand, args=(number,), daemon=True).start()
            self.ready.acquire()

    def stand(self, number):
        set_name("first" if number == 0 else "crowd")
        self.ready.release()
        self.turns[number].acquire()
        if number == 0:
            say("first", burn(1000000000))
            self.done.release()
        else:
            self.used += crowd_work(self.ns)
            if number + 1 < len(self.turns):
                self.turns[number + 1].release()
            else:
                self.done.release()
        # Nobody releases it twice: the thread stands until the end.
        self.turns[number].acquire()

    def first(self):
        self.turns[0].release()
        self.done.acquire()

    def crowd(self, ns):
        self.ns = ns
        self.turns[1].release()
        self.done.acquire()
        say("crowd", self.used)

    def short(self, count, ns):
        """Threads that come and go while the others stand."""
        used = []

        def live():
            set_name("short")
            used.append(short_work(ns))

        for _ in range(count):
            thread = threading.Thread(target=live)
            thread.start()
            thread.join()
        say("short", sum(used))

    def foreign(self, megabytes):
        """A thread that no Python made, as those of a C library: it shuffles a string."""
        libc = ctypes.CDLL("libc.so.6")
        text = ctypes.create_string_buffer(b"x" * (megabytes << 20))
        thread = ctypes.c_ulong()
        set_name("foreign")
        libc.pthread_create(ctypes.byref(thread), None, libc.strfry, text)
        set_name("crowd")
        begin = time.process_time_ns()
        libc.pthread_join(thread, None)
        say("foreign", time.process_time_ns() - begin)


def threads(count):
    threading.stack_size(128 << 10)
    # Turns are taken by locks; no thread has to be thrown out.
    sys.setswitchinterval(1)
    say("here", 0)
    sys.stdin.readline()
    crowd = Crowd(count)
    say("ready", 0)
    for line in sys.stdin:
        word, *arguments = line.split()
        getattr(crowd, word)(*map(int, arguments))


def child(count, ns):
    workers = [threading.Thread(target=crowd_work, args=(ns,)) for _ in range(count)]
    for worker in workers:
        worker.start()
    crowd_work(ns)
    for worker in workers:
        worker.join()


def processes(count, threads, ns):
    say("here", 0)
    sys.stdin.readline()
    begin, go = os.pipe()
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            os.close(go)
            # Threads that stand and wait, and others when the time has come.
            stop = threading.Event()
            for _ in range(threads):
                threading.Thread(target=stop.wait, daemon=True).start()
            os.read(begin, 1)
            # What was used before does not count.
            os.write(1, b"%d -%d\n" % (os.getpid(), time.process_time_ns()))
            child(threads, ns)
            os._exit(0)
        pids.append(pid)
    say("ready", 0)
    sys.stdin.readline()
    os.close(go)
    for pid in pids:
        usage = os.wait4(pid, 0)[2]
        os.write(1, b"%d %d\n" % (pid, int((usage.ru_utime + usage.ru_stime) * 1e9)))


if sys.argv[1] == "threads":
    threads(int(sys.argv[2]))
else:
    processes(*map(int, sys.argv[2:]))
