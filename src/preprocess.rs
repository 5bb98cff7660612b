//! From a photograph to the values that a network takes.
//!
//! Each network was trained on pixels prepared in one way, and gives nonsense on others; a [`Preprocess`] names such a
//! way. All give planes in the order N, C, H, W of a batch of one.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

/// A way to prepare pixels. Unless said otherwise, the photograph's centre square is scaled to 256/224 of the network's
/// size (with a filter that averages when it shrinks) and the centre is cut out of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preprocess {
    /// torchvision: bilinear; RGB, /255, then ImageNet's mean and standard deviation.
    Torch,
    /// Caffe's ImageNet models: bilinear; BGR, 0 to 255, less the mean (104, 117, 123).
    Caffe,
    /// TensorFlow's "Inception" preparation: bilinear; RGB, -1 to 1.
    Tf,
    /// EfficientNet-Lite: bicubic; RGB, (x - 127) / 128.
    Lite,
    /// Bilinear; RGB, 0 to 1.
    Unit,
    /// Handwritten digits: the whole image, as grey in three equal channels, bilinear with half-pixel centres straight to
    /// the network's size; /255, then ImageNet's mean and standard deviation.
    Mnist,
}

/// The means of ImageNet's pixels, RGB, of 0 to 1.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Their standard deviations.
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
/// The means that Caffe's models subtract, BGR, of 0 to 255.
const CAFFE_MEAN: [f32; 3] = [104.0, 117.0, 123.0];
/// The largest side that a network's input may have here.
const MAX_SIDE: usize = 1 << 14;

/// Why a photograph could not be prepared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PreprocessError {
    /// The network's input does not hold one picture in colour.
    #[error("the model's input has sizes {sizes:?}, but a picture needs [1, 3, height, width]")]
    NoPicture {
        /// The input's sizes.
        sizes: Vec<usize>,
    },
    /// The picture has no pixels.
    #[error("the picture has no pixels")]
    Empty,
    /// Scaling failed.
    #[error("scaling the picture failed: {0}")]
    Resize(String),
}

impl Preprocess {
    /// All ways.
    pub const ALL: [Self; 6] = [Self::Torch, Self::Caffe, Self::Tf, Self::Lite, Self::Unit, Self::Mnist];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Torch => "torch",
            Self::Caffe => "caffe",
            Self::Tf => "tf",
            Self::Lite => "lite",
            Self::Unit => "unit",
            Self::Mnist => "mnist",
        }
    }

    /// The way of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.name() == name)
    }

    /// The values of a picture for an input of these sizes, which must be [1, 3, height, width].
    ///
    /// # Errors
    /// Where the sizes are others, or the picture is empty.
    pub fn apply(self, picture: &RgbImage, sizes: &[usize]) -> Result<Vec<f32>, PreprocessError> {
        let (height, width) = match *sizes {
            [1, 3, height, width] if (1..=MAX_SIDE).contains(&height) && (1..=MAX_SIDE).contains(&width) => {
                (height, width)
            }
            _ => return Err(PreprocessError::NoPicture { sizes: sizes.to_vec() }),
        };
        if picture.width() == 0 || picture.height() == 0 {
            return Err(PreprocessError::Empty);
        }
        if self == Self::Mnist {
            return Ok(digit(picture, height, width));
        }
        let pixels = self.scaled(picture, height, width)?;
        let mut planes = Vec::with_capacity(3 * height * width);
        for channel in 0..3 {
            let source = if self == Self::Caffe { 2 - channel } else { channel };
            planes.extend(pixels.as_chunks::<3>().0.iter().map(|pixel| {
                let value = f32::from(pixel[source]);
                match self {
                    Self::Torch | Self::Mnist => (value / 255.0 - MEAN[channel]) / DEVIATION[channel],
                    Self::Caffe => value - CAFFE_MEAN[channel],
                    Self::Tf => value / 127.5 - 1.0,
                    Self::Lite => (value - 127.0) / 128.0,
                    Self::Unit => value / 255.0,
                }
            }));
        }
        Ok(planes)
    }

    /// The centre at the network's size, as RGB bytes.
    #[allow(clippy::cast_possible_truncation, reason = "sides are at most MAX_SIDE")]
    fn scaled(self, picture: &RgbImage, height: usize, width: usize) -> Result<Vec<u8>, PreprocessError> {
        let failed = |error: &dyn std::fmt::Display| PreprocessError::Resize(error.to_string());
        let filter = if self == Self::Lite { FilterType::CatmullRom } else { FilterType::Bilinear };
        let side = picture.width().min(picture.height());
        let left = (picture.width() - side) / 2;
        let top = (picture.height() - side) / 2;
        let (tall, wide) = ((height * 256).div_ceil(224), (width * 256).div_ceil(224));
        let source = ImageRef::new(picture.width(), picture.height(), picture.as_raw(), PixelType::U8x3)
            .map_err(|error| failed(&error))?;
        let mut scaled = Image::new(wide as u32, tall as u32, PixelType::U8x3);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).crop(
            f64::from(left),
            f64::from(top),
            f64::from(side),
            f64::from(side),
        );
        Resizer::new().resize(&source, &mut scaled, &options).map_err(|error| failed(&error))?;
        let (x, y) = ((wide - width) / 2, (tall - height) / 2);
        let mut pixels = Vec::with_capacity(height * width * 3);
        for row in scaled.buffer().chunks_exact(wide * 3).skip(y).take(height) {
            pixels.extend_from_slice(&row[x * 3..(x + width) * 3]);
        }
        Ok(pixels)
    }
}

/// Grey, in `f32` throughout: bytes between would change the digits' small values.
fn digit(picture: &RgbImage, height: usize, width: usize) -> Vec<f32> {
    let grey: Vec<f32> = picture
        .pixels()
        .map(|pixel| {
            let [red, green, blue] = pixel.0.map(f32::from);
            // Equal channels stay exactly what they are.
            if red == green && green == blue { red } else { 0.299 * red + 0.587 * green + 0.114 * blue }
        })
        .collect();
    let across = positions(picture.width() as usize, width);
    let down = positions(picture.height() as usize, height);
    let columns = picture.width() as usize;
    let mut plane = Vec::with_capacity(height * width);
    for (top, bottom, below) in &down {
        let (upper, lower) = (&grey[top * columns..][..columns], &grey[bottom * columns..][..columns]);
        for (left, right, beside) in &across {
            let high = upper[*left] * (1.0 - beside) + upper[*right] * beside;
            let low = lower[*left] * (1.0 - beside) + lower[*right] * beside;
            plane.push(high * (1.0 - below) + low * below);
        }
    }
    let mut planes = Vec::with_capacity(3 * height * width);
    for channel in 0..3 {
        planes.extend(plane.iter().map(|value| (value / 255.0 - MEAN[channel]) / DEVIATION[channel]));
    }
    planes
}

/// For each of `to` positions: the two of `from` that it lies between, and how far it is from the first. Half-pixel
/// centres; positions beyond the border take the border's value.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sides are far below 2^24, and positions are clamped to zero and above"
)]
fn positions(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let scale = from as f32 / to as f32;
    (0..to)
        .map(|index| {
            let at = ((index as f32 + 0.5) * scale - 0.5).max(0.0);
            let first = (at as usize).min(from - 1);
            (first, (first + 1).min(from - 1), at - first as f32)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_plain_picture_stays_plain() {
        let picture = RgbImage::from_pixel(300, 200, image::Rgb([255, 127, 0]));
        let centre = |way: Preprocess| {
            let planes = way.apply(&picture, &[1, 3, 224, 224]).unwrap();
            assert_eq!(planes.len(), 3 * 224 * 224);
            let values = [planes[0], planes[224 * 224], planes[2 * 224 * 224]];
            for (channel, value) in values.iter().enumerate() {
                assert!(planes[channel * 224 * 224..][..224 * 224].iter().all(|other| other == value));
            }
            values
        };
        assert_eq!(centre(Preprocess::Unit), [1.0, 127.0 / 255.0, 0.0]);
        assert_eq!(centre(Preprocess::Tf), [1.0, 127.0 / 127.5 - 1.0, -1.0]);
        assert_eq!(centre(Preprocess::Lite), [1.0, 0.0, -127.0 / 128.0]);
        assert_eq!(centre(Preprocess::Caffe), [-104.0, 10.0, 132.0]);
        let torch = centre(Preprocess::Torch);
        assert!((torch[0] - 2.2489).abs() < 1e-4 && (torch[2] + 1.8044).abs() < 1e-4, "{torch:?}");
    }

    #[test]
    fn digits_are_interpolated_between_pixel_centres() {
        let mut picture = RgbImage::new(2, 1);
        picture.put_pixel(1, 0, image::Rgb([255; 3]));
        let planes = Preprocess::Mnist.apply(&picture, &[1, 3, 1, 4]).unwrap();
        let raw: Vec<f32> = planes[..4].iter().map(|value| value * DEVIATION[0] + MEAN[0]).collect();
        for (value, wanted) in raw.iter().zip([0.0, 0.25, 0.75, 1.0]) {
            assert!((value - wanted).abs() < 1e-6, "{raw:?}");
        }
    }

    #[test]
    fn only_pictures_are_prepared() {
        let picture = RgbImage::new(2, 2);
        for sizes in [&[1, 1, 8, 8][..], &[2, 3, 8, 8], &[3, 8, 8], &[1, 3, 0, 8], &[1, 3, 1 << 40, 8]] {
            let error = Preprocess::Torch.apply(&picture, sizes).unwrap_err();
            assert_eq!(error, PreprocessError::NoPicture { sizes: sizes.to_vec() });
        }
        let error = Preprocess::Unit.apply(&RgbImage::new(0, 2), &[1, 3, 8, 8]).unwrap_err();
        assert_eq!(error, PreprocessError::Empty);
    }
}
