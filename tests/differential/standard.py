"""Operators by the formulas of the ONNX standard, where neither onnxruntime nor ONNX's own reference
implementation follows them. Slow and plain."""

import itertools

import numpy as np


def conv_transpose(attributes, x, w, b=None):
    """`ConvTranspose` with `auto_pad = SAME_*`: extents are `extent * stride`, and what is to be
    padded in all, perhaps less than nothing, is halved, rounded down at the start for `SAME_UPPER`."""
    extents, kernel = x.shape[2:], w.shape[2:]
    strides = attributes.get("strides", [1] * len(kernel))
    dilations = attributes.get("dilations", [1] * len(kernel))
    padding = attributes.get("output_padding", [0] * len(kernel))
    groups = attributes.get("group", 1)
    outputs = attributes.get("output_shape") or [e * s for e, s in zip(extents, strides)]
    upper = attributes["auto_pad"] == b"SAME_UPPER"
    starts = []
    for e, k, s, d, p, o in zip(extents, kernel, strides, dilations, padding, outputs):
        total = s * (e - 1) + p + (k - 1) * d + 1 - o
        starts.append(total // 2 if upper else total - total // 2)
    y = np.zeros((x.shape[0], w.shape[1] * groups, *outputs), np.float64)
    inside, outside = x.shape[1] // groups, w.shape[1]
    places = itertools.product(*map(range, extents), *map(range, kernel))
    for place in places:
        source, tap = place[: len(extents)], place[len(extents) :]
        target = tuple(i * s + t * d - start for i, s, t, d, start in zip(source, strides, tap, dilations, starts))
        if not all(0 <= t < o for t, o in zip(target, outputs)):
            continue
        for group in range(groups):
            rows = slice(group * inside, (group + 1) * inside)
            columns = slice(group * outside, (group + 1) * outside)
            y[(slice(None), columns, *target)] += x[(slice(None), rows, *source)] @ w[(rows, slice(None), *tap)]
    if b is not None:
        y += b.reshape([-1] + [1] * len(kernel))
    return y.astype(x.dtype)


def same_padding(attributes, extents, kernel):
    """What `auto_pad = SAME_*` pads along each axis in all, perhaps less than nothing, and the pads
    at all starts and then at all ends that follow."""
    strides = attributes.get("strides", [1] * len(kernel))
    dilations = attributes.get("dilations", [1] * len(kernel))
    totals = [(-(-e // s) - 1) * s + (k - 1) * d + 1 - e for e, k, s, d in zip(extents, kernel, strides, dilations)]
    less = [max(0, total) // 2 for total in totals]
    more = [max(0, total) - half for total, half in zip(totals, less)]
    upper = attributes["auto_pad"] == b"SAME_UPPER"
    return totals, less + more if upper else more + less


def max_pool(attributes, x):
    """`MaxPool` with `auto_pad = SAME_*`: extents are `ceil(extent / stride)`, and the padding is
    that of the dilated window."""
    kernel = attributes["kernel_shape"]
    strides = attributes.get("strides", [1] * len(kernel))
    dilations = attributes.get("dilations", [1] * len(kernel))
    outputs = [-(-e // s) for e, s in zip(x.shape[2:], strides)]
    starts = same_padding(attributes, x.shape[2:], kernel)[1][: len(kernel)]
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    y = np.full((*x.shape[:2], *outputs), lowest, x.dtype)
    for place in itertools.product(*map(range, outputs), *map(range, kernel)):
        window, tap = place[: len(kernel)], place[len(kernel) :]
        source = tuple(i * s + t * d - start for i, s, t, d, start in zip(window, strides, tap, dilations, starts))
        if all(0 <= i < e for i, e in zip(source, x.shape[2:])):
            at = (slice(None), slice(None), *window)
            y[at] = np.maximum(y[at], x[(slice(None), slice(None), *source)])
    return y
