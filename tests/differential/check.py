"""One case through the product: its verdicts on the model as it came and on the circuit."""

import functools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from . import archive, compare, reference
from .product import Product


@dataclass
class Outcome:
    """Verdicts by what was run: `model`, `circuit`."""

    verdicts: dict

    @property
    def verdict(self):
        return compare.worst(self.verdicts.values())

    @property
    def failure(self):
        """What fails: `(what was run, category, kind)`."""
        for what, verdict in self.verdicts.items():
            if verdict.fails:
                return what, verdict.category, verdict.kind
        return None


class Checker:
    """Checks cases with one binary."""

    def __init__(self, binary, scratch, runs_models):
        self.binary = binary
        self.scratch = scratch
        self.runs_models = runs_models

    def check(self, model, feeds, external=False, only=None, expected=None):
        """The outcome of a model on samples; `only` names one of the two runs."""
        outputs = compare.joined(expected or reference.run(model, feeds))
        if not all(np.all(np.isfinite(array)) for array in outputs.values()):
            raise reference.NotAccepted("infinite results")
        others = functools.cache(lambda: tie_breaks(model, feeds))
        floor = functools.cache(lambda: ROUNDINGS * 2.0**-23 * largest(model, feeds))
        steps = quantization_steps(model, list(outputs))
        expected = compare.Expected(outputs, steps, choices(model, feeds), others, floor)
        folder = Path(tempfile.mkdtemp(prefix="case-", dir=self.scratch))
        try:
            save(model, folder / "model.onnx", external)
            archive.write(folder / "inputs.npz", compare.joined(feeds))
            product = Product(self.binary, folder)
            verdicts = {}
            if self.runs_models and only != "circuit":
                answer = product.run_model("model.onnx", "inputs.npz")
                verdicts["model"] = compare.judge(answer, expected, compare.EXACT)
            if only != "model":
                answer = product.run_circuit("model.onnx", "inputs.npz", "inputs.npz")
                verdicts["circuit"] = compare.judge(answer, expected, compare.FAITHFUL)
            return Outcome(verdicts)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


# Roundings of single precision of the largest value inside that a result may be off by: what is left of
# a difference of nearly equal values is no more exact than they are.
ROUNDINGS = 8


def largest(model, feeds):
    """The largest magnitude of a finite value in a model."""
    names = [name for node in model.graph.node for name in node.output if name]
    arrays = [array for values in reference.run(model, feeds, names) for array in values.values()]
    arrays += [array for feed in feeds for array in feed.values()]
    magnitudes = [np.abs(array[np.isfinite(array)]) for array in arrays if array.dtype.kind == "f"]
    return max((float(magnitude.max()) for magnitude in magnitudes if magnitude.size), default=0.0)


def save(model, path, external):
    """Writes a model, its weights beside it if `external`."""
    if external:
        copy = type(model)()
        copy.CopyFrom(model)
        onnx.save_model(
            copy, path, save_as_external_data=True, all_tensors_to_one_file=True, location="weights.bin",
            size_threshold=16,
        )  # fmt: skip
    else:
        path.write_bytes(model.SerializeToString())


def tie_breaks(model, feeds):
    """Outputs by name, for each way of breaking ties."""
    return [compare.joined(per_sample) for per_sample in reference.tie_breaks(model, feeds)]


def quantization_steps(model, names):
    """The quantization step of values that are dequantized integers, or integers themselves."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    steps = {}
    for name in names:
        node = producers.get(name)
        while node is not None and node.op_type == "Identity":
            node = producers.get(node.input[0])
        if node is None:
            continue
        if node.op_type == "QuantizeLinear" or node.op_type.startswith("QLinear"):
            steps[name] = 1.0
        elif node.op_type == "DequantizeLinear" and node.input[1] in constants:
            steps[name] = float(np.max(constants[node.input[1]]))
    return steps


def choices(model, feeds):
    """For outputs that `ArgMax` makes: what it chose from, along which axis, and in which steps."""
    producers = {name: node for node in model.graph.node for name in node.output}
    found = {}
    for output in model.graph.output:
        node = producers.get(output.name)
        while node is not None and node.op_type in ("Cast", "Identity"):
            node = producers.get(node.input[0])
        if node is not None and node.op_type == "ArgMax":
            found[output.name] = node
    if not found:
        return {}
    wanted = sorted({node.input[0] for node in found.values()})
    given = [name for name in wanted if name in feeds[0]]
    per_sample = reference.run(model, feeds, [name for name in wanted if name not in given] or None)
    per_sample = [{**values, **{name: feed[name] for name in given}} for values, feed in zip(per_sample, feeds)]
    steps = quantization_steps(model, wanted)
    result = {}
    for name, node in found.items():
        values = np.stack([sample[node.input[0]] for sample in per_sample])
        axis = reference.attributes(node).get("axis", 0)
        # The samples are the first axis.
        result[name] = (values, axis % (values.ndim - 1) + 1, steps.get(node.input[0], 0.0))
    return result
