"""Writes a detector with folded batch norms as ONNX: float, or with quantizers (QDQ).

The input is raw pixels 0..255, since the first layer takes the factor 1/255. The deformable layer is
ONNX's DeformConv with offsets `template * (distance - 1)`.
"""

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

from network import HEIGHT, REACH, WIDTH
from quantization import integers, parameters

OPSET = 21  # The first with INT4; DeformConv is of 19.


class Writer:
    """A backend of `Detector.run` whose values are names of tensors. `shapes` holds [c,h,w] of each."""

    def __init__(self, network, name):
        self.network, self.graph_name = network, name
        self.names = {id(layer): path.replace(".", "/") for path, layer in network.layers()}
        self.places = {}  # The layer or block that a value belongs to.
        self.nodes, self.weights, self.outputs, self.shapes, self.known = [], [], [], {}, set()

    def constant(self, name, array):
        if name not in self.known:
            self.known.add(name)
            self.weights.append(numpy_helper.from_array(numpy.asarray(array, order="C"), name))
        return name

    def node(self, operator, inputs, name, **attributes):
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        self.places[name] = name.rpartition("/")[0]
        return name

    def image(self, name):
        self.shapes[name], self.places[name] = (3, HEIGHT, WIDTH), name
        return name

    def factor(self, layer):
        return 1 / 255 if layer is self.network.stem else 1.0

    def kernel(self, layer, x):
        """Names of the weights and the bias of a layer with input `x`."""
        name = self.names[id(layer)]
        weight = layer.weight.detach().numpy() * numpy.float32(self.factor(layer))
        return self.constant(f"{name}/weight", weight), self.constant(f"{name}/bias", layer.bias.detach().numpy())

    def rounded(self, layer, x):
        """The result of a layer as later layers see it."""
        return x

    def layer(self, operator, layer, inputs, result, **attributes):
        size, pad = layer.weight.shape[-1], layer.padding
        common = {"kernel_shape": [size] * 2, "strides": [layer.stride] * 2, "pads": [pad] * 4, "group": layer.groups}
        y = self.node(operator, inputs, result, **common, **attributes)
        _, height, width = self.shapes[inputs[0]]
        self.shapes[y] = (layer.weight.shape[0], -(-height // layer.stride), -(-width // layer.stride))
        if layer.relu:
            shape = self.shapes[y]
            y = self.node("Relu", [y], f"{self.names[id(layer)]}/relu")
            self.shapes[y] = shape
        return y

    def convolve(self, layer, x):
        y = self.layer("Conv", layer, [x, *self.kernel(layer, x)], f"{self.names[id(layer)]}/conv")
        return self.rounded(layer, y)

    def distance(self, layer, x):
        """Integer distances 0..REACH."""
        name = self.names[id(layer)]
        y = self.layer("Conv", layer, [x, *self.kernel(layer, x)], f"{name}/conv")
        return self.clipped(name, self.node("Round", [y], f"{name}/round"))

    def clipped(self, name, y):
        limits = [self.constant("least_distance", numpy.float32(0)), self.constant("reach", numpy.float32(REACH))]
        return self.node("Clip", [y, *limits], f"{name}/clip")

    def deform(self, block, x):
        name = self.names[id(block.layer)]
        taps = [axis for tap in numpy.ndindex(3, 3) for axis in tap]
        template = self.constant("template", numpy.array(taps, numpy.float32).reshape(1, 18, 1, 1) - 1)
        beyond = self.node("Sub", [self.distance(block.distance, x), self.constant("one", numpy.float32(1))], f"{name}/sub")
        offsets = self.node("Mul", [beyond, template], f"{name}/offsets")
        weight, bias = self.kernel(block.layer, x)
        y = self.layer("DeformConv", block.layer, [x, weight, offsets, bias], f"{name}/deform", offset_group=1)
        return self.rounded(block.layer, y)

    def movement(self, operator, inputs, name, shape, **attributes):
        y = self.node(operator, inputs, name, **attributes)
        self.shapes[y] = shape
        return y

    def split(self, x, channels):
        total, height, width = self.shapes[x]
        axis = self.constant("channel_axis", numpy.array([1]))
        bounds = [self.constant(f"index_{i}", numpy.array([i])) for i in (0, channels, total)]
        cut = lambda i: self.movement(
            "Slice", [x, bounds[i], bounds[i + 1], axis], f"{self.places[x]}/half{i}", ([channels, total - channels][i], height, width)
        )
        return cut(0), cut(1)

    def concat(self, parts):
        shape = (sum(self.shapes[part][0] for part in parts), *self.shapes[parts[0]][1:])
        return self.movement("Concat", parts, f"{self.places[parts[-1]]}/concat", shape, axis=1)

    def shuffle(self, x):
        (c, h, w), place = self.shapes[x], self.places[x]
        apart = self.constant(f"apart_{c}_{h}_{w}", numpy.array([1, 2, c // 2, h, w]))
        whole = self.constant(f"whole_{c}_{h}_{w}", numpy.array([1, c, h, w]))
        y = self.movement("Reshape", [x, apart], f"{place}/apart", (c, h, w))
        y = self.movement("Transpose", [y], f"{place}/transposed", (c, h, w), perm=[0, 2, 1, 3, 4])
        return self.movement("Reshape", [y, whole], f"{place}/shuffled", (c, h, w))

    def upsample(self, x):
        c, h, w = self.shapes[x]
        scales = self.constant("upsample_scales", numpy.array([1, 1, 2, 2], numpy.float32))
        modes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.movement("Resize", [x, "", scales], f"{self.places[x]}/upsampled", (c, 2 * h, 2 * w), **modes)

    def output(self, name, x):
        self.nodes[-1].output[0] = name
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *self.shapes[x]]))
        return name

    def write(self, path):
        self.network.run(self, "image")
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, HEIGHT, WIDTH])
        graph = helper.make_graph(self.nodes, self.graph_name, [image], self.outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))


class QuantizedWriter(Writer):
    """Writes integers and their quantizers. `steps` holds the scale of each value."""

    def __init__(self, network, name):
        super().__init__(network, name)
        self.steps = {}

    def image(self, name):
        super().image(name)
        return self.quantizer("image", name, 1.0, 0)

    def quantizer(self, name, x, scale, zero):
        constants = [
            self.constant(f"{name}/scale", numpy.float32(scale)),
            self.constant(f"{name}/zero_point", numpy.uint8(zero)),
        ]
        place = self.places[x]
        y = self.node("QuantizeLinear", [x, *constants], f"{place}/quantized")
        y = self.node("DequantizeLinear", [y, *constants], f"{place}/dequantized")
        self.shapes[y], self.steps[y] = self.shapes[x], scale
        return y

    def kernel(self, layer, x):
        name = self.names[id(layer)]
        whole, scale = integers(layer)
        scale = (scale * self.factor(layer)).astype(numpy.float32)
        kind = TensorProto.INT4 if layer.bits == 4 else TensorProto.INT8
        self.weights.append(helper.make_tensor(f"{name}/weight", kind, whole.shape, whole.ravel()))
        steps = scale * numpy.float32(self.steps[x])
        bias = numpy.round(layer.bias.detach().numpy() / steps).astype(numpy.int32)
        weight = [f"{name}/weight", self.constant(f"{name}/weight_scale", scale)]
        bias = [self.constant(f"{name}/bias", bias), self.constant(f"{name}/bias_scale", steps)]
        return (
            self.node("DequantizeLinear", weight, f"{name}/weight_dequantized", axis=0),
            self.node("DequantizeLinear", bias, f"{name}/bias_dequantized", axis=0),
        )

    def rounded(self, layer, x):
        limits = self.network.ranges[self.network.quantizers[layer.activation]]
        return self.quantizer(layer.activation.replace(".", "/"), x, *parameters(limits))

    def distance(self, layer, x):
        name = self.names[id(layer)]
        y = self.layer("Conv", layer, [x, *self.kernel(layer, x)], f"{name}/conv")
        shape = self.shapes[y]
        y = self.clipped(name, y)
        self.shapes[y] = shape
        return self.quantizer(f"{name}/distance", y, 1.0, 0)

    def movement(self, operator, inputs, name, shape, **attributes):
        y = super().movement(operator, inputs, name, shape, **attributes)
        steps = {self.steps[x] for x in inputs if x in self.steps}
        assert len(steps) == 1, f"{name} joins values of different scales"
        self.steps[y] = steps.pop()
        return y
