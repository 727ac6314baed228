"""The training loop: AdamW under one cycle, with a running average of the weights."""

import copy
import time

import numpy
import torch

import data

BATCH = 8
DECAY = 0.995  # Of the running average, a step.
CLIP = 10.0  # Of the gradient's norm.


class Average:
    """An exponential running average of a network's parameters and buffers."""

    def __init__(self, network):
        self.network = copy.deepcopy(network).eval()
        self.steps = 0

    def update(self, network):
        self.steps += 1
        decay = min(DECAY, self.steps / (self.steps + 10))
        with torch.no_grad():
            own, other = self.network.state_dict(), network.state_dict()
            for name, value in own.items():
                if value.is_floating_point():
                    value.lerp_(other[name], 1 - decay)
                else:
                    value.copy_(other[name])


def batches(cells, indices, random):
    """One epoch of augmented batches: pixels and targets."""
    order = random.permutation(indices)
    for start in range(0, len(order) - BATCH + 1, BATCH):
        views, labels = [], []
        for index in order[start : start + BATCH]:
            image = cells.pixels([index])[0]
            view, boxes, classes = data.augmented(image, cells.boxes[index], cells.classes[index], random)
            views.append(view)
            labels.append(data.targets(boxes, classes))
        pixels = torch.stack(views).to(memory_format=torch.channels_last)
        yield pixels, *(torch.from_numpy(numpy.stack(part)) for part in zip(*labels))


def fit(network, backend_of, cells, epochs, rate, decay, seed, label):
    """Trains `network` in place and returns the running average of its last epochs.
    `backend_of(epoch)` is the arithmetic of an epoch."""
    indices = cells.indices(0)
    random = numpy.random.default_rng(seed)
    average = Average(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
    steps = epochs * (len(indices) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps, pct_start=0.15)
    for epoch in range(epochs):
        network.train()
        began, total, count = time.process_time(), 0.0, 0
        backend = backend_of(epoch)
        for view, heatmap, regression, weight in batches(cells, indices, random):
            value = data.loss(network.run(backend, view), heatmap, regression, weight)
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            average.update(network)
            total, count = total + value.item(), count + 1
        seconds = time.process_time() - began
        print(f"{label} {epoch + 1:3}/{epochs}: loss {total / count:.4f}, {seconds:.1f} s", flush=True)
    return average.network
