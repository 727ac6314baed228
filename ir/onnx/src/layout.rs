//! Layout, in one place. The model's images are `[n,c,h,w]`, the graph's `[n,h,w,c]`.
//!
//! An operator on images takes its operand through [`Importer::image`], which transposes, and
//! gives its result back through [`Importer::model_layout`], which transposes again. Every value
//! of the model keeps the shape it has there, as the outermost transpose of what was computed.
//! Transposes never pile up: they compose, sink below pointwise operators and whatever works
//! along one axis, and pass reshapes that split or join axes, so that between two convolutions
//! nothing remains of them. Nodes that nobody reads in the end are dropped by the caller.

use crate::import::Importer;
use crate::literal::Literal;
use crate::node::Node;
use crate::regroup::{Regrouping, unsplit};
use lutweave_ir::op::{Concat, DequantizeWeights, Pad, Reshape, Slice, Transpose};
use lutweave_ir::{Diagnostic, NodeId, Op};

/// How many transposes and reshapes a pointwise operator sinks below.
const MAX_SUNK: usize = 8;

/// The permutation that undoes one.
pub fn inverse(permutation: &[usize]) -> Vec<usize> {
    let mut result = vec![0; permutation.len()];
    for (index, &axis) in permutation.iter().enumerate() {
        result[axis] = index;
    }
    result
}

fn is_identity(permutation: &[usize]) -> bool {
    permutation.iter().enumerate().all(|(index, &axis)| index == axis)
}

/// True if the permutation leaves the axes of extent above 1 in order: then it moves no element.
fn moves_nothing(shape: &[usize], permutation: &[usize]) -> bool {
    let long: Vec<usize> = permutation.iter().copied().filter(|&axis| shape[axis] > 1).collect();
    long.is_sorted()
}

impl Importer {
    /// What a value is a transpose of, and by which permutation.
    pub fn peel(&self, x: NodeId) -> (NodeId, Vec<usize>) {
        let node = self.graph.node(x);
        match &node.op {
            Op::Transpose(Transpose { permutation }) => (node.operands[0], permutation.clone()),
            _ => (x, (0..node.ty.shape.len()).collect()),
        }
    }

    /// Permutes axes: axis `i` of the result is axis `permutation[i]` of `x`.
    pub fn transpose(&mut self, x: NodeId, permutation: &[usize]) -> Result<NodeId, Diagnostic> {
        if is_identity(permutation) {
            return Ok(x);
        }
        let node = self.graph.node(x);
        match &node.op {
            Op::Transpose(Transpose { permutation: inner }) if inner.len() == permutation.len() => {
                let composed: Vec<usize> = permutation.iter().map(|&axis| inner[axis]).collect();
                let operand = node.operands[0];
                return self.transpose(operand, &composed);
            }
            Op::Reshape(_)
                if permutation.len() == node.ty.shape.len() && moves_nothing(&node.ty.shape, permutation) =>
            {
                let shape: Vec<usize> = permutation.iter().map(|&axis| node.ty.shape[axis]).collect();
                return self.reshape_in_place(x, &shape);
            }
            Op::DequantizeWeights(weights) => {
                let (weights, operand) = (weights.clone(), node.operands[0]);
                let axis = match weights.scales.len() {
                    1 => 0,
                    _ => permutation.iter().position(|&axis| axis == weights.axis).unwrap_or(0),
                };
                let integers = self.transpose(operand, permutation)?;
                return self.emit(Op::DequantizeWeights(DequantizeWeights { axis, ..weights }), &[integers]);
            }
            _ => {}
        }
        let key = (x, permutation.to_vec());
        if let Some(&id) = self.transposed.get(&key) {
            return Ok(id);
        }
        let id = self.emit(Op::Transpose(Transpose { permutation: permutation.to_vec() }), &[x])?;
        self.transposed.insert(key, id);
        Ok(id)
    }

    /// Gives a value another shape of the same element count.
    pub fn reshape(&mut self, x: NodeId, shape: &[usize]) -> Result<NodeId, Diagnostic> {
        let node = self.graph.node(x);
        if node.ty.shape == shape {
            return Ok(x);
        }
        if let Op::Reshape(_) = node.op {
            let operand = node.operands[0];
            return self.reshape(operand, shape);
        }
        let Op::Transpose(Transpose { permutation }) = &node.op else { return self.reshape_in_place(x, shape) };
        let (operand, permutation) = (node.operands[0], permutation.clone());
        let Some(regrouping) = Regrouping::find(self.shape(operand), &permutation, shape) else {
            return self.reshape_in_place(x, shape);
        };
        let ordered = self.transpose(operand, &regrouping.before)?;
        let reshaped = self.reshape_in_place(ordered, &regrouping.shape)?;
        if moves_nothing(&regrouping.shape, &regrouping.after) {
            self.reshape_in_place(reshaped, shape)
        } else {
            self.transpose(reshaped, &regrouping.after)
        }
    }

    /// A reshape on top of what is there; only reshapes and transposes that move no element merge
    /// with it.
    fn reshape_in_place(&mut self, x: NodeId, shape: &[usize]) -> Result<NodeId, Diagnostic> {
        let node = self.graph.node(x);
        if node.ty.shape == shape {
            return Ok(x);
        }
        let merges = match &node.op {
            Op::Reshape(_) => true,
            Op::Transpose(Transpose { permutation }) => moves_nothing(self.shape(node.operands[0]), permutation),
            _ => false,
        };
        if merges {
            let operand = node.operands[0];
            return self.reshape_in_place(operand, shape);
        }
        self.emit(Op::Reshape(Reshape { shape: shape.to_vec() }), &[x])
    }

    /// A pointwise operator of one operand, below its operand's transposes and reshapes.
    pub fn pointwise(&mut self, op: Op, x: NodeId) -> Result<NodeId, Diagnostic> {
        let mut inner = x;
        let mut above = Vec::new();
        while above.len() < MAX_SUNK {
            let node = self.graph.node(inner);
            match &node.op {
                Op::Transpose(_) | Op::Reshape(_) => above.push(inner),
                _ => break,
            }
            inner = node.operands[0];
        }
        let mut y = self.emit(op, &[inner])?;
        for wrapper in above.into_iter().rev() {
            let node = self.graph.node(wrapper);
            let (shape, op) = (node.ty.shape.clone(), node.op.clone());
            y = match op {
                Op::Transpose(Transpose { permutation }) => self.transpose(y, &permutation)?,
                _ => self.reshape(y, &shape)?,
            };
        }
        Ok(y)
    }

    /// A pointwise operator of two operands with numpy broadcasting.
    pub fn broadcast(&mut self, op: Op, x: NodeId, y: NodeId) -> Result<NodeId, Diagnostic> {
        let rank = self.shape(x).len().max(self.shape(y).len());
        let leading = [x, y].into_iter().find(|&operand| {
            self.shape(operand).len() == rank && matches!(self.graph.node(operand).op, Op::Transpose(_))
        });
        let Some(leading) = leading else { return self.emit(op, &[x, y]) };
        let (_, permutation) = self.peel(leading);
        let back = inverse(&permutation);
        let x = self.with_rank(x, rank)?;
        let x = self.transpose(x, &back)?;
        let y = self.with_rank(y, rank)?;
        let y = self.transpose(y, &back)?;
        let z = self.emit(op, &[x, y])?;
        self.transpose(z, &permutation)
    }

    /// The value with extents of 1 put before its own.
    fn with_rank(&mut self, x: NodeId, rank: usize) -> Result<NodeId, Diagnostic> {
        let missing = rank - self.shape(x).len().min(rank);
        if missing == 0 {
            return Ok(x);
        }
        let shape: Vec<usize> = std::iter::repeat_n(1, missing).chain(self.shape(x).iter().copied()).collect();
        let node = self.graph.node(x);
        if let Op::DequantizeWeights(weights) = &node.op {
            let (mut weights, operand) = (weights.clone(), node.operands[0]);
            if weights.scales.len() > 1 {
                weights.axis += missing;
            }
            let integers = self.reshape(operand, &shape)?;
            return self.emit(Op::DequantizeWeights(weights), &[integers]);
        }
        self.reshape(x, &shape)
    }

    /// A strided box of a value, below its transpose and below a reshape that splits axes.
    pub fn slice(
        &mut self,
        x: NodeId,
        starts: &[usize],
        sizes: &[usize],
        steps: &[usize],
    ) -> Result<NodeId, Diagnostic> {
        if self.shape(x) == sizes {
            return Ok(x);
        }
        let (inner, permutation) = self.peel(x);
        let order = AxisOrder(permutation.clone());
        let (starts, sizes, steps) = (order.arrange(starts), order.arrange(sizes), order.arrange(steps));
        let node = self.graph.node(inner);
        let unsplit = match node.op {
            Op::Reshape(_) => unsplit(self.shape(node.operands[0]), &node.ty.shape, [&starts, &sizes, &steps])
                .map(|[starts, sizes, steps]| (node.operands[0], Op::Slice(Slice { starts, sizes, steps }))),
            _ => None,
        };
        let y = match unsplit {
            Some((source, op)) => {
                let part = self.emit(op, &[source])?;
                self.reshape(part, &sizes)?
            }
            None => self.emit(Op::Slice(Slice { starts, sizes, steps }), &[inner])?,
        };
        self.transpose(y, &permutation)
    }

    /// An operator that treats axes separately and keeps their number: `build` gets the axes'
    /// order below the operand's transpose, so that what it says about axis `i` of the model goes
    /// to the place of `i` in that order.
    pub fn per_axis(&mut self, x: NodeId, build: impl FnOnce(&AxisOrder) -> Op) -> Result<NodeId, Diagnostic> {
        let (inner, permutation) = self.peel(x);
        let y = self.emit(build(&AxisOrder(permutation.clone())), &[inner])?;
        self.transpose(y, &permutation)
    }

    /// Joins values along an axis, below the first one's transpose.
    pub fn concat(&mut self, operands: &[NodeId], axis: usize) -> Result<NodeId, Diagnostic> {
        let leading = operands.iter().copied().find(|&x| matches!(self.graph.node(x).op, Op::Transpose(_)));
        let same_rank = operands.windows(2).all(|pair| self.shape(pair[0]).len() == self.shape(pair[1]).len());
        let Some(leading) = leading.filter(|_| same_rank) else {
            return if let [only] = operands { Ok(*only) } else { self.emit(Op::Concat(Concat { axis }), operands) };
        };
        let (_, permutation) = self.peel(leading);
        let back = inverse(&permutation);
        let inner = operands.iter().map(|&x| self.transpose(x, &back)).collect::<Result<Vec<_>, _>>()?;
        let y = if let [only] = inner[..] {
            only
        } else {
            self.emit(Op::Concat(Concat { axis: permutation[axis] }), &inner)?
        };
        self.transpose(y, &permutation)
    }

    /// The operand as the graph's image `[n,h,w,c]`: from `[n,c,h,w]`, or from `[n,c,w]` as an
    /// image of height 1.
    pub fn image(&mut self, node: &Node, x: NodeId) -> Result<NodeId, Diagnostic> {
        match *self.shape(x) {
            [_, _, _, _] => match self.hoisted(x, &[0, 2, 3, 1], MAX_SUNK)? {
                Some(image) => Ok(image),
                None => self.transpose(x, &[0, 2, 3, 1]),
            },
            [n, c, w] => {
                let last = self.transpose(x, &[0, 2, 1])?;
                self.reshape(last, &[n, 1, w, c])
            }
            ref shape => Err(node
                .unsupported(format!("the operand of shape {shape:?} has not one or two spatial axes"), "")
                .help("only one-dimensional and two-dimensional windows can be compiled")),
        }
    }

    /// A value permuted by permuting the graph inputs that it is made of, where it is near enough
    /// to them and made by operators that treat axes separately.
    fn hoisted(&mut self, x: NodeId, permutation: &[usize], depth: usize) -> Result<Option<NodeId>, Diagnostic> {
        let key = (x, permutation.to_vec());
        if let Some(&id) = self.transposed.get(&key) {
            return Ok(Some(id));
        }
        let node = self.graph.node(x);
        if node.ty.shape.len() != permutation.len() || depth == 0 {
            return Ok(None);
        }
        let order = AxisOrder(inverse(permutation));
        let op = match &node.op {
            Op::Input => return self.transpose(x, permutation).map(Some),
            Op::Constant(_) => return self.transpose(x, permutation).map(Some),
            Op::Unary(_) | Op::Binary(_) | Op::Quantize(_) | Op::Dequantize(_) => node.op.clone(),
            Op::Slice(Slice { starts, sizes, steps }) => Op::Slice(Slice {
                starts: order.arrange(starts),
                sizes: order.arrange(sizes),
                steps: order.arrange(steps),
            }),
            Op::Pad(Pad { before, after, value }) => {
                Op::Pad(Pad { before: order.arrange(before), after: order.arrange(after), value: *value })
            }
            Op::Concat(Concat { axis }) => Op::Concat(Concat { axis: order.place(*axis) }),
            _ => return Ok(None),
        };
        let name = self.wanted_name(x).to_owned();
        let mut operands = Vec::new();
        for operand in node.operands.clone() {
            let operand = match self.graph.node(operand).op {
                Op::Constant(_) => self.with_rank(operand, permutation.len())?,
                _ => operand,
            };
            match self.hoisted(operand, permutation, depth - 1)? {
                Some(permuted) => operands.push(permuted),
                None => return Ok(None),
            }
        }
        let current = std::mem::replace(&mut self.current, name);
        let y = self.emit(op, &operands);
        self.current = current;
        let y = y?;
        self.transposed.insert(key, y);
        Ok(Some(y))
    }

    /// The inverse of [`Importer::image`]; `rank` is that of the model's value.
    pub fn model_layout(&mut self, y: NodeId, rank: usize) -> Result<NodeId, Diagnostic> {
        if rank == 3
            && let [n, 1, w, c] = *self.shape(y)
        {
            let flat = self.reshape(y, &[n, w, c])?;
            return self.transpose(flat, &[0, 2, 1]);
        }
        self.transpose(y, &[0, 3, 1, 2])
    }

    /// For a value that flattens a transposed one, `[n,..] -> [n,k]`: the same elements in the
    /// order in which they were computed, and the position in the model's order of each.
    pub fn unordered_rows(&mut self, x: NodeId) -> Result<Option<(NodeId, Literal)>, Diagnostic> {
        let node = self.graph.node(x);
        let (&[rows, columns], Op::Reshape(_)) = (&node.ty.shape[..], &node.op) else { return Ok(None) };
        let source = node.operands[0];
        let Op::Transpose(Transpose { permutation }) = &self.graph.node(source).op else { return Ok(None) };
        let permutation = permutation.clone();
        let shape = self.shape(source).to_vec();
        if permutation[0] != 0 || shape[0] != rows {
            return Ok(None);
        }
        let (inner, _) = self.peel(source);
        let order: Vec<i64> = (0..columns as i64).collect();
        let order = Literal::ints(shape[1..].to_vec(), crate::literal::Kind::I64, order)
            .map_err(|message| self.error("internal", message))?;
        let tail: Vec<usize> = inverse(&permutation)[1..].iter().map(|axis| axis - 1).collect();
        let order = order.transposed(&tail);
        let y = self.reshape(inner, &[rows, columns])?;
        Ok(Some((y, order)))
    }
}

/// Where the model's axes lie below a transpose.
pub struct AxisOrder(Vec<usize>);

impl AxisOrder {
    /// The place of axis `axis` of the model.
    pub fn place(&self, axis: usize) -> usize {
        self.0[axis]
    }

    /// A list with one entry per axis of the model, in the inner order.
    pub fn arrange<T: Clone>(&self, per_axis: &[T]) -> Vec<T> {
        inverse(&self.0).iter().map(|&axis| per_axis[axis].clone()).collect()
    }
}
