//! The activations that fuse into the op that makes their input.

use std::fmt;

use super::OpError;

/// An elementwise function applied to an op's result before it is stored.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, min), max)`.
    Clip {
        /// The lower bound; −∞ where open.
        min: f32,
        /// The upper bound; +∞ where open.
        max: f32,
    },
}

impl Activation {
    /// The function's value, as the reference interpreter computes it. A NaN stays a NaN.
    #[must_use]
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Relu => clip(x, 0.0, f64::INFINITY),
            Self::Clip { min, max } => clip(x, f64::from(min), f64::from(max)),
        }
    }

    /// Checks the bounds of a clip. `min > max` is legal: as in ONNX, everything then becomes `max`.
    ///
    /// # Errors
    /// Where a bound is not a number.
    pub fn check(self) -> Result<(), OpError> {
        match self {
            Self::Clip { min, max } if min.is_nan() || max.is_nan() => {
                Err(OpError::Attribute(format!("the bounds of {self} must be numbers")))
            }
            Self::Relu | Self::Clip { .. } => Ok(()),
        }
    }

    /// The activation that a dump printed.
    ///
    /// # Errors
    /// Where there is none of that form.
    pub fn parse(word: &str) -> Result<Self, OpError> {
        if word == "relu" {
            return Ok(Self::Relu);
        }
        let bounds = word.strip_prefix("clip(").and_then(|rest| rest.strip_suffix(')')).and_then(|rest| {
            let (min, max) = rest.split_once(',')?;
            Some((min.trim().parse().ok()?, max.trim().parse().ok()?))
        });
        match bounds {
            Some((min, max)) => Ok(Self::Clip { min, max }),
            None => Err(OpError::Attribute(format!("`{word}` is no activation: relu, clip(MIN,MAX)"))),
        }
    }
}

/// `min(max(x, min), max)`, written with comparisons so that a NaN falls through both.
fn clip(x: f64, min: f64, max: f64) -> f64 {
    let raised = if x < min { min } else { x };
    if raised > max { max } else { raised }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relu => f.write_str("relu"),
            Self::Clip { min, max } => write!(f, "clip({min},{max})"),
        }
    }
}
