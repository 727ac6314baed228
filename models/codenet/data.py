"""The blood-cell set, its augmentation, and the targets of the three heads."""

import math

import numpy
import torch
from torch.nn import functional

from network import CLASSES, HEIGHT, STRIDE, WIDTH

VISIBLE = 0.35  # A box stays if more than this share of it is in view.
SMALLEST = 2.0  # Pixels; thinner rests of boxes are dropped.


class BloodCells:
    """`images` uint8 [n,h,w,3], `boxes` float [m,4] as x1,y1,x2,y2 in pixels, `box_class` [m]; image
    i owns boxes `box_offsets[i]:box_offsets[i+1]`; `split` is 0 train, 1 validation, 2 test."""

    def __init__(self, path):
        with numpy.load(path) as file:
            self.images, self.split = file["images"], file["split"]
            offsets, boxes, classes = file["box_offsets"], file["boxes"], file["box_class"]
        pairs = list(zip(offsets, offsets[1:]))
        self.boxes = [boxes[a:b].astype(numpy.float32) for a, b in pairs]
        self.classes = [classes[a:b].astype(numpy.int64) for a, b in pairs]

    def indices(self, *splits):
        return [int(index) for index in numpy.flatnonzero(numpy.isin(self.split, splits))]

    def pixels(self, indices):
        return torch.from_numpy(self.images[indices].astype(numpy.float32).transpose(0, 3, 1, 2).copy())


def random_map(random):
    """A random axis-parallel map of the view: zoom, flips, transposition and shift, about the
    middle. Returns [2,3] with source = map @ (x, y, 1), in pixels."""
    zoom = math.exp(random.uniform(math.log(0.75), math.log(1.45)))
    sides = numpy.array([WIDTH, HEIGHT], numpy.float64)
    linear = numpy.diag(random.choice([-1.0, 1.0], 2)) / zoom
    if random.random() < 0.5:
        linear = linear[:, ::-1]
    # What the view covers moves by up to half of what it leaves out, and a little more.
    covered = numpy.abs(linear) @ sides
    room = numpy.abs(sides - covered) / 2 + 0.05 * sides
    shift = random.uniform(-1, 1, 2) * room
    return numpy.concatenate([linear, (sides / 2 + shift - linear @ (sides / 2))[:, None]], 1)


def augmented(image, boxes, classes, random):
    """One distorted sample. `image` [3,h,w] of pixels 0..255."""
    to_source = random_map(random)
    linear, move = to_source[:, :2], to_source[:, 2]
    # `affine_grid` works with coordinates -1..1 over the image.
    half = numpy.array([WIDTH, HEIGHT], numpy.float64) / 2
    theta = numpy.concatenate(
        [linear * half[None, :] / half[:, None], ((linear @ half + move - half) / half)[:, None]], 1
    )
    grid = functional.affine_grid(
        torch.from_numpy(theta.astype(numpy.float32))[None], [1, 3, HEIGHT, WIDTH], align_corners=False
    )
    fill = image.mean((1, 2), keepdim=True)
    view = functional.grid_sample((image - fill)[None], grid, align_corners=False)[0] + fill
    gain = torch.from_numpy(random.uniform(0.8, 1.2, (3, 1, 1)).astype(numpy.float32))
    bias = torch.from_numpy(random.uniform(-20, 20, (3, 1, 1)).astype(numpy.float32))
    noise = torch.from_numpy(random.normal(0, random.uniform(0, 4), view.shape).astype(numpy.float32))
    view = (view * gain + bias + noise).clamp(0, 255)

    back = numpy.linalg.inv(linear)
    corners = numpy.stack([(boxes[:, :2] - move) @ back.T, (boxes[:, 2:] - move) @ back.T])
    low, high = corners.min(0), corners.max(0)
    area = (high - low).prod(1)
    low, high = numpy.clip(low, 0, [WIDTH, HEIGHT]), numpy.clip(high, 0, [WIDTH, HEIGHT])
    keep = ((high - low).prod(1) > VISIBLE * area) & ((high - low).min(1) > SMALLEST)
    return view, numpy.concatenate([low, high], 1)[keep].astype(numpy.float32), classes[keep]


def gaussian_radius(height, width, overlap=0.7):
    """How far, in cells, a centre may be off for boxes to keep about an overlap (CenterNet's rule)."""
    total, area = height + width, height * width
    one = (total + math.sqrt(total**2 - 4 * area * (1 - overlap) / (1 + overlap))) / 2
    two = total + math.sqrt(total**2 - 4 * (1 - overlap) * area)
    three = -overlap * total + math.sqrt((overlap * total) ** 2 + 4 * overlap * (1 - overlap) * area)
    return min(one, two, three)


def targets(boxes, classes):
    """Heatmap [3,h,w]; size and offset [4,h,w] with weights [1,h,w]: 1 at centres, 0.3 beside."""
    height, width = HEIGHT // STRIDE, WIDTH // STRIDE
    heatmap = numpy.zeros((len(CLASSES), height, width), numpy.float32)
    regression = numpy.zeros((4, height, width), numpy.float32)
    weight = numpy.zeros((1, height, width), numpy.float32)
    rows, columns = numpy.mgrid[:height, :width]
    # Large boxes first: where boxes share a cell, the small one is harder to find.
    sides = (boxes[:, 2:] - boxes[:, :2]) / STRIDE
    for index in numpy.argsort(-sides.prod(1), kind="stable"):
        x, y = (boxes[index, :2] + boxes[index, 2:]) / (2 * STRIDE)
        column, row = min(int(x), width - 1), min(int(y), height - 1)
        deviation = (2 * gaussian_radius(sides[index, 1], sides[index, 0]) + 1) / 6
        peak = numpy.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * deviation**2))
        peak[peak < 1e-4] = 0
        numpy.maximum(heatmap[classes[index]], peak, out=heatmap[classes[index]])
        for i in range(max(row - 1, 0), min(row + 2, height)):
            for j in range(max(column - 1, 0), min(column + 2, width)):
                own = 1.0 if (i, j) == (row, column) else 0.3
                if own >= weight[0, i, j]:
                    weight[0, i, j] = own
                    regression[:2, i, j] = numpy.log(sides[index])
                    regression[2:, i, j] = x - j, y - i
    return heatmap, regression, weight


def loss(results, heatmap, regression, weight):
    """CenterNet's focal loss, and L1 on log size and offset."""
    logits = results["heatmap"]
    probability = torch.sigmoid(logits).clamp(1e-4, 1 - 1e-4)
    positive = (heatmap == 1).to(logits.dtype)
    hit = positive * torch.log(probability) * (1 - probability) ** 2
    miss = (1 - positive) * torch.log(1 - probability) * probability**2 * (1 - heatmap) ** 4
    focal = -(hit + miss).sum() / positive.sum().clamp(min=1)
    total = weight.sum().clamp(min=1)
    size = ((results["size"] - regression[:, :2]).abs() * weight).sum() / total
    offset = ((results["offset"] - regression[:, 2:]).abs() * weight).sum() / total
    return focal + size + 0.5 * offset
