"""A model while it is made. Every node is executed as it is added, so that shapes are known, what
the reference does not accept is not added, and signals stay sane."""

from dataclasses import dataclass, field

import numpy as np
from onnx import helper, numpy_helper

from . import reference
from .names import Names

MAX_ELEMENTS = 6000
MAX_MAGNITUDE = 1e6


class Unfit(Exception):
    """A node that is not valid here, or whose results are of no use."""


@dataclass
class Value:
    """What a name stands for: its array for each sample, or the one array of a constant."""

    arrays: list
    constant: bool = False
    # Computed by an operator that runs on the host, so that layers cannot follow it.
    host: bool = False

    @property
    def shape(self):
        return list(self.arrays[0].shape)

    @property
    def real(self):
        return self.arrays[0].dtype == np.float32


@dataclass
class Graph:
    """Nodes, constants and inputs so far. `rng` draws structure, `data` draws numbers."""

    rng: object
    data: np.random.Generator
    opset: int
    samples: int
    values: dict = field(default_factory=dict)
    nodes: list = field(default_factory=list)
    initializers: dict = field(default_factory=dict)
    inputs: list = field(default_factory=list)

    def __post_init__(self):
        self.names = Names(self.rng)
        self.constant_nodes = self.rng.choice([0.0, 0.0, 0.2, 1.0])

    # Drawing

    def chance(self, probability):
        return self.rng.random() < probability

    def pick(self, *choices):
        return self.rng.choice(choices)

    def normal(self, shape, scale=1.0):
        return (self.data.standard_normal(shape) * scale).astype(np.float32)

    def uniform(self, low, high, shape=()):
        return np.asarray(self.data.uniform(low, high, shape), np.float32)

    # Asking

    def shape(self, name):
        return self.values[name].shape

    def rank(self, name):
        return len(self.shape(name))

    def all(self, name):
        """All samples of a value as one array."""
        return np.stack(self.values[name].arrays)

    def rms(self, name):
        return float(np.sqrt(np.mean(np.square(self.all(name), dtype=np.float64)))) or 1.0

    def candidates(self, accept):
        """Names of run-time reals that `accept` takes, oldest first."""
        return [n for n, v in self.values.items() if v.real and not v.constant and accept(n)]

    # Building

    def input(self, shape, arrays):
        name = self.names.fresh("input")
        self.inputs.append(name)
        self.values[name] = Value([np.asarray(array).reshape(shape) for array in arrays])
        return name

    def constant(self, array, what="weight"):
        """A constant: an initializer, or a `Constant` node."""
        array = np.asarray(array)
        name = self.names.fresh(what)
        if self.chance(self.constant_nodes):
            self.nodes.append(helper.make_node("Constant", [], [name], **self._constant_form(array)))
        else:
            self.initializers[name] = array
        self.values[name] = Value([array], constant=True)
        return name

    def indices(self, numbers, what="indices"):
        return self.constant(np.array(numbers, np.int64), what)

    def _constant_form(self, array):
        """One of the attributes that a `Constant` node may hold its value in."""
        kind = {np.dtype(np.float32): "float", np.dtype(np.int64): "int"}.get(array.dtype)
        if self.opset >= 12 and kind and array.ndim < 2 and array.size and self.chance(0.5):
            if array.ndim == 0:
                return {f"value_{kind}": array.item()}
            return {f"value_{kind}s": array.tolist()}
        return {"value": numpy_helper.from_array(array)}

    def node(self, op, inputs, outputs=1, domain="", host=False, **attributes):
        """Adds a node; its result's name, or a list of names where `outputs` is not 1."""
        attributes = {name: value for name, value in attributes.items() if value is not None}
        while inputs and inputs[-1] == "":
            inputs = inputs[:-1]
        names = [self.names.fresh() for _ in range(outputs)]
        title = "" if self.chance(0.3) else self.names.fresh(op.lower())
        node = helper.make_node(op, inputs, names, name=title, domain=domain, **attributes)
        given = [self.values[name] for name in inputs if name]
        results = self._execute(node, given)
        constant = all(value.constant for value in given)
        host = host or any(value.host for value in given)
        self.nodes.append(node)
        for name, arrays in zip(names, results):
            self.values[name] = Value(arrays, constant=constant, host=host)
        return names[0] if outputs == 1 else names

    def _execute(self, node, given):
        """The arrays of each result."""
        constants = {n: self.values[n].arrays[0] for n in node.input if n and self.values[n].constant}
        count = 1 if all(value.constant for value in given) else self.samples
        feeds = [
            {n: self.values[n].arrays[i] for n in node.input if n and not self.values[n].constant}
            for i in range(count)
        ]
        try:
            per_sample = reference.run_node(node, self.opset, constants, feeds)
        except reference.NotAccepted as error:
            raise Unfit(str(error)) from error
        results = list(map(list, zip(*per_sample)))
        for arrays in results:
            self._check(arrays)
        return results

    def _check(self, arrays):
        for array in arrays:
            if not 0 < array.size <= MAX_ELEMENTS:
                raise Unfit(f"{array.size} elements")
            if array.dtype == np.float32 and not np.all(np.abs(array) <= MAX_MAGNITUDE):
                raise Unfit("not finite")
        together = np.stack(arrays)
        if together.dtype == np.float32 and together.size > 8 and np.ptp(together) == 0 and self.chance(0.8):
            raise Unfit("all elements are equal")

    # Writing

    def model(self, outputs, dynamic, prune):
        """The model with some of the values as outputs."""
        nodes = needed(self.nodes, outputs) if prune else self.nodes
        read = {name for node in nodes for name in node.input} | set(outputs)
        initializers = {n: a for n, a in self.initializers.items() if n in read or not prune}
        inputs = [self._info(name, dynamic) for name in self.inputs]
        version = 3 if self.opset < 9 else self.pick(*(v for v in range(4, 11) if v >= self.opset - 12))
        # Files of IR version 3 list their constants among the inputs.
        if version == 3:
            inputs += [self._info(name, False) for name in initializers]
        graph = helper.make_graph(
            nodes,
            self.names.fresh("graph"),
            inputs,
            [self._output_info(name, dynamic) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in initializers.items()],
        )
        domains = {node.domain for node in nodes if node.domain}
        sets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(d, 1) for d in sorted(domains))]
        return helper.make_model(graph, opset_imports=sets, ir_version=version)

    def _info(self, name, dynamic):
        value = self.values[name]
        shape = list(value.shape)
        if dynamic and shape and shape[0] == 1:
            shape[0] = "batch"
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.arrays[0].dtype), shape)

    def _output_info(self, name, dynamic):
        if dynamic or self.chance(0.1):
            dtype = helper.np_dtype_to_tensor_dtype(self.values[name].arrays[0].dtype)
            return helper.make_tensor_value_info(name, dtype, [None] * len(self.values[name].shape))
        return self._info(name, False)


def needed(nodes, outputs):
    """The nodes that some values depend on, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]
