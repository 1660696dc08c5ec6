# A loop of three lines, and the time that the thread spent in each as its own clock says. Told to go, it runs for a
# while and prints the three times.
#
# A virtual machine may stand still for tens of milliseconds: the clock goes on, hardly a tick comes. Rounds in which a
# line took far more than its median are counted for that, as a fourth number.
import random
import sys
from itertools import repeat
from statistics import median
from time import thread_time_ns


def loop(until):
    rounds = []
    a = thread_time_ns()
    while a < until:
        sum(repeat(0, 2_400_000))  # 60
        b = thread_time_ns()
        sum(repeat(0, 1_200_000))  # 30
        c = thread_time_ns()
        sum(repeat(0, 400_000))  # 10
        d = thread_time_ns()
        rounds.append((b - a, c - b, d - c))
        # No beat between the rounds and the samples.
        sum(repeat(0, int(random.random() * 200_000)))
        a = thread_time_ns()
    return rounds


def times(rounds):
    limits = [3 * median(line) for line in zip(*rounds)]
    stalls = sum(any(time > limit for time, limit in zip(times, limits)) for times in rounds)
    return [sum(line) for line in zip(*rounds)] + [stalls]


print("ready", flush=True)
for order in sys.stdin:
    print(*times(loop(thread_time_ns() + int(order))), flush=True)
