"""Works in phases of one function each, in two threads, and says what it did: thread, function, begin and end by the wall
clock, CPU time by the thread's own clock; all in nanoseconds.

Names are what they should not be. The work begins with a line on standard input, which says how many seconds of CPU it takes.
"""
import json
import sys
import threading
import time

PHASES = []
NAMES = ["</script><script>alert(1)</script>;x", "second \x1b[31mthread"]


def burn(ns):
    end = time.thread_time_ns() + ns
    while time.thread_time_ns() < end:
        sum(range(200))


def alpha():
    burn(30_000_000)


def beta():
    burn(10_000_000)


def work(until):
    while time.process_time() < until:
        for function in (alpha, beta):
            begin, cpu = time.time_ns(), time.thread_time_ns()
            function()
            cpu = time.thread_time_ns() - cpu
            PHASES.append((threading.get_native_id(), function.__name__, begin, time.time_ns(), cpu))


print("ready", flush=True)
until = time.process_time() + float(sys.stdin.readline())
threads = [threading.Thread(target=work, args=(until,), name=name) for name in NAMES]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(PHASES), flush=True)
sys.stdin.readline()
