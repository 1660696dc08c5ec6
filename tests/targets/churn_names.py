# New functions without end, thirty deep, each with a name and a file of its own of 900 characters: every sample is a new
# stack of new code objects.
import random
import sys
import types


def leaf():
    for _ in range(3000):
        pass


SOURCE = compile("def f():\n    return g()\n", "<f>", "exec").co_consts[0]
DEPTH = 30
ready = False
while True:
    call = leaf
    for _ in range(DEPTH):
        name = "%x" % random.getrandbits(3600)
        code = SOURCE.replace(co_name=name, co_filename=name[::-1], **(
            {"co_qualname": name} if sys.version_info >= (3, 11) else {}
        ))
        call = types.FunctionType(code, {"g": call})
    call()
    if not ready:
        ready = True
        print("ready", flush=True)
