//! The head of a detector on the chip: peaks of a heatmap are picked and ranked behind the layers
//! that make it, and only records of the winners leave.

use lutweave_ir::op::{TopPeaks, Transpose};
use lutweave_ir::{Diagnostic, Diagnostics, Graph, NodeId, Op};

/// Name of the output with the records.
pub const RECORDS: &str = "detections";

/// Which outputs of a graph the head reads. Each is `[1,channels,height,width]`, of one height and
/// width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadSpec {
    /// Position of the heatmap among the outputs.
    pub heatmap: usize,
    /// Positions of the maps whose values belong to a record, in order.
    pub maps: Vec<usize>,
    /// Records of an image.
    pub count: usize,
}

impl HeadSpec {
    /// Whether the head reads an output.
    fn reads(&self, output: usize) -> bool {
        output == self.heatmap || self.maps.contains(&output)
    }

    /// For each output of the graph with the head, the output that it was before; `None` is the
    /// records.
    pub fn outputs(&self, before: usize) -> Vec<Option<usize>> {
        std::iter::once(None).chain((0..before).filter(|&output| !self.reads(output)).map(Some)).collect()
    }
}

/// Puts a head behind a quantized graph. The outputs that it reads are replaced by one of records,
/// see [`TopPeaks`], which comes first; the others stay. Real values after the integers, and the
/// change of layout, go: the host makes records real.
///
/// # Errors
/// Every output that no integer layer gives, or of the wrong shape; a count out of range.
pub fn attach(graph: &Graph, request: &HeadSpec) -> Result<Graph, Diagnostics> {
    let mut operands = Vec::new();
    let mut faults = Vec::new();
    for output in std::iter::once(request.heatmap).chain(request.maps.iter().copied()) {
        match integers(graph, graph.outputs()[output]) {
            Ok(id) => operands.push(id),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(Diagnostics(faults));
    }
    let mut with_head = graph.clone();
    let records = with_head.add(RECORDS, Op::TopPeaks(TopPeaks { count: request.count }), &operands)?;
    let kept = request.outputs(graph.outputs().len());
    with_head.set_outputs(kept.into_iter().map(|output| output.map_or(records, |at| graph.outputs()[at])).collect());
    Ok(with_head.without_dead_nodes())
}

/// The image of integers `[1,h,w,c]` that an output `[1,c,h,w]` shows.
fn integers(graph: &Graph, output: NodeId) -> Result<NodeId, Diagnostic> {
    let node = graph.node(output);
    let refuse = |message: String, help: &str| {
        Err(Diagnostic::error("no-head", message).at(&node.name).operator(node.op.name()).help(help))
    };
    let [1, channels, height, width] = node.ty.shape[..] else {
        let message = format!("the head of a detector needs [1,channels,height,width], but this output is {}", node.ty);
        return refuse(message, "export the model so that its outputs are maps, or leave the head on the host");
    };
    // For each axis of the output, that of the value at hand; axes of extent 1 map to `None`.
    let mut axes: Vec<Option<usize>> = (0..4).map(|axis| (node.ty.shape[axis] > 1).then_some(axis)).collect();
    let mut id = output;
    loop {
        let node = graph.node(id);
        match &node.op {
            Op::Dequantize(_) => {}
            Op::Transpose(Transpose { permutation }) => {
                axes.iter_mut().flatten().for_each(|axis| *axis = permutation[*axis])
            }
            Op::Reshape(_) => {
                let long = |shape: &[usize]| (0..shape.len()).filter(|&axis| shape[axis] > 1).collect::<Vec<_>>();
                let (after, operand) = (&node.ty.shape, &graph.node(node.operands[0]).ty.shape);
                let (to, from) = (long(after), long(operand));
                if to.iter().map(|&axis| after[axis]).ne(from.iter().map(|&axis| operand[axis])) {
                    break;
                }
                for axis in axes.iter_mut().flatten() {
                    *axis = to.iter().zip(&from).find(|(to, _)| *to == axis).map_or(*axis, |(_, from)| *from);
                }
            }
            _ => break,
        }
        id = node.operands[0];
    }
    let value = graph.node(id);
    let in_place = axes.iter().zip([0, 3, 1, 2]).all(|(axis, wanted)| axis.is_none_or(|axis| axis == wanted));
    if value.ty.element.range().is_none() {
        let message = format!("it is what the host makes of integers by `{}` ({})", value.name, value.op.name());
        return refuse(message, "cut the model before this operator, so that the output is what a layer gives");
    }
    if value.ty.shape != [1, height, width, channels] || !in_place {
        let message = format!("its elements are not those of the image `{}` in their order", value.name);
        return refuse(message, "cut the model before this change of layout, or leave the head on the host");
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lutweave_ir::op::Unary;
    use lutweave_ir::op::{Dequantize, Reshape};
    use lutweave_ir::validate::validate;
    use lutweave_ir::{Element, Quantization, Tensor, TensorType, interpret};

    /// An image of integers and what a host makes of it: real, channels first.
    fn map(graph: &mut Graph, name: &str, [height, width, channels]: [usize; 3]) -> NodeId {
        let quantization = Quantization { scale: 0.25, zero_point: 3 };
        let ty = TensorType::int([1, height, width, channels], Element::I8).quantized(quantization);
        let x = graph.input(name, ty);
        let real = graph.add("real", Op::Dequantize(Dequantize), &[x]).expect("an integer");
        graph.add("out", Op::Transpose(Transpose { permutation: vec![0, 3, 1, 2] }), &[real]).expect("four axes")
    }

    fn request(maps: &[usize]) -> HeadSpec {
        HeadSpec { heatmap: 0, maps: maps.to_vec(), count: 4 }
    }

    fn codes(graph: &Graph, request: &HeadSpec) -> Vec<&'static str> {
        attach(graph, request).expect_err("it has no head").0.iter().map(|fault| fault.code).collect()
    }

    #[test]
    fn records_replace_what_the_head_reads() {
        let mut graph = Graph::new("g");
        let outputs = [[5, 6, 3], [5, 6, 4], [5, 6, 2]].map(|image| map(&mut graph, "x", image));
        graph.set_outputs(outputs.to_vec());
        let request = request(&[2]);
        let with_head = attach(&graph, &request).expect("the outputs fit");
        validate(&with_head).expect("it is valid");
        let names: Vec<&str> = with_head.outputs().iter().map(|&id| with_head.node(id).name.as_str()).collect();
        assert_eq!(names, ["detections", "out.2"]);
        assert_eq!(request.outputs(3), [None, Some(1)]);
        let split = lutweave_ir::split::split(&with_head).expect("it has a core");
        assert!(split.core.nodes().iter().any(|node| matches!(node.op, Op::TopPeaks(_))));
        assert_eq!(with_head.node(with_head.outputs()[0]).ty.shape, [1, 1, 4, 4]);
        let zeros = |channels: usize| Tensor::int([1, 5, 6, channels], vec![0; 30 * channels]);
        let found = interpret::run(&with_head, &[zeros(3), zeros(4), zeros(2)]).expect("it runs");
        assert_eq!(&found[0].ints()[..8], [128, 0, 128, 128, 128, 1, 128, 128]);
    }

    #[test]
    fn one_channel_may_be_reshaped() {
        let mut graph = Graph::new("g");
        let x = graph.input("x", TensorType::int([1, 5, 6, 1], Element::U8));
        let first =
            graph.add("first", Op::Reshape(Reshape { shape: vec![1, 1, 5, 6] }), &[x]).expect("as many elements");
        graph.set_outputs(vec![first]);
        let with_head = attach(&graph, &request(&[])).expect("the output fits");
        assert_eq!(with_head.node(with_head.outputs()[0]).operands, [with_head.inputs()[0]]);
        // Rows and columns must not change places.
        let turned = graph
            .add("turned", Op::Transpose(Transpose { permutation: vec![0, 1, 3, 2] }), &[first])
            .expect("four axes");
        graph.set_outputs(vec![turned]);
        assert_eq!(codes(&graph, &request(&[])), ["no-head"]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut graph = Graph::new("g");
        let heatmap = map(&mut graph, "x", [5, 6, 3]);
        let sigmoid = graph.add("sigmoid", Op::Unary(Unary::Sigmoid), &[heatmap]).expect("a real");
        let flat =
            graph.add("flat", Op::Reshape(Reshape { shape: vec![1, 90] }), &[heatmap]).expect("as many elements");
        let mixed =
            graph.add("mixed", Op::Reshape(Reshape { shape: vec![1, 6, 3, 5] }), &[heatmap]).expect("as many elements");
        let smaller = map(&mut graph, "y", [4, 6, 2]);
        graph.set_outputs(vec![heatmap, sigmoid, flat, mixed, smaller]);
        assert_eq!(codes(&graph, &request(&[1, 2, 3])), ["no-head"; 3]);
        assert_eq!(codes(&graph, &request(&[4])), ["invalid-operands"]);
        assert_eq!(codes(&graph, &HeadSpec { count: 0, ..request(&[]) }), ["invalid-operands"]);
        assert!(attach(&graph, &request(&[])).is_ok());
    }
}
