# Three threads that take turns: `heavy`, `light` and the first, in three functions whose lines have known shares. Told how
# long, in seconds, it works and prints what the threads' own clocks say: of each thread, and of each line; and the time.
import sys
import threading
from itertools import repeat
from time import monotonic_ns, sleep, thread_time_ns

SHARES = {"MainThread": 0.05, "light": 0.1, "heavy": 0.3}
PERIOD = 0.1


def long():
    sum(repeat(0, 600_000))  # line 13


def short():
    sum(repeat(0, 200_000))  # line 17


def work(share, until, times):
    began = thread_time_ns()
    first = second = 0
    while monotonic_ns() < until:
        spent = thread_time_ns()
        while thread_time_ns() - spent < share * PERIOD * 1e9:
            a = thread_time_ns()
            long()
            b = thread_time_ns()
            short()
            first, second = first + b - a, second + thread_time_ns() - b
        sleep(PERIOD * (1 - share) * 0.5)
    times.append((thread_time_ns() - began, first, second))


print("ready", flush=True)
for order in sys.stdin:
    start = monotonic_ns()
    until = start + int(float(order) * 1e9)
    times = {name: [] for name in SHARES}
    threads = [
        threading.Thread(target=work, args=(SHARES[name], until, times[name]), name=name) for name in ("light", "heavy")
    ]
    for thread in threads:
        thread.start()
    work(SHARES["MainThread"], until, times["MainThread"])
    for thread in threads:
        thread.join()
    took = monotonic_ns() - start
    words = [sum(one[index] for many in times.values() for one in many) for index in (1, 2)]
    print(took, *(times[name][0][0] for name in ("MainThread", "light", "heavy")), *words, flush=True)
