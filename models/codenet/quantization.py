"""Simulated W4A8 arithmetic for training, and the integers that follow from it.

Weights: symmetric, one learned scale an output channel (learned step size, Esser et al. 2020), 4 or
8 bits as the layer says. Activations: unsigned 8 bits, one scale and zero point a quantizer, from
the least and the largest value over the calibration images; no percentiles, since heatmap peaks that
are clipped tie. Distances: integers. Batch norms must be folded.
"""

import math

import numpy
import torch
from torch import nn

from network import REACH, Float, functional, shares, square


def weight_range(bits):
    """Least and largest integer weight."""
    return (-8, 7) if bits == 4 else (-127, 127)


def best_scales(weight, bits):
    """Scales of the output channels that make the squared rounding error least, of 80 candidates."""
    low, high = weight_range(bits)
    rows = weight.detach().flatten(1)
    largest = rows.abs().amax(1).clamp(min=1e-8) / high
    best, error = largest, torch.full_like(largest, math.inf)
    for step in range(80):
        scale = largest * (1 - 0.01 * step)
        rounded = (rows / scale[:, None]).round().clamp(low, high) * scale[:, None]
        own = (rounded - rows).square().sum(1)
        best = torch.where(own < error, scale, best)
        error = torch.minimum(own, error)
    return best


def prepare(network):
    """Folds batch norms and gives every layer weight scales and every quantizer a range."""
    network.fold()
    for _, layer in network.layers():
        layer.logarithm = nn.Parameter(best_scales(layer.weight, layer.bits).log())
    names = sorted({layer.activation for _, layer in network.layers()})
    network.quantizers = {name: index for index, name in enumerate(names)}
    network.register_buffer("ranges", torch.zeros(len(names), 2))


class Quantized(Float):
    """Computes with simulated integers; while `observing`, only weights and distances are rounded
    and ranges grow to what they see."""

    def __init__(self, network, observing=False):
        super().__init__(rounded=True)
        self.network, self.observing = network, observing

    def image(self, pixels):
        return super().image(pixels.round().clamp(0, 255))

    def weight(self, layer):
        low, high = weight_range(layer.bits)
        scale = layer.logarithm.exp()[:, None, None, None]
        ratio = (layer.weight / scale).clamp(low, high)
        return (ratio + (ratio.round() - ratio).detach()) * scale

    def activation(self, layer, y):
        limits = self.network.ranges[self.network.quantizers[layer.activation]]
        if self.observing:
            limits[0], limits[1] = min(limits[0], y.min()), max(limits[1], y.max())
            return y
        scale, zero = parameters(limits)
        inside = y.clamp(-zero * scale, (255 - zero) * scale)
        return inside + ((inside / scale).round() * scale - inside).detach()

    def convolve(self, layer, x):
        y = functional.conv2d(x, self.weight(layer), None, layer.stride, layer.padding, groups=layer.groups)
        return self.activation(layer, self.finish(layer, y))

    def deform(self, block, x):
        distance = functional.conv2d(x, self.weight(block.distance), block.distance.bias)
        y = square(x, self.weight(block.layer), shares(distance, True))
        return self.activation(block.layer, self.finish(block.layer, y))


def parameters(limits):
    """Scale and zero point of a range that holds 0."""
    low, high = float(limits[0]), float(limits[1])
    scale = float(numpy.float32(max(high - low, 1e-6) / 255))
    return scale, int(min(max(round(-low / scale), 0), 255))


def measure_ranges(network, pixels):
    """Sets every range to the least and largest value over images [n,3,h,w]."""
    training = network.training
    network.eval()
    network.ranges.zero_()
    with torch.no_grad():
        for start in range(0, len(pixels), 8):
            network.run(Quantized(network, observing=True), pixels[start : start + 8])
    network.train(training)


def integers(layer):
    """Weights as integers, and their scales."""
    low, high = weight_range(layer.bits)
    scale = layer.logarithm.detach().exp()
    whole = (layer.weight.detach() / scale[:, None, None, None]).round().clamp(low, high)
    return whole.numpy().astype(numpy.int8), scale.numpy()
