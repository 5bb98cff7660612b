//! The activations that fuse into the op that makes their input.

use std::fmt;

use super::{OpError, check};

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
    /// `x` where it is not negative, else `alpha · x`.
    LeakyRelu {
        /// The slope below zero.
        alpha: f32,
    },
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// `min(max(alpha · x + beta, 0), 1)`.
    HardSigmoid {
        /// The slope between the bounds.
        alpha: f32,
        /// The value at zero.
        beta: f32,
    },
    /// `x · min(max(x / 6 + 1/2, 0), 1)`.
    HardSwish,
    /// `x / (1 + e⁻ˣ)`, also known as Swish.
    Silu,
}

impl Activation {
    /// The function's value, as the reference interpreter computes it. A NaN stays a NaN.
    #[must_use]
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Relu => clip(x, 0.0, f64::INFINITY),
            Self::Clip { min, max } => clip(x, f64::from(min), f64::from(max)),
            Self::LeakyRelu { alpha } if x < 0.0 => f64::from(alpha) * x,
            Self::LeakyRelu { .. } => x,
            Self::Sigmoid => sigmoid(x),
            Self::HardSigmoid { alpha, beta } => clip(f64::from(alpha) * x + f64::from(beta), 0.0, 1.0),
            Self::HardSwish => x * clip(x / 6.0 + 0.5, 0.0, 1.0),
            Self::Silu => x * sigmoid(x),
        }
    }

    /// Checks the bounds of a clip and the slopes of the others. `min > max` is legal: as in ONNX, everything then becomes
    /// `max`.
    ///
    /// # Errors
    /// Where a bound is not a number, or a slope is not finite.
    pub fn check(self) -> Result<(), OpError> {
        match self {
            Self::Clip { min, max } if min.is_nan() || max.is_nan() => {
                Err(OpError::Attribute(format!("the bounds of {self} must be numbers")))
            }
            Self::LeakyRelu { alpha } => check::finite("alpha", alpha),
            Self::HardSigmoid { alpha, beta } => {
                check::finite("alpha", alpha)?;
                check::finite("beta", beta)
            }
            Self::Relu | Self::Clip { .. } | Self::Sigmoid | Self::HardSwish | Self::Silu => Ok(()),
        }
    }

    /// The activation that a dump printed.
    ///
    /// # Errors
    /// Where there is none of that form.
    pub fn parse(word: &str) -> Result<Self, OpError> {
        let (name, arguments) = match word.strip_suffix(')').and_then(|rest| rest.split_once('(')) {
            Some((name, arguments)) => (name, arguments.split(',').map(|text| text.trim().parse().ok()).collect()),
            None => (word, Some(Vec::new())),
        };
        let arguments: Option<Vec<f32>> = arguments;
        match (name, arguments.as_deref()) {
            ("relu", Some([])) => Ok(Self::Relu),
            ("clip", Some(&[min, max])) => Ok(Self::Clip { min, max }),
            ("leaky_relu", Some(&[alpha])) => Ok(Self::LeakyRelu { alpha }),
            ("sigmoid", Some([])) => Ok(Self::Sigmoid),
            ("hard_sigmoid", Some(&[alpha, beta])) => Ok(Self::HardSigmoid { alpha, beta }),
            ("hard_swish", Some([])) => Ok(Self::HardSwish),
            ("silu", Some([])) => Ok(Self::Silu),
            _ => Err(OpError::Attribute(format!("`{word}` is no activation: {FORMS}"))),
        }
    }

    /// Whether it is computed with an exponential: in so many operations that they want registers of their own.
    #[must_use]
    pub const fn is_transcendental(self) -> bool {
        matches!(self, Self::Sigmoid | Self::Silu)
    }
}

/// The forms that [`Activation::parse`] knows.
const FORMS: &str = "relu, clip(MIN,MAX), leaky_relu(ALPHA), sigmoid, hard_sigmoid(ALPHA,BETA), hard_swish, silu";

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
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
            Self::LeakyRelu { alpha } => write!(f, "leaky_relu({alpha})"),
            Self::Sigmoid => f.write_str("sigmoid"),
            Self::HardSigmoid { alpha, beta } => write!(f, "hard_sigmoid({alpha},{beta})"),
            Self::HardSwish => f.write_str("hard_swish"),
            Self::Silu => f.write_str("silu"),
        }
    }
}
