"""Layers with weights: convolutions, matrix products, normalization."""

import numpy as np

from ..graph import Unfit
from . import recipe


def weights(g, shape, fan_in, x):
    """Weights as a trained layer's: the result is about as large as a normal signal. A few layers
    have extreme channels or are tiny as a whole."""
    gain = g.pick(0.5, 1.0, 1.0, 1.4) / np.sqrt(max(fan_in, 1))
    rms = g.rms(x)
    if rms > 5 or rms < 0.2:
        gain /= rms
    w = g.normal(shape, gain)
    if g.chance(0.03):
        w[g.rng.randrange(shape[0])] *= g.pick(10.0, 30.0)
    if g.chance(0.02):
        w *= g.pick(1e-3, 1e-2, 10.0)
    if g.chance(0.03):
        w[g.rng.randrange(shape[0])] = 0
    return w


def parameter(g, array, what="weight", axis=0):
    """A constant operand: shared with an earlier layer where one of its shape exists, sometimes
    stored as integers that a DequantizeLinear node turns into reals."""
    shared = [n for n, v in g.values.items() if v.constant and v.real and v.shape == list(array.shape)]
    if array.ndim > 1 and shared and g.chance(0.3):
        return g.pick(*shared)
    if array.ndim > 1 and g.opset >= 10 and g.chance(0.05):
        return dequantized(g, array, axis)
    return g.constant(array, what)


def dequantized(g, array, axis):
    """Weights as 8-bit integers with a scale, for all or (from operator set 13) per channel."""
    per_channel = g.opset >= 13 and g.chance(0.5)
    others = tuple(i for i in range(array.ndim) if i != axis)
    peak = np.maximum(np.abs(array).max(others if per_channel else None), 1e-6)
    scale = np.asarray(peak / 127, np.float32)
    spread = scale.reshape([-1 if i == axis else 1 for i in range(array.ndim)]) if per_channel else scale
    integers = g.constant(np.clip(np.round(array / spread), -127, 127).astype(np.int8), "integers")
    zero = g.constant(np.zeros(scale.shape, np.int8), "zero")
    attributes = {"axis": axis} if per_channel else {}
    return g.node("DequantizeLinear", [integers, g.constant(scale, "scale"), zero], **attributes)


def kernel(g, x):
    """Extents of a window: 1 to 5, sometimes the whole image."""
    extents = g.shape(x)[2:]
    if g.chance(0.07):
        return list(extents)
    if g.chance(0.6):
        return [g.pick(1, 2, 3, 3, 3, 4, 5)] * len(extents)
    return [g.rng.randint(1, 5) for _ in extents]


def window(g, x, k, pool=False):
    """Attributes of a window that slides over an image and fits into it."""
    rank = len(k)
    found = {}
    if g.chance(0.6):
        stride = g.pick(1, 2, 2, 3)
        found["strides"] = [stride] * rank if g.chance(0.7) else [g.rng.randint(1, 4) for _ in k]
    if g.chance(0.05):
        found["strides"] = [extent + 1 for extent in k]
    if g.chance(0.12):
        found["dilations"] = [g.rng.randint(1, 3) for _ in k]
    mode = g.pick("", "", "", "NOTSET", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_UPPER", "SAME_LOWER")
    if mode:
        found["auto_pad"] = mode
    if mode in ("", "NOTSET") and g.chance(0.7):
        most = [(extent - 1) if pool else extent for extent in k]
        if g.chance(0.6):
            half = [extent // 2 for extent in k]
            found["pads"] = half + half
        else:
            found["pads"] = [g.rng.randint(0, m) for m in most + most]
    if mode.startswith("SAME"):
        return found
    # onnxruntime lets windows start that reach out of the padded image; by the standard there is no
    # result then.
    pads = found.get("pads", [0] * (2 * rank)) if mode != "VALID" else [0] * (2 * rank)
    for index, extent in enumerate(g.shape(x)[2:]):
        span = (k[index] - 1) * found.get("dilations", [1] * rank)[index] + 1
        if span > extent + pads[index] + pads[rank + index]:
            raise Unfit("the window does not fit")
    return found


def transposed_window(g, k):
    """Attributes of a window whose results are spread over an image: it always fits."""
    rank = len(k)
    found = {}
    if g.chance(0.7):
        found["strides"] = [g.rng.randint(1, 3)] * rank if g.chance(0.7) else [g.rng.randint(1, 4) for _ in k]
    if g.chance(0.12):
        found["dilations"] = [g.rng.randint(1, 3) for _ in k]
    mode = g.pick("", "", "", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    if mode:
        found["auto_pad"] = mode
    if mode in ("", "NOTSET") and g.chance(0.6):
        found["pads"] = [g.rng.randint(0, extent - 1) for extent in k + k]
    return found


def groups(g, channels):
    """A number of groups that divides the channels."""
    if g.chance(0.6):
        return 1
    return g.pick(channels, *(d for d in range(1, channels + 1) if channels % d == 0))


@recipe(weight=14, ranks=(3, 4))
def conv(g, x):
    """`Conv`: dense, grouped, depthwise with multiplier."""
    channels = g.shape(x)[1]
    group = groups(g, channels)
    outputs = group * g.rng.randint(1, max(1, 8 // group)) if group > 1 else g.rng.randint(1, 10)
    k = kernel(g, x)
    shape = [outputs, channels // group, *k]
    inputs = [x, parameter(g, weights(g, shape, np.prod(shape[1:]), x))]
    if g.chance(0.6):
        inputs.append(g.constant(g.normal([outputs], 0.3), "bias"))
    attributes = window(g, x, k)
    if g.chance(0.5):
        attributes["kernel_shape"] = k
    if group > 1 or g.chance(0.3):
        attributes["group"] = group
    return g.node("Conv", inputs, **attributes)


@recipe(weight=4, ranks=(3, 4))
def conv_transpose(g, x):
    """`ConvTranspose` with output padding or output shape."""
    channels = g.shape(x)[1]
    group = groups(g, channels)
    outputs = g.rng.randint(1, 4)
    k = kernel(g, x)
    rank = len(k)
    shape = [channels, outputs, *k]
    inputs = [x, parameter(g, weights(g, shape, channels // group * 2, x))]
    if g.chance(0.6):
        inputs.append(g.constant(g.normal([outputs * group], 0.3), "bias"))
    attributes = transposed_window(g, k)
    strides = attributes.get("strides", [1] * rank)
    dilations = attributes.get("dilations", [1] * rank)
    if g.chance(0.3):
        attributes["output_padding"] = [g.rng.randint(0, max(s, d) - 1) for s, d in zip(strides, dilations)]
    if g.chance(0.15):
        attributes.pop("pads", None)
        attributes.pop("output_padding", None)
        spans = [(e - 1) * d + 1 for e, d in zip(k, dilations)]
        whole = [(e - 1) * s + span for e, s, span in zip(g.shape(x)[2:], strides, spans)]
        attributes["output_shape"] = [g.rng.randint(max(1, w - span + 1), w) for w, span in zip(whole, spans)]
    if group > 1:
        attributes["group"] = group
    return g.node("ConvTranspose", inputs, **attributes)


@recipe(weight=0.7, ranks=(4,), since=19)
def deform_conv(g, x):
    """`DeformConv` whose offsets are whole pixels."""
    channels = g.shape(x)[1]
    k = g.pick(1, 3)
    taps = 2 * k * k
    offsets = g.node("Conv", [x, g.constant(g.normal([taps, channels, 1, 1], 0.7 / np.sqrt(channels)))])
    offsets = g.node("Round", [offsets])
    outputs = g.rng.randint(1, 6)
    w = weights(g, [outputs, channels, k, k], channels * k * k, x)
    return g.node("DeformConv", [x, g.constant(w), offsets], pads=[k // 2] * 4)


@recipe(weight=6, ranks=(2,))
def gemm(g, x):
    """`Gemm` with all its attributes and forms of the addend."""
    columns = g.shape(x)[1]
    outputs = g.rng.randint(1, 12)
    attributes = {}
    if g.chance(0.5):
        attributes["transB"] = 1
    shape = [outputs, columns] if attributes.get("transB") else [columns, outputs]
    if g.chance(0.3):
        attributes["alpha"] = g.pick(0.5, 1.0, 2.0, -0.7)
    if g.chance(0.3):
        attributes["beta"] = g.pick(0.0, 0.5, 1.0, 3.0)
    inputs = [x, parameter(g, weights(g, shape, columns, x), axis=0 if attributes.get("transB") else 1)]
    if g.opset < 11 or g.chance(0.8):
        extents = g.pick([outputs], [outputs], [1, outputs], [1], [1, 1], [])
        inputs.append(g.constant(g.normal(extents, 0.3), "bias"))
    return g.node("Gemm", inputs, **attributes)


@recipe(weight=5)
def matmul(g, x):
    """`MatMul` by a constant: a matrix, a vector, a stack, or from the left."""
    shape = g.shape(x)
    outputs = g.rng.randint(1, 10)
    form = g.rng.choices(["right", "lifted", "vector", "stack", "left"], [8, 1, 1, 0.7, 0.4])[0]
    if g.rank(x) > 2 and g.chance(0.7):
        raise Unfit("channels are not the last axis")
    if form == "left":
        w = weights(g, [outputs, shape[-2]], shape[-2], x)
        return g.node("MatMul", [parameter(g, w), x], host=g.rank(x) != 2 or shape[0] != 1)
    if form == "vector":
        return g.node("MatMul", [x, g.constant(weights(g, [shape[-1]], shape[-1], x))])
    lead = {"right": [], "lifted": [1] * g.rng.randint(1, 2), "stack": shape[:-2]}[form]
    w = weights(g, [*lead, shape[-1], outputs], shape[-1], x)
    if form != "right":
        return g.node("MatMul", [x, g.constant(w)])
    return g.node("MatMul", [x, parameter(g, w, axis=1)])


@recipe(weight=4)
def batch_normalization(g, x):
    """`BatchNormalization` at inference, with plausible statistics."""
    channels = [g.shape(x)[1]]
    operands = [
        g.uniform(0.3, 1.5, channels) * (g.data.choice([-1, 1], channels) if g.chance(0.2) else 1),
        g.normal(channels, 0.3),
        g.normal(channels, 0.3 * g.rms(x)),
        g.uniform(0.3, 1.5, channels) * g.rms(x) ** 2,
    ]
    if any(array.dtype != np.float32 for array in operands):
        operands = [array.astype(np.float32) for array in operands]
    attributes = {"epsilon": g.pick(1e-5, 1e-3, 1e-2)} if g.chance(0.6) else {}
    if g.chance(0.3):
        attributes["momentum"] = 0.9
    if g.opset < 9 and g.chance(0.3):
        attributes["spatial"] = 1
    return g.node("BatchNormalization", [x, *(g.constant(array, "norm") for array in operands)], **attributes)


@recipe(weight=2, ranks=(4,))
def squeeze_and_excite(g, x):
    """A gate per channel, computed from the image's mean."""
    channels = g.shape(x)[1]
    inner = g.rng.randint(1, 4)
    y = g.node("GlobalAveragePool", [x])
    y = g.node("Conv", [y, g.constant(weights(g, [inner, channels, 1, 1], channels, y))])
    y = g.node("Relu", [y])
    y = g.node("Conv", [y, g.constant(weights(g, [channels, inner, 1, 1], inner, y))])
    y = g.node(g.pick("Sigmoid", "HardSigmoid"), [y])
    return g.node("Mul", [x, y] if g.chance(0.5) else [y, x])


@recipe(weight=3, ranks=(3, 4))
def residual(g, x):
    """A block whose result is added to its operand."""
    channels = g.shape(x)[1]
    k = [g.pick(1, 3)] * (g.rank(x) - 2)
    y = x
    for _ in range(g.rng.randint(1, 2)):
        w = weights(g, [channels, channels, *k], channels * int(np.prod(k)), y)
        y = g.node("Conv", [y, parameter(g, w)], pads=[e // 2 for e in k] * 2)
        if g.chance(0.6):
            y = g.node("Relu", [y])
    if g.shape(y) != g.shape(x):
        raise Unfit("shared weights of another shape")
    return g.node(g.pick("Add", "Add", "Sum", "Sub"), [x, y])
