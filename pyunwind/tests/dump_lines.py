"""Ground truth for line tables: writes, for every code object of the standard library, its table and the line that
this interpreter itself gives for each instruction.

Little-endian stream: major, minor (u8 each); per code object 1 (u8), co_firstlineno (i32), table size (u32), code
units (u32), table, a line per code unit (i32, -1 = no line); at the end 0 (u8) and the number of code objects (u32).
"""
import dis
import importlib.util
import marshal
import os
import sys
import types
import warnings
from array import array

warnings.simplefilter("ignore")
# Not the standard library, or (lib2to3) sources meant for another Python.
SKIPPED = {"site-packages", "dist-packages", "__pycache__"}


def sources(top):
    for folder, subfolders, names in os.walk(top):
        subfolders[:] = sorted(set(subfolders) - SKIPPED)
        for name in sorted(names):
            if name.endswith(".py"):
                yield os.path.join(folder, name)


def compiled(path):
    """The code of a source file: what the interpreter cached when that is of this very source, since compiling all
    takes ten times as long; else compiled here. None for files that are wrong on purpose."""
    try:
        with open(importlib.util.cache_from_source(path), "rb") as file:
            cached = file.read()
        stat = os.stat(path)
        expected = importlib.util.MAGIC_NUMBER + bytes(4) + b"".join(
            (value & 0xFFFFFFFF).to_bytes(4, "little") for value in (int(stat.st_mtime), stat.st_size))
        if cached[:16] == expected:
            return marshal.loads(cached[16:])
    except OSError:
        pass
    try:
        with open(path, "rb") as file:
            return compile(file.read(), path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, FileNotFoundError):
        # Debian links sitecustomize.py to a file in /etc that may not be there.
        return None


def instruction_lines(code):
    units = len(code.co_code) // 2
    lines = array("i")
    if hasattr(code, "co_lines"):
        for start, end, line in code.co_lines():
            assert start == len(lines) * 2, "co_lines() has a gap"
            lines.extend([-1 if line is None else line] * ((end - start) // 2))
    else:
        line = code.co_firstlineno
        for start, next_line in dis.findlinestarts(code):
            lines.extend([line] * (start // 2 - len(lines)))
            line = next_line
        lines.extend([line] * (units - len(lines)))
    assert len(lines) == units, "not one line per instruction"
    return lines


def main():
    out = sys.stdout.buffer
    out.write(bytes(sys.version_info[:2]))
    count = 0
    for path in sources(os.path.dirname(os.__file__)):
        module = compiled(path)
        pending = [module] if module is not None else []
        while pending:
            code = pending.pop()
            pending.extend(const for const in code.co_consts if isinstance(const, types.CodeType))
            table = code.co_linetable if hasattr(code, "co_linetable") else code.co_lnotab
            lines = instruction_lines(code)
            out.write(b"\1")
            out.write(array("i", [code.co_firstlineno, len(table), len(lines)]).tobytes())
            out.write(table)
            out.write(lines.tobytes())
            count += 1
    out.write(b"\0" + count.to_bytes(4, "little"))


main()
