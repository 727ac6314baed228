//! Object detection: from a network's outputs to boxes, from boxes to average precision, and
//! boxes drawn on images.

pub mod activation;
pub mod average_precision;
pub mod decode;
pub mod draw;
pub mod fastestdet;
pub mod head;
pub mod nanodet;
pub mod nms;
pub mod yolox;

/// An axis-parallel box in pixels of the model's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Left edge.
    pub x1: f64,
    /// Upper edge.
    pub y1: f64,
    /// Right edge.
    pub x2: f64,
    /// Lower edge.
    pub y2: f64,
}

impl Bounds {
    /// The area; 0 for boxes turned inside out.
    pub fn area(&self) -> f64 {
        (self.x2 - self.x1).max(0.0) * (self.y2 - self.y1).max(0.0)
    }

    /// This box rescaled by the given factors.
    pub fn scaled(&self, horizontal: f64, vertical: f64) -> Self {
        Self { x1: self.x1 * horizontal, y1: self.y1 * vertical, x2: self.x2 * horizontal, y2: self.y2 * vertical }
    }

    /// Area that both cover as a share of the area that one of them covers; 0 if none covers any.
    pub fn iou(&self, other: &Self) -> f64 {
        let common = Self {
            x1: self.x1.max(other.x1),
            y1: self.y1.max(other.y1),
            x2: self.x2.min(other.x2),
            y2: self.y2.min(other.y2),
        };
        let common = common.area();
        if common > 0.0 { common / (self.area() + other.area() - common) } else { 0.0 }
    }
}

/// An object that an image is known to hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// Where it is.
    pub bounds: Bounds,
    /// What it is.
    pub class: usize,
}

/// An object that a network found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Where it is.
    pub bounds: Bounds,
    /// What it is.
    pub class: usize,
    /// How sure the network is, 0 to 1.
    pub score: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_is_the_common_share() {
        let bounds = |x1, y1, x2, y2| Bounds { x1, y1, x2, y2 };
        let unit = bounds(0.0, 0.0, 2.0, 2.0);
        assert_eq!(unit.iou(&unit), 1.0);
        assert_eq!(unit.iou(&bounds(1.0, 0.0, 3.0, 2.0)), 2.0 / 6.0);
        assert_eq!(unit.iou(&bounds(2.0, 0.0, 3.0, 2.0)), 0.0);
        assert_eq!(unit.iou(&bounds(2.0, 2.0, 0.0, 0.0)), 0.0);
        assert_eq!(bounds(1.0, 1.0, 1.0, 1.0).iou(&bounds(1.0, 1.0, 1.0, 1.0)), 0.0);
    }
}
