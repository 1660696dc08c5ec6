"""Waits in known places, for as long as its own clocks say. All threads exist from before `go` until the end.

Before `go` and after the answer every thread is blocked, so what the kernel charged in between is what they did.
"""
import ctypes
import json
import os
import socket
import sys
import threading
import time

SECONDS = float(sys.argv[1])
# Whoever has the GIL keeps it until it waits.
sys.setswitchinterval(1000)
clock = time.perf_counter_ns
go, closed = threading.Event(), threading.Event()
lock = threading.Lock()
near, far = socket.socketpair()
results = {}


# Calls through it keep the GIL, so that nothing is waited for between one clock and the other.
libc = ctypes.PyDLL(None)


def now(schedstat, text):
    bytes = libc.pread(schedstat, text, 99, 0)
    return clock(), time.thread_time_ns(), int(text.raw[:bytes].split()[1])


def sleeps(until):
    naps = 0
    while clock() < until:
        time.sleep(0.02)  # at: sleeps
        naps += 1
    return naps


def reads(until):
    while clock() < until:
        near.recv(1)  # at: reads


def locks(until):
    while clock() < until:
        lock.acquire()  # at: locks


def awaits_gil(until):
    while clock() < until:
        os.stat("/")  # at: awaits_gil


def forever(until):
    time.sleep(1000)  # at: forever


def helps(until):
    """Ends the waits of others, and has the GIL now and then for as long as a tick or two."""
    while clock() < until or len(results) < len(WAITERS):
        time.sleep(0.02)
        far.send(b"x")
        if lock.locked():
            lock.release()
        end = time.thread_time_ns() + 5000000
        while time.thread_time_ns() < end:
            pass


def waiter(function):
    go.wait()  # at: before
    schedstat, text = os.open("/proc/thread-self/schedstat", os.O_RDONLY), ctypes.create_string_buffer(99)
    began = now(schedstat, text)
    times = function(began[0] + SECONDS * 1e9)
    ended = now(schedstat, text)
    wall, cpu, runnable = [end - begin for begin, end in zip(began, ended)]
    results[function.__name__] = {"tid": threading.get_native_id(), "blocked": wall - cpu - runnable, "times": times, "delay": runnable}
    closed.wait()


WAITERS = [sleeps, reads, locks, awaits_gil]
for function in WAITERS:
    threading.Thread(target=waiter, args=(function,), daemon=True).start()
threading.Thread(target=forever, args=(0,), daemon=True).start()


def helper():
    go.wait()
    helps(clock() + SECONDS * 1e9)
    done.set()
    closed.wait()


done = threading.Event()
threading.Thread(target=helper, daemon=True).start()
time.sleep(0.1)
print(len(WAITERS) + 3, flush=True)
sys.stdin.readline()
go.set()
done.wait()
print(json.dumps(results), flush=True)
sys.stdin.readline()
