//! From a stored sample to what the model is fed.

use super::layout::{Layout, Sample};
use super::resize::resize;
use super::spec::{Channels, Input, fault};
use crate::failure::Failure;
use lutweave_ir::{Diagnostic, Element, Tensor, TensorType};

/// Makes model inputs of stored samples: resized, with the model's colours, as `(x - mean) / std`, in
/// the model's layout and element type.
#[derive(Debug)]
pub struct Reader<'a> {
    input: &'a Input,
    /// Extents of a stored sample, in the order of its layout.
    extents: Vec<usize>,
    /// What the model is fed.
    ty: &'a TensorType,
}

impl<'a> Reader<'a> {
    /// A reader of an array of shape `stored`, samples first, for a model's input.
    ///
    /// # Errors
    /// If the array is not in the layout that the task says, or the model wants another shape.
    pub fn new(input: &'a Input, stored: &[usize], ty: &'a TensorType) -> Result<Self, Failure> {
        let extents = stored.get(1..).and_then(|sample| input.layout.extents(sample)).ok_or_else(|| {
            let message = format!("its shape {stored:?} has not the axes of layout {}", input.layout);
            Failure::from(Diagnostic::error("bad-data", message).at(&input.array).help("check `input.layout`"))
        })?;
        if extents.contains(&0) {
            return Err(fault(&input.array, format!("shape {stored:?} has no elements")));
        }
        let reader = Self { input, extents, ty };
        let channels = reader.channels()?;
        for (name, constants) in [("mean", &input.mean), ("std", &input.std)] {
            if constants.len() != 1 && constants.len() != channels {
                let message =
                    format!("`input.{name}` has {} values, and a sample has {channels} channels", constants.len());
                return Err(fault(&input.array, message));
            }
        }
        reader.check_shape(channels)?;
        Ok(reader)
    }

    /// The extents of an image in rows and columns, if samples are images.
    fn image(&self) -> Option<[usize; 2]> {
        match (self.input.layout, &self.extents[..]) {
            (Layout::Nhwc, &[height, width, _]) | (Layout::Nchw, &[_, height, width]) => Some([height, width]),
            _ => None,
        }
    }

    /// By how much images are enlarged, vertically and horizontally, if they are resized.
    pub fn enlargement(&self) -> Option<[f64; 2]> {
        let (to, from) = (self.input.resize?, self.image()?);
        Some(std::array::from_fn(|axis| to[axis] as f64 / from[axis] as f64))
    }

    /// Channels that the model is fed.
    fn channels(&self) -> Result<usize, Failure> {
        let place = self.input.layout.axes().find('C').unwrap_or(0);
        let stored = self.extents[place];
        match (self.input.channels, stored) {
            (None, _) | (Some(Channels::Rgb | Channels::Bgr), 3) => Ok(stored),
            (Some(Channels::Gray), 1 | 3) => Ok(1),
            (Some(channels), _) => {
                let message = format!("a sample has {stored} channels, and `input.channels` is {}", channels.name());
                Err(Diagnostic::error("bad-data", message)
                    .at(&self.input.array)
                    .help("colours are three channels (or one, for GRAY): leave `channels` out for others")
                    .into())
            }
        }
    }

    /// The shape of a sample in a layout of the model, without its batch.
    fn shape(&self, channels: usize, layout: Layout) -> Option<Vec<usize>> {
        let mut spatial: Vec<usize> = match (self.input.resize, self.image()) {
            (Some(size), Some(_)) => size.to_vec(),
            _ => {
                let axes = self.input.layout.axes().chars().zip(&self.extents);
                axes.filter(|(axis, _)| *axis != 'C').map(|(_, &extent)| extent).collect()
            }
        };
        if layout == Layout::Nc {
            return Some(vec![spatial.iter().product::<usize>() * channels]);
        }
        let place = layout.axes().find('C').filter(|_| self.input.layout.becomes(layout))?;
        spatial.insert(place, channels);
        Some(spatial)
    }

    /// Refuses samples of another shape than the model's. An axis of one channel may be missing in
    /// the model.
    fn check_shape(&self, channels: usize) -> Result<(), Failure> {
        let wanted = &self.ty.shape[..];
        let fits = |layout: Layout| {
            let Some(shape) = self.shape(channels, layout) else { return false };
            let place = layout.axes().find('C').filter(|_| channels == 1 && shape.len() > 1);
            let bare = place.map(|place| [&shape[..place], &shape[place + 1..]].concat());
            wanted.split_first().is_some_and(|(&batch, sample)| {
                batch == 1 && (sample == shape || bare.is_some_and(|bare| sample == bare))
            })
        };
        let layout = self.input.model_layout;
        if fits(layout) {
            return Ok(());
        }
        let shape = self.shape(channels, layout).unwrap_or_default();
        let shape: Vec<String> = std::iter::once(1).chain(shape).map(|extent: usize| extent.to_string()).collect();
        let message = format!(
            "in the model layout {layout} a sample is [{}], and the model's input is {}",
            shape.join(","),
            self.ty
        );
        let others = [Layout::Nhwc, Layout::Nchw, Layout::Nlc, Layout::Ncl, Layout::Nc];
        let other = others.into_iter().find(|&other| other != layout && fits(other));
        let help = match (other, wanted.first()) {
            (Some(other), _) => format!("`model_layout = \"{other}\"` would fit"),
            (None, Some(&batch)) if batch > 1 => "export the model with a batch of 1".to_owned(),
            (None, _) => "check `input.layout`, `model_layout`, `channels` and `resize` against the model".to_owned(),
        };
        Err(Diagnostic::error("bad-data", message).at(&self.input.array).help(help).into())
    }

    /// A stored sample, whose position in the array is `index`, as the model is fed.
    ///
    /// # Errors
    /// If it holds what is no number.
    pub fn read(&self, stored: &[f64], index: usize) -> Result<Tensor, Failure> {
        let input = self.input;
        if let Some(position) = stored.iter().position(|value| !value.is_finite()) {
            let message = format!("element {position} of sample {index} is {}", stored[position]);
            return Err(fault(&input.array, message));
        }
        let values = stored.iter().map(|&value| value as f32).collect();
        let mut sample = Sample::stored(input.layout, &self.extents, values);
        if let (Some(size), &[height, width, channels]) = (input.resize, &sample.extents[..]) {
            sample.values = resize(&sample.values, [height, width, channels], size);
            sample.extents = vec![size[0], size[1], channels];
        }
        if sample.channels() == 3 {
            match input.channels {
                Some(Channels::Gray) => {
                    let grey =
                        |pixel: &[f32]| (pixel[0] * 0.299 + pixel[1] * 0.587 + pixel[2] * 0.114).round_ties_even();
                    sample.values = sample.values.chunks_exact(3).map(grey).collect();
                    *sample.extents.last_mut().expect("invariant: a sample has an axis of channels") = 1;
                }
                Some(Channels::Bgr) => sample.values.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2)),
                Some(Channels::Rgb) | None => {}
            }
        }
        let channels = sample.channels();
        let constant = |values: &[f64], channel: usize| values[if values.len() == 1 { 0 } else { channel }] as f32;
        for (position, value) in sample.values.iter_mut().enumerate() {
            let channel = position % channels;
            *value = (*value - constant(&input.mean, channel)) / constant(&input.std, channel);
        }
        let (_, values) = sample.arranged(input.layout, input.model_layout);
        Ok(match self.ty.element {
            Element::F32 => Tensor::f32(self.ty.shape.clone(), values),
            element => {
                let (lo, hi) = element.range().expect("invariant: an integer element has a range");
                let cast = |value: f32| (value.round_ties_even() as i64).clamp(lo, hi) as i32;
                Tensor::int(self.ty.shape.clone(), values.into_iter().map(cast).collect::<Vec<i32>>())
            }
        })
    }
}
