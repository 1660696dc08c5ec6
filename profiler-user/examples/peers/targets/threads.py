# THREADS threads that all work, each on two chains of its own kind, eight kinds in all.
import threading

KINDS = "abcdefgh"
count = int(sys.argv[1])
chains = [(chain(kind, 12), chain(kind.upper(), 12)) for kind in KINDS]


def make(kind):
    source = "def work_%s(word):\n    begin.wait()\n    while True:\n        first()\n        second()\n        done[word] += 1\n"
    space = {"begin": begin, "done": done, "first": chains[kind][0], "second": chains[kind][1]}
    name = KINDS[kind]
    exec(compile(source % name, __file__, "exec"), space)
    for edge in ("*", "work_" + name), ("work_" + name, name + "0"), ("work_" + name, name.upper() + "0"):
        say("edge", *edge)
    say("edge", "work_" + name, "*")
    return space["work_" + name]


# Nobody works until all are there: a thread that starts would have to wait for the GIL behind all the others.
begin = threading.Event()
works = [make(kind) for kind in range(len(KINDS))]
for number in range(count):
    threading.Thread(target=works[number % len(KINDS)], args=(number,), daemon=True).start()
say("edge", "<module>", "*")
ready()
begin.set()
threading.Event().wait()
