"""Pooling and means over axes."""

import numpy as np

from . import recipe
from .layers import kernel, window


@recipe(weight=5, ranks=(3, 4))
def max_pool(g, x):
    """`MaxPool`."""
    k = kernel(g, x)
    attributes = window(g, x, k, pool=True)
    if g.opset < 10:
        attributes.pop("dilations", None)
    if g.opset >= 10 and g.chance(0.25):
        attributes["ceil_mode"] = 1
    if g.opset >= 8 and g.chance(0.1):
        attributes["storage_order"] = 0
    return g.node("MaxPool", [x], kernel_shape=k, **attributes)


@recipe(weight=4, ranks=(3, 4))
def average_pool(g, x):
    """`AveragePool`."""
    k = kernel(g, x)
    attributes = window(g, x, k, pool=True)
    attributes.pop("dilations", None)
    automatic = attributes.get("auto_pad", "").startswith("SAME")
    # With automatic padding onnxruntime and ONNX's reference each contradict their own shapes.
    if g.opset >= 19 and not automatic and g.chance(0.1):
        # A window without dilations fits; a dilated one has to, too.
        fits = [2 * (extent - 1) + 1 <= size for extent, size in zip(k, g.shape(x)[2:])]
        attributes["dilations"] = [g.rng.randint(1, 2) if fit else 1 for fit in fits]
    if g.opset >= 10 and g.chance(0.2):
        attributes["ceil_mode"] = 1
    padded = any(attributes.get("pads", [])) or automatic
    if g.chance(0.8 if padded else 0.3):
        attributes["count_include_pad"] = 1
    return g.node("AveragePool", [x], kernel_shape=k, **attributes)


@recipe(weight=3, ranks=(3, 4))
def global_pool(g, x):
    """`GlobalAveragePool` and `GlobalMaxPool`."""
    return g.node(g.pick("GlobalAveragePool", "GlobalAveragePool", "GlobalMaxPool"), [x])


def reduced(g, op, x, axes, keep, host=False):
    """A reduction, whose axes are an attribute before operator set 18."""
    attributes = {} if keep and g.chance(0.5) else {"keepdims": int(keep)}
    if axes is None:
        return g.node(op, [x], host=host, **attributes)
    if g.opset < 18:
        return g.node(op, [x], host=host, axes=axes, **attributes)
    return g.node(op, [x, g.indices(axes, "axes")], host=host, **attributes)


@recipe(weight=3, ranks=(3, 4))
def spatial_mean(g, x):
    """`ReduceMean` over spatial axes."""
    rank = g.rank(x)
    axes = list(range(2, rank))
    if rank == 4 and g.chance(0.3):
        axes = [g.pick(2, 3)]
    if g.chance(0.3):
        axes = [axis - rank for axis in axes]
    return reduced(g, "ReduceMean", x, axes, keep=g.chance(0.6))


@recipe(weight=1, ranks=(2, 3, 4))
def channel_mean(g, x):
    """`ReduceMean` over the channels."""
    return reduced(g, "ReduceMean", x, [1], keep=g.chance(0.8))


@recipe(weight=0.5, ranks=(2, 3, 4), host=True)
def odd_mean(g, x):
    """`ReduceMean` over any axes, over none given, or over none at all."""
    rank = g.rank(x)
    axes = [axis for axis in range(rank) if g.chance(0.5)]
    if g.opset >= 18 and g.chance(0.2):
        empty = g.constant(np.array([], np.int64), "axes")
        return g.node("ReduceMean", [x, empty], noop_with_empty_axes=1)
    return reduced(g, "ReduceMean", x, axes or None, keep=g.chance(0.5), host=True)
