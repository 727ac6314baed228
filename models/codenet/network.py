"""The detector's layers and topology.

The topology is written once, in `Detector.run`, against a backend that says what an operator is:
`Float` computes with torch, `quantization.Quantized` computes with simulated integers, and
`onnx_export` writes nodes. Images are [n,channels,height,width].
"""

import torch
from torch import nn
from torch.nn import functional

HEIGHT, WIDTH = 144, 192
CLASSES = ["RBC", "WBC", "Platelets"]
STRIDE = 4
REACH = 4  # Distances lie in 0..REACH.
STEM = 24
STAGES = [(48, 4), (96, 8), (192, 4)]  # Channels and units of each backbone stage.
NECK = 128
DECODER = [96, 64, 64]
HEAD = 48
HEADS = {"heatmap": len(CLASSES), "size": 2, "offset": 2}
HEATMAP_BIAS = -2.19  # The logit of 0.1: few cells hold a centre.


class Layer(nn.Module):
    """A convolution with batch norm and ReLU where asked for.

    `activation` names the quantizer of its result: layers whose results are concatenated share
    one. `bits` is the width of its weights.
    """

    def __init__(self, inputs, outputs, kernel=1, stride=1, depthwise=False, relu=True, norm=True, bits=4):
        super().__init__()
        self.stride, self.relu, self.bits, self.activation = stride, relu, bits, None
        self.groups = inputs if depthwise else 1
        self.weight = nn.Parameter(torch.empty(outputs, inputs // self.groups, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu" if relu else "linear")
        self.bias = None if norm else nn.Parameter(torch.zeros(outputs))
        self.norm = nn.BatchNorm2d(outputs) if norm else None

    @property
    def padding(self):
        return self.weight.shape[-1] // 2

    def fold(self):
        """Moves the batch norm into weights and bias."""
        if self.norm is not None:
            factor = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
            self.bias = nn.Parameter((self.norm.bias - self.norm.running_mean * factor).detach())
            self.weight = nn.Parameter((self.weight * factor[:, None, None, None]).detach())
            self.norm = None


class Deformable(nn.Module):
    """A depthwise 3x3 layer whose taps of pixel p are `p + d(p) * {-1,0,1}^2`: the square form of
    CoDeNet (FPGA 2021). A 1x1 layer computes the distance d from the same input."""

    def __init__(self, channels):
        super().__init__()
        self.layer = Layer(channels, channels, 3, depthwise=True, relu=False)
        self.distance = Layer(channels, 1, relu=False, norm=False, bits=8)
        nn.init.normal_(self.distance.weight, std=0.01)
        nn.init.ones_(self.distance.bias)


def square(x, weight, selection):
    """The deformable layer without its bias. `selection` [n,REACH+1,h,w] holds the share of each
    integer distance in each pixel: one-hot for integer distances. Exact for those; between
    integers it interpolates results of neighbouring distances."""
    channels = x.shape[1]
    y = selection[:, :1] * (x * weight.sum((1, 2, 3))[None, :, None, None])
    for distance in range(1, selection.shape[1]):
        taps = functional.conv2d(x, weight, padding=distance, dilation=distance, groups=channels)
        y = y + selection[:, distance : distance + 1] * taps
    return y


def shares(distance, rounded):
    """Shares of the integer distances, [n,1,h,w] -> [n,REACH+1,h,w]. If `rounded`, one-hot forward
    and, straight through the rounding, the gradient of the interpolation backward."""
    d = distance.clamp(0, REACH)
    grid = torch.arange(REACH + 1, dtype=d.dtype)[None, :, None, None]
    between = functional.relu(1 - (d - grid).abs())
    if not rounded:
        return between
    return between + ((d.round() == grid).to(d.dtype) - between).detach()


class Float:
    """Computes in floating point."""

    def __init__(self, rounded):
        self.rounded = rounded

    def image(self, pixels):
        return pixels / 255

    def finish(self, layer, y):
        if layer.norm is not None:
            y = layer.norm(y)
        elif layer.bias is not None:
            y = y + layer.bias[None, :, None, None]
        return functional.relu(y) if layer.relu else y

    def convolve(self, layer, x):
        y = functional.conv2d(x, layer.weight, None, layer.stride, layer.padding, groups=layer.groups)
        return self.finish(layer, y)

    def deform(self, block, x):
        distance = self.convolve(block.distance, x)
        return self.finish(block.layer, square(x, block.layer.weight, shares(distance, self.rounded)))

    def split(self, x, channels):
        return x[:, :channels], x[:, channels:]

    def concat(self, parts):
        return torch.cat(parts, 1)

    def shuffle(self, x):
        n, c, h, w = x.shape
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)

    def upsample(self, x):
        return functional.interpolate(x, scale_factor=2.0, mode="nearest")

    def output(self, name, x):
        return x


class Detector(nn.Module):
    """ShuffleNetV2 backbone at half width down to stride 16, three decoder stages with laterals,
    and one head each for heatmap, size and offset, at stride 4."""

    def __init__(self, deformable):
        super().__init__()
        self.stem = Layer(3, STEM, 3, 2, bits=8)
        self.stages = nn.ModuleList()
        inputs = STEM
        for outputs, units in STAGES:
            self.stages.append(nn.ModuleList([self.down_unit(inputs, outputs)]))
            self.stages[-1].extend(self.unit(outputs // 2) for _ in range(units - 1))
            inputs = outputs
        self.neck = Layer(inputs, NECK)
        self.laterals = nn.ModuleList(
            Layer(STAGES[1 - index][0], DECODER[index] // 2) for index in range(2)
        )
        widths = [NECK, DECODER[0] * 3 // 2, DECODER[1] * 3 // 2]
        self.spatial = nn.ModuleList(
            Deformable(width) if deformable else Layer(width, width, 3, depthwise=True, relu=False) for width in widths
        )
        self.pointwise = nn.ModuleList(Layer(i, o) for i, o in zip(widths, DECODER))
        self.heads = nn.ModuleDict({name: self.head(outputs) for name, outputs in HEADS.items()})
        nn.init.constant_(self.heads["heatmap"][-1].bias, HEATMAP_BIAS)
        self.deformable = deformable
        self.name_activations()

    @staticmethod
    def down_unit(inputs, outputs):
        half = outputs // 2
        return nn.ModuleList(
            [
                Layer(inputs, inputs, 3, 2, depthwise=True, relu=False),
                Layer(inputs, half),
                Layer(inputs, half),
                Layer(half, half, 3, 2, depthwise=True, relu=False),
                Layer(half, half),
            ]
        )

    @staticmethod
    def unit(half):
        return nn.ModuleList(
            [Layer(half, half), Layer(half, half, 3, depthwise=True, relu=False), Layer(half, half)]
        )

    @staticmethod
    def head(outputs):
        last = Layer(HEAD, outputs, relu=False, norm=False, bits=8)
        nn.init.normal_(last.weight, std=0.01)
        return nn.ModuleList([Layer(DECODER[-1], HEAD), Layer(HEAD, HEAD, 3, depthwise=True), last])

    def name_activations(self):
        """Every layer has its own quantizer but those whose results meet in a concatenation."""
        for name, layer in self.layers():
            layer.activation = name
        for index, stage in enumerate(self.stages):
            for unit in stage:
                unit[-1].activation = f"stage{index + 1}"
            stage[0][1].activation = f"stage{index + 1}"
        for index, lateral in enumerate(self.laterals):
            lateral.activation = self.pointwise[index].activation = f"joined{index + 1}"

    def layers(self):
        return [(name, module) for name, module in self.named_modules() if isinstance(module, Layer)]

    def fold(self):
        for _, layer in self.layers():
            layer.fold()

    def sample(self, backend, index, x):
        """The layers of a decoder stage that look around each pixel, and mix the channels."""
        spatial = self.spatial[index]
        x = backend.deform(spatial, x) if self.deformable else backend.convolve(spatial, x)
        return backend.convolve(self.pointwise[index], x)

    def run(self, backend, image):
        """Heatmap logits, log size in cells, and offset in cells, each at stride 4."""
        x = backend.convolve(self.stem, backend.image(image))
        levels = []
        for stage in self.stages:
            first = stage[0]
            left = backend.convolve(first[1], backend.convolve(first[0], x))
            right = backend.convolve(first[2], x)
            right = backend.convolve(first[4], backend.convolve(first[3], right))
            x = backend.shuffle(backend.concat([left, right]))
            for unit in list(stage)[1:]:
                left, right = backend.split(x, unit[0].weight.shape[1])
                for layer in unit:
                    right = backend.convolve(layer, right)
                x = backend.shuffle(backend.concat([left, right]))
            levels.append(x)
        x = backend.convolve(self.neck, x)
        for index in range(len(self.spatial)):
            x = self.sample(backend, index, x)
            if index < len(self.laterals):
                x = backend.concat([backend.upsample(x), backend.convolve(self.laterals[index], levels[1 - index])])
        results = {}
        for name, head in self.heads.items():
            y = x
            for layer in head:
                y = backend.convolve(layer, y)
            results[name] = backend.output(name, y)
        return results

    def counts(self):
        """Parameters, and multiply-accumulates of one inference."""
        sizes, totals = {}, [0, 0]

        class Count(Float):
            def finish(self, layer, y):
                sizes[id(layer)] = y.shape[2] * y.shape[3]
                return super().finish(layer, y)

        training = self.training
        self.eval()
        with torch.no_grad():
            self.run(Count(True), torch.zeros(1, 3, HEIGHT, WIDTH))
        self.train(training)
        for _, layer in self.layers():
            totals[0] += layer.weight.numel() + (0 if layer.bias is None else layer.bias.numel())
            totals[0] += 0 if layer.norm is None else 2 * layer.norm.num_features
            totals[1] += layer.weight.numel() * sizes[id(layer)]
        return tuple(totals)
