# Processes that live for a tenth of a second, one after the other; each works on two chains of 20 frames.
import subprocess

LIFE_TURNS = 4000


def life(first, second):
    for _ in range(LIFE_TURNS):
        first()
        second()
        done[1] += 1


def parent():
    while True:
        subprocess.run([sys.executable, "-S", __file__, "child"], stdout=subprocess.DEVNULL, check=True)
        done[0] += 1


if len(sys.argv) > 1:
    life(chain("a", 18), chain("b", 18))
else:
    chain("a", 18), chain("b", 18)
    for edge in ("<module>", "life"), ("life", "a0"), ("life", "b0"), ("<module>", "parent"), ("parent", "*"), ("<module>", "*"):
        say("edge", *edge)
    # What leads to the first turn, and the import system on its way.
    for edge in ("<module>", "chain"), ("chain", "*"), ("chain", "say"), ("say", "*"), ("*", "<module>"), ("chain", "<module>"):
        say("edge", *edge)
    ready()
    parent()
