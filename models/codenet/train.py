"""Trains the built-in detector `codenet-bccd` and its twin, and writes models, samples and figures.

    python train.py --data bccd_192x144.npz --checkpoints build --output .

Finished stages are kept in --checkpoints, so that a later run repeats only what is missing.
Only the train split is learned from; validation and test images are looked at once, at the end.
"""

import argparse
import copy
import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy
import onnxruntime
import torch

import detection
import quantization
from data import BloodCells
from fit import fit
from network import CLASSES, HEADS, Detector, Float
from onnx_export import QuantizedWriter, Writer

CONTINUOUS = 0.5  # Share of the epochs before distances are rounded.
RATE, FINE_RATE = 3e-3, 3e-4
CALIBRATION_IMAGES = 64  # Of the train split, for activation ranges.
SHIPPED = {"calibration": 8, "test": 4}  # Images in samples.npz.


def kept(path, make):
    """The network at `path`, or what `make` gives, then kept there."""
    if not path.exists():
        torch.save(make(), path)
    return torch.load(path, weights_only=False).eval()


def float_network(deformable, cells, epochs, seed):
    torch.manual_seed(seed)
    network = Detector(deformable).to(memory_format=torch.channels_last)
    label = "square" if deformable else "plain"
    return fit(network, lambda epoch: Float(epoch >= CONTINUOUS * epochs), cells, epochs, RATE, 0.02, seed, label)


def quantized_network(network, cells, epochs, seed):
    """W4A8-aware fine-tuning. Ranges follow the weights in the first half, then stay."""
    network = copy.deepcopy(network)
    quantization.prepare(network)
    network.to(memory_format=torch.channels_last)
    pixels = cells.pixels(cells.indices(0)[:CALIBRATION_IMAGES])

    def backend(epoch):
        if epoch <= epochs // 2:
            quantization.measure_ranges(network, pixels)
        return quantization.Quantized(network)

    average = fit(network, backend, cells, epochs, FINE_RATE, 0.0, seed + 1, "quantized")
    quantization.measure_ranges(average, pixels)
    return average


def session(path):
    """The exported file in onnxruntime, as a function of pixels [1,3,h,w]."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda pixels: dict(zip(HEADS, model.run(list(HEADS), {"image": pixels.numpy()})))


def difference(path, network, backend, cells):
    """Largest difference between the file and torch, over the outputs of five images."""
    run, worst = session(path), 0.0
    for index in cells.indices(2)[:5]:
        with torch.no_grad():
            expected = network.run(backend, cells.pixels([index]))
        results = run(cells.pixels([index]))
        worst = max(worst, *(float(numpy.abs(results[name] - expected[name].numpy()).max()) for name in HEADS))
    return worst


def figures(path, cells):
    """AP50 of the file on the test split, and on validation and test together."""
    run = session(path)
    return {"test": detection.ap50(run, cells, cells.indices(2)), "val+test": detection.ap50(run, cells, cells.indices(1, 2))}


def write_samples(path, cells):
    """Images at equal distances in the train split, then in the test split; a fixed time stamp, so
    that the same data gives the same bytes."""
    train, test = cells.indices(0), cells.indices(2)
    chosen = [list(every[:: len(every) // count])[:count] for every, count in zip((train, test), SHIPPED.values())]
    chosen = sum(chosen, [])
    arrays = {
        "images": cells.images[chosen],
        "boxes": numpy.concatenate([cells.boxes[index] for index in chosen]),
        "box_class": numpy.concatenate([cells.classes[index] for index in chosen]).astype(numpy.uint8),
        "box_offsets": numpy.cumsum([0] + [len(cells.boxes[index]) for index in chosen]).astype(numpy.int32),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            numpy.save(buffer, numpy.ascontiguousarray(array))
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue(), zipfile.ZIP_DEFLATED, 9)


def publish(jobs, output, cells, arguments):
    """Writes the models, the samples, and the figures of the files as they were written."""
    metrics = {"classes": CLASSES, "models": {}}
    for file, network, backend, writer, name in jobs:
        parameters, macs = network.counts()
        network.fold()
        writer(network, name).write(output / file)
        metrics["models"][file] = {
            "ap50": figures(output / file, cells),
            "difference_to_torch": difference(output / file, network, backend, cells),
            "parameters": parameters,
            "macs": macs,
        }
    write_samples(output / "samples.npz", cells)
    files = [output / file for file, *_ in jobs] + [output / "samples.npz"]
    metrics["test_ap50"] = metrics["models"]["model.onnx"]["ap50"]["test"]["mean"]
    metrics["images"] = {"train": len(cells.indices(0)), "val": len(cells.indices(1)), "test": len(cells.indices(2))}
    metrics |= {"epochs": arguments.epochs, "fine_epochs": arguments.fine_epochs, "seed": arguments.seed}
    metrics["torch"] = torch.__version__.split("+")[0]
    metrics["sha256"] = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(json.dumps(metrics, indent=2))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the blood-cell set (.npz)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder for the results")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder for finished stages")
    parser.add_argument("--epochs", type=int, default=120, help="in floating point")
    parser.add_argument("--fine-epochs", type=int, default=20, help="with simulated integers")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()

    # One thread: the order of floating-point sums, and so the result, is the same on every run.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    cells = BloodCells(arguments.data)
    folder, output, seed = arguments.checkpoints, arguments.output, arguments.seed
    folder.mkdir(parents=True, exist_ok=True)
    square = kept(folder / "square.pt", lambda: float_network(True, cells, arguments.epochs, seed))
    quantized = kept(folder / "quantized.pt", lambda: quantized_network(square, cells, arguments.fine_epochs, seed))
    plain = kept(folder / "plain.pt", lambda: float_network(False, cells, arguments.epochs, seed))

    exact = Float(rounded=True)
    jobs = [
        ("model.onnx", square, exact, Writer, "codenet-bccd"),
        ("int4.onnx", quantized, quantization.Quantized(quantized), QuantizedWriter, "codenet-bccd-int4"),
        ("plain.onnx", plain, exact, Writer, "codenet-bccd-plain"),
    ]
    publish(jobs, output, cells, arguments)


if __name__ == "__main__":
    main()
