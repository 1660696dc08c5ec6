# TASKS tasks of asyncio, which await each other's turn three coroutines deep.
import asyncio


def chains(name):
    source = """
def leaf_{n}():
    total = 0
    for i in range(100):
        total += i
    return total

async def inner_{n}():
    leaf_{n}()
    await asyncio.sleep(0)

async def middle_{n}():
    leaf_{n}()
    await inner_{n}()

async def task_{n}():
    while True:
        await middle_{n}()
        done[FIRST_WORD] += 1
"""
    exec(compile(source.format(n=name), __file__, "exec"), globals())
    for caller, callee in ("*", "task"), ("task", "middle"), ("middle", "inner"), ("middle", "leaf"), ("inner", "leaf"):
        say("edge", *(part if part == "*" else "%s_%s" % (part, name) for part in (caller, callee)))
    say("edge", "inner_" + name, "*")
    return globals()["task_" + name]


async def main(count):
    tasks = [asyncio.ensure_future(works[number % len(works)]()) for number in range(count)]
    ready()
    await asyncio.gather(*tasks)


works = [chains(name) for name in "abcd"]
say("edge", "*", "main")
say("edge", "main", "*")
say("edge", "<module>", "*")
asyncio.run(main(int(sys.argv[1])))
