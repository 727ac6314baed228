"""What a model means.

That is what onnxruntime computes with all graph optimizations off, except for the nodes in
`DEVIATIONS`, where onnxruntime is known not to follow the ONNX standard: these are computed by the
standard's formulas.
"""

import ml_dtypes
import numpy as np
import onnxruntime
from onnx import ValueInfoProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from . import standard

onnxruntime.set_default_logger_severity(4)


class NotAccepted(Exception):
    """The reference does not run the model."""


def session(model):
    """An onnxruntime session that runs every node as it stands."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        data = model if isinstance(model, (bytes, str)) else model.SerializeToString()
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise NotAccepted(str(error)) from error


def attributes(node):
    """Attributes of a node by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def automatic(node):
    """True if the padding is that of `auto_pad = SAME_*`."""
    return attributes(node).get("auto_pad", b"").startswith(b"SAME")


def same_transposed(node, arrays):
    """`ConvTranspose` with `auto_pad = SAME_*` and a kernel that spans less than the stride: the
    result's extent is `extent * stride`, so that padding is negative; onnxruntime takes it for zero.
    """
    if node.op_type != "ConvTranspose" or not automatic(node):
        return None
    kernel = arrays[node.input[1]].shape[2:]
    strides = attributes(node).get("strides", [1] * len(kernel))
    dilations = attributes(node).get("dilations", [1] * len(kernel))
    if all((k - 1) * d + 1 >= s for k, s, d in zip(kernel, strides, dilations)):
        return None
    return standard.conv_transpose(attributes(node), *(arrays[name] for name in node.input))


def same_pool(node, arrays):
    """`MaxPool` with `auto_pad = SAME_*` and dilations: onnxruntime computes the padding as if the
    window were not dilated, and ONNX's reference implementation the extents for `SAME_LOWER`."""
    found = attributes(node)
    if node.op_type != "MaxPool" or not automatic(node):
        return None
    if all(d == 1 for d in found.get("dilations", [])):
        return None
    return standard.max_pool(found, arrays[node.input[0]])


def same_short_window(node, arrays):
    """`Conv` and pools with `auto_pad = SAME_*` and a window shorter than the stride, which need no
    padding: onnxruntime may take it for negative, and then skips elements at the start for
    `SAME_UPPER` only. By ONNX's reference implementation of `Conv` it is zero."""
    if node.op_type not in ("Conv", "AveragePool", "MaxPool") or not automatic(node):
        return None
    kernel = attributes(node).get("kernel_shape") or arrays[node.input[1]].shape[2:]
    totals, pads = standard.same_padding(attributes(node), arrays[node.input[0]].shape[2:], kernel)
    if min(totals) >= 0:
        return None
    changed = type(node)()
    changed.CopyFrom(node)
    del changed.attribute[:]
    kept = [a for a in node.attribute if a.name not in ("auto_pad", "ceil_mode", "pads")]
    changed.attribute.extend([*kept, helper.make_attribute("pads", pads)])
    return run_node(changed, 17, {}, [{name: arrays[name] for name in node.input if name}])[0][0]


# Each gives the result of a node that onnxruntime computes differently, `None` for other nodes.
DEVIATIONS = [same_transposed, same_pool, same_short_window]


def four_bits(node, arrays):
    """Integers of 4 bits, which onnxruntime computes with but cannot hand over to Python."""
    kinds = {"QuantizeLinear": node.input[2:3], "DequantizeLinear": node.input[:1]}.get(node.op_type, [])
    return any(name and arrays[name].dtype in (ml_dtypes.int4, ml_dtypes.uint4) for name in kinds)


def suspicious(node):
    """True if the node may be one of the deviations, judged without its operands."""
    return node.op_type in ("Conv", "ConvTranspose", "MaxPool", "AveragePool") and automatic(node)


def single(node, opset, constants):
    """A model of one node whose other operands are inputs."""
    inputs = [ValueInfoProto(name=name) for name in dict.fromkeys(node.input) if name and name not in constants]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    outputs = [ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "node", inputs, outputs, initializers)
    sets = [helper.make_opsetid("", opset)]
    if node.domain:
        sets.append(helper.make_opsetid(node.domain, 1))
    return helper.make_model(graph, opset_imports=sets, ir_version=10)


def run_node(node, opset, constants, feeds):
    """Results of a node for each of some dictionaries of run-time operands."""
    for deviation in DEVIATIONS:
        results = [deviation(node, {**constants, **feed}) for feed in feeds]
        if results[0] is not None:
            return [[result] for result in results]
    model = single(node, opset, constants)
    if four_bits(node, {**constants, **feeds[0]}):
        return [by_onnx(model, feed) for feed in feeds]
    for info, name in zip(model.graph.input, [i.name for i in model.graph.input]):
        array = feeds[0][name]
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        info.CopyFrom(helper.make_tensor_value_info(name, dtype, array.shape))
    return run_session(model, feeds)


def by_onnx(model, feed):
    """Results of ONNX's reference implementation."""
    try:
        return [np.asarray(array) for array in ReferenceEvaluator(model).run(None, feed)]
    except Exception as error:
        raise NotAccepted(f"reference implementation: {error}") from error


def run_session(model, feeds):
    """Results of onnxruntime for each of some dictionaries of inputs."""
    running = session(model)
    try:
        return [running.run(None, feed) for feed in feeds]
    except Exception as error:
        raise NotAccepted(str(error)) from error


def run(model, feeds, wanted=None):
    """The values of some names (by default the outputs) for each dictionary of inputs: a list of
    dictionaries by name."""
    wanted = wanted or [output.name for output in model.graph.output]
    if any(suspicious(node) for node in model.graph.node):
        return run_by_node(model, feeds, wanted)
    if wanted != [output.name for output in model.graph.output]:
        model = with_outputs(model, wanted)
    return [dict(zip(wanted, values)) for values in run_session(model, feeds)]


def with_outputs(model, wanted):
    """The same model with other outputs."""
    changed = type(model)()
    changed.CopyFrom(model)
    del changed.graph.output[:]
    changed.graph.output.extend(ValueInfoProto(name=name) for name in wanted)
    return changed


def run_by_node(model, feeds, wanted):
    """As `run`, one node after the other."""
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    states = [dict(feed) for feed in feeds]
    for node in model.graph.node:
        fixed = {name: constants[name] for name in node.input if name in constants}
        operands = [{n: state[n] for n in node.input if n and n not in fixed} for state in states]
        if not any(operands[0]):
            results = run_node(node, opset, fixed, [{}])[0]
            constants.update({name: array for name, array in zip(filter(None, node.output), results)})
            continue
        for state, results in zip(states, run_node(node, opset, fixed, operands)):
            state.update(zip(filter(None, node.output), results))
    return [{name: state[name] if name in state else constants[name] for name in wanted} for state in states]


def tie_breaks(model, feeds, ways=6):
    """Outputs of the same model whose quantization scales are a hair larger or smaller, each its own
    way: where a value lies between two integers, either may be chosen. Without scales, of inputs that
    are a rounding larger or smaller: near a pole even that shows. As `run` gives them."""
    scales = set()
    for node in model.graph.node:
        position = SCALE_OF_RESULT.get(node.op_type)
        if position is not None:
            scales.add(node.input[position])
    results = []
    for way in range(0 if scales else ways):
        data = np.random.default_rng(way)
        results.append(run(model, [{name: roundings(data, array) for name, array in feed.items()} for feed in feeds]))
    for way in range(ways if scales else 0):
        data = np.random.default_rng(way)
        changed = type(model)()
        changed.CopyFrom(model)
        for tensor in changed.graph.initializer:
            if tensor.name in scales:
                array = numpy_helper.to_array(tensor)
                factor = 1 + data.choice([-1, 1]) * data.uniform(1e-6, 5e-6)
                tensor.CopyFrom(numpy_helper.from_array((array * factor).astype(array.dtype), tensor.name))
        results.append(run(changed, feeds))
    return results


def roundings(data, array):
    """The same numbers, each a rounding of single precision larger or smaller."""
    if array.dtype.kind != "f":
        return array
    return (array * (1 + data.choice([-1, 1], array.shape) * 2.0**-23)).astype(array.dtype)


# Where operators have the scale of the integers that they round to.
SCALE_OF_RESULT = {
    "QuantizeLinear": 1,
    "QLinearConv": 6,
    "QLinearMatMul": 6,
    "QLinearAdd": 6,
    "QLinearMul": 6,
    "QLinearSigmoid": 3,
    "QLinearLeakyRelu": 3,
    "QLinearGlobalAveragePool": 3,
    "QLinearAveragePool": 3,
    "QLinearConcat": 0,
}
