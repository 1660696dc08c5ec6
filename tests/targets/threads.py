"""Threads of every kind, one kind at a time as standard input asks for them.

A thread's name is what the kernel calls it (`comm`): Python names it there only since 3.14, so it is written here.
"""
import hashlib
import os
import sys
import threading
import time
import zlib

clock = time.thread_time_ns


def set_name(name):
    with open("/proc/self/task/%d/comm" % threading.get_native_id(), "w") as comm:
        comm.write(name)


def burn(ns):
    end = clock() + ns
    while clock() < end:
        sum(range(200))


def named(kind, number, body="burn(ns)"):
    """A function with a name of its own."""
    namespace = {"burn": burn}
    exec("def %s_%d(ns):\n    %s\n" % (kind, number, body), namespace)
    return namespace["%s_%d" % (kind, number)]


def many(count, ns):
    """Threads that all live at once and run one after the other, each in a function of its own."""
    turns = [threading.Semaphore(0) for _ in range(count + 1)]
    leave = threading.Event()
    ready = threading.Semaphore(0)

    def work(number):
        set_name("many-%d" % number)
        function = named("many", number)
        ready.release()
        turns[number].acquire()
        if number == 0:
            # The profiler walks a list this long by itself, within 100 ms of meeting a thread far down in it.
            burn(400000000)
        function(ns)
        turns[number + 1].release()
        leave.wait()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
        ready.acquire()
    turns[0].release()
    turns[count].acquire()
    leave.set()
    for thread in threads:
        thread.join()


def even(depth, ns):
    odd(depth - 1, ns) if depth > 1 else burn(ns)


def odd(depth, ns):
    even(depth - 1, ns) if depth > 1 else burn(ns)


def deep(ns):
    for depth in 500, 700:
        set_name("deep-%d" % depth)
        even(depth, ns)
    set_name("main")


def mortal(ns):
    """A thread that is gone long before the capture ends."""
    def work():
        set_name("mortal")
        named("mortal", 1)(ns)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def reuse(ns):
    """Two threads, one after the other, with the same thread id. Says that id."""
    tids = []

    def work(number):
        tids.append(threading.get_native_id())
        if number == 1 or tids[-1] == tids[0]:
            set_name("reuse-%d" % number)
            named("reuse", number)(ns)

    def run(number):
        thread = threading.Thread(target=work, args=(number,))
        thread.start()
        thread.join()
        while os.path.exists("/proc/self/task/%d" % tids[-1]):
            time.sleep(0.0005)

    run(1)
    # Other processes fork too and may take the id: they give it back soon.
    for _ in range(1000):
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(tids[0] - 1))
        run(2)
        if tids[-1] == tids[0]:
            return tids[0]
        time.sleep(0.002)
    raise SystemExit("the thread id was not given again")


def zlib_worker(end):
    data = os.urandom(1 << 19)
    while clock() < end:
        zlib.compress(data)


def hashlib_worker(end):
    data = bytes(1 << 21)
    while clock() < end:
        hashlib.sha256(data).digest()


def read_worker(end):
    """Reads what takes the kernel long: it has the GIL released meanwhile."""
    with open("/dev/zero", "rb", buffering=0) as file:
        while clock() < end:
            os.read(file.fileno(), 1 << 20)


def released(ns):
    def work(worker):
        set_name(worker.__name__)
        worker(clock() + ns)

    # The first thread that ends has the C library load libgcc_s, for pthread_exit: milliseconds without Python frames.
    first = threading.Thread(target=int)
    first.start()
    first.join()
    workers = [zlib_worker, hashlib_worker, read_worker]
    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


sys.setrecursionlimit(2000)
print("ready", flush=True)
while True:
    word, *arguments = input().split()
    print("done", globals()[word](*map(int, arguments)), flush=True)
