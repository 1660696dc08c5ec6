"""Uses a known share of a CPU, in a window that standard input opens and standard output closes.

Before `go` and after `done` the process is blocked in a read, so that what the scheduler charged to it between the two
is what it did in the window.
"""
import hashlib
import os
import random
import sys
import threading
import time
import zlib

WHAT, ARGUMENTS = sys.argv[1], [float(word) for word in sys.argv[2:]]
clock = time.thread_time_ns
rng = random.Random(os.getpid())


def burn(ns):
    end = clock() + ns
    while clock() < end:
        sum(range(200))


def load(percent, seconds):
    """Bursts and pauses of random length; their ratio is the load. At 100 % there is never a pause, and hardly anybody else's
    turn: a throttled clock ticks in step with the kernel's own, and so with the turns that the scheduler gives."""
    if percent == 100:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    end = clock() + seconds * 1e9
    while clock() < end:
        burst_ns = rng.uniform(4e6, 12e6)
        burn(burst_ns)
        if percent < 100:
            time.sleep(burst_ns / 1e9 * (100 - percent) / percent)
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def heavy(ns):
    burn(ns)


def light(ns):
    burn(ns)


def ratio(seconds):
    """Three parts of `heavy` to one of `light` by this thread's own clock: a burst that a stall of the host drew out is made
    up for by the next ones."""
    spent = {heavy: 0, light: 0}
    end = clock() + seconds * 1e9
    while clock() < end:
        function = heavy if spent[heavy] < 3 * spent[light] else light
        begin = clock()
        function(rng.uniform(3e6, 7e6))
        spent[function] += clock() - begin
    return "%d %d" % (spent[heavy], spent[light])


def deflate(ns):
    data, end = os.urandom(1 << 19), clock() + ns
    while clock() < end:
        zlib.compress(data)


def digest(ns):
    data, end = os.urandom(1 << 21), clock() + ns
    while clock() < end:
        hashlib.sha256(data).digest()


def threads(seconds):
    """Threads that share the GIL and threads that release it; all stay until the window is closed."""
    workers = [burn, burn, burn, deflate, digest]
    finished = threading.Semaphore(0)

    def work(function):
        function(seconds * 1e9)
        finished.release()
        closed.wait()

    for function in workers:
        threading.Thread(target=work, args=(function,), daemon=True).start()
    for _ in workers:
        finished.acquire()


def sleeper(seconds):
    time.sleep(seconds)


closed = threading.Event()
print("ready", flush=True)
input()
said = globals()[WHAT](*ARGUMENTS)
print("done", said, flush=True)
input()
closed.set()
