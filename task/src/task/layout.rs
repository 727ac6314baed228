//! The order of a sample's axes, in data and in a model.

use serde::Deserialize;
use std::fmt;

/// Axes of an array of samples, outermost first: N samples, C channels, H height, W width, L length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Layout {
    /// Images, channels last.
    Nhwc,
    /// Images, channels first.
    Nchw,
    /// Signals, channels last.
    Nlc,
    /// Signals, channels first.
    Ncl,
    /// Features.
    Nc,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "N{}", self.axes())
    }
}

impl Layout {
    /// The axes of one sample.
    pub fn axes(self) -> &'static str {
        match self {
            Self::Nhwc => "HWC",
            Self::Nchw => "CHW",
            Self::Nlc => "LC",
            Self::Ncl => "CL",
            Self::Nc => "C",
        }
    }

    /// True if samples have rows and columns.
    pub fn is_image(self) -> bool {
        matches!(self, Self::Nhwc | Self::Nchw)
    }

    /// The same axes with the channels last.
    fn channels_last(self) -> Self {
        match self {
            Self::Nhwc | Self::Nchw => Self::Nhwc,
            Self::Nlc | Self::Ncl => Self::Nlc,
            Self::Nc => Self::Nc,
        }
    }

    /// True if samples can be had in another layout: the axes are the same ones, or all become
    /// features.
    pub fn becomes(self, other: Self) -> bool {
        other == Self::Nc || self.channels_last() == other.channels_last()
    }

    /// The extents of a stored sample, with the axis of channels, which may be left out where it
    /// is 1. `None` if the number of axes is another.
    pub fn extents(self, stored: &[usize]) -> Option<Vec<usize>> {
        let axes = self.axes();
        if stored.len() == axes.len() {
            return Some(stored.to_vec());
        }
        let channel = axes.find('C').filter(|_| axes.len() > 1 && stored.len() + 1 == axes.len())?;
        let mut extents = stored.to_vec();
        extents.insert(channel, 1);
        Some(extents)
    }
}

/// The elements of one sample, channels last.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Extents in the order of the layout with channels last.
    pub extents: Vec<usize>,
    /// Elements in row-major order.
    pub values: Vec<f32>,
}

impl Sample {
    /// A sample from how it is stored. `extents` are [`Layout::extents`].
    pub fn stored(layout: Layout, extents: &[usize], values: Vec<f32>) -> Self {
        let (extents, values) = permuted(layout.axes(), layout.channels_last().axes(), extents, values);
        Self { extents, values }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.extents.last().copied().unwrap_or(1)
    }

    /// Shape and elements as a model of a layout wants them. Features keep the order in which the
    /// sample's own layout has them.
    pub fn arranged(self, own: Layout, model: Layout) -> (Vec<usize>, Vec<f32>) {
        let order = if model == Layout::Nc { own } else { model };
        let (extents, values) = permuted(own.channels_last().axes(), order.axes(), &self.extents, self.values);
        if model == Layout::Nc { (vec![values.len()], values) } else { (extents, values) }
    }
}

/// Elements with their axes in another order.
fn permuted(from: &str, to: &str, extents: &[usize], values: Vec<f32>) -> (Vec<usize>, Vec<f32>) {
    if from == to {
        return (extents.to_vec(), values);
    }
    let stride = |axis: usize| extents[axis + 1..].iter().product::<usize>();
    let axes: Vec<usize> = to.chars().filter_map(|axis| from.find(axis)).collect();
    let shape: Vec<usize> = axes.iter().map(|&axis| extents[axis]).collect();
    let mut places = vec![0];
    for &axis in &axes {
        let stride = stride(axis);
        places = places.iter().flat_map(|&base| (0..extents[axis]).map(move |index| base + index * stride)).collect();
    }
    (shape, places.into_iter().map(|place| values[place]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_take_any_layout_that_has_their_axes() {
        let values: Vec<f32> = (0..12u8).map(f32::from).collect();
        // Two rows, two columns, three channels.
        let sample = Sample::stored(Layout::Nhwc, &[2, 2, 3], values.clone());
        assert_eq!(sample.channels(), 3);
        let (shape, first) = sample.clone().arranged(Layout::Nhwc, Layout::Nchw);
        assert_eq!((shape, &first[..4]), (vec![3, 2, 2], &[0.0, 3.0, 6.0, 9.0][..]));
        // Back again: channels first in the file, channels last in the model.
        let back = Sample::stored(Layout::Nchw, &[3, 2, 2], first.clone());
        assert_eq!(back, sample);
        assert_eq!(back.clone().arranged(Layout::Nchw, Layout::Nhwc), (vec![2, 2, 3], values));
        assert_eq!(back.arranged(Layout::Nchw, Layout::Nc), (vec![12], first));
        assert!(Layout::Nchw.becomes(Layout::Nhwc) && !Layout::Nchw.becomes(Layout::Nlc));
    }

    #[test]
    fn an_axis_of_one_channel_may_be_left_out() {
        assert_eq!(Layout::Nchw.extents(&[28, 28]), Some(vec![1, 28, 28]));
        assert_eq!(Layout::Nhwc.extents(&[28, 28]), Some(vec![28, 28, 1]));
        assert_eq!(Layout::Nhwc.extents(&[28]), None);
        assert_eq!(Layout::Nc.extents(&[]), None);
        assert_eq!(Layout::Nc.extents(&[4, 5]), None);
    }
}
