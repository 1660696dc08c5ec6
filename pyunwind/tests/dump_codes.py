"""Ground truth for code objects: makes some whose names and files are strings of every form, prints where they are
and what they hold, and keeps them until stdin closes.

A line per code object, fields separated by blanks: address, file, name, qualified name ("-" before 3.11), first line,
line table; texts as hexadecimal UTF-8 in which a surrogate is U+FFFD, bytes as hexadecimal, ahead of each a colon. A
text that is no exact `str`, and so no compact string, is preceded by "legacy". First line: major and minor version.
"""
import sys


class Legacy(str):
    """Its instances hold a pointer to their characters; those of `str` hold the characters."""


def hexed(text):
    kept = "".join("\N{REPLACEMENT CHARACTER}" if 0xD800 <= ord(char) < 0xE000 else char for char in text)
    return ("" if type(text) is str else "legacy") + ":" + kept.encode().hex()


def real_function():
    def inner(): return (
        1 / 0)
    return [inner, lambda: 0]


def texts():
    yield from ["plain", "<lambda>", "", "x", "na\xefve_\xff\x80", "\u0444\u0443\u043d_\u6570_\uffff",
                "\U0001d41f_\U0001f40d_\U0010ffff", "undecodable_\udcff", "\udcff\U0001f40d", "a\x1b[31m\0\n"]
    # Around the 8 bytes of a word, the 256 bytes of a read and the cap on the length.
    for char in "a\xe9\u6570\U0001f40d":
        for length in (7, 8, 9, 63, 64, 65, 256, 257, 2000, 4096, 4097):
            yield char * (length - 1) + chr(ord(char) + 1)
        yield Legacy(char * 300)
    yield Legacy("plain")


def replaced(code, **changes):
    if hasattr(code, "replace"):
        return code.replace(**changes)
    # 3.7 and older.
    fields = ("argcount kwonlyargcount nlocals stacksize flags code consts names varnames filename name firstlineno lnotab "
              "freevars cellvars")
    fields = ["co_" + field for field in fields.split()]
    return type(code)(*[changes.get(field, getattr(code, field)) for field in fields])


def codes():
    template = real_function.__code__
    all_texts = list(texts())
    has_qualname = hasattr(template, "co_qualname")
    for index, name in enumerate(all_texts):
        changes = {"co_name": name, "co_filename": all_texts[(index + 17) % len(all_texts)]}
        if has_qualname:
            changes["co_qualname"] = all_texts[(index + 31) % len(all_texts)]
        yield replaced(template, **changes, co_firstlineno=index * 30_000_000)
    table = "co_linetable" if hasattr(template, "co_linetable") else "co_lnotab"
    for size in (0, 1, 255, 256, 257, 1 << 20, (1 << 20) + 1):
        yield replaced(template, **{table: bytes(value & 0xFF for value in range(size))})
    yield from [function.__code__ for function in real_function()] + [template, codes.__code__]
    yield compile("\n\n1 + 1", "/srv/\u0444/\U0001f40d.py", "exec")
    yield __import__("os").walk.__code__


def main():
    print(*sys.version_info[:2])
    kept = list(codes())
    for code in kept:
        qualname = hexed(code.co_qualname) if hasattr(code, "co_qualname") else "-"
        table = code.co_linetable if hasattr(code, "co_linetable") else code.co_lnotab
        print(id(code), hexed(code.co_filename), hexed(code.co_name), qualname, code.co_firstlineno,
              ":" + table.hex())
    print("end", flush=True)
    sys.stdin.read()


main()
