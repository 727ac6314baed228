"""What stands at the end of a model and runs on the host."""

import numpy as np

from . import recipe


@recipe(weight=2, host=True)
def softmax(g, x):
    """`Softmax` along an axis; before operator set 13 along all axes from it on."""
    rank = g.rank(x)
    attributes = {"axis": g.rng.randint(-rank if g.opset >= 11 else 1, rank - 1)} if g.chance(0.7) else {}
    return g.node("Softmax", [x], host=True, **attributes)


@recipe(weight=1.5, host=True)
def arg_max(g, x):
    """`ArgMax`. Nothing follows its integers but a cast."""
    rank = g.rank(x)
    attributes = {"axis": g.rng.randint(-rank if g.opset >= 11 else 0, rank - 1)} if g.chance(0.7) else {}
    if g.chance(0.5):
        attributes["keepdims"] = g.pick(0, 1)
    if g.opset >= 12 and g.chance(0.3):
        attributes["select_last_index"] = g.pick(0, 1)
    y = g.node("ArgMax", [x], host=True, **attributes)
    return g.node("Cast", [y], host=True, to=6) if g.chance(0.15) else y


@recipe(weight=1, ranks=(3, 4), host=True)
def to_channels_last(g, x):
    """The result in another layout."""
    rank = g.rank(x)
    return g.node("Transpose", [x], host=True, perm=[0, *range(2, rank), 1])


@recipe(weight=0.7, host=True)
def normalised(g, x):
    """Zero mean and unit variance along the last axis, as exporters write it."""
    from .pools import reduced

    mean = reduced(g, "ReduceMean", x, [-1], keep=True, host=True)
    centred = g.node("Sub", [x, mean], host=True)
    square = g.node("Pow", [centred, g.constant(np.float32(2), "two")], host=True)
    variance = reduced(g, "ReduceMean", square, [-1], keep=True, host=True)
    safe = g.node("Add", [variance, g.constant(np.float32(g.pick(1e-5, 1e-2)), "epsilon")], host=True)
    return g.node("Div", [centred, g.node("Sqrt", [safe], host=True)], host=True)
