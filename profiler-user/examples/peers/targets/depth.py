# Two chains of calls take turns, DEPTH frames from <module> to the leaf: a stack with functions of both, or with one left
# out, never existed.
depth = int(sys.argv[1])
first, second = chain("a", depth - 2), chain("b", depth - 2)


def main():
    while True:
        first()
        second()
        done[FIRST_WORD] += 1


say("edge", "<module>", "main")
say("edge", "main", "a0")
say("edge", "main", "b0")
ready()
main()
