"""Trains the detector with free, dense deformable convolution, the top of the ladder of variants.

    python variants.py --data bccd_192x144.npz --checkpoints build --output .

Where `codenet-bccd` has a square depthwise layer and a pointwise one, this network has one dense 3x3
layer whose every tap has an offset of its own, a real number without a bound. It learns by the same
recipe, in floating point throughout. `scripts/variants` makes the lower rungs out of it.
"""

import argparse
import json
from pathlib import Path

import torch
from torch import nn

from data import BloodCells
from fit import fit
from network import CLASSES, DECODER, NECK, Detector, Float, Layer, functional
from onnx_export import Writer
from train import RATE, figures, kept, session


class Free(nn.Module):
    """A dense 3x3 layer whose taps of pixel p are `p + {-1,0,1}^2 + offsets(p)`. A 1x1 layer
    computes the offsets from the same input, vertical before horizontal, tap by tap."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.layer = Layer(inputs, outputs, 3)
        self.offsets = Layer(inputs, 18, relu=False, norm=False, bits=8)
        nn.init.normal_(self.offsets.weight, std=0.01)


def free(x, weight, offsets):
    """The layer without its bias; bilinear, with zeros outside the image."""
    n, _, height, width = x.shape
    rows = torch.arange(height, dtype=x.dtype).view(1, height, 1)
    columns = torch.arange(width, dtype=x.dtype).view(1, 1, width)
    taps = []
    for tap in range(9):
        row = rows + (tap // 3 - 1) + offsets[:, 2 * tap]
        column = columns + (tap % 3 - 1) + offsets[:, 2 * tap + 1]
        grid = torch.stack([2 * column / (width - 1) - 1, 2 * row / (height - 1) - 1], -1)
        taps.append(functional.grid_sample(x, grid, "bilinear", "zeros", align_corners=True))
    flat = weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1, 1, 1)
    return functional.conv2d(torch.cat(taps, 1), flat)


class FreeFloat(Float):
    """Computes with free offsets."""

    def __init__(self):
        super().__init__(rounded=False)

    def free(self, block, x):
        return self.finish(block.layer, free(x, block.layer.weight, self.convolve(block.offsets, x)))


class FreeWriter(Writer):
    """Writes free offsets as they are."""

    def free(self, block, x):
        weight, bias = self.kernel(block.layer, x)
        inputs = [x, weight, self.convolve(block.offsets, x), bias]
        return self.layer("DeformConv", block.layer, inputs, f"{self.names[id(block.layer)]}/deform", offset_group=1)


class FreeDetector(Detector):
    """The detector with three free layers in its decoder."""

    def __init__(self):
        super().__init__(deformable=False)
        widths = [NECK, DECODER[0] * 3 // 2, DECODER[1] * 3 // 2]
        self.spatial = nn.ModuleList(Free(i, o) for i, o in zip(widths, DECODER))
        self.pointwise = nn.ModuleList(block.layer for block in self.spatial)

    def sample(self, backend, index, x):
        return backend.free(self.spatial[index], x)

    def counts(self):
        raise NotImplementedError("counted by `lutweave inspect`")


def network(cells, epochs, seed):
    torch.manual_seed(seed)
    detector = FreeDetector().to(memory_format=torch.channels_last)
    return fit(detector, lambda epoch: FreeFloat(), cells, epochs, RATE, 0.02, seed, "full")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the blood-cell set (.npz)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder for the result")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder for finished stages")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    cells = BloodCells(arguments.data)
    arguments.checkpoints.mkdir(parents=True, exist_ok=True)
    detector = kept(arguments.checkpoints / "full.pt", lambda: network(cells, arguments.epochs, arguments.seed))
    detector.fold()
    path = arguments.output / "full.onnx"
    FreeWriter(detector, "codenet-bccd-full").write(path)
    pixels = cells.pixels(cells.indices(2)[:1])
    with torch.no_grad():
        expected = detector.run(FreeFloat(), pixels)
    worst = max(float(abs(result - expected[name].numpy()).max()) for name, result in session(path)(pixels).items())
    print(json.dumps({"classes": CLASSES, "ap50": figures(path, cells), "difference_to_torch": worst}, indent=2))


if __name__ == "__main__":
    main()
