# -*- coding: utf-8 -*-
"""Ground truth for snapshots, on any CPython from 2.7 on: parks a few threads in known places, prints what the interpreter
says of their stacks and names, and keeps them there until stdin closes.

As `stacks.py`; besides, lines "name" with the identifier and the name of a thread. No frame is of the standard library:
where that lies is nobody's business.
"""
from __future__ import print_function

import os
import signal
import sys
import threading

try:
    import ctypes
except ImportError:
    ctypes = None
try:
    # What the compiler needs for identifiers that are not ASCII.
    import unicodedata
except ImportError:
    unicodedata = None
try:
    import _thread as threads
except ImportError:
    import thread as threads

READ, WRITE = os.pipe()
READY = []

# Also run by the other interpreter.
DESCRIBE = """
import sys

def hexed(text):
    if not isinstance(text, bytes):
        text = text.encode("utf-8", "replace")
    return "x" + "".join("%02x" % byte for byte in bytearray(text))

def describe(ident, frame):
    lines = []
    # In code units; 2.7 has none.
    unit = 2 if sys.version_info >= (3, 6) else 1
    while frame is not None:
        code = frame.f_code
        lines.append("%d %d %s %s" % (frame.f_lasti // unit, frame.f_lineno or 0,
                                      hexed(getattr(code, "co_qualname", code.co_name)), hexed(code.co_filename)))
        frame = frame.f_back
    return "\\n".join(["thread %d %d" % (ident, len(lines))] + lines)
"""
exec(DESCRIBE, globals())

INSIDE = """
import os
import _thread

def inner():
    os.write(%d, describe(_thread.get_ident(), sys._getframe()).encode()), os.read(%d, 1)

def outer():
    [inner() for _ in (1,)]

outer()
"""

# Identifiers in four scripts, and what 2.7 does not parse; nor does a build without `unicodedata`.
MODERN = u"""
def фу(then):
    return {ключ: [then() for _ in (1,)] for ключ in {ключ for ключ in "a"}}

def naïve(then):
    return фу(then)

def 名前(then):
    return (lambda: naïve(then))()

def 𐌰𐌱(then):
    class Нутро:
        value = 名前(then)

def chain(depth, then):
    if depth == 0:
        yield then()
    else:
        yield from chain(depth - 1, then)

async def awaits(depth, then):
    return then() if depth == 0 else await awaits(depth - 1, then)

def scripts():
    𐌰𐌱(park)

def generators():
    return list(chain(12, park))

def coroutines():
    awaits(8, park).send(None)

PLACES = [scripts, generators, coroutines]
"""
OLD = u"""
def chain(depth, then):
    for value in [then()] if depth == 0 else chain(depth - 1, then):
        yield value

def generators():
    return list(chain(12, park))

PLACES = [generators]
"""


def park(*_):
    # On one line: whether the thread has already gone from the first to the second makes no difference to its stack.
    READY.append(1), os.read(READ, 1)


def nothing():
    pass


class Point(object):
    def __init__(self, then):
        self.then = then()


def initialises():
    # Often enough for the interpreter to specialise the call: from 3.13 on it then runs `__init__` without C between.
    for turn in range(300):
        Point(park if turn == 299 else nothing)


def recursion(depth):
    return park() if depth == 0 else recursion(depth - 1)


def deep():
    recursion(40)


def through_c(depth):
    return park() if depth == 0 else sorted([depth - 1], key=through_c)


def hops():
    through_c(8)


def hot():
    # Long enough for a compiler at run time, where there is one.
    turn = 0
    while turn < 20000:
        turn += 1
        if turn == 20000:
            park()


def run(name, place):
    if sys.version_info >= (3,):
        threading.current_thread().name = name
    place()


def interpreters():
    """The module that makes more interpreters, or None."""
    for name in ("_xxsubinterpreters", "_interpreters"):
        try:
            return __import__(name)
        except ImportError:
            pass


def told(pipe):
    text = b""
    count = None
    while count is None or text.count(b"\n") < count:
        text += os.read(pipe, 1 << 16)
        count = int(text.split(b"\n")[0].split()[2])
    return text.decode("ascii")


def inside():
    """A thread that runs another interpreter: what that says of its stack."""
    module = interpreters()
    if module is None:
        return None
    receive, send = os.pipe()

    def place():
        # Made by the thread that runs it: up to 3.11 its thread state says that it belongs to whoever made it.
        module.run_string(module.create(), DESCRIBE + INSIDE % (send, READ))

    threads.start_new_thread(run, ("inside", place))
    return told(receive)


def addresses():
    """`_PyRuntime`; where there is none, a function that knows where the list of interpreters is, and the variable with
    the current thread state. 0 where that cannot be asked."""
    if ctypes is None:
        return 0, 0
    api = ctypes.pythonapi
    if sys.version_info >= (3, 7):
        return ctypes.addressof(ctypes.c_char.in_dll(api, "_PyRuntime")), 0
    return (ctypes.cast(api.PyInterpreterState_Head, ctypes.c_void_p).value,
            ctypes.addressof(ctypes.c_char.in_dll(api, "_PyThreadState_Current")))


def main():
    # Nobody waits for ever for a thread that did not get where it was to go.
    signal.alarm(60)
    file = u"/srv/数/🐍.py"
    if sys.version_info < (3,):
        file = file.encode("utf-8")
    source = MODERN if sys.version_info >= (3, 6) and unicodedata else OLD
    exec(compile(source, file, "exec"), globals())
    places = PLACES + [initialises, deep, hops, hot]
    names = {}
    for place in places:
        name = u"%s \u043d\u0438\u0442\u044c" % place.__name__ if place is hops else place.__name__
        names[threads.start_new_thread(run, (name, place))] = name
    while len(READY) < len(places):
        pass
    me = threads.get_ident()
    names[me] = threading.current_thread().name
    stacks = [describe(ident, frame) for ident, frame in sys._current_frames().items() if ident in names and ident != me]
    other = inside()
    if other is not None:
        stacks.append(other)
        names[int(other.split()[1])] = "inside"
    # Whoever reads sees all of it or nothing.
    out = ["%d %d %d %d %d" % (sys.version_info[:2] + addresses() + (len(stacks),))] + stacks
    out += ["name %d %s" % (ident, hexed(names[ident])) for ident in sorted(names)]
    print("\n".join(out))
    print(describe(me, sys._getframe())), print("end"), sys.stdout.flush(), sys.stdin.read(), os._exit(0)


main()
