# Functions with names and files in every width a CPython string has. It prints them as the interpreter has them, then
# calls them in turn.
import json
import sys


def burn(code):
    known.append(code)
    total = 0
    for i in range(400):
        total += i
    return total


known = []


def été():
    burn(sys._getframe().f_code)


def Ж漢字():
    burn(sys._getframe().f_code)


def 𐐀𝔘漢é():
    burn(sys._getframe().f_code)


class Größe:
    def Ωμέγα(self):
        def inner():
            burn(sys._getframe().f_code)

        inner()

    @property
    def plain(self):
        return (lambda: burn(sys._getframe().f_code))()

    class Inner:
        def __call__(self):
            burn(sys._getframe().f_code)


def comprehensions():
    [burn(sys._getframe().f_code) for _ in "x"]
    {burn(sys._getframe().f_code) for _ in "x"}
    {_: burn(sys._getframe().f_code) for _ in "x"}
    list(burn(sys._getframe().f_code) for _ in "x")


def named(name, file="<string>"):
    # What no parser accepts can still be a name: code objects are made by programs, too.
    space = {"burn": burn, "sys": sys}
    exec(compile("def f():\n    burn(sys._getframe().f_code)\n", file, "exec"), space)
    code = space["f"].__code__
    more = {"co_qualname": name} if hasattr(code, "co_qualname") else {}
    space["f"].__code__ = code.replace(co_name=name, **more)
    return space["f"]


made = [
    named("a" * 2000),
    named("é" * 2000),
    named("漢" * 2000),
    named("𐐀" * 2000),
    named("🐍 with a blank; <T> and (args)::method[0]"),
    named("tab\tand\x1b[31m escape"),
    named("in_latin", "/srv/été/naïve file.py"),
    named("in_ucs2", "/srv/Ж/漢字.py"),
    named("in_ucs4", "/srv/𐐀/🐍.py"),
    named("in_long", "/srv/" + "ü" * 2000 + ".py"),
]
lambdas = [lambda: burn(sys._getframe().f_code)]


def main():
    été()
    Ж漢字()
    𐐀𝔘漢é()
    Größe().Ωμέγα()
    Größe().plain
    Größe.Inner()()
    comprehensions()
    for function in made + lambdas:
        function()


burn(sys._getframe().f_code)
main()
print(json.dumps([(getattr(c, "co_qualname", c.co_name), c.co_filename, c.co_firstlineno) for c in known]), flush=True)
while True:
    main()
    known.clear()
