//! `Resize` and `Upsample`, judged by what they compute: which operand element each result element
//! is a copy of, or between which it lies.

use super::interpolate::{Interpolation, ROUNDING, interpolate};
use super::select::range;
use super::{Imported, one};
use crate::import::Importer;
use crate::node::Node;
use lutweave_ir::op::Resize;
use lutweave_ir::{Diagnostic, NodeId, Op};

/// Largest extent of a resized axis.
const MAX_EXTENT: usize = 1 << 20;

/// How one axis is resized.
#[derive(Debug, PartialEq)]
enum Axis {
    /// Not at all.
    Keep,
    /// `y[i] = x[i / factor]`.
    Repeat(usize),
    /// `y[i] = x[start + i * step]`.
    Thin { start: usize, step: usize, size: usize },
    /// Between elements.
    Between(Interpolation),
}

/// `Resize`, and `Upsample` of operator sets 7 and 9.
pub fn resize(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.node(node.operand(0)?)?;
    let shape = importer.shape(x).to_vec();
    let mut axes = Vec::new();
    for (axis, positions) in positions(importer.opset, node, &shape)?.iter().enumerate() {
        axes.push(classify(positions, shape[axis]).ok_or_else(|| {
            node.unsupported(
                format!(
                    "axis {axis} of extent {} becomes {} by an irregular choice of elements",
                    shape[axis],
                    positions.len()
                ),
                "resize by integer factors: nearest-neighbour with coordinates `asymmetric` and rounding `floor`, or \
                 linear with coordinates `half_pixel` (without aligned corners)",
            )
        })?);
    }
    if axes.iter().any(|axis| matches!(axis, Axis::Between(_))) {
        importer.require_float(node, x)?;
    }
    one(importer, |importer| apply(importer, node, x, &axes))
}

fn apply(importer: &mut Importer, node: &Node, x: NodeId, axes: &[Axis]) -> Result<NodeId, Diagnostic> {
    let mut y = x;
    for (axis, how) in axes.iter().enumerate() {
        if let Axis::Thin { start, step, size } = *how {
            y = range(importer, y, axis, start, size, step)?;
        }
    }
    let between = |axis: usize| if let Axis::Between(how) = axes[axis] { Some(how) } else { None };
    if (0..axes.len()).any(|axis| between(axis).is_some()) {
        y = interpolated(importer, node, y, &(0..axes.len()).map(between).collect::<Vec<_>>())?;
    }
    let factor = |axis: usize| if let Axis::Repeat(factor) = axes[axis] { factor } else { 1 };
    let repeated: Vec<usize> = (0..axes.len()).filter(|&axis| factor(axis) > 1).collect();
    if repeated.is_empty() {
        return Ok(y);
    }
    let rank = axes.len();
    if !(3..=4).contains(&rank) || repeated.len() > 2 {
        return Err(node.unsupported(
            format!("axes {repeated:?} of a tensor of rank {rank} are repeated"),
            "one or two axes of an image can be repeated",
        ));
    }
    if rank == 3 {
        let image = if repeated == [2] {
            importer.image(node, y)?
        } else {
            let shape: Vec<usize> = [1].into_iter().chain(importer.shape(y).iter().copied()).collect();
            let image = importer.reshape(y, &shape)?;
            let factors = [factor(0), factor(1)];
            if repeated.contains(&2) {
                return Err(node.unsupported("the channels are repeated", "repeat spatial axes only"));
            }
            let resized = importer.emit(Op::Resize(Resize::by(factors)), &[image])?;
            let shape = importer.shape(resized)[1..].to_vec();
            return importer.reshape(resized, &shape);
        };
        let resized = importer.emit(Op::Resize(Resize::by([1, factor(2)])), &[image])?;
        return importer.model_layout(resized, 3);
    }
    // The graph resizes the axes 1 and 2.
    let order = match repeated[..] {
        [2 | 3] | [2, 3] => vec![0, 2, 3, 1],
        [1] | [1, 2] => vec![0, 1, 2, 3],
        _ => {
            let others = (0..4).filter(|axis| !repeated.contains(axis));
            let mut order: Vec<usize> = others.collect();
            for (place, &axis) in repeated.iter().enumerate() {
                order.insert(1 + place, axis);
            }
            order
        }
    };
    let factors = [factor(order[1]), factor(order[2])];
    let image = importer.transpose(y, &order)?;
    let resized = importer.emit(Op::Resize(Resize::by(factors)), &[image])?;
    importer.transpose(resized, &crate::layout::inverse(&order))
}

/// Interpolates the spatial axes of an image or a sequence, channels first as in the model.
fn interpolated(
    importer: &mut Importer,
    node: &Node,
    x: NodeId,
    axes: &[Option<Interpolation>],
) -> Result<NodeId, Diagnostic> {
    let spatial = match *axes {
        [None, None, columns] => [None, columns],
        [None, None, rows, columns] => [rows, columns],
        _ => {
            return Err(node.unsupported(
                format!("a tensor of rank {} is interpolated along other axes than its spatial ones", axes.len()),
                "interpolate images `[n,c,h,w]` along `h` and `w`, or sequences `[n,c,w]` along `w`",
            ));
        }
    };
    let image = importer.image(node, x)?;
    let y = interpolate(importer, node, image, spatial.map(|how| how.unwrap_or(Interpolation::KEEP)))?;
    importer.model_layout(y, axes.len())
}

/// How an axis is resized whose results are at `positions`.
fn classify(positions: &[f64], extent: usize) -> Option<Axis> {
    let copies: Option<Vec<usize>> = positions
        .iter()
        .map(|position| ((position - position.round()).abs() < ROUNDING).then_some(position.round() as usize))
        .collect();
    match copies {
        Some(map) => copied(&map, extent),
        None => Interpolation::find(positions, extent).map(Axis::Between),
    }
}

fn copied(map: &[usize], extent: usize) -> Option<Axis> {
    let size = map.len();
    if size == extent && map.iter().copied().eq(0..extent) {
        return Some(Axis::Keep);
    }
    if size.is_multiple_of(extent) {
        let factor = size / extent;
        if map.iter().enumerate().all(|(index, &source)| source == index / factor) {
            return Some(Axis::Repeat(factor));
        }
    }
    let start = *map.first()?;
    let step = map.get(1).map_or(1, |&second| second.saturating_sub(start));
    let regular = step > 0 && map.iter().enumerate().all(|(index, &source)| source == start + index * step);
    regular.then_some(Axis::Thin { start, step, size })
}

/// For every axis where in the operand each result is: between its first and its last element, and
/// at an element if the nearest is taken.
fn positions(opset: i64, node: &Node, shape: &[usize]) -> Result<Vec<Vec<f64>>, Diagnostic> {
    let upsample = node.operator() == "Upsample";
    let plain = upsample || opset < 11;
    let mode = node.string("mode", "nearest");
    let transformation = node.string("coordinate_transformation_mode", if plain { "asymmetric" } else { "half_pixel" });
    let rounding = node.string("nearest_mode", if plain { "floor" } else { "round_prefer_floor" });
    let linear = matches!(mode, "linear" | "bilinear");
    if node.flag("antialias") {
        return Err(node.unsupported("`antialias` is set", "export without it, or average in a pooling layer"));
    }
    let policy = node.string("keep_aspect_ratio_policy", "stretch");
    if policy != "stretch" {
        return Err(node.unsupported(format!("`keep_aspect_ratio_policy` is `{policy}`"), "state the sizes exactly"));
    }
    let scales = match node.floats("scales") {
        Some(scales) => Some(scales.to_vec()),
        None => {
            let literal = node.optional_constant(if plain { 1 } else { 2 }, "the scales")?;
            literal.map(|literal| literal.to_floats()).filter(|scales| !scales.is_empty())
        }
    };
    let sizes = if plain { None } else { node.optional_ints(3, "the sizes")?.filter(|sizes| !sizes.is_empty()) };
    let rank = shape.len();
    let axes = match node.ints("axes") {
        Some(axes) => axes.iter().map(|&axis| node.axis(axis, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    let given = scales.as_ref().map(Vec::len).or(sizes.as_ref().map(Vec::len));
    if given != Some(axes.len()) {
        return Err(node.invalid(format!("scales or sizes must have {} entries", axes.len())));
    }
    let mut positions: Vec<Vec<f64>> = Vec::with_capacity(rank);
    for (axis, &extent) in shape.iter().enumerate() {
        let Some(entry) = axes.iter().position(|&other| other == axis) else {
            positions.push((0..extent).map(|index| index as f64).collect());
            continue;
        };
        let (size, scale) = match (&scales, &sizes) {
            (Some(scales), _) => {
                let scale = f64::from(scales[entry]);
                // Scales are written as binary32; the product is meant in exact arithmetic.
                ((extent as f64 * scale + 1e-6).floor(), scale)
            }
            (None, Some(sizes)) => (sizes[entry] as f64, sizes[entry] as f64 / extent as f64),
            (None, None) => (extent as f64, 1.0),
        };
        if !(size >= 1.0 && size <= MAX_EXTENT as f64) {
            return Err(node.invalid(format!("axis {axis} gets the extent {size}")));
        }
        let size = size as usize;
        let unsupported = || {
            let (problem, help) = if linear {
                (format!("coordinates `{transformation}`"), "use `half_pixel` or `asymmetric` coordinates")
            } else {
                (
                    format!("coordinates `{transformation}` with rounding `{rounding}`"),
                    "use `asymmetric` coordinates with rounding `floor`",
                )
            };
            node.unsupported(problem, help)
        };
        let places = (0..size).map(|index| {
            let place = coordinate(transformation, index, size, extent, scale).ok_or_else(unsupported)?;
            let place = if linear { Some(place) } else { nearest(rounding, place) };
            Ok(place.ok_or_else(unsupported)?.clamp(0.0, (extent - 1) as f64))
        });
        let places = places.collect::<Result<Vec<f64>, Diagnostic>>()?;
        let kept = extent == 1 || (size == extent && places.iter().enumerate().all(|(i, &place)| place == i as f64));
        if !linear && mode != "nearest" && !kept {
            return Err(node
                .unsupported(format!("`mode` is `{mode}`"), "")
                .help("export with linear or nearest-neighbour resizing by integer factors, and train with it"));
        }
        positions.push(places);
    }
    Ok(positions)
}

/// Where in the operand a result is, perhaps outside.
fn coordinate(transformation: &str, index: usize, size: usize, extent: usize, scale: f64) -> Option<f64> {
    let (i, out, len) = (index as f64, size as f64, extent as f64);
    let half_pixel = (i + 0.5) / scale - 0.5;
    Some(match transformation {
        "half_pixel" => half_pixel,
        "pytorch_half_pixel" => {
            if size > 1 {
                half_pixel
            } else {
                0.0
            }
        }
        "asymmetric" => i / scale,
        // ONNX's reference puts corners at the scaled extent, onnxruntime at the rounded one.
        "align_corners" if (scale * len - out).abs() > ROUNDING => return None,
        "align_corners" => {
            if size > 1 {
                i * (len - 1.0) / (out - 1.0)
            } else {
                0.0
            }
        }
        "tf_half_pixel_for_nn" => (i + 0.5) / scale,
        "half_pixel_symmetric" => {
            let adjustment = out / (scale * len);
            len / 2.0 * (1.0 - adjustment) + half_pixel
        }
        _ => return None,
    })
}

/// The index that a coordinate is rounded to.
fn nearest(rounding: &str, x: f64) -> Option<f64> {
    // Scales such as 1/3 are not exact: results a hair from a boundary are meant to be on it.
    let x = if (x * 2.0 - (x * 2.0).round()).abs() < 1e-4 { (x * 2.0).round() / 2.0 } else { x };
    Some(match rounding {
        "round_prefer_floor" | "" => (x - 0.5).ceil(),
        "round_prefer_ceil" => (x + 0.5).floor(),
        "floor" => x.floor(),
        "ceil" => x.ceil(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(transformation: &str, rounding: &str, extent: usize, size: usize) -> Vec<f64> {
        let scale = size as f64 / extent as f64;
        let place = |index| nearest(rounding, coordinate(transformation, index, size, extent, scale)?);
        (0..size).map(|index| place(index).unwrap().clamp(0.0, (extent - 1) as f64)).collect()
    }

    #[test]
    fn doubling_is_recognised_by_its_map() {
        for (transformation, rounding) in [
            ("asymmetric", "floor"),
            ("half_pixel", "round_prefer_floor"),
            ("half_pixel", "round_prefer_ceil"),
            ("pytorch_half_pixel", "round_prefer_floor"),
        ] {
            let map = map(transformation, rounding, 5, 10);
            assert_eq!(classify(&map, 5), Some(Axis::Repeat(2)), "{transformation} {rounding}: {map:?}");
        }
        assert_eq!(classify(&map("half_pixel", "floor", 5, 10), 5), None);
        assert_eq!(classify(&map("asymmetric", "ceil", 5, 10), 5), None);
    }

    #[test]
    fn halving_is_a_slice() {
        assert_eq!(classify(&map("asymmetric", "floor", 6, 3), 6), Some(Axis::Thin { start: 0, step: 2, size: 3 }));
        assert_eq!(classify(&map("asymmetric", "floor", 7, 7), 7), Some(Axis::Keep));
    }
}
