//! `Resize` and `Upsample`, judged by what they compute: which operand element each result
//! element is a copy of.

use super::select::range;
use super::{Imported, one};
use crate::import::Importer;
use crate::node::Node;
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
}

/// `Resize`, and `Upsample` of operator sets 7 and 9.
pub fn resize(importer: &mut Importer, node: &Node) -> Imported {
    let x = importer.node(node.operand(0)?)?;
    let shape = importer.shape(x).to_vec();
    let maps = index_maps(importer.opset, node, &shape)?;
    let mut axes = Vec::new();
    for (axis, map) in maps.iter().enumerate() {
        axes.push(classify(map, shape[axis]).ok_or_else(|| {
            node.unsupported(
                format!(
                    "axis {axis} of extent {} becomes {} by an irregular choice of elements",
                    shape[axis],
                    map.len()
                ),
                "use nearest-neighbour resizing by integer factors with coordinates `asymmetric` and rounding `floor`",
            )
        })?);
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
            let resized = importer.emit(Op::Resize { factors }, &[image])?;
            let shape = importer.shape(resized)[1..].to_vec();
            return importer.reshape(resized, &shape);
        };
        let resized = importer.emit(Op::Resize { factors: [1, factor(2)] }, &[image])?;
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
    let resized = importer.emit(Op::Resize { factors }, &[image])?;
    importer.transpose(resized, &crate::layout::inverse(&order))
}

fn classify(map: &[usize], extent: usize) -> Option<Axis> {
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

/// For every axis the source of each result index.
fn index_maps(opset: i64, node: &Node, shape: &[usize]) -> Result<Vec<Vec<usize>>, Diagnostic> {
    let upsample = node.operator() == "Upsample";
    let plain = upsample || opset < 11;
    let mode = node.string("mode", "nearest");
    let transformation = node.string("coordinate_transformation_mode", if plain { "asymmetric" } else { "half_pixel" });
    let rounding = node.string("nearest_mode", if plain { "floor" } else { "round_prefer_floor" });
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
    let mut maps: Vec<Vec<usize>> = Vec::with_capacity(rank);
    for (axis, &extent) in shape.iter().enumerate() {
        let Some(entry) = axes.iter().position(|&other| other == axis) else {
            maps.push((0..extent).collect());
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
        if mode != "nearest" && extent > 1 && size != extent {
            return Err(node
                .unsupported(format!("`mode` is `{mode}`"), "")
                .help("export with nearest-neighbour upsampling by integer factors, and train with it"));
        }
        let map = (0..size).map(|index| {
            source(transformation, rounding, index, size, extent, scale).ok_or_else(|| {
                node.unsupported(
                    format!("coordinates `{transformation}` with rounding `{rounding}`"),
                    "use `asymmetric` coordinates with rounding `floor`",
                )
            })
        });
        let map = map.collect::<Result<Vec<usize>, _>>()?;
        let interpolates =
            mode != "nearest" && map.iter().enumerate().any(|(index, &source)| extent > 1 && source != index);
        if interpolates {
            return Err(node.unsupported(format!("`mode` is `{mode}`"), "use nearest-neighbour resizing"));
        }
        maps.push(map);
    }
    Ok(maps)
}

/// The nearest operand index for a result index.
fn source(transformation: &str, rounding: &str, index: usize, size: usize, extent: usize, scale: f64) -> Option<usize> {
    let (i, out, len) = (index as f64, size as f64, extent as f64);
    let half_pixel = (i + 0.5) / scale - 0.5;
    let x = match transformation {
        "half_pixel" => half_pixel,
        "pytorch_half_pixel" => {
            if size > 1 {
                half_pixel
            } else {
                0.0
            }
        }
        "asymmetric" => i / scale,
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
    };
    // Scales such as 1/3 are not exact: results a hair from a boundary are meant to be on it.
    let x = if (x * 2.0 - (x * 2.0).round()).abs() < 1e-4 { (x * 2.0).round() / 2.0 } else { x };
    let nearest = match rounding {
        "round_prefer_floor" | "" => (x - 0.5).ceil(),
        "round_prefer_ceil" => (x + 0.5).floor(),
        "floor" => x.floor(),
        "ceil" => x.ceil(),
        _ => return None,
    };
    Some(nearest.clamp(0.0, len - 1.0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(transformation: &str, rounding: &str, extent: usize, size: usize) -> Vec<usize> {
        let scale = size as f64 / extent as f64;
        (0..size).map(|index| source(transformation, rounding, index, size, extent, scale).unwrap()).collect()
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
