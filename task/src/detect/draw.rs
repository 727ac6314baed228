//! Detections drawn on their image, as PNG.

use super::{Bounds, Detection};

/// An image.
#[derive(Clone, Debug, PartialEq)]
pub struct RgbImage {
    /// Rows.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
    /// Red, green and blue, row by row.
    pub pixels: Vec<[u8; 3]>,
}

/// Width that small images are enlarged to, so that boxes of few pixels can be told apart.
const WIDE: usize = 640;

/// Colours of classes, repeated: Okabe and Ito's, which people who are colour-blind tell apart too.
const COLOURS: [[u8; 3]; 7] =
    [[213, 94, 0], [0, 158, 115], [86, 180, 233], [240, 228, 66], [204, 121, 167], [0, 114, 178], [230, 159, 0]];

impl RgbImage {
    /// The image with a frame around each detection, in the colour of its class, best on top.
    /// Small images are enlarged by a whole factor.
    #[must_use]
    pub fn with_detections(&self, detections: &[Detection]) -> Self {
        let factor = (WIDE / self.width.max(1)).max(1);
        let mut picture = self.enlarged(factor);
        for detection in detections.iter().rev() {
            picture.frame(&detection.bounds, factor, COLOURS[detection.class % COLOURS.len()]);
        }
        picture
    }

    fn enlarged(&self, factor: usize) -> Self {
        let (height, width) = (self.height * factor, self.width * factor);
        let pixel = |position: usize| self.pixels[position / width / factor * self.width + position % width / factor];
        Self { height, width, pixels: (0..height * width).map(pixel).collect() }
    }

    /// Two pixels wide, where it is inside the image.
    fn frame(&mut self, bounds: &Bounds, factor: usize, colour: [u8; 3]) {
        // Casts of reals to integers saturate, and give 0 for what is no number.
        let [left, top, right, bottom] = [bounds.x1, bounds.y1, bounds.x2, bounds.y2]
            .map(|edge| (edge * factor as f64).round().clamp(-4.0, 1e6) as i64);
        for inset in 0..2 {
            let [left, top, right, bottom] = [left + inset, top + inset, right - inset - 1, bottom - inset - 1];
            if left > right || top > bottom {
                return;
            }
            for x in left.max(0)..=right.min(self.width as i64 - 1) {
                self.dot(x, top, colour);
                self.dot(x, bottom, colour);
            }
            for y in top.max(0)..=bottom.min(self.height as i64 - 1) {
                self.dot(left, y, colour);
                self.dot(right, y, colour);
            }
        }
    }

    fn dot(&mut self, x: i64, y: i64, colour: [u8; 3]) {
        let inside = |at: i64, extent: usize| usize::try_from(at).ok().filter(|&at| at < extent);
        if let (Some(x), Some(y)) = (inside(x, self.width), inside(y, self.height)) {
            self.pixels[y * self.width + x] = colour;
        }
    }

    /// The image as a PNG file.
    ///
    /// # Errors
    /// If the format has no room for so large an image.
    pub fn png(&self) -> Result<Vec<u8>, String> {
        let extent = |extent: usize| u32::try_from(extent).map_err(|error| error.to_string());
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, extent(self.width)?, extent(self.height)?);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
        writer.write_image_data(self.pixels.as_flattened()).map_err(|error| error.to_string())?;
        writer.finish().map_err(|error| error.to_string())?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(height: usize, width: usize) -> RgbImage {
        RgbImage { height, width, pixels: vec![[9; 3]; height * width] }
    }

    fn detection(x1: f64, y1: f64, x2: f64, y2: f64, class: usize) -> Detection {
        Detection { bounds: Bounds { x1, y1, x2, y2 }, class, score: 0.5 }
    }

    #[test]
    fn frames_lie_inside_their_boxes() {
        let drawn = grey(20, 700).with_detections(&[detection(2.0, 3.0, 10.0, 12.0, 1)]);
        assert_eq!((drawn.height, drawn.width), (20, 700));
        let at = |x: usize, y: usize| drawn.pixels[y * 700 + x];
        for (x, y) in [(2, 3), (9, 11), (3, 4), (8, 10), (5, 3), (2, 7)] {
            assert_eq!(at(x, y), COLOURS[1], "{x} {y}");
        }
        for (x, y) in [(1, 3), (2, 2), (10, 11), (9, 12), (4, 5), (7, 9)] {
            assert_eq!(at(x, y), [9; 3], "{x} {y}");
        }
    }

    #[test]
    fn boxes_beyond_the_image_are_cut() {
        let wild = [
            detection(-1e9, -5.0, 1e9, 5.0, 0),
            detection(f64::NAN, 0.0, f64::INFINITY, 3.0, 0),
            detection(9.0, 9.0, 1.0, 1.0, 0),
        ];
        assert_eq!(grey(8, 640).with_detections(&wild).pixels.len(), 8 * 640);
        let small = grey(4, 4).with_detections(&[detection(1.0, 1.0, 3.0, 3.0, 2)]);
        assert_eq!((small.width, small.pixels[160 * 640 + 160], small.pixels[0]), (640, COLOURS[2], [9; 3]));
    }

    #[test]
    fn the_file_holds_the_pixels() {
        let picture = grey(3, 5).with_detections(&[detection(0.0, 0.0, 2.0, 2.0, 3)]);
        let bytes = picture.png().expect("the image is small");
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().expect("it is a PNG file");
        let mut pixels = vec![0; reader.output_buffer_size().expect("the image is small")];
        let info = reader.next_frame(&mut pixels).expect("it has an image");
        assert_eq!((info.width as usize, info.height as usize), (picture.width, picture.height));
        assert_eq!(pixels, picture.pixels.as_flattened());
    }
}
