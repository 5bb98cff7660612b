//! The windows that convolutions and pools share: output sizes, padding, and which elements a window covers.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Attribute, AttributeReader, Attributes, OpError};
use crate::types::MAX_ELEMENTS;

/// The windows of a pooling op.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Vertical, horizontal.
    pub kernel: [usize; 2],
    /// Vertical, horizontal.
    pub strides: [usize; 2],
    /// Top, left, bottom, right.
    pub pads: [usize; 4],
    /// Vertical, horizontal.
    pub dilations: [usize; 2],
    /// Whether the output size is rounded up.
    pub ceil_mode: bool,
}

impl Pool {
    /// Windows of this size at stride 1 without padding.
    #[must_use]
    pub const fn new(kernel: [usize; 2]) -> Self {
        Self { kernel, strides: [1, 1], pads: [0; 4], dilations: [1, 1], ceil_mode: false }
    }

    /// The windows over an image of these sizes (H, W), by axis.
    #[must_use]
    pub fn windows(&self, image: [usize; 2]) -> [Window; 2] {
        Window::pair(image, self.kernel, self.strides, self.pads, self.dilations)
    }

    /// The output's sizes (H, W) for an image of these sizes.
    ///
    /// # Errors
    /// As [`Window::outputs`]; and where a window could cover no element of the image, of which there is neither a
    /// maximum nor an average: padding as large as the kernel, an empty image, a dilation larger than the image.
    pub fn output_sizes(&self, image: [usize; 2]) -> Result<[usize; 2], OpError> {
        let windows = self.windows(image);
        let mut sizes = [0; 2];
        for (axis, window) in windows.iter().enumerate() {
            sizes[axis] = window.outputs(self.ceil_mode)?;
            let name = ["vertical", "horizontal"][axis];
            if window.begin >= window.kernel || window.end >= window.kernel {
                return Err(OpError::Attribute(format!(
                    "{name} pads {} and {} must be smaller than the kernel of {}",
                    window.begin, window.end, window.kernel
                )));
            }
            if window.input == 0 {
                return Err(OpError::Type(format!("the image is empty on the {name} axis")));
            }
            // With pads below the kernel, windows start at most at the last element and end at the first or later, so
            // only a step over the whole image can miss it.
            if window.kernel > 1 && window.dilation > window.input {
                return Err(OpError::Attribute(format!(
                    "a {name} dilation of {} steps over the whole image of {}",
                    window.dilation, window.input
                )));
            }
        }
        Ok(sizes)
    }

    /// The attributes, for dumps; defaults are left out.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        let mut list = vec![("kernel".to_owned(), Attribute::sizes(&self.kernel))];
        push_window(&mut list, self.strides, self.pads, self.dilations);
        if self.ceil_mode {
            list.push(("ceil_mode".to_owned(), Attribute::flag(true)));
        }
        list
    }

    /// The pool with these attributes.
    ///
    /// # Errors
    /// Where `kernel` is missing or one is of another kind.
    pub fn parse(attributes: &mut AttributeReader) -> Result<Self, OpError> {
        Ok(Self {
            kernel: attributes.size_array("kernel", None)?,
            strides: attributes.size_array("strides", Some([1, 1]))?,
            pads: attributes.size_array("pads", Some([0; 4]))?,
            dilations: attributes.size_array("dilations", Some([1, 1]))?,
            ceil_mode: attributes.flag("ceil_mode")?,
        })
    }
}

/// Adds the attributes that convolutions and pools share, where they are not the defaults.
pub(super) fn push_window(list: &mut Attributes, strides: [usize; 2], pads: [usize; 4], dilations: [usize; 2]) {
    if strides != [1, 1] {
        list.push(("strides".to_owned(), Attribute::sizes(&strides)));
    }
    if pads != [0; 4] {
        list.push(("pads".to_owned(), Attribute::sizes(&pads)));
    }
    if dilations != [1, 1] {
        list.push(("dilations".to_owned(), Attribute::sizes(&dilations)));
    }
}

/// The windows along one axis. Window `o` has the taps `k` in `0..kernel`, at the positions
/// `o · stride + k · dilation − begin` of the input; those outside `0..input` are padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Elements of the input.
    pub input: usize,
    /// Taps of a window.
    pub kernel: usize,
    /// From one window to the next.
    pub stride: usize,
    /// From one tap to the next.
    pub dilation: usize,
    /// Padding before the first element.
    pub begin: usize,
    /// Padding after the last element.
    pub end: usize,
}

impl Window {
    /// The windows over an image, vertical and horizontal; pads are top, left, bottom, right.
    #[must_use]
    pub const fn pair(
        image: [usize; 2],
        kernel: [usize; 2],
        strides: [usize; 2],
        pads: [usize; 4],
        dilations: [usize; 2],
    ) -> [Self; 2] {
        let [top, left, bottom, right] = pads;
        [
            Self {
                input: image[0],
                kernel: kernel[0],
                stride: strides[0],
                dilation: dilations[0],
                begin: top,
                end: bottom,
            },
            Self {
                input: image[1],
                kernel: kernel[1],
                stride: strides[1],
                dilation: dilations[1],
                begin: left,
                end: right,
            },
        ]
    }

    /// How many windows there are. `ceil_mode` adds one for what is left at the end, unless it would start in the
    /// padding there (the rule of ONNX and PyTorch); such a window may reach beyond the padding.
    ///
    /// # Errors
    /// Where the kernel, stride or dilation is 0, the kernel does not fit, or a size is absurd.
    pub fn outputs(&self, ceil_mode: bool) -> Result<usize, OpError> {
        let attribute = |name: &str, size: usize| match size {
            0 => Err(OpError::Attribute(format!("the {name} must be at least 1"))),
            size if size > MAX_ELEMENTS => Err(OpError::Overflow(format!("a {name} of {size}"))),
            _ => Ok(()),
        };
        attribute("kernel size", self.kernel)?;
        attribute("stride", self.stride)?;
        attribute("dilation", self.dilation)?;
        let limited = |what: &str, size: Option<usize>| {
            size.filter(|size| *size <= MAX_ELEMENTS).ok_or_else(|| OpError::Overflow(format!("{what} of {self:?}")))
        };
        let pads = self.begin.checked_add(self.end);
        let padded = limited("the padded input", pads.and_then(|pads| pads.checked_add(self.input)))?;
        let reach = (self.kernel - 1).checked_mul(self.dilation).and_then(|reach| reach.checked_add(1));
        let reach = limited("the dilated kernel", reach)?;
        let too_large = || {
            OpError::Type(format!(
                "a kernel that reaches over {reach} is larger than the padded input of {padded} ({} + {} + {})",
                self.begin, self.input, self.end
            ))
        };
        if !ceil_mode {
            let steps = padded.checked_sub(reach).ok_or_else(too_large)? / self.stride;
            return Ok(steps + 1);
        }
        // Rounding up makes a window out of a kernel that overhangs by less than a stride.
        let count = match padded.checked_sub(reach) {
            Some(room) => room.div_ceil(self.stride) + 1,
            None if reach - padded < self.stride => 1,
            None => return Err(too_large()),
        };
        let last_start = (count - 1).saturating_mul(self.stride);
        let starts_in_end_padding = count > 1 && last_start >= self.input + self.begin;
        Ok(if starts_in_end_padding { count - 1 } else { count })
    }

    /// The taps of window `output` that lie on elements of the input.
    #[must_use]
    pub fn taps(&self, output: usize) -> Range<usize> {
        let start = output * self.stride;
        let first = self.begin.saturating_sub(start).div_ceil(self.dilation);
        let last = (self.begin + self.input).saturating_sub(start).div_ceil(self.dilation);
        clamped(first, last, self.kernel)
    }

    /// How many taps of window `output` lie on the input or its padding: all but those that rounding up put beyond.
    #[must_use]
    pub fn counted(&self, output: usize) -> usize {
        let padded = self.begin + self.input + self.end;
        padded.saturating_sub(output * self.stride).div_ceil(self.dilation).min(self.kernel)
    }

    /// The windows, among the first `outputs`, whose tap `tap` lies on an element of the input.
    #[must_use]
    pub fn outputs_of(&self, tap: usize, outputs: usize) -> Range<usize> {
        let at = tap * self.dilation;
        let first = self.begin.saturating_sub(at).div_ceil(self.stride);
        let last = (self.begin + self.input).saturating_sub(at).div_ceil(self.stride);
        clamped(first, last, outputs)
    }

    /// The element of the input under a tap that [`Window::taps`] or [`Window::outputs_of`] gave.
    #[must_use]
    pub fn position(&self, output: usize, tap: usize) -> usize {
        (output * self.stride + tap * self.dilation).saturating_sub(self.begin)
    }
}

fn clamped(first: usize, last: usize, limit: usize) -> Range<usize> {
    let last = last.min(limit);
    first.min(last)..last
}
