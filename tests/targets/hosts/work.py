# What every host of Python is given to do, and what the interpreter says of it: for each function that takes CPU time, all
# callers at their lines, the lines that each has, and the time by the clock of the thread.
import json
import os
import queue
import sys
import threading
import time


def _lines(code):
    if hasattr(code, "co_lines"):
        lines = [line or 0 for _, _, line in code.co_lines()]
    else:
        line, lines = code.co_firstlineno, []
        for delta in bytearray(code.co_lnotab)[1::2]:
            line += delta - 256 if delta >= 128 else delta
            lines.append(line)
    return sorted(set(lines + [code.co_firstlineno]))


def note(stacks):
    """The stack of whoever calls, leaf first; gives a place for the time that it takes."""
    frame, frames = sys._getframe(1), []
    while frame is not None:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        frames.append([name, code.co_filename, code.co_firstlineno, frame.f_lineno, _lines(code)])
        frame = frame.f_back
    # Not `current_thread`, which would make up a thread where there is none of Python's.
    thread = threading._active.get(threading.get_ident())
    tid = int(os.readlink("/proc/thread-self").rsplit("/", 1)[1])
    stacks.append({"tid": tid, "thread": getattr(thread, "name", None), "frames": frames, "ns": 0})
    return stacks[-1]


def add_up(ms, stacks):
    stack, total = note(stacks), 0
    begin = now = time.thread_time_ns()
    while now < begin + ms * 1000000:
        for number in range(2000):
            total += number
        now = time.thread_time_ns()
    stack["ns"] = now - begin
    return total


def squares(ms, stacks):
    stack = note(stacks)
    begin = now = time.thread_time_ns()
    while now < begin + ms * 1000000:
        yield sum(range(2000))
        now = time.thread_time_ns()
    stack["ns"] = now - begin


class Task(object):
    def descend(self, depth, ms, stacks):
        if depth:
            return self.descend(depth - 1, ms, stacks)
        return add_up(ms, stacks)


def drain(ms, stacks):
    total = 0
    for square in squares(ms, stacks):
        total += square
    return total


class Beside(object):
    """A thread that waits for work, as those of a server do. Each process has its own."""

    of_process = {}

    def __init__(self):
        self.jobs = queue.SimpleQueue()
        threading.Thread(target=self.serve, name="beside", daemon=True).start()

    def serve(self):
        while True:
            ms, stacks, done = self.jobs.get()
            add_up(ms, stacks)
            done.set()

    def work(self, ms, stacks):
        done = threading.Event()
        self.jobs.put((ms, stacks, done))
        done.wait()


def handle(ms):
    """One request: four ways to spend so many milliseconds each. Returns what is to be told, as JSON."""
    stacks = []
    add_up(ms, stacks)
    drain(ms, stacks)
    Task().descend(30, ms, stacks)
    pid = os.getpid()
    if pid not in Beside.of_process:
        Beside.of_process[pid] = Beside()
    Beside.of_process[pid].work(ms, stacks)
    version = "%d.%d.%d" % sys.version_info[:3]
    return json.dumps({"pid": pid, "version": version, "file": handle.__code__.co_filename, "stacks": stacks})


def application(environ, start_response):
    """The same for those who serve the web: `/?MS`."""
    body = handle(int(environ["QUERY_STRING"])).encode("ascii")
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def tool():
    """The same for those who are started by hand: a line in, a line out, until there are no more."""
    os.write(1, b"ready\n")
    line = b""
    while True:
        more = os.read(0, 100)
        if not more:
            break
        line += more
        if line.endswith(b"\n"):
            os.write(1, handle(int(line)).encode("ascii") + b"\n")
            line = b""
