"""Operators that change the shape, and arithmetic on shapes that disappears on import."""

import numpy as np

from ..graph import Unfit
from . import recipe


def reshaped(g, x, shape):
    """`Reshape` to a shape that may hold 0 and -1."""
    return g.node("Reshape", [x, g.indices(shape, "shape")])


@recipe(weight=4, ranks=(3, 4))
def flatten(g, x):
    """From an image to a row, in one of the ways that there are."""
    size = int(np.prod(g.shape(x)))
    if size > 400 and g.chance(0.7):
        x = g.node("GlobalAveragePool", [x])
        size = g.shape(x)[1]
    form = g.pick("flatten", "flatten", "reshape", "from shape", "squeeze")
    if form == "flatten":
        return g.node("Flatten", [x], **({"axis": g.pick(0, 1, 1 - g.rank(x))} if g.chance(0.5) else {}))
    if form == "reshape":
        return reshaped(g, x, g.pick([1, -1], [-1, size], [0, -1], [1, size]))
    if form == "from shape":
        return g.node("Reshape", [x, batch_and_rest(g, x)])
    return squeezed(g, x, [axis for axis in range(2, g.rank(x)) if g.shape(x)[axis] == 1])


def squeezed(g, x, axes):
    """`Squeeze`, whose axes are an attribute before operator set 13."""
    if not axes:
        raise Unfit("no axis to squeeze")
    if g.opset < 13:
        return g.node("Squeeze", [x], axes=axes)
    return g.node("Squeeze", [x, g.indices(axes, "axes")])


def unsqueezed(g, x, axes):
    """`Unsqueeze`, whose axes are an attribute before operator set 13."""
    if g.opset < 13:
        return g.node("Unsqueeze", [x], axes=axes)
    return g.node("Unsqueeze", [x, g.indices(axes, "axes")])


def batch_and_rest(g, x):
    """`[batch, -1]` as exporters compute it from the value's own shape."""
    shape = g.node("Shape", [x])
    batch = g.node("Gather", [shape, g.constant(np.array(0, np.int64), "index")], axis=0)
    parts = [unsqueezed(g, batch, [0]), g.indices([-1], "rest")]
    whole = g.node("Concat", parts, axis=0)
    return g.node("Cast", [whole], to=7) if g.chance(0.3) else whole


@recipe(weight=2)
def one_axis_more(g, x):
    """`Unsqueeze` to an image or a sequence."""
    if g.rank(x) == 4:
        raise Unfit("enough axes")
    return unsqueezed(g, x, [g.pick(g.rank(x), 2, -1)])


@recipe(weight=1.5, ranks=(3, 4))
def one_axis_less(g, x):
    """`Squeeze` of an axis of extent 1."""
    axes = [axis for axis in range(1, g.rank(x)) if g.shape(x)[axis] == 1]
    return squeezed(g, x, axes[: g.rng.randint(1, 2)])


@recipe(weight=2)
def regrouped(g, x):
    """`Reshape` of rows and images that keeps elements in place."""
    size = int(np.prod(g.shape(x)))
    channels = g.pick(*(d for d in range(1, min(size, 16) + 1) if size % d == 0))
    rest = size // channels
    height = g.pick(*(d for d in range(1, min(rest, 16) + 1) if rest % d == 0))
    return reshaped(g, x, g.pick([1, channels, rest], [1, channels, height, -1], [1, -1], [1, channels, -1]))


@recipe(weight=1.5, ranks=(4,))
def shuffle(g, x):
    """Channel shuffle: reshape, transpose, reshape."""
    _, channels, height, width = g.shape(x)
    group = g.pick(*(d for d in range(1, channels + 1) if channels % d == 0))
    y = reshaped(g, x, [1, group, channels // group, height, width])
    y = g.node("Transpose", [y], perm=[0, 2, 1, 3, 4])
    return reshaped(g, y, [1, channels, height, width] if g.chance(0.5) else [0, -1, height, width])


@recipe(weight=1, ranks=(4,))
def channels_last(g, x):
    """A layer in TensorFlow's layout: transposed, a matrix product, transposed back."""
    channels = g.shape(x)[1]
    y = g.node("Transpose", [x], perm=[0, 2, 3, 1])
    w = g.normal([channels, g.rng.randint(1, 8)], 1 / np.sqrt(channels))
    y = g.node("MatMul", [y, g.constant(w)])
    return g.node("Transpose", [y], perm=[0, 3, 1, 2])


@recipe(weight=0.6)
def transposed(g, x):
    """`Transpose` by any permutation that leaves the batch, or that moves nothing."""
    rank = g.rank(x)
    order = list(range(1, rank))
    g.rng.shuffle(order)
    permutation = [0, *order]
    moves = [axis for axis in permutation if g.shape(x)[axis] > 1]
    if moves != sorted(moves) and g.chance(0.5):
        raise Unfit("the stream would be reordered")
    return g.node("Transpose", [x], perm=permutation)


@recipe(weight=1)
def constant_arithmetic(g, x):
    """An operand that is computed from constants by operators which are supported only there."""
    channels = g.shape(x)[1]
    count = g.constant(np.array([channels], np.int64), "count")
    form = g.pick("range", "where", "filled", "expanded", "size")
    if form == "range" and g.opset >= 11:
        numbers = [g.constant(np.array(n, np.int64), "number") for n in (0, channels, 1)]
        ramp = g.node("Cast", [g.node("Range", numbers)], to=1)
        values = g.node("Mul", [ramp, g.constant(np.float32(0.1), "step")])
    elif form == "where" and g.opset >= 11:
        numbers = [g.constant(g.normal([channels]), "table") for _ in range(2)]
        op = g.pick("Greater", "Less", *(["GreaterOrEqual", "LessOrEqual"] if g.opset >= 12 else []))
        values = g.node("Where", [g.node(op, numbers), *numbers])
    elif form == "expanded" and g.opset >= 8:
        values = g.node("Expand", [g.constant(g.normal([1]), "number"), count])
    elif form == "size":
        size = g.node("Cast", [g.node("Size", [x])], to=1)
        values = unsqueezed(g, g.node("Div", [g.constant(np.float32(channels), "share"), size]), [0])
        values = g.node("Tile", [values, count])
    elif g.opset >= 9:
        values = g.node("ConstantOfShape", [count])
        values = g.node("Add", [values, g.constant(np.float32(0.25), "number")])
    else:
        raise Unfit("not in this operator set")
    values = reshaped(g, values, [channels] + [1] * (g.rank(x) - 2))
    return g.node(g.pick("Add", "Mul"), [x, values])
