"""Parks threads in known places and prints, as one line of JSON, what the interpreter says of their stacks; then waits for
its standard input to end. Each stack is leaf first: function, file, line.
"""
import _thread
import asyncio
import faulthandler
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback

READ, WRITE = os.pipe()
LOCK = threading.Lock()
LOCK.acquire()
EVENT = threading.Event()
ONE, OTHER = socket.socketpair()

DESCRIBE = """
def describe(frame):
    frames = []
    while frame is not None:
        code = frame.f_code
        frames.append([getattr(code, "co_qualname", code.co_name), code.co_filename, frame.f_lineno or 0])
        frame = frame.f_back
    return frames
"""
exec(DESCRIBE)


def in_sleep():
    time.sleep(1000)


def in_lock():
    with LOCK:
        pass


def in_event():
    EVENT.wait()


def in_socket():
    ONE.recv(1)


def chain(depth):
    if depth == 0:
        yield os.read(READ, 1)
    else:
        yield from chain(depth - 1)


def in_generator():
    return list(chain(12))


async def awaits(depth):
    if depth == 0:
        os.read(READ, 1)
    else:
        await awaits(depth - 1)


async def gathered():
    await asyncio.gather(awaits(3))


def in_coroutine():
    asyncio.new_event_loop().run_until_complete(gathered())


def recursion(depth):
    return os.read(READ, 1) if depth == 0 else recursion(depth - 1)


def in_recursion():
    # More than the kernel's side keeps.
    sys.setrecursionlimit(5000)
    recursion(700)


def through_c(depth):
    return os.read(READ, 1) if depth == 0 else sorted([depth - 1], key=through_c)


def in_c():
    through_c(8)


def in_class_body():
    class Body:
        value = [(lambda: os.read(READ, 1))() for _ in (1,)]


class Point:
    def __init__(self, wait):
        if wait:
            os.read(READ, 1)


def in_initialiser():
    for turn in range(300):
        Point(turn == 299)


def in_handler():
    try:
        raise KeyError(1)
    except KeyError:
        os.read(READ, 1)


def in_a_file_of_another_name():
    code = compile("def \u043d\u0438\u0442\u044c():\n    os.read(READ, 1)\n\u043d\u0438\u0442\u044c()\n", "/srv/\u6570/\U0001f40d \x1b[1m.py", "exec")
    exec(code, {"os": os, "READ": READ})


PLACES = [in_sleep, in_lock, in_event, in_socket, in_generator, in_coroutine, in_recursion, in_c, in_class_body, in_initialiser,
          in_handler, in_a_file_of_another_name]

INSIDE = DESCRIBE + """
import os, sys, json
def inner(write, read):
    os.write(write, (json.dumps(describe(sys._getframe())) + "\\n").encode()), os.read(read, 1)
def outer(write, read):
    inner(write, read)
outer(%d, %d)
"""


def interpreters():
    for name in ("_xxsubinterpreters", "_interpreters"):
        try:
            return __import__(name)
        except ImportError:
            pass


def in_another_interpreter(module, write):
    # Made by the thread that runs it: up to 3.11 its thread state says that it belongs to whoever made it.
    other = module.create()
    module.run_string(other, INSIDE % (write, READ))


def in_an_interpreter_of_another(module, other, write):
    # Made by the main thread: up to 3.12 its thread state says that it belongs to that.
    module.run_string(other, INSIDE % (write, READ))


def is_asleep(tid):
    with open("/proc/self/task/%d/stat" % tid, "rb") as file:
        return file.read().rsplit(b")", 1)[1].split()[0] == b"S"


def main():
    # A thread that Python knows nothing of.
    faulthandler.dump_traceback_later(100000)
    threads = []
    for place in PLACES:
        daemon = place is not in_sleep
        threads.append(threading.Thread(target=place, name=place.__name__ + " \u043d\x1b[31m", daemon=daemon))
    inside = {}
    module = interpreters()
    if module is not None:
        read, write = os.pipe()
        threads.append(threading.Thread(target=in_another_interpreter, args=(module, write), name="two", daemon=True))
        inside["two"] = os.fdopen(read)
        read, write = os.pipe()
        arguments = (module, module.create(), write)
        threads.append(threading.Thread(target=in_an_interpreter_of_another, args=arguments, name="another's", daemon=True))
        inside["another's"] = os.fdopen(read)
    for thread in threads:
        thread.start()
    inside = {name: json.loads(pipe.readline()) for name, pipe in inside.items()}
    # The list may have gone on by one step after a thread has said that it sleeps.
    settled = 0
    while settled < 5:
        time.sleep(0.02)
        settled = settled + 1 if all(is_asleep(thread.native_id) for thread in threads) else 0
    told = []
    frames = sys._current_frames()
    for thread in threads:
        stacks = [describe(frames[thread.ident])] if thread.ident in frames else []
        if thread.name in inside:
            stacks = [inside[thread.name]] + stacks
        told.append({"tid": thread.native_id, "ident": thread.ident, "name": thread.name, "daemon": thread.daemon,
                     "stacks": stacks})
    me = threading.current_thread()
    told.append({"tid": me.native_id, "ident": me.ident, "name": me.name, "daemon": me.daemon, "stacks": [describe(sys._getframe())]})
    if "abort" in sys.argv:
        print(json.dumps(told)), sys.stdout.flush(), sys.stdin.readline(), os.abort()
    told[-1]["stacks"] = [describe(sys._getframe())]; print(json.dumps(told)), sys.stdout.flush(), sys.stdin.read(), os._exit(0)


try:
    # Nobody waits for ever for a thread that did not get where it was to go.
    signal.alarm(100)
    main()
finally:
    traceback.print_exc(), os._exit(1)
