"""Trains the built-in model `mnist` and writes model.onnx, samples.npz and metrics.json.

    python train.py --train mnist_train_20000.npz --test mnist_test_10000.npz --output .

Both files hold `images` (uint8 [n,28,28,1]) and `labels`. The test images are looked at once,
after the last epoch: nothing is selected on them.
"""

import argparse
import hashlib
import io
import json
import math
import zipfile
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

CALIBRATION_SAMPLES = 100
EVALUATION_SAMPLES = 500
BATCH_NORM_EPSILON = 1e-5


class Network(nn.Module):
    """Three 3x3 convolutions, each halved by max pooling, and one dense layer."""

    def __init__(self):
        super().__init__()
        channels = [1, 8, 16, 32]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in zip(channels, channels[1:])
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(o, eps=BATCH_NORM_EPSILON) for o in channels[1:])
        self.dense = nn.Linear(channels[-1] * 3 * 3, 10)

    def forward(self, images):
        x = images
        for convolution, norm in zip(self.convolutions, self.norms):
            x = functional.max_pool2d(functional.relu(norm(convolution(x))), 2)
        return self.dense(x.flatten(1))


def load(path):
    """Images uint8 [n,28,28,1] and labels uint8 [n]."""
    with numpy.load(path) as file:
        return file["images"].reshape(-1, 28, 28, 1), file["labels"].astype(numpy.uint8)


def distorted(images, generator):
    """Images [n,1,28,28] under a random affine map each: rotation, scale, shear and shift."""

    def uniform(bound):
        return (torch.rand(len(images), generator=generator) * 2 - 1) * bound

    angle, shear = uniform(math.radians(12)), uniform(0.15)
    width, height = 1 + uniform(0.12), 1 + uniform(0.12)
    left, top = uniform(2 / 14), uniform(2 / 14)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    rows = [
        torch.stack([cosine * width, (shear - sine) * height, left], dim=1),
        torch.stack([sine * width, cosine * height, top], dim=1),
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train(network, images, labels, epochs, batch, generator):
    """Adam under one cosine cycle; the weights of the last epoch are the result."""
    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=6e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=steps, pct_start=0.2)
    for epoch in range(epochs):
        network.train()
        order = torch.randperm(len(images), generator=generator)
        total, correct = 0.0, 0
        for start in range(0, len(images) - batch + 1, batch):
            chosen = order[start : start + batch]
            logits = network(distorted(images[chosen], generator))
            loss = functional.cross_entropy(logits, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * batch
            correct += (logits.argmax(1) == labels[chosen]).sum().item()
        print(f"epoch {epoch + 1:3}/{epochs}: loss {total / len(images):.4f}, distorted top-1 {correct / len(images):.4f}")
    network.eval()


def export(network, path):
    """Writes the network for raw pixels 0..255: the first convolution takes the factor 1/255."""
    nodes, weights, value = [], [], "image"

    def initializer(name, tensor):
        weights.append(numpy_helper.from_array(tensor.detach().numpy().astype(numpy.float32), name))
        return name

    for index, (convolution, norm) in enumerate(zip(network.convolutions, network.norms), 1):
        scale = 1 / 255 if index == 1 else 1.0
        kernel = initializer(f"conv{index}.weight", convolution.weight * scale)
        statistics = [norm.weight, norm.bias, norm.running_mean, norm.running_var]
        names = ["scale", "bias", "mean", "variance"]
        parameters = [initializer(f"norm{index}.{name}", tensor) for name, tensor in zip(names, statistics)]
        attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}
        pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
        nodes += [
            helper.make_node("Conv", [value, kernel], [f"conv{index}"], f"conv{index}", **attributes),
            helper.make_node(
                "BatchNormalization",
                [f"conv{index}", *parameters],
                [f"norm{index}"],
                f"norm{index}",
                epsilon=BATCH_NORM_EPSILON,
            ),
            helper.make_node("Relu", [f"norm{index}"], [f"relu{index}"], f"relu{index}"),
            helper.make_node("MaxPool", [f"relu{index}"], [f"pool{index}"], f"pool{index}", **pool),
        ]
        value = f"pool{index}"
    dense = [initializer("dense.weight", network.dense.weight), initializer("dense.bias", network.dense.bias)]
    nodes += [
        helper.make_node("Flatten", [value], ["flat"], "flatten", axis=1),
        helper.make_node("Gemm", ["flat", *dense], ["logits"], "dense", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "mnist",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def accuracy(path, images, labels):
    """Top-1 of the exported file in onnxruntime."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    correct = 0
    for image, label in zip(images.astype(numpy.float32).transpose(0, 3, 1, 2), labels):
        (logits,) = session.run(None, {"image": image[None]})
        correct += int(logits.argmax() == label)
    return correct / len(labels)


def every(count, arrays):
    """`count` samples at equal distances: no choice, and the order of the set does not matter."""
    step = len(arrays[0]) // count
    return [array[: step * count : step] for array in arrays]


def write_samples(path, images, labels):
    """An .npz with a fixed time stamp, so that the same data gives the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in [("images", images), ("labels", labels)]:
            buffer = io.BytesIO()
            numpy.save(buffer, numpy.ascontiguousarray(array))
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED, 9)


def macs(network):
    """Multiply-accumulates of one inference."""
    sides = [28, 14, 7]
    total = sum(side * side * layer.weight.numel() for side, layer in zip(sides, network.convolutions))
    return total + network.dense.weight.numel()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="training images (.npz)")
    parser.add_argument("--test", type=Path, required=True, help="test images (.npz)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder for the results")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    # One thread: the order of floating-point sums, and so the result, is the same on every run.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(arguments.seed)
    generator = torch.Generator().manual_seed(arguments.seed)

    train_images, train_labels = load(arguments.train)
    test_images, test_labels = load(arguments.test)
    pixels = torch.from_numpy(train_images.transpose(0, 3, 1, 2).astype(numpy.float32) / 255)
    network = Network()
    classes = torch.from_numpy(train_labels.astype(numpy.int64))
    train(network, pixels, classes, arguments.epochs, arguments.batch, generator)

    model, samples = arguments.output / "model.onnx", arguments.output / "samples.npz"
    export(network, model)
    calibration = every(CALIBRATION_SAMPLES, [train_images, train_labels])
    evaluation = every(EVALUATION_SAMPLES, [test_images, test_labels])
    images, labels = (numpy.concatenate(pair) for pair in zip(calibration, evaluation))
    write_samples(samples, images, labels)
    metrics = {
        "test_top1": accuracy(model, test_images, test_labels),
        "test_samples": len(test_labels),
        "evaluation_top1": accuracy(model, *evaluation),
        "evaluation_samples": EVALUATION_SAMPLES,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "macs": macs(network),
        "epochs": arguments.epochs,
        "seed": arguments.seed,
        "torch": torch.__version__.split("+")[0],
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (model, samples)},
    }
    (arguments.output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
