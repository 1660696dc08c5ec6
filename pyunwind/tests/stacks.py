"""Ground truth for stacks: parks many threads in known places, prints what the interpreter says of their stacks, and keeps
them there until stdin closes.

First line: major and minor version, where `_PyRuntime` is and 0 (3.6: where `PyInterpreterState_Head` and the variable with
the current thread state are), number of threads. Then for each thread a line "thread", its identifier and the number of its
frames, and for each of these, leaf first: index of the instruction, line (0: none), and as hexadecimal UTF-8 name and file.
Last "end".
"""
import ctypes
import functools
import os
import sys
import threading

READ, WRITE = os.pipe()
READY = []


def park(*_):
    # On one line: whether the thread has already gone from the first to the second makes no difference to its stack.
    READY.append(1), os.read(READ, 1)


def nested():
    def inner(): return (lambda: park())()
    return inner()


def spans_lines():
    return sorted(
        [3, 1, 2],
        key=lambda value:
            park(
                value
            ) if value ==
            1 else value,
    )


def generator(then=park):
    yield 1
    try:
        yield then()
    finally:
        pass


def chain(depth):
    if depth == 0:
        yield from generator()
    else:
        yield from chain(depth - 1)


async def awaits(depth):
    return park() if depth == 0 else await awaits(depth - 1)


class Awaitable:
    def __await__(self):
        yield from generator()


async def awaits_object():
    async with Manager() as manager:
        await manager


class Manager(Awaitable):
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return None


def drive(coroutine):
    for _ in range(3):
        coroutine.send(None)


class Point:
    def __init__(self, then):
        self.then = then()

    @property
    def attribute(self):
        return park()

    def __getattr__(self, name):
        return park(name)

    def __add__(self, other):
        return other()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        park()

    def __iter__(self):
        return self

    def __next__(self):
        return park()

    def __del__(self):
        self.then is None or self.then()


class Called(type):
    def __call__(cls, *arguments):
        return super().__call__(*arguments)


class Child(Point, metaclass=Called):
    def __init__(self, then):
        super().__init__(then)


def nothing():
    pass


def initialises(kind):
    # Often enough for the interpreter to specialise the call: from 3.13 on it then runs `__init__` without C between.
    for turn in range(300):
        kind(park if turn == 299 else nothing)


def class_body():
    class Outer:
        class Inner:
            value = park()


def comprehensions():
    return {key: [park() for _ in (1,)] for key in {key for key in "a"}}


def consumes():
    return sum(park() for _ in [1])


def iterates():
    for turn, _ in enumerate(map(lambda then: then(), [nothing, park])):
        nothing()


def reads_attribute():
    # Specialised from 3.12 on.
    class Late:
        turn = 0
        attribute = property(lambda self: park() if self.turn == 300 else None)
    late = Late()
    for late.turn in range(301):
        late.attribute


def leaves():
    with Point(nothing):
        pass


def handles():
    try:
        raise KeyError
    except KeyError:
        try:
            [][0]
        finally:
            park()


def executes():
    exec(compile("\n\ndef \u0444\u0443(): return eval('park()')\n\u0444\u0443()", "/srv/\u6570/\U0001f40d.py", "exec"), globals())


def recursion(depth):
    return park() if depth == 0 else recursion(depth - 1)


def recursion_through_c(depth):
    return park() if depth == 0 else sorted([depth - 1], key=recursion_through_c)


@functools.lru_cache(None)
def cached(depth):
    return park() if depth == 0 else cached(depth - 1)


def collects():
    point = Point(park)
    point.then = park
    del point


class Thread(threading.Thread):
    def run(self):
        park()


def with_many_locals():
    values = [0] * 400
    call = "lambda then, {}: then()".format(", ".join("a%d" % at for at in range(250)))
    eval(call)(park, *values[:250])


def sizes(depth):
    # Frames of many sizes, that cross pages and chunks of the data stack at all places.
    names = "".join("v%d = " % at for at in range(depth * 7 % 41))
    space = {"park": park, "sizes": sizes}
    exec("def f(depth):\n  %s0\n  return park() if depth == 0 else sizes(depth - 1)" % names, space)
    return space["f"](depth)


PLACES = [
    nested, spans_lines, lambda: list(generator()), lambda: [0 for _ in chain(30)], lambda: list(chain(150)),
    lambda: drive(awaits(40)), lambda: drive(awaits_object()), lambda: initialises(Point), lambda: initialises(Child),
    class_body, comprehensions, consumes, iterates, reads_attribute, leaves, handles, executes,
    lambda: recursion(600), lambda: recursion_through_c(30), lambda: cached(20), with_many_locals,
    lambda: sizes(90), lambda: Point(nothing) + park, lambda: Point(nothing).missing, lambda: Point(nothing).attribute,
    lambda: next(Point(nothing)), lambda: [*Point(nothing)], collects,
    lambda: functools.reduce(lambda left, right: right(), [0, nothing, park]),
    lambda: functools.partial(map, park)([1]).__next__(),
] + [park] * 20


def hexed(text):
    return "x" + text.encode("utf-8", "replace").hex()


def describe(ident, frame):
    lines = []
    while frame is not None:
        code = frame.f_code
        # In bytes on every version, whatever the interpreter keeps.
        lines.append("%d %d %s %s" % (frame.f_lasti // 2, frame.f_lineno or 0,
                                      hexed(getattr(code, "co_qualname", code.co_name)), hexed(code.co_filename)))
        frame = frame.f_back
    return "\n".join(["thread %d %d" % (ident, len(lines))] + lines)


def others():
    me = threading.get_ident()
    frames = sys._current_frames()
    return "\n".join(describe(ident, frame) for ident, frame in frames.items() if ident != me)


def subinterpreter():
    """One more interpreter, which no thread runs: newer than the main one, it comes first."""
    for name in ("_xxsubinterpreters", "_interpreters"):
        try:
            return __import__(name).create()
        except ImportError:
            pass


def addresses():
    api = ctypes.pythonapi
    if sys.version_info >= (3, 7):
        return ctypes.addressof(ctypes.c_char.in_dll(api, "_PyRuntime")), 0
    return (ctypes.cast(api.PyInterpreterState_Head, ctypes.c_void_p).value,
            ctypes.addressof(ctypes.c_char.in_dll(api, "_PyThreadState_Current")))


def main():
    sys.setrecursionlimit(5000)
    if "subinterpreter" in sys.argv:
        subinterpreter()
    threading.stack_size(16 << 20)
    threads = [threading.Thread(target=place) for place in PLACES] + [Thread()]
    for thread in threads:
        thread.daemon = True
        thread.start()
    while len(READY) < len(threads):
        pass
    print(sys.version_info[0], sys.version_info[1], *addresses(), len(threads))
    print(others())
    print(describe(threading.get_ident(), sys._getframe())), print("end", flush=True), sys.stdin.read(), os._exit(0)


main()
