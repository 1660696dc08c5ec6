# Two chains of generators take turns, each LENGTH generators that resume the next one for every item.
length = int(sys.argv[1])


def generators(name):
    source = ["def %s%d():\n    while True:\n        yield 1\n" % (name, length - 1)]
    for i in range(length - 1):
        source.append("def %s%d():\n    for item in %s%d():\n        yield item\n" % (name, i, name, i + 1))
        say("edge", "%s%d" % (name, i), "%s%d" % (name, i + 1))
    exec(compile("\n".join(source), __file__, "exec"), globals())
    return globals()[name + "0"]()


def main(first, second):
    while True:
        next(first)
        next(second)
        done[FIRST_WORD] += 1


say("edge", "<module>", "main")
say("edge", "main", "a0")
say("edge", "main", "b0")
first, second = generators("a"), generators("b")
ready()
main(first, second)
