"""Stands in a function with variables of every kind, and prints what `repr` says of them. Those in `exactly` are to be shown
so; of the others only the type.
"""
import collections
import json
import sys

text = "captured by an inner function"


class Plain:
    def __init__(self):
        self.secret = "not to be shown"


class Text(str):
    pass


def stand(a, b=2, *args, key="v", **more):
    captured = [1, 2, 3]

    def closure():
        return captured, a

    nothing, true, false = None, True, False
    zero, one, small, negative = 0, 1, -7, -12345678901234567890
    large, huge = 2 ** 100 - 1, 2 ** 4000
    half, exponent, tiny, whole, infinite, nan = 1.25, 1e300, 1e-7, 1e15, float("-inf"), float("nan")
    quoted, both, control, wide = "it's", "it's \"so\"", "a\nb\t\\\x1b\x00", "na\u00efve \u65e5\u672c \U0001f40d"
    empty, octets, quoted_octets = "", b"\x00ab\xff\n", b"it's"
    items, single, pair, none = [1, "a", None, 2.5], (1,), (1, (2, "x")), ()
    table, table_of_tables, no_table = {"k": 1, 2: None}, {"k": [1, 2]}, {}
    class_, dots = Plain, ...
    exactly = [name for name in sorted(locals()) if name not in ("a", "closure", "huge", "class_")] + ["a"]
    long_text, long_list, recursive = "x" * 5000, list(range(5000)), []
    recursive.append(recursive)
    plain, string, ordered, group, array = Plain(), Text("t"), collections.OrderedDict(a=1), {1, 2}, bytearray(b"z")
    here = locals()
    types = {name: type(value).__name__ for name, value in here.items()}
    del here
    print(json.dumps({"exactly": {name: repr(value) for name, value in locals().items() if name in exactly}, "types": types})), sys.stdout.flush(), sys.stdin.read()


stand("argument", 3, 4, 5, extra=6)
