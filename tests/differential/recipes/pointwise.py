"""Functions of one real."""

import numpy as np

from ..graph import Unfit
from . import recipe


@recipe(weight=10)
def activation(g, x):
    """The usual activations."""
    names = ["Relu", "Relu", "Relu", "Sigmoid", "Tanh", "Softplus", "Elu", "HardSigmoid"]
    names += ["HardSwish"] * (g.opset >= 14) + ["Mish"] * (g.opset >= 18) + ["Gelu"] * (g.opset >= 20)
    return apply(g, g.pick(*names), x)


def apply(g, op, x):
    """An activation with some attributes."""
    attributes = {}
    if op == "Elu" and g.chance(0.5):
        attributes["alpha"] = g.pick(0.5, 1.0, 2.0)
    if op == "HardSigmoid" and g.chance(0.5):
        attributes = {"alpha": g.pick(0.1, 1 / 6, 0.5), "beta": g.pick(0.3, 0.5)}
    if op == "Gelu" and g.chance(0.5):
        attributes["approximate"] = g.pick("tanh", "none")
    return g.node(op, [x], **attributes)


@recipe(weight=3)
def leaky_relu(g, x):
    """`LeakyRelu`."""
    return g.node("LeakyRelu", [x], **({"alpha": g.pick(0.0, 0.1, 0.3, 1.5)} if g.chance(0.7) else {}))


@recipe(weight=2)
def prelu(g, x):
    """`PRelu` with a slope for all or one a channel."""
    channels = g.shape(x)[1]
    per_channel = [channels] + [1] * (g.rank(x) - 2)
    shape = g.pick(per_channel, per_channel, [1] * len(per_channel), [1])
    return g.node("PRelu", [x, g.constant(g.uniform(-0.3, 0.6, shape), "slope")])


@recipe(weight=4)
def clip(g, x):
    """`Clip`: bounds in attributes before operator set 11, operands from then on."""
    low, high = np.float32(g.pick(-2.0, -1.0, -0.5, 0.0)), np.float32(g.pick(0.5, 1.0, 3.0, 6.0))
    use_low, use_high = g.chance(0.8), g.chance(0.8)
    if g.opset < 11:
        attributes = {"min": float(low) if use_low else None, "max": float(high) if use_high else None}
        return g.node("Clip", [x], **attributes)
    bounds = [g.constant(b, "bound") if use else "" for b, use in [(low, use_low), (high, use_high)]]
    return g.node("Clip", [x, *bounds])


@recipe(weight=2)
def simple_function(g, x):
    """Functions that are defined everywhere."""
    names = ["Abs", "Neg"] + ["Erf"] * (g.opset >= 9)
    return g.node(g.pick(*names), [x])


@recipe(weight=0.6)
def rounding(g, x):
    """Functions with jumps."""
    return g.node(g.pick("Floor", "Ceil", *(["Round"] * (g.opset >= 11))), [x])


@recipe(weight=2)
def partial_function(g, x):
    """Functions with poles or fast growth, mostly where they are harmless."""
    values = g.all(x)
    low, high = float(values.min()), float(values.max())
    names = ["Exp"] * (high < 4) + ["Log", "Reciprocal"] * (low > 0.2) + ["Sqrt"] * (low >= 0)
    if g.chance(0.05):
        names += ["Exp"] + ["Log", "Sqrt"] * (low > 0) + ["Reciprocal"]
    if not names:
        positive = g.node(g.pick("Softplus", "Sigmoid", "Abs", "Exp" if high < 3 else "Softplus"), [x])
        if g.chance(0.7):
            positive = g.node("Add", [positive, g.constant(np.float32(g.pick(0.3, 1.0)), "offset")])
        names = ["Sqrt"] + ["Log", "Reciprocal"] * (float(g.all(positive).min()) > 0.2)
        x = positive
    return g.node(g.pick(*names), [x])


@recipe(weight=0.7, since=7)
def swish(g, x):
    """`x * sigmoid(x)`, as exporters write it."""
    gate = g.node("Sigmoid", [x])
    return g.node("Mul", [x, gate])


@recipe(weight=0.5, since=9)
def gelu_by_parts(g, x):
    """Gelu, as exporters wrote it before operator set 20, or onnxruntime's own operator."""
    if g.chance(0.4):
        return g.node("Gelu", [x], domain="com.microsoft")
    half = g.constant(np.float32(0.5), "half")
    root = g.constant(np.float32(np.sqrt(2)), "root")
    one = g.constant(np.float32(1), "one")
    inner = g.node("Add", [g.node("Erf", [g.node("Div", [x, root])]), one])
    return g.node("Mul", [g.node("Mul", [x, inner]), half])


@recipe(weight=2)
def nothing(g, x):
    """Nodes that change nothing at inference."""
    op = g.pick("Identity", "Dropout", "Cast")
    if op == "Cast":
        return g.node("Cast", [x], to=1)
    if op == "Dropout" and g.opset >= 12:
        ratio = g.constant(np.float32(0.4), "ratio") if g.chance(0.7) else ""
        training = g.constant(np.array(False), "training") if ratio and g.chance(0.4) else ""
        return g.node("Dropout", [x, ratio, training])
    if op == "Dropout":
        return g.node("Dropout", [x], **({"ratio": 0.3} if g.chance(0.5) else {}))
    return g.node("Identity", [x])


@recipe(weight=0.15)
def unsupported(g, x):
    """Operators that the compiler does not know: it must say so."""
    names = ["LogSoftmax", "Selu", "Softsign"] + ["Sin"] * (g.opset >= 7) + ["Sinh"] * (g.opset >= 9)
    if g.rank(x) < 2:
        raise Unfit("a vector")
    return g.node(g.pick(*names), [x])
