# Names and files in four scripts, one for each width that strings have. 2.7 has bytes: files only.
import sys

SCRIPTS = [u"ascii", u"caf\u00e9_\u00fc", u"\u0444\u0443\u043d\u043a\u0446\u0438\u044f_\u6570", u"\U00010400\U00010428"]
SOURCE = u"""
def {0}_leaf():
    total = 0
    for i in range(1500):
        total += i
    return total


def {0}():
    return {0}_leaf()
"""
_made = []


def prepare_names():
    functions = []
    for number, script in enumerate(SCRIPTS):
        path, name = u"/srv/{0}/{0}.py".format(script), script
        if sys.version_info < (3,):
            path, name = path.encode("utf-8"), u"script_%d" % number
        space = {}
        exec(compile(SOURCE.format(name), path, "exec"), space)
        for key in (name, name + u"_leaf"):
            functions.append(space[key if sys.version_info >= (3,) else str(key)])
        _made.append(functions[-2])
    phase_names.musts = functions


def phase_names():
    for function in _made:
        function()
        function()


PHASES = [("names", prepare_names, phase_names)]
