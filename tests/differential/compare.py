"""Verdicts: what the product said beside what the reference says."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from . import archive

# Warnings that say that 8 bits do not represent the model's function well.
EXCUSES = {
    "low-fidelity",
    "near-pole",
    "non-finite",
    "rounding-near-steps",
}

# Largest root mean square error of the model as it came, in standard deviations of an output.
EXACT = 1e-4
# The same of a circuit, whose values have 8 bits each.
FAITHFUL = 0.05
# Share of elements of a quantized model that may be further off than one step, by ties.
TIES = 0.01

# From worst to best.
VERDICTS = ["crashed", "wrong", "refused", "warned", "right"]


@dataclass
class Verdict:
    """How an answer compares; `kind` is a short key of what is wrong."""

    category: str
    kind: str = ""
    detail: str = ""
    codes: list = field(default_factory=list)
    error: float = 0.0

    @property
    def fails(self):
        return self.category in ("wrong", "crashed")


def worst(verdicts):
    """The verdict that counts for a model."""
    return min(verdicts, key=lambda verdict: VERDICTS.index(verdict.category))


@dataclass
class Expected:
    """What the reference says, samples joined."""

    # By output name.
    outputs: dict
    # Quantization steps of outputs that have one.
    steps: dict
    # What outputs of `ArgMax` chose from: values of all samples, the axis, and their quantization
    # step or 0.
    choices: dict
    # Computes what else the outputs may be where values lie between two integers.
    tie_breaks: Callable
    # Computes the error that single precision alone may make.
    floor: Callable = float


def judge(answer, expected, bound):
    """Judges an answer; `bound` is the error allowed."""
    if answer.status != "done":
        codes = sorted({code for code, _ in answer.errors})
        return Verdict(answer.status, codes[0] if codes else "?", answer.text, codes=answer.errors)
    if sorted(answer.outputs) != sorted(expected.outputs):
        return Verdict("wrong", "names", f"outputs {list(answer.outputs)} instead of {list(expected.outputs)}")
    verdicts = []
    for name, array in expected.outputs.items():
        verdict = one_output(answer.outputs[name], array, bound, expected.steps.get(name), expected.choices.get(name))
        if verdict.kind == "values" and name not in expected.choices:
            loose = ties(array, [outputs[name] for outputs in expected.tie_breaks()])
            rounding = bound == EXACT and worst_difference(answer.outputs[name], array) <= expected.floor()
            if verdict.error <= loose or rounding:
                verdict = Verdict("right", error=verdict.error)
        verdict.detail = f"output `{name}`: {verdict.detail}" if verdict.detail else ""
        verdicts.append(verdict)
    result = worst(verdicts)
    excuses = [warning for warning in answer.warnings if warning.get("code") in EXCUSES]
    result.error = max(verdict.error for verdict in verdicts)
    result.codes = [(warning["code"], warning.get("operator", "")) for warning in excuses]
    if result.category == "wrong" and result.kind == "values" and excuses and bound > EXACT:
        result.category = "warned"
    return result


def one_output(found, wanted, bound, step, choice):
    """Shape, type and values of one output."""
    if found.shape != wanted.shape:
        return Verdict("wrong", "shape", f"shape {found.shape} instead of {wanted.shape}")
    if (found.dtype.kind == "f") != (wanted.dtype.kind == "f"):
        return Verdict("wrong", "type", f"type {found.dtype} instead of {wanted.dtype}")
    if choice is not None:
        return chosen(found, wanted, bound, *choice)
    wanted = wanted.astype(np.float64)
    found = found.astype(np.float64)
    if not np.all(np.isfinite(found)):
        return Verdict("wrong", "values", "infinite or not a number", error=np.inf)
    difference = np.abs(found - wanted)
    error = relative(found, wanted)
    if error <= bound or within_steps(difference, step):
        return Verdict("right", error=error)
    place = np.unravel_index(np.argmax(difference), difference.shape)
    detail = (
        f"error {error:.4f} standard deviations, e.g. {found[place]:.6g} instead of {wanted[place]:.6g} at "
        f"{tuple(map(int, place))}; values from {wanted.min():.4g} to {wanted.max():.4g}"
    )
    return Verdict("wrong", "values", detail, error=error)


def relative(found, wanted):
    """Root mean square error in standard deviations of the wanted values; of values that hardly
    vary, in tenths of their magnitude, so that the bound of a circuit is a step of 8 bits."""
    error = float(np.sqrt(np.mean(np.square(found - wanted))))
    spread, magnitude = float(wanted.std()), float(np.abs(wanted).max())
    return error / max(spread if spread > 0.01 * magnitude else 0.1 * magnitude, 1e-6)


def worst_difference(found, wanted):
    """The largest difference of two elements."""
    return float(np.abs(found.astype(np.float64) - wanted.astype(np.float64)).max())


def ties(wanted, others):
    """How far off the values may be because ties were broken otherwise: twice what one such choice
    for all makes, as each tie may go its own way."""
    wanted = wanted.astype(np.float64)
    return 2 * max((relative(other.astype(np.float64), wanted) for other in others), default=0.0)


def within_steps(difference, step):
    """True if all but a few elements are within one quantization step."""
    return step is not None and float(np.mean(difference > 1.01 * step)) <= TIES


def chosen(found, wanted, bound, values, axis, step):
    """Where `ArgMax` chose another index, its value must be as large within the error."""
    extents = list(values.shape)
    extents[axis] = 1
    got, best = (np.asarray(indices, np.int64).reshape(extents) for indices in (found, wanted))
    if got.min() < 0 or got.max() >= values.shape[axis]:
        return Verdict("wrong", "values", "an index outside the axis")
    values = values.astype(np.float64)
    loss = np.take_along_axis(values, best, axis) - np.take_along_axis(values, got, axis)
    loss = max(float(np.max(loss)) - 1.01 * step, 0.0) / max(float(values.std()), 1e-6)
    # Both values may be off, and by more than the mean.
    if loss <= 6 * bound:
        return Verdict("right", error=loss / 6)
    detail = f"the chosen value is {loss:.3f} standard deviations below the largest"
    return Verdict("wrong", "values", detail, error=loss)


def joined(per_sample):
    """Outputs of each sample as one array for each name."""
    return {name: archive.stacked([outputs[name] for outputs in per_sample]) for name in per_sample[0]}
