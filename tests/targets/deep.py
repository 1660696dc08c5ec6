# A walk through sixteen functions in random order, 200 deep: no two samples have the same stack.
import random
import sys

sys.setrecursionlimit(10000)
FUNCTIONS = []
for number in range(16):
    exec("def f%d(n):\n    return n and random.choice(FUNCTIONS)(n - 1)\n" % number)
    FUNCTIONS.append(globals()["f%d" % number])

print("ready", flush=True)
while True:
    FUNCTIONS[0](200)
