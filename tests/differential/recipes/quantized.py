"""Integers in models that are otherwise real: fake quantization, integer layers."""

import ml_dtypes
import numpy as np

from ..graph import Unfit
from . import recipe


def affine(g, x, dtype, bits=8):
    """Scale and zero point that fit the values, as numbers."""
    values = g.all(x)
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    least = 0 if dtype in (np.uint8, ml_dtypes.uint4) else -(2 ** (bits - 1))
    scale = np.float32((high - low) / (2**bits - 1) or 1.0)
    if g.chance(0.15):
        scale = np.float32(2.0 ** np.ceil(np.log2(scale)))
    zero = int(np.clip(round(least - low / scale), least, least + 2**bits - 1))
    return scale, np.asarray(zero).astype(dtype)


@recipe(weight=1.2, since=10)
def fake_quantization(g, x):
    """`QuantizeLinear` and `DequantizeLinear`, with 4 bits from operator set 21 on."""
    dtype, bits = g.pick(np.uint8, np.int8), 8
    if g.opset >= 21 and g.chance(0.2):
        dtype, bits = g.pick(ml_dtypes.uint4, ml_dtypes.int4), 4
    scale, zero = affine(g, x, dtype, bits)
    scale = g.constant(scale, "scale")
    zero = "" if dtype == np.uint8 and zero == 0 and g.chance(0.5) else g.constant(zero, "zero")
    integers = g.node("QuantizeLinear", [x, scale, zero])
    return g.node("DequantizeLinear", [integers, scale, zero])


def quantized(g, x):
    """A value as integers: the name, scale and zero point."""
    dtype = g.pick(np.uint8, np.int8)
    scale, zero = affine(g, x, dtype)
    scale, zero = g.constant(scale, "scale"), g.constant(zero, "zero")
    return g.node("QuantizeLinear", [x, scale, zero]), scale, zero


def integers(g, shape):
    """Integer weights of 7 bits, so that no processor's sums of 16 bits saturate."""
    return np.clip(np.round(g.normal(shape, 20)), -63, 63).astype(np.int8)


@recipe(weight=0.6, ranks=(4,), since=10)
def linear_convolution(g, x):
    """`QLinearConv` between quantization and dequantization."""
    q, scale, zero = quantized(g, x)
    channels, outputs, k = g.shape(x)[1], g.rng.randint(1, 6), g.pick(1, 3)
    w = integers(g, [outputs, channels, k, k])
    count = outputs if g.chance(0.4) else 1
    x_scale = float(g.values[scale].arrays[0])
    w_scale = (g.uniform(0.7, 1.3, [count]) / (20 * np.sqrt(channels * k * k))).astype(np.float32)
    if count == 1:
        w_scale = w_scale[0]
    pads = [g.pick(0, k // 2)] * 4
    out_scale, out_zero = np.float32(4 * g.rms(x) / 127), np.asarray(g.pick(0, 128, 100), np.uint8)
    operands = [q, scale, zero, g.constant(w), g.constant(w_scale, "scale")]
    operands += [g.constant(np.zeros(np.shape(w_scale), np.int8), "zero")]
    operands += [g.constant(out_scale, "scale"), g.constant(out_zero, "zero")]
    if g.chance(0.6):
        bias = np.round(g.normal([outputs], 0.3) / (x_scale * np.broadcast_to(w_scale, [outputs])))
        operands.append(g.constant(bias.astype(np.int32), "bias"))
    y = g.node("QLinearConv", operands, pads=pads)
    return g.node("DequantizeLinear", [y, operands[6], operands[7]])


@recipe(weight=0.4, ranks=(2,), since=10)
def linear_product(g, x):
    """`QLinearMatMul` between quantization and dequantization."""
    q, scale, zero = quantized(g, x)
    columns, outputs = g.shape(x)[1], g.rng.randint(1, 8)
    w_scale = np.float32(1 / (20 * np.sqrt(columns)))
    operands = [q, scale, zero, g.constant(integers(g, [columns, outputs])), g.constant(w_scale, "scale")]
    operands += [g.constant(np.zeros([], np.int8), "zero"), g.constant(np.float32(4 * g.rms(x) / 127), "scale")]
    dtype = g.values[q].arrays[0].dtype
    operands.append(g.constant(np.asarray(128 if dtype == np.uint8 else 0).astype(dtype), "zero"))
    y = g.node("QLinearMatMul", operands)
    return g.node("DequantizeLinear", [y, operands[6], operands[7]])


@recipe(weight=0.4, ranks=(2, 4), since=10)
def integer_layer(g, x):
    """`ConvInteger` and `MatMulInteger`, scaled back by a constant."""
    q, scale, zero = quantized(g, x)
    columns = g.shape(x)[1]
    outputs = g.rng.randint(1, 6)
    if g.rank(x) == 4:
        if g.values[q].arrays[0].dtype != np.uint8:
            raise Unfit("onnxruntime convolves unsigned integers only")
        y = g.node("ConvInteger", [q, g.constant(integers(g, [outputs, columns, 1, 1])), zero])
    else:
        y = g.node("MatMulInteger", [q, g.constant(integers(g, [columns, outputs])), zero])
    factor = float(g.values[scale].arrays[0]) / (20 * np.sqrt(columns))
    return g.node("Mul", [g.node("Cast", [y], to=1), g.constant(np.float32(factor), "factor")])


@recipe(weight=0.3, since=10, host=True)
def integer_result(g, x):
    """A result that stays integers."""
    return quantized(g, x)[0]
