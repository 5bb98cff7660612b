//! The windows that convolutions and pools share: output sizes and padding.

use serde::{Deserialize, Serialize};

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
