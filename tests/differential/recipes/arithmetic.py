"""Functions of two and more values, of which some are constants."""

import numpy as np

from ..graph import Unfit
from . import recipe


def addend(g, x, positive=False):
    """A constant that broadcasts to `x`: a scalar, one value a channel, or one an element."""
    rank, channels = g.rank(x), g.shape(x)[1]
    per_channel = [channels] + [1] * (rank - 2)
    shape = g.pick([], [], [1], per_channel, per_channel, [1, *per_channel], *([g.shape(x)] if g.chance(0.1) else []))
    array = g.normal(shape, 0.7)
    return g.constant(np.abs(array) + np.float32(0.3) if positive else array, "operand")


@recipe(weight=5)
def with_constant(g, x):
    """`Add`, `Sub`, `Mul` with a constant, on either side."""
    op = g.pick("Add", "Add", "Sub", "Mul", "Mul")
    operands = [x, addend(g, x)]
    return g.node(op, operands if g.chance(0.7) else operands[::-1])


@recipe(weight=1.5)
def divided(g, x):
    """`Div` by a constant, sometimes of one."""
    if g.chance(0.8):
        return g.node("Div", [x, addend(g, x, positive=True)])
    if float(np.abs(g.all(x)).min()) < 0.2 and not g.chance(0.1):
        raise Unfit("near a pole")
    return g.node("Div", [g.constant(np.float32(g.pick(1.0, 0.5)), "numerator"), x])


@recipe(weight=1)
def bounded(g, x):
    """`Max` and `Min` with a constant scalar."""
    return g.node(g.pick("Max", "Min"), [x, g.constant(np.float32(g.pick(-0.5, 0.0, 0.5)), "bound")])


@recipe(weight=1)
def power(g, x):
    """`Pow` with a constant exponent, from operator set 12 of any type."""
    low = float(g.all(x).min())
    exponents = [2.0, 3.0, 1.0] + ([0.5, 1.5] if low >= 0 else []) + ([-1.0, -0.5] if low > 0.2 else [])
    exponent = g.pick(*exponents)
    if g.opset >= 12 and exponent == int(exponent) and g.chance(0.3):
        return g.node("Pow", [x, g.constant(np.array(exponent, g.pick(np.int64, np.int32)), "exponent")])
    return g.node("Pow", [x, g.constant(np.float32(exponent), "exponent")])


@recipe(weight=0.4)
def base(g, x):
    """`Pow` of a constant."""
    if float(np.abs(g.all(x)).max()) > 6:
        raise Unfit("too steep")
    return g.node("Pow", [g.constant(np.float32(g.pick(0.5, 1.5, 2.0)), "base"), x])


def partner(g, x):
    """Another value of the shape of `x`, or one that broadcasts to it."""
    shape = g.shape(x)
    exact = g.candidates(lambda n: n != x and g.shape(n) == shape)
    if exact and g.chance(0.8):
        return g.pick(*exact)
    rank = len(shape)

    def broadcasts(n):
        other = g.shape(n)
        return n != x and len(other) == rank and all(b in (1, a) for a, b in zip(shape, other))

    return g.pick(*(g.candidates(broadcasts) or [x]))


@recipe(weight=6)
def skip(g, x):
    """Two computed values."""
    y = partner(g, x)
    op = g.pick("Add", "Add", "Add", "Sub", "Mul", "Mul", "Max", "Min")
    return g.node(op, [x, y] if g.chance(0.6) else [y, x])


@recipe(weight=1.5)
def many(g, x):
    """`Sum`, `Mean`, `Max`, `Min` of one to four values."""
    operands = [x] + [partner(g, x) for _ in range(g.rng.randint(0, 3))]
    return g.node(g.pick("Sum", "Mean", "Max", "Min"), operands)


@recipe(weight=0.5, host=True)
def quotient(g, x):
    """`Div` and `Pow` of two computed values, mostly far from poles."""
    y = partner(g, x)
    if g.chance(0.4) and float(np.abs(g.all(x)).max()) < 5:
        positive = g.node("Add", [g.node("Abs", [x]), g.constant(np.float32(0.5), "offset")])
        return g.node("Pow", [positive, g.node("Sigmoid", [y])], host=True)
    if float(np.abs(g.all(y)).min()) < 0.2 and not g.chance(0.05):
        y = g.node("Add", [g.node("Softplus", [y]), g.constant(np.float32(0.5), "offset")])
    return g.node("Div", [x, y], host=True)
