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


def _named(function, name):
    """Identifiers other than ASCII need a module to be compiled; names of code objects do not."""
    code = function.__code__.replace(co_name=name)
    if hasattr(code, "co_qualname"):
        code = code.replace(co_qualname=name)
    function.__code__ = code


def prepare_names():
    functions = []
    for number, script in enumerate(SCRIPTS):
        path, name, later = u"/srv/{0}/{0}.py".format(script), script, None
        if sys.version_info < (3,):
            path, name = path.encode("utf-8"), "script_%d" % number
        else:
            try:
                import unicodedata
            except ImportError:
                name, later = "script_%d" % number, script
        space = {}
        exec(compile(SOURCE.format(name), path, "exec"), space)
        pair = [space[name], space[name + "_leaf"]]
        if later is not None:
            _named(pair[0], later)
            _named(pair[1], later + "_leaf")
        _made.append(pair[0])
        functions.extend(pair)
    phase_names.musts = functions


def phase_names():
    for function in _made:
        function()
        function()


PHASES = [("names", prepare_names, phase_names)]
