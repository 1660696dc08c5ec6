# Stands at a stack of a given depth and works there: stacks.py KIND DEPTH HEAT COUNTER
#
# KIND  same: one function that calls itself; distinct: a function of its own per frame; alternate: two stacks of
#       distinct functions, changed every few microseconds; churn: distinct, and the leaf is a new code object each time.
# DEPTH Python frames from <module> to the leaf, both included.
# HEAT  warm: the leaf only counts; cold: it walks over more memory than the second-level cache holds.
# COUNTER a file of 4096 bytes; its first word counts what was done.
import mmap
import sys
import types

kind, depth, heat, counter = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
with open(counter, "r+b") as file:
    done = memoryview(mmap.mmap(file.fileno(), 4096)).cast("Q")
sys.setrecursionlimit(10000)

# 56 bytes for each float and its place in the list: 11 MB.
objects = [i * 0.5 for i in range(200000)] if heat == "cold" else [0.5] * 50


def work(rounds):
    for _ in range(rounds):
        total = 0.0
        for value in objects:
            total += value
        done[0] += 1


def same(left, rounds):
    if left:
        same(left - 1, rounds)
    else:
        work(rounds)


def chain(name, frames):
    # frames functions, each calling the next; the last one calls `leaf`. Every one has its own code and line table.
    source = []
    for i in range(frames):
        callee = "%s%d" % (name, i + 1) if i + 1 < frames else "leaf"
        source.append("def %s%d(rounds):\n    x = rounds + %d\n    %s(rounds)\n    return x\n" % (name, i, i, callee))
    exec(compile("\n".join(source), name + ".py", "exec"), globals())
    return globals()[name + "0"]


leaf = work
forever = 1 << 60
sys.stdout.write("ready\n")
sys.stdout.flush()

# <module> and work are two of the frames, and same adds one of its own beyond what it is told.
if kind == "same":
    same(depth - 3, forever)
elif kind == "distinct":
    chain("f", depth - 2)(forever)
elif kind == "alternate":
    first, second = chain("f", depth - 2), chain("g", depth - 2)
    while True:
        first(40)
        second(40)
elif kind == "churn":
    first, count, code = chain("f", depth - 2), 0, work.__code__
    while True:
        count += 1
        leaf = types.FunctionType(code.replace(co_firstlineno=count % 100000 + 1), globals())
        first(40)
