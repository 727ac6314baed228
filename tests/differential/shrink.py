"""Makes a failing case small: cuts the graph at both ends, bypasses nodes, drops samples, as long
as the failure stays the same."""

import time

import numpy as np
from onnx import helper, numpy_helper

from . import reference
from .graph import needed


class Shrinker:
    """`fails` tells whether a model with samples still shows the failure."""

    def __init__(self, model, feeds, fails, seconds):
        self.model, self.feeds = model, feeds
        self.fails = fails
        self.deadline = time.monotonic() + seconds

    def run(self):
        """The smallest model and samples that were found."""
        progress = True
        while progress and time.monotonic() < self.deadline:
            steps = [self.fewer_outputs, self.cut_end, self.cut_start, self.bypass, self.fewer_samples]
            progress = any([step() for step in steps])  # Every step, also behind one that succeeded.
        return self.model, self.feeds

    def attempt(self, model, feeds):
        """Takes a candidate over if it fails in the same way."""
        if time.monotonic() > self.deadline:
            return False
        try:
            if not self.fails(model, feeds):
                return False
        except Exception:  # Any candidate that cannot be judged is no candidate.
            return False
        self.model, self.feeds = model, feeds
        return True

    def rebuilt(self, nodes, outputs, extra=()):
        """The model with these nodes and outputs, without what is not needed; `extra` are further
        inputs by name with an example."""
        nodes = needed(nodes, outputs)
        read = {name for node in nodes for name in node.input} | set(outputs)
        model = type(self.model)()
        model.CopyFrom(self.model)
        graph = model.graph
        old = self.model.graph
        keep = [tensor for tensor in old.initializer if tensor.name in read and tensor.name not in dict(extra)]
        infos = [info for info in old.input if info.name in read and info.name not in dict(extra)]
        for field in (graph.node, graph.input, graph.output, graph.initializer, graph.value_info):
            del field[:]
        graph.node.extend(nodes)
        graph.initializer.extend(keep)
        graph.input.extend(infos)
        graph.input.extend(described(name, array) for name, array in extra if name in read)
        graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
        values = self.evaluate(model, outputs, extra)
        del graph.output[:]
        graph.output.extend(described(name, values[name]) for name in outputs)
        return model

    def evaluate(self, model, names, extra):
        feed = {**self.feeds[0], **dict(extra)}
        wanted = {info.name for info in model.graph.input}
        return reference.run(model, [{n: a for n, a in feed.items() if n in wanted}], list(names))[0]

    def restricted(self, model, more=None):
        """Samples of the inputs that are left, and of new ones."""
        names = {info.name for info in model.graph.input}
        more = more or [{} for _ in self.feeds]
        return [{n: a for n, a in {**f, **m}.items() if n in names} for f, m in zip(self.feeds, more)]

    def try_outputs(self, outputs):
        try:
            model = self.rebuilt(list(self.model.graph.node), outputs)
        except Exception:
            return False
        return self.attempt(model, self.restricted(model))

    def outputs(self):
        return [info.name for info in self.model.graph.output]

    def fewer_outputs(self):
        """Each output alone, or all but one."""
        names = self.outputs()
        if len(names) < 2:
            return False
        candidates = [[name] for name in names] + [[n for n in names if n != name] for name in names]
        return any(self.try_outputs(candidate) for candidate in candidates)

    def cut_end(self):
        """The earliest intermediate value as the only output."""
        last = set(self.outputs())
        names = [name for node in self.model.graph.node for name in node.output if name]
        return any(self.try_outputs([name]) for name in names if last != {name})

    def cut_start(self):
        """The latest possible intermediate value as a new input."""
        constants = {tensor.name for tensor in self.model.graph.initializer}
        for node in reversed(self.model.graph.node):
            if not any(name and name not in constants for name in node.input):
                continue
            if any(self.as_input(name) for name in node.output if name):
                return True
        return False

    def as_input(self, name):
        if name in self.outputs() and len(self.outputs()) == 1:
            return False
        try:
            values = reference.run(self.model, self.feeds, [name])
            nodes = [node for node in self.model.graph.node if name not in node.output]
            model = self.rebuilt(nodes, self.outputs(), [(name, values[0][name])])
        except Exception:
            return False
        return self.attempt(model, self.restricted(model, values))

    def bypass(self):
        """A node's operand in place of its result, where the shapes allow it."""
        found = False
        for index in reversed(range(len(self.model.graph.node))):
            if index < len(self.model.graph.node):
                found |= self.without(index)
        return found

    def without(self, index):
        node = self.model.graph.node[index]
        constants = {tensor.name for tensor in self.model.graph.initializer}
        for source in [name for name in node.input if name and name not in constants]:
            nodes = []
            for other in self.model.graph.node:
                copy = type(other)()
                copy.CopyFrom(other)
                copy.input[:] = [source if name in node.output else name for name in other.input]
                nodes.append(copy)
            del nodes[index]
            if set(node.output) & set(self.outputs()):
                continue
            try:
                model = self.rebuilt(nodes, self.outputs())
            except Exception:
                continue
            if self.attempt(model, self.restricted(model)):
                return True
        return False

    def fewer_samples(self):
        """One sample only."""
        if len(self.feeds) == 1:
            return False
        return any(self.attempt(self.model, [feed]) for feed in self.feeds[:2])


def described(name, array):
    array = np.asarray(array)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def outline(model):
    """The model as text: one line a node, constants as shapes."""
    shapes = {tensor.name: list(numpy_helper.to_array(tensor).shape) for tensor in model.graph.initializer}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}

    def operand(name):
        if name not in shapes:
            return f"`{name}`" if name else "-"
        array = constants[name]
        return f"{array.tolist()}" if array.size <= 8 else f"const{shapes[name]}"

    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    lines = [f"opset {opset}"]
    for info in model.graph.input:
        if info.name not in shapes:
            extents = [dim.dim_param or dim.dim_value for dim in info.type.tensor_type.shape.dim]
            lines.append(f"`{info.name}` = input {extents} type {info.type.tensor_type.elem_type}")
    for node in model.graph.node:
        attributes = {n: v for n, v in reference.attributes(node).items() if n != "value"}
        results = ", ".join(f"`{name}`" for name in node.output)
        lines.append(f"{results} = {node.op_type}({', '.join(map(operand, node.input))}) {attributes or ''}".rstrip())
    lines.append("outputs " + ", ".join(f"`{info.name}`" for info in model.graph.output))
    return "\n".join(lines) + "\n"
