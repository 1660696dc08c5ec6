# Batches of numpy: sorting and products, which run without Python frames of their own and partly without the GIL.
import numpy

data = numpy.random.default_rng(1).random(20000)
square = data[:10000].reshape(100, 100)


def ordered():
    return numpy.sort(data)


def product():
    return square @ square


def summed():
    return (data * 2.0 + 1.0).sum()


def batch():
    ordered()
    product()
    summed()
    done[FIRST_WORD] += 1


def main():
    while True:
        batch()


for edge in ("<module>", "main"), ("main", "batch"), ("batch", "ordered"), ("batch", "product"), ("batch", "summed"):
    say("edge", *edge)
for name in "ordered", "product", "summed":
    say("edge", name, "*")
ready()
main()
