"""Random valid models with samples: everything follows from the seed."""

import logging
import random
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, checker

from . import quantize, reference
from .graph import Graph, Unfit
from .recipes import RECIPES

SAMPLES = 6
LOG = logging.getLogger(__name__)


@dataclass
class Case:
    """A model and its samples: one dictionary of inputs each."""

    seed: int
    flavour: str
    model: ModelProto
    feeds: list
    # The reference's outputs for each sample.
    expected: list
    external: bool = False

    @property
    def opset(self):
        return next(entry.version for entry in self.model.opset_import if entry.domain == "")

    @property
    def operators(self):
        """The operators in use, those of other domains with their domain."""
        nodes = self.model.graph.node
        return sorted({f"{node.domain}.{node.op_type}".lstrip(".") for node in nodes})


def case(seed):
    """The case of a seed. Draws again, from the same source, where nothing valid comes out."""
    rng = random.Random(seed)
    while True:
        try:
            return draw(rng, seed)
        except (Unfit, reference.NotAccepted, quantize.NotQuantizable, checker.ValidationError) as error:
            LOG.debug("drawn again: %s", error)


def draw(rng, seed):
    """One attempt."""
    flavour = rng.choices(["float", "qdq", "qoperator"], [0.6, 0.25, 0.15])[0]
    quantizable = flavour != "float"
    g = Graph(rng, np.random.default_rng(rng.getrandbits(63)), opset(rng, quantizable), SAMPLES)
    add_inputs(g)
    grow(g, not quantizable)
    outputs = choose_outputs(g)
    dynamic = rng.random() < 0.2
    model = g.model(outputs, dynamic, prune=rng.random() < 0.85)
    feeds = [{name: g.values[name].arrays[i] for name in g.inputs} for i in range(SAMPLES)]
    if quantizable:
        model = quantize.quantized(model, feeds, rng, flavour)
        require_numbers(model, feeds)
    checker.check_model(model)
    expected = reference.run(model, feeds)
    if not all(np.all(np.isfinite(array)) for outputs in expected for array in outputs.values()):
        raise Unfit("infinite results")
    return Case(seed, flavour, model, feeds, expected, external=rng.random() < 0.1)


def require_numbers(model, feeds):
    """Rounding may take a value below 0, or to it: where no number comes out, the standard does not
    say what it is rounded to."""
    names = [node.output[0] for node in model.graph.node if node.op_type in ("Sqrt", "Log", "Div", "Reciprocal", "Pow")]
    for values in reference.run(model, feeds, names) if names else []:
        if not all(np.all(np.isfinite(array)) for array in values.values()):
            raise Unfit("not a number inside")


def opset(rng, quantizable):
    """An operator set. Static quantization needs 11 at least."""
    return rng.randint(11, 21) if quantizable else rng.randint(7, 22)


def add_inputs(g):
    """One to three inputs; the further ones are often of the first one's shape, to be joined."""
    rank = g.rng.choices([2, 3, 4], [0.2, 0.15, 0.65])[0]
    first = extents(g, rank)
    for index in range(g.rng.choices([1, 2, 3], [0.7, 0.2, 0.1])[0]):
        shape = list(first)
        if index and g.chance(0.4):
            shape[1] = g.rng.randint(1, 6)
        elif index and g.chance(0.2):
            shape = extents(g, g.pick(2, 4))
        g.input(shape, samples(g, shape))


def extents(g, rank):
    """Small shapes, also odd ones and extents of 1."""
    if rank == 2:
        return [1, g.pick(1, 2, 5, 8, 10, 16, 33, g.rng.randint(1, 64))]
    channels = g.pick(1, 2, 3, 3, 4, 5, 7, 8)
    if rank == 3:
        return [1, channels, g.pick(1, 4, 9, 16, 25, g.rng.randint(2, 40))]
    height = g.pick(1, 4, 6, 7, 8, 8, 9, 10, 12)
    return [1, channels, height, height if g.chance(0.6) else g.rng.randint(1, 12)]


def samples(g, shape):
    """Inputs as preprocessing makes them: normal, of a range, or pixels."""
    form = g.pick("normal", "normal", "normal", "unit", "pixels")
    whole = [SAMPLES, *shape]
    if form == "normal":
        return g.normal(whole, g.pick(1.0, 1.0, 0.3, 3.0))
    if form == "unit":
        return g.uniform(0, 1, whole)
    return g.data.integers(0, 256, whole).astype(np.float32)


def grow(g, integers):
    """Adds the body, then now and then a tail that runs on the host."""
    allowed = [r for r in RECIPES if integers or r.build.__module__ != quantize.RECIPES]
    fits = [r for r in allowed if not r.host]
    tails = [r for r in allowed if r.host]
    # Values stand channels first until a layer has read them; most models begin with one.
    if g.chance(0.7):
        add(g, [r for r in fits if r.build.__name__ in ("conv", "conv_transpose", "gemm", "residual")], 1, host=False)
    add(g, fits, g.rng.choices(range(1, 10), [2, 3, 4, 4, 4, 3, 3, 2, 2])[0], host=False)
    if g.chance(0.3):
        add(g, tails, 1, host=False)
        if g.chance(0.3):
            moving = [r for r in fits if r.build.__module__.endswith(("movement", "pointwise", "arithmetic"))]
            add(g, moving, g.rng.randint(1, 2), host=True)


def add(g, recipes, count, host):
    """Adds so many recipes, each mostly behind the newest value."""
    added, attempts = 0, 0
    while added < count:
        attempts += 1
        if attempts > 20 * count:
            if added == 0:
                raise Unfit("nothing fits")
            return
        found = g.candidates(lambda n: g.rank(n) in (2, 3, 4) and (host or not g.values[n].host))
        if not found:
            return
        x = found[-1] if g.chance(0.7) else g.pick(*found)
        possible = [r for r in recipes if r.fits(g, x)]
        if not possible:
            continue
        chosen = g.rng.choices(possible, [r.weight for r in possible])[0]
        try:
            chosen.build(g, x)
            added += 1
        except Unfit:
            continue


def choose_outputs(g):
    """The last value, sometimes with intermediate ones, inputs, and one value under two names."""
    runtime = [name for name, value in g.values.items() if not value.constant and name not in g.inputs]
    if not runtime:
        raise Unfit("no results")
    outputs = [runtime[-1]]
    if g.chance(0.25):
        outputs.append(g.pick(*runtime))
    if g.chance(0.06):
        outputs.append(g.node("Identity", [outputs[0]]))
    if g.chance(0.04):
        outputs.append(g.node("Identity", [g.pick(*g.inputs)]))
    if g.chance(0.03):
        outputs.append(g.pick(*g.inputs))
    g.rng.shuffle(outputs)
    return list(dict.fromkeys(outputs))[:3]


def case_seed(base, index):
    """The seed of the case with an index: what `--case` takes."""
    return random.Random(f"{base}/{index}").getrandbits(40)
