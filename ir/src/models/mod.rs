//! The built-in models: descriptions that the program carries, and the weights of one trained model.
//!
//! Depends on `describe`. To add a model, write its description beside this file and add its line to [`MODELS`].

#[cfg(feature = "embedded-models")]
mod embedded;

use bytes::Bytes;

use crate::describe::{BuildOptions, DescribeError, Description, Suggestion, Weights, parse_toml};
use crate::graph::Graph;

/// What is known of a built-in model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// Its name, for [`build`] and on the command line.
    pub name: &'static str,
    /// What it is, in a line.
    pub summary: &'static str,
    /// Its description, in TOML; the schema is in `docs/describe.md`.
    pub toml: &'static str,
    /// Whether its weights come with the program; the others' are seeded.
    pub trained: bool,
    /// How photographs are made into its input, in the command line's words; `None` for models that are not for photographs.
    pub preprocess: Option<&'static str>,
    /// The names of its classes in the order of its output; empty where classes mean nothing (untrained models).
    pub labels: &'static [&'static str],
}

/// All built-in models.
pub const MODELS: &[Model] = &[
    Model {
        name: "googlenet",
        summary: "GoogLeNet in its BatchNorm form, 1000 classes, seeded weights",
        toml: include_str!("googlenet.toml"),
        trained: false,
        preprocess: Some("torch"),
        labels: &[],
    },
    Model {
        name: "googlenet-lrn",
        summary: "GoogLeNet as in the paper: 5x5 convolutions, LRN, biases, two auxiliary heads; seeded weights",
        toml: include_str!("googlenet-lrn.toml"),
        trained: false,
        preprocess: Some("torch"),
        labels: &[],
    },
    Model {
        name: "inception-v3",
        summary: "Inception v3 with one auxiliary head, 299x299 pixels, 1000 classes, seeded weights",
        toml: include_str!("inception-v3.toml"),
        trained: false,
        preprocess: Some("torch"),
        labels: &[],
    },
    Model {
        name: "googlenet-mnist",
        summary: "GoogLeNet in its BatchNorm form, trained to read handwritten digits",
        toml: include_str!("googlenet-mnist.toml"),
        trained: true,
        preprocess: Some("mnist"),
        labels: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    },
    Model {
        name: "tiny-inception",
        summary: "two small Inception modules, for tests; seeded weights",
        toml: include_str!("tiny-inception.toml"),
        trained: false,
        preprocess: None,
        labels: &[],
    },
    Model {
        name: "tiny-residual",
        summary: "depthwise convolutions and a residual sum, for tests; seeded weights",
        toml: include_str!("tiny-residual.toml"),
        trained: false,
        preprocess: None,
        labels: &[],
    },
];

/// How a built-in model is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelOptions {
    /// The seed of the weights; trained models have their own.
    pub seed: u64,
    /// Whether the outputs of the training form follow the others.
    pub training_heads: bool,
}

/// Why a built-in model cannot be built.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// There is no model of this name.
    #[error("there is no built-in model `{name}`{suggestion} (there are: {})", names().collect::<Vec<_>>().join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// The nearest name that is known.
        suggestion: Suggestion,
    },
    /// The model has no heads for training.
    #[error("the model `{name}` has no training heads; `googlenet-lrn` and `inception-v3` have some")]
    NoTrainingHeads {
        /// The model.
        name: &'static str,
    },
    /// This program was built without trained weights.
    #[error("this program was built without the weights of `{name}` (cargo feature `embedded-models`)")]
    NotEmbedded {
        /// The model.
        name: &'static str,
    },
    /// The description or its weights are wrong.
    #[error("the built-in model `{name}`: {source}")]
    Describe {
        /// The model.
        name: &'static str,
        /// Why.
        source: Box<DescribeError>,
    },
}

/// The names of the built-in models.
pub fn names() -> impl Iterator<Item = &'static str> {
    MODELS.iter().map(|model| model.name)
}

/// What is known of the model of this name.
///
/// # Errors
/// Where there is none.
pub fn find(name: &str) -> Result<&'static Model, ModelError> {
    MODELS
        .iter()
        .find(|model| model.name == name)
        .ok_or_else(|| ModelError::Unknown { name: name.to_owned(), suggestion: Suggestion::nearest(name, names()) })
}

/// The graph of a built-in model. Its batch is symbolic.
///
/// # Errors
/// Where there is no model of this name, or it lacks what the options ask for.
pub fn build(name: &str, options: &ModelOptions) -> Result<Graph, ModelError> {
    let model = find(name)?;
    let weights = if model.trained { Weights::Safetensors(model.weights()?) } else { Weights::Seeded(options.seed) };
    let failed = |source| ModelError::Describe { name: model.name, source: Box::new(source) };
    let description = model.description()?;
    if options.training_heads && description.training_outputs.is_empty() {
        return Err(ModelError::NoTrainingHeads { name: model.name });
    }
    description.build_with(weights, &BuildOptions { training: options.training_heads }).map_err(failed)
}

impl Model {
    /// The model's description.
    ///
    /// # Errors
    /// None: a test parses them all.
    pub fn description(&self) -> Result<Description, ModelError> {
        parse_toml(self.toml).map_err(|source| ModelError::Describe { name: self.name, source: Box::new(source) })
    }

    /// The safetensors file of a trained model, where it lies in the program.
    ///
    /// # Errors
    /// Where the model is not trained, or the program was built without trained weights.
    pub fn weights(&self) -> Result<Bytes, ModelError> {
        #[cfg(feature = "embedded-models")]
        if let Some(bytes) = embedded::weights(self.name) {
            return Ok(bytes);
        }
        Err(ModelError::NotEmbedded { name: self.name })
    }
}
