//! Lowers sums, products, means and functions.

use super::assign::QuantParams;
use super::lower::{Lowering, Value};
use super::normalise;
use super::report::LayerReport;
use super::requantize::{self, Bounds};
use super::weights::ScaleChoice;
use lutweave_ir::op::{AveragePool, Binary, QAdd, QAveragePool, QMul, Reshape, Table};
use lutweave_ir::{Diagnostic, NodeId, Op};
use std::collections::BTreeSet;

impl Lowering<'_> {
    /// The bounds that a fused clamp puts on a node's result.
    pub fn bounds(&self, id: NodeId) -> Bounds {
        self.fusion.clamps[id.index()].map_or(Bounds::NONE, |clamp| Bounds { lo: clamp.lo, hi: clamp.hi })
    }

    /// Begins a layer's report.
    pub fn enter(&mut self, node: NodeId, root: NodeId, operator: &'static str) -> &mut LayerReport {
        self.report.push(LayerReport {
            node,
            name: self.model.graph.node(root).name.clone(),
            operator,
            weight_bits: None,
            scales: ScaleChoice::default(),
            setting: None,
            distortion: None,
            bias_corrected: false,
            scales_corrected: 0,
            mse: None,
            sqnr_db: None,
        });
        let last = self.report.len() - 1;
        &mut self.report[last]
    }

    /// An average pooling with the clamp that follows it.
    pub fn average_pool(&mut self, id: NodeId, root: NodeId, pool: &AveragePool) -> Result<Value, Diagnostic> {
        let node = self.model.graph.node(root);
        let x = self.integer(node.operands[0])?;
        let (grid_x, grid_y) = (self.grid_of(&x), self.grid(id));
        let area = pool.window.kernel[0] * pool.window.kernel[1];
        let real = f64::from(grid_x.quantization.scale) / (f64::from(grid_y.quantization.scale) * area as f64);
        let zero_point = grid_x.quantization.zero_point;
        let reach = area as f64 * 256.0;
        let bias = i32::try_from(-i64::from(zero_point) * area as i64);
        let requantize = requantize::requantize(&[real], &[reach], &grid_y, self.bounds(id));
        let (Ok(bias), Some(requantize)) = (bias, requantize) else {
            return Err(Diagnostic::error("scale-out-of-range", "the window or the scales' ratio is too large")
                .at(&node.name)
                .operator(node.op.name())
                .help("use a smaller window"));
        };
        let op = QAveragePool { window: pool.window, pad_value: zero_point, bias, requantize, element: grid_y.element };
        self.enter(id, root, "qaverage_pool");
        self.emit(&node.name, Op::QAveragePool(op), &[&x], Some(&grid_y))
    }

    /// A sum, difference or product of two values with the clamp that follows it.
    pub fn pair(&mut self, id: NodeId, root: NodeId, binary: Binary) -> Result<Value, Diagnostic> {
        let node = self.model.graph.node(root);
        let grid_y = self.grid(id);
        let mut operands = [self.integer(node.operands[0])?, self.integer(node.operands[1])?];
        let mut signs = [1.0, if binary == Binary::Sub { -1.0 } else { 1.0 }];
        let count = |value: &Value| self.graph.node(value.id).ty.count();
        if count(&operands[0]) < count(&operands[1]) {
            operands.swap(0, 1);
            signs.swap(0, 1);
        }
        let grids = [self.grid_of(&operands[0]), self.grid_of(&operands[1])];
        let op = match binary {
            Binary::Mul => self.product(&grids, &grid_y, self.bounds(id)),
            _ => self.sum(&grids, signs, &grid_y, self.bounds(id)),
        };
        let op = op.ok_or_else(|| {
            Diagnostic::error("scale-out-of-range", "the scales of operands and result are too far apart")
                .at(&node.name)
                .operator(node.op.name())
                .help("check the model's scales and the calibration data")
        })?;
        self.enter(id, root, op.name());
        self.emit(&node.name, op, &[&operands[0], &operands[1]], Some(&grid_y))
    }

    fn sum(&self, grids: &[QuantParams; 2], signs: [f64; 2], grid_y: &QuantParams, bounds: Bounds) -> Option<Op> {
        let factor = |index: usize| {
            signs[index] * f64::from(grids[index].quantization.scale) / f64::from(grid_y.quantization.scale)
        };
        // How far zero lies from the middle of the range.
        let lopsided = |grid: &QuantParams| {
            let (lo, hi) = grid.range();
            (2 * grid.quantization.zero_point - lo - hi).abs()
        };
        let signed = usize::from(lopsided(&grids[1]) < lopsided(&grids[0]));
        let (multipliers, shift) = requantize::addition([factor(0), factor(1)], signed)?;
        let zero = |index: usize| grids[index].quantization.zero_point * multipliers[index];
        let (lo, hi) = bounds.on(grid_y);
        Some(Op::QAdd(QAdd {
            multipliers,
            offset: -zero(0) - zero(1),
            shift,
            zero_point: grid_y.quantization.zero_point,
            lo,
            hi,
            element: grid_y.element,
        }))
    }

    fn product(&self, grids: &[QuantParams; 2], grid_y: &QuantParams, bounds: Bounds) -> Option<Op> {
        let [a, b] = [grids[0].quantization, grids[1].quantization];
        let real = f64::from(a.scale) * f64::from(b.scale) / f64::from(grid_y.quantization.scale);
        let requantize = requantize::requantize(&[real], &[65536.0], grid_y, bounds)?;
        Some(Op::QMul(QMul { zero_points: [a.zero_point, b.zero_point], requantize, element: grid_y.element }))
    }

    /// A function of a single value, as a table.
    pub fn function(&mut self, id: NodeId, source: NodeId) -> Result<Value, Diagnostic> {
        let node = self.model.graph.node(id);
        let x = self.integer(source)?;
        let grid = self.grid(id);
        let grid_x = self.grid_of(&x);
        let (lo, hi) = grid_x.range();
        let reals: Vec<f32> = (lo..=hi).map(|q| grid_x.quantization.dequantize(q)).collect();
        let results = self.model.function(id, source, &reals);
        let entries: Vec<i32> = results.iter().map(|&real| grid.quantize(real)).collect();
        let op = Op::Table(Table { entries: entries.into(), element: grid.element });
        self.enter(id, id, "table");
        let shape = &node.ty.shape;
        if self.graph.node(x.id).ty.shape == *shape {
            return self.emit(&node.name, op, &[&x], Some(&grid));
        }
        let table = self.emit(&format!("{}.table", node.name), op, &[&x], Some(&grid))?;
        self.emit(&node.name, Op::Reshape(Reshape { shape: shape.clone() }), &[&table], None)
    }

    /// The same reals on another grid.
    pub fn rescale(&mut self, name: &str, value: &Value, grid: &QuantParams) -> Result<Value, Diagnostic> {
        let own = self.grid_of(value);
        if own == *grid {
            return Ok(value.clone());
        }
        let (lo, hi) = own.range();
        let entries: Vec<i32> = (lo..=hi).map(|q| grid.quantize(own.quantization.dequantize(q))).collect();
        let op = Op::Table(Table { entries: entries.into(), element: grid.element });
        self.emit(name, op, &[value], Some(grid))
    }
}

/// The layers without trained layers before or after them.
pub(super) fn edge_layers(model: &normalise::Model, fusion: &super::fuse::Fusion) -> BTreeSet<NodeId> {
    let count = model.graph.nodes().len();
    let trained = |id: NodeId| {
        fusion.demanded[id.index()] && model.layers.get(&fusion.root(id)).is_some_and(|layer| layer.trained)
    };
    let (mut before, mut after) = (vec![false; count], vec![false; count]);
    for id in model.graph.ids().filter(|id| fusion.demanded[id.index()]) {
        before[id.index()] = fusion.reads(model, id).iter().any(|&read| before[read.index()] || trained(read));
    }
    for id in model.graph.ids().rev().filter(|id| fusion.demanded[id.index()]) {
        if trained(id) || after[id.index()] {
            for read in fusion.reads(model, id) {
                after[read.index()] = true;
            }
        }
    }
    let layers = model.graph.ids().filter(|&id| trained(id) && (!before[id.index()] || !after[id.index()]));
    layers.map(|id| fusion.root(id)).collect()
}
