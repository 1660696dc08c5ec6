# A loop of three lines, and the time that the thread spent in each as its own clock says. Told to go, it runs for a
# while and prints the three times.
#
# Where a virtual machine stands still, the clock goes on and no tick comes. Rounds with a line far beyond its median are
# left out for that: how many, and of how many, is printed too.
import random
import sys
from statistics import median
from time import thread_time_ns

SIX = [0] * 240_000
THREE = [0] * 120_000
ONE = [0] * 40_000
# Of a length that is no multiple of the sampling period, and different each time: no beat between the two.
JITTER = [[0] * (i * 1000) for i in range(100)]


def loop(until):
    rounds = []
    a = thread_time_ns()
    while a < until:
        sum(SIX)  # 60
        b = thread_time_ns()
        sum(THREE)  # 30
        c = thread_time_ns()
        sum(ONE)  # 10
        d = thread_time_ns()
        rounds.append((b - a, c - b, d - c))
        sum(random.choice(JITTER))
        a = thread_time_ns()
    return rounds


def times(rounds):
    limits = [3 * median(line) for line in zip(*rounds)]
    kept = [times for times in rounds if all(time <= limit for time, limit in zip(times, limits))]
    return [sum(line) for line in zip(*kept)] + [len(rounds) - len(kept), len(rounds)]


print("ready", flush=True)
for order in sys.stdin:
    print(*times(loop(thread_time_ns() + int(order))), flush=True)
