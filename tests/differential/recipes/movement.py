"""Operators that move elements: slices, joins, padding, resizing, transposition."""

import numpy as np

from ..graph import Unfit
from . import recipe


def sliced(g, x, starts, ends, axes, steps):
    """`Slice`, whose extents are attributes before operator set 10."""
    if g.opset < 10:
        if any(step != 1 for step in steps):
            raise Unfit("steps came with operator set 10")
        return g.node("Slice", [x], starts=starts, ends=ends, axes=axes)
    operands = [g.indices(numbers) for numbers in (starts, ends)]
    if axes != list(range(len(axes))) or any(step != 1 for step in steps) or g.chance(0.5):
        operands.append(g.indices(axes, "axes"))
        if any(step != 1 for step in steps) or g.chance(0.5):
            operands.append(g.indices(steps, "steps"))
    return g.node("Slice", [x, *operands])


@recipe(weight=4)
def slice_(g, x):
    """`Slice` of some axes, with steps, from the end, sometimes backwards or of everything."""
    shape = g.shape(x)
    axes = sorted(g.rng.sample(range(1, len(shape)), g.rng.randint(1, len(shape) - 1)))
    starts, ends, steps = [], [], []
    for axis in axes:
        extent = shape[axis]
        start = g.rng.randint(0, extent - 1)
        end = g.pick(extent, extent + 5, 2**31 - 1, g.rng.randint(start + 1, extent))
        step = g.pick(1, 1, 1, 1, 2, 3)
        if g.chance(0.1):
            start, end = 0, extent
        if g.chance(0.1) and extent > 1:
            start, end, step = g.pick(extent - 1, -1), g.pick(-(2**31), -extent - 1), g.pick(-1, -2)
        elif g.chance(0.2):
            start -= extent
        starts, ends, steps = [*starts, start], [*ends, end], [*steps, step]
    if g.chance(0.2):
        axes = [axis - len(shape) for axis in axes]
    return sliced(g, x, starts, ends, axes, steps)


@recipe(weight=2.5)
def split(g, x):
    """`Split`; one of the parts goes on, or all are joined again in another order."""
    axis = g.rng.randint(1, g.rank(x) - 1) if g.chance(0.3) else 1
    extent = g.shape(x)[axis]
    parts = g.rng.randint(1, min(4, extent))
    cuts = sorted(g.rng.sample(range(1, extent), parts - 1))
    sizes = [b - a for a, b in zip([0, *cuts], [*cuts, extent])]
    attributes = {"axis": axis if g.chance(0.7) else axis - g.rank(x)}
    operands = [x]
    equal = extent % parts == 0 or g.opset >= 18
    if equal and g.chance(0.5):
        if g.opset >= 18:
            attributes["num_outputs"] = parts
    elif g.opset < 13:
        attributes["split"] = sizes
    else:
        operands.append(g.indices(sizes, "split"))
    results = g.node("Split", operands, outputs=parts, **attributes)
    if parts == 1:
        return results
    if g.chance(0.4):
        g.rng.shuffle(results)
        return g.node("Concat", results, axis=axis)
    return g.pick(*results)


@recipe(weight=1.5)
def gather(g, x):
    """`Gather` of channels or rows by constant indices."""
    axis = 1 if g.chance(0.7) else g.rng.randint(1, g.rank(x) - 1)
    extent = g.shape(x)[axis]
    count = g.rng.randint(1, 6)
    indices = np.array([g.rng.randint(-extent, extent - 1) if g.chance(0.3) else i % extent for i in range(count)])
    if g.opset < 11:
        indices %= extent
    if g.chance(0.3):
        g.rng.shuffle(indices)
    scalar = g.chance(0.15)
    indices = (indices[0] if scalar else indices).astype(g.pick(np.int64, np.int32))
    return g.node("Gather", [x, g.constant(np.asarray(indices), "indices")], axis=axis)


@recipe(weight=4)
def concat(g, x):
    """`Concat` of values that agree but for one axis, sometimes of one with itself."""
    shape = g.shape(x)
    axis = 1 if g.chance(0.75) or g.rank(x) == 2 else g.rng.randint(2, g.rank(x) - 1)

    def fits(n):
        other = g.shape(n)
        return len(other) == len(shape) and all(a == b for i, (a, b) in enumerate(zip(shape, other)) if i != axis)

    found = g.candidates(fits)
    operands = [x] + [g.pick(*found) for _ in range(g.rng.randint(0, 2))]
    g.rng.shuffle(operands)
    return g.node("Concat", operands, axis=axis if g.chance(0.8) else axis - len(shape))


@recipe(weight=3)
def pad(g, x):
    """`Pad`: attributes before operator set 11, operands from then on, axes from 18 on."""
    rank = g.rank(x)
    spatial = range(2, rank) if rank > 2 else range(1, rank)
    axes = list(spatial) if g.chance(0.8) else [1]
    low = -1 if g.chance(0.1) else 0
    before = [g.rng.randint(low, 2) for _ in axes]
    after = [g.rng.randint(low, 2) for _ in axes]
    value = g.pick(0.0, 0.0, 0.0, 0.0, 1.0, -1.0, 5.0)
    mode = g.pick("constant", "reflect", "edge") if g.chance(0.03) else "constant"
    attributes = {"mode": mode} if mode != "constant" or g.chance(0.3) else {}
    if g.opset >= 18 and g.chance(0.3):
        operands = [g.indices(before + after, "pads"), g.constant(np.float32(value)), g.indices(axes, "axes")]
        return g.node("Pad", [x, *operands], **attributes)
    pads = [0] * (2 * rank)
    for axis, first, last in zip(axes, before, after):
        pads[axis], pads[rank + axis] = first, last
    if g.opset < 11:
        return g.node("Pad", [x], pads=pads, value=value if value or g.chance(0.3) else None, **attributes)
    operands = [g.indices(pads, "pads")] + ([g.constant(np.float32(value), "value")] if value else [])
    return g.node("Pad", [x, *operands], **attributes)


@recipe(weight=3, ranks=(3, 4))
def resize(g, x):
    """`Upsample` up to operator set 9, `Resize` from 10 on."""
    spatial = g.rank(x) - 2
    factors = [g.pick(2.0, 2.0, 3.0, 1.0, 4.0, 0.5)] * spatial
    if g.chance(0.3):
        factors = [g.pick(1.0, 2.0, 3.0, 0.5, 1 / 3, 1.5) for _ in factors]
    linear = g.chance(0.4) and g.rank(x) == 4
    if g.opset < 10:
        factors = [max(1.0, factor) for factor in factors]
    scales = np.array([1.0, 1.0, *factors], np.float32)
    mode = g.pick("linear", "linear", "cubic" if g.chance(0.05) else "linear") if linear else "nearest"
    attributes = {} if mode == "nearest" and g.chance(0.4) else {"mode": mode}
    if g.opset < 9:
        return g.node("Upsample", [x], scales=scales.tolist(), **attributes)
    if g.opset < 11:
        return g.node("Upsample" if g.opset == 9 else "Resize", [x, g.constant(scales, "scales")], **attributes)
    return g.node("Resize", [x, *resize_operands(g, x, scales, attributes)], **attributes)


def resize_operands(g, x, scales, attributes):
    """Region, scales and sizes; completes the attributes."""
    linear = attributes.get("mode") == "linear"
    coordinates = ["asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners"]
    if not g.chance(0.2):
        coordinates = ["half_pixel", "asymmetric", "pytorch_half_pixel"] if linear else ["asymmetric"]
    if g.opset >= 19 and g.chance(0.1):
        coordinates = ["half_pixel_symmetric"]
    if not g.chance(0.2):
        attributes["coordinate_transformation_mode"] = g.pick(*coordinates)
    if not linear and not g.chance(0.2):
        attributes["nearest_mode"] = "floor" if g.chance(0.8) else g.pick("ceil", "round_prefer_floor")
        # Symmetric coordinates are often whole, and then rounding alone says what is below or above.
        if attributes.get("coordinate_transformation_mode") == "half_pixel_symmetric":
            attributes["nearest_mode"] = "round_prefer_floor"
    region = "" if g.opset >= 13 else g.constant(np.array([], np.float32), "roi")
    if g.chance(0.6):
        return [region, g.constant(scales, "scales")]
    sizes = [max(1, int(np.floor(e * s))) for e, s in zip(g.shape(x), scales)]
    empty = "" if g.opset >= 13 else g.constant(np.array([], np.float32), "scales")
    return [region, empty, g.indices(sizes, "sizes")]


@recipe(weight=2, ranks=(4,))
def depth(g, x):
    """`DepthToSpace` and `SpaceToDepth`."""
    block = g.pick(1, 2, 2, 3)
    if g.chance(0.5):
        return g.node("SpaceToDepth", [x], blocksize=block)
    attributes = {"mode": g.pick("DCR", "CRD")} if g.opset >= 11 and g.chance(0.7) else {}
    return g.node("DepthToSpace", [x], blocksize=block, **attributes)
