# What the interpreter says of its stacks, call by call, in a form that needs no module to write and no library to read.
# Runs on every version, and as source in a subinterpreter.
import os
import sys


def _hex(text):
    if not isinstance(text, bytes):
        text = text.encode("utf-8", "surrogatepass")
    return "".join(["%02x" % byte for byte in bytearray(text)]) or "-"


def _lines(code):
    if hasattr(code, "co_lines"):
        lines = [line or 0 for _, _, line in code.co_lines()]
    else:
        line, table = code.co_firstlineno, bytearray(code.co_lnotab)
        lines = [line]
        for delta in table[1::2]:
            # Signed since 3.6.
            line += delta - 256 if delta >= 128 and sys.version_info >= (3, 6) else delta
            lines.append(line)
    return sorted(set(lines + [code.co_firstlineno]))


def say(line):
    os.write(1, (line + "\n").encode("ascii"))


class Recorder(object):
    """The tree of all callers at their lines, and which functions ran on top of each."""

    def __init__(self):
        self.codes = {}
        self.nodes = {}
        self.leaves = set()
        self.calls = set()
        self.musts = set()

    def code(self, code):
        name = getattr(code, "co_qualname", code.co_name)
        known = self.codes.setdefault((name, code.co_filename, code.co_firstlineno), [len(self.codes), set()])
        known[1].update(_lines(code))
        return known[0]

    def node(self, frame):
        path = []
        while frame is not None:
            path.append((self.code(frame.f_code), frame.f_lineno or 0))
            frame = frame.f_back
        parent = -1
        for code, line in reversed(path):
            parent = self.nodes.setdefault((parent, code, line), len(self.nodes))
        return parent

    def leaf(self, frame):
        parent = -1 if frame.f_back is None else self.node(frame.f_back)
        self.leaves.add((parent, self.code(frame.f_code)))
        return parent

    def hook(self, frame, event, argument):
        if event == "call":
            self.leaf(frame)
        elif event == "c_call" and argument is sum:
            self.calls.add((self.leaf(frame), self.code(frame.f_code), frame.f_lineno or 0))

    def start(self, frame):
        """From here on, and all that runs already."""
        outer = frame
        while outer is not None:
            self.leaf(outer)
            outer = outer.f_back
        sys.setprofile(self.hook)

    def must(self, code):
        """Profiles have to show this one."""
        self.musts.add(self.code(code))

    def dump(self, phase):
        say("table " + phase)
        for (name, path, first), (index, lines) in self.codes.items():
            lines = ",".join([str(line) for line in sorted(lines)])
            say("code %d %d %s %s %s" % (index, first, _hex(name), _hex(path), lines))
        for (parent, code, line), index in sorted(self.nodes.items(), key=lambda item: item[1]):
            say("node %d %d %d %d" % (index, parent, code, line))
        for parent, code in self.leaves:
            say("leaf %d %d" % (parent, code))
        for parent, code, line in self.calls:
            say("call %d %d %d" % (parent, code, line))
        for code in self.musts:
            say("must %d" % code)


# None while nothing is recorded.
current = None
