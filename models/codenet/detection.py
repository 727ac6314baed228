"""Decoding as CenterNet and CoDeNet do it, and the average precision of PASCAL VOC."""

import numpy

from network import CLASSES, STRIDE

LIMIT = 100  # Detections kept of an image.


def decode(heatmap, size, offset):
    """Detections of one image from [c,h,w] logits, [2,h,w] log sizes and [2,h,w] offsets: boxes [k,4],
    scores [k], classes [k], best first. A cell is a peak if no cell of its 3x3 neighbourhood has a
    larger logit, and none before it in row order an equal one."""
    classes, height, width = heatmap.shape
    padded = numpy.pad(heatmap, ((0, 0), (1, 1), (1, 1)), constant_values=-numpy.inf)
    peak = numpy.ones(heatmap.shape, bool)
    for row in range(3):
        for column in range(3):
            other = padded[:, row : row + height, column : column + width]
            if (row, column) != (1, 1):
                peak &= heatmap > other if (row, column) < (1, 1) else heatmap >= other
    # Equal logits rank by row, column, class.
    found = numpy.flatnonzero(peak.transpose(1, 2, 0))
    logits = heatmap.transpose(1, 2, 0).ravel()
    found = found[numpy.argsort(-logits[found], kind="stable")][:LIMIT]
    kind, cell = found % classes, found // classes
    centre = numpy.stack([cell % width, cell // width]) + offset.reshape(2, -1)[:, cell]
    half = numpy.exp(size.reshape(2, -1)[:, cell]) / 2
    boxes = numpy.concatenate([centre - half, centre + half]).T * STRIDE
    return boxes, 1 / (1 + numpy.exp(-logits[found])), kind


def overlaps(box, boxes):
    low = numpy.maximum(box[:2], boxes[:, :2])
    high = numpy.minimum(box[2:], boxes[:, 2:])
    common = numpy.clip(high - low, 0, None).prod(1)
    return common / ((box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - common)


def average_precision(detections, truth, kind, threshold):
    """All-point average precision of a class. `detections`: one (boxes, scores, classes) an image;
    `truth`: one (boxes, classes) an image. A detection is right if the box it overlaps most
    overlaps it by the threshold and is not yet taken (PASCAL VOC)."""
    listed, taken, total = [], [], 0
    for image, ((boxes, scores, classes), (true_boxes, true_classes)) in enumerate(zip(detections, truth)):
        own = classes == kind
        listed += [(-score, image, tuple(box)) for box, score in zip(boxes[own], scores[own])]
        total += int((true_classes == kind).sum())
        taken.append(numpy.zeros(int((true_classes == kind).sum()), bool))
    if total == 0:
        return float("nan")
    listed.sort(key=lambda item: item[0])
    right = numpy.zeros(len(listed))
    for position, (_, image, box) in enumerate(listed):
        true_boxes, true_classes = truth[image]
        candidates = true_boxes[true_classes == kind]
        if len(candidates):
            shares = overlaps(numpy.array(box), candidates)
            best = int(shares.argmax())
            if shares[best] >= threshold and not taken[image][best]:
                taken[image][best] = True
                right[position] = 1
    hits = numpy.cumsum(right)
    recall = numpy.concatenate([[0], hits / total, [1]])
    precision = numpy.concatenate([[0], hits / numpy.arange(1, len(listed) + 1), [0]])
    precision = numpy.maximum.accumulate(precision[::-1])[::-1]
    return float(((recall[1:] - recall[:-1]) * precision[1:]).sum())


def ap50(run, cells, indices):
    """AP50 of each class and their mean. `run` maps pixels [n,3,h,w] to the three results."""
    detections, truth = [], []
    for index in indices:
        results = run(cells.pixels([index]))
        detections.append(decode(*(numpy.asarray(results[name])[0] for name in ("heatmap", "size", "offset"))))
        truth.append((cells.boxes[index], cells.classes[index]))
    each = [average_precision(detections, truth, kind, 0.5) for kind in range(len(CLASSES))]
    return {"mean": round(float(numpy.mean(each)), 4), **{name: round(value, 4) for name, value in zip(CLASSES, each)}}
