//! Operators that move elements.

use super::{Lowering, byte_range, run};
use crate::program::{Copy, Dimension, Fill, Kernel, Location};
use lutweave_ir::op::Resize;
use lutweave_ir::{Diagnostic, NodeId};

impl Lowering<'_> {
    pub(super) fn concat(&mut self, id: NodeId, axis: usize) -> Result<(), Diagnostic> {
        let graph = self.graph;
        let node = graph.node(id);
        byte_range(node.ty.element)?;
        let outer: usize = node.ty.shape[..axis].iter().product();
        let total: usize = node.ty.shape[axis..].iter().product();
        let sources = node.operands.iter().map(|&operand| self.data(operand)).collect::<Result<Vec<_>, _>>()?;
        let target = self.result(id);
        let mut kernels = Vec::new();
        let mut offset = 0;
        for (position, source) in sources.into_iter().enumerate() {
            let length: usize = self.operand_type(node, position).shape[axis..].iter().product();
            let dimensions = vec![Dimension { count: outer, source: length, target: total }, run(length)];
            kernels.push(copy(source, target.plus(offset), dimensions));
            offset += length;
        }
        self.push(kernels);
        Ok(())
    }

    pub(super) fn slice(&mut self, id: NodeId, starts: &[usize], steps: &[usize]) -> Result<(), Diagnostic> {
        let node = self.graph.node(id);
        let sources = strides(&self.operand_type(node, 0).shape);
        let offset = starts.iter().zip(&sources).map(|(start, stride)| start * stride).sum();
        let sources: Vec<usize> = sources.iter().zip(steps).map(|(stride, step)| stride * step).collect();
        self.gather(id, offset, &sources)
    }

    /// One copy for each run of channels at one distance, over all pixels.
    pub(super) fn select(&mut self, id: NodeId, channels: &[usize]) -> Result<(), Diagnostic> {
        let graph = self.graph;
        let node = graph.node(id);
        byte_range(node.ty.element)?;
        let inputs = self.operand_type(node, 0).shape.last().copied().unwrap_or(1);
        let source = self.data(node.operands[0])?;
        let target = self.result(id);
        let pixels = Dimension { count: node.ty.count() / channels.len(), source: inputs, target: channels.len() };
        let mut kernels = Vec::new();
        let mut at = 0;
        while at < channels.len() {
            let Run { count, step } = Run::first(&channels[at..]);
            let run = Dimension { count, source: step, target: 1 };
            kernels.push(copy(source.plus(channels[at]), target.plus(at), vec![pixels, run]));
            at += count;
        }
        self.push(kernels);
        Ok(())
    }

    pub(super) fn transpose(&mut self, id: NodeId, permutation: &[usize]) -> Result<(), Diagnostic> {
        let node = self.graph.node(id);
        let sources = strides(&self.operand_type(node, 0).shape);
        let sources: Vec<usize> = permutation.iter().map(|&axis| sources[axis]).collect();
        self.gather(id, 0, &sources)
    }

    /// Fills the result in order from elements at a distance of `sources` along its axes.
    fn gather(&mut self, id: NodeId, offset: usize, sources: &[usize]) -> Result<(), Diagnostic> {
        let graph = self.graph;
        let node = graph.node(id);
        byte_range(node.ty.element)?;
        let source = self.data(node.operands[0])?.plus(offset);
        let dimensions = box_of(&node.ty.shape, sources, &strides(&node.ty.shape));
        let target = self.result(id);
        self.push(vec![copy(source, target, dimensions)]);
        Ok(())
    }

    pub(super) fn pad(&mut self, id: NodeId, before: &[usize], value: f32) -> Result<(), Diagnostic> {
        let graph = self.graph;
        let node = graph.node(id);
        let range = byte_range(node.ty.element)?;
        let shape = &self.operand_type(node, 0).shape;
        let targets = strides(&node.ty.shape);
        let offset = before.iter().zip(&targets).map(|(before, stride)| before * stride).sum();
        let dimensions = box_of(shape, &strides(shape), &targets);
        let source = self.data(node.operands[0])?;
        let target = self.result(id);
        let run = node.ty.count();
        let value = (value as i32 - range.least) as u8;
        let fill = Fill { target, rows: 1, stride: run, run, value, widen: false };
        self.push(vec![Kernel::Fill(fill), copy(source, target.plus(offset), dimensions)]);
        Ok(())
    }

    /// One copy for each part of the result: the corners, the edges, and what lies between.
    pub(super) fn resize(&mut self, id: NodeId, resize: &Resize) -> Result<(), Diagnostic> {
        let graph = self.graph;
        let node = graph.node(id);
        byte_range(node.ty.element)?;
        let shape = &self.operand_type(node, 0).shape;
        let [n, h, w, c] = [shape[0], shape[1], shape[2], shape[3]];
        let row = node.ty.shape[2] * c;
        let images = Dimension { count: n, source: h * w * c, target: node.ty.shape[1] * row };
        let (source, target) = (self.data(node.operands[0])?, self.result(id));
        let mut kernels = Vec::new();
        for rows in Span::all(resize, 0, h) {
            for columns in Span::all(resize, 1, w) {
                let [rows_read, rows_again] = rows.dimensions(w * c, row);
                let [columns_read, columns_again] = columns.dimensions(c, c);
                let dimensions = vec![images, rows_read, rows_again, columns_read, columns_again, run(c)];
                let source = source.plus(rows.source * w * c + columns.source * c);
                kernels.push(copy(source, target.plus(rows.target * row + columns.target * c), dimensions));
            }
        }
        self.push(kernels);
        Ok(())
    }
}

/// Rows or columns of an image, each read equally often.
struct Span {
    source: usize,
    target: usize,
    count: usize,
    times: usize,
}

impl Span {
    /// The copies before an axis, the axis itself, and the copies behind it.
    fn all(resize: &Resize, axis: usize, extent: usize) -> impl Iterator<Item = Self> {
        let (factor, [before, after]) = (resize.factors[axis], resize.borders.of(axis));
        let spans = [
            Self { source: 0, target: 0, count: 1, times: before },
            Self { source: 0, target: before, count: extent, times: factor },
            Self { source: extent - 1, target: before + extent * factor, count: 1, times: after },
        ];
        spans.into_iter().filter(|span| span.times > 0)
    }

    /// Loops over what is read and over how often, at a distance of elements in source and target.
    fn dimensions(&self, source: usize, target: usize) -> [Dimension; 2] {
        [
            Dimension { count: self.count, source, target: self.times * target },
            Dimension { count: self.times, source: 0, target },
        ]
    }
}

/// Channels at one distance from each other.
struct Run {
    count: usize,
    step: usize,
}

impl Run {
    /// The longest run that starts a list of channels, which is not empty.
    fn first(channels: &[usize]) -> Self {
        let step = channels.get(1).and_then(|second| second.checked_sub(channels[0]));
        let Some(step) = step else { return Self { count: 1, step: 1 } };
        let more = channels.windows(2).take_while(|pair| pair[0] + step == pair[1]).count();
        Self { count: more + 1, step }
    }
}

fn copy(source: Location, target: Location, dimensions: Vec<Dimension>) -> Kernel {
    Kernel::Copy(Copy { source, target, dimensions, add: 0, widen: false })
}

fn box_of(shape: &[usize], sources: &[usize], targets: &[usize]) -> Vec<Dimension> {
    let levels = shape.iter().zip(sources).zip(targets);
    levels.map(|((&count, &source), &target)| Dimension { count, source, target }).collect()
}

/// Row-major strides.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}
