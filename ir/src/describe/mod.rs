//! A short description of a model, in TOML or JSON, and how it becomes a graph.
//!
//! A description lists layers in order; `conv_bn_relu`, `inception` and `inception_v3` are blocks that expand to several nodes. The
//! schema is documented in `docs/describe.md`. Weights come from a safetensors file by name, or are seeded.
//!
//! | file | what lives there |
//! |---|---|
//! | `schema` | what a description can say, as types |
//! | `tree`, `fields`, `read`, `suggest` | from text to those types, with errors that name line, layer and key |
//! | `wiring` | who reads whom, and what the outputs need |
//! | `build` | from those types to a [`Graph`] |
//! | `blocks` | the layers that expand to modules of several branches |
//! | `weights` | safetensors by name |
//! | `seeded` | seeded weights, the same on every machine |
//!
//! Depends on `graph`, `ops`, `tensor` and `types`.
//!
//! Invariants:
//! 1. What a description does not know, it refuses: keys, ops, names, and layers that no output needs.
//! 2. Every parameter's name starts with its layer's name and a dot.
//! 3. A graph that is built is sound: each layer reads only earlier ones, so there are no cycles.

mod blocks;
mod build;
mod error;
mod fields;
mod read;
mod schema;
mod seeded;
mod suggest;
mod tree;
mod weights;
mod wiring;

pub use build::BuildOptions;
use bytes::Bytes;
pub use error::{DescribeError, Line, Place, Suggestion, WeightProblem, WeightsError};
pub use schema::{
    ConvBnLayer, ConvLayer, ConvWindow, Description, InceptionForm, InceptionLayer, InceptionV3Layer,
    InceptionV3Module, InputDescription, Layer, LayerOp, OutputDescription, PoolLayer, Size,
};
pub use seeded::MAX_SEEDED;

use crate::graph::Graph;

/// Where a model's weights come from.
#[derive(Debug, Clone)]
pub enum Weights {
    /// Drawn by a generator from this seed: He-initialised, batch normalisations calibrated for inputs of mean 0 and
    /// variance 1. The same on every machine.
    Seeded(u64),
    /// A safetensors file, tensors by name. `F32` is used where it lies; `F16`, `BF16` and `F64` are converted to `f32`.
    Safetensors(Bytes),
}

/// Reads a description in TOML.
///
/// # Errors
/// Where the text is not TOML or not a description; says which line.
pub fn parse_toml(text: &str) -> Result<Description, DescribeError> {
    read::description(tree::from_toml(text)?)
}

/// Reads a description in JSON; the schema is that of TOML.
///
/// # Errors
/// Where the text is not JSON or not a description; names the layer.
pub fn parse_json(text: &str) -> Result<Description, DescribeError> {
    read::description(tree::from_json(text)?)
}

impl Description {
    /// The graph of the inference form. Node and constant names start with their layer's name.
    ///
    /// # Errors
    /// Where layers do not fit together, or the weights do not fit the model.
    pub fn build(&self, weights: Weights) -> Result<Graph, DescribeError> {
        self.build_with(weights, &BuildOptions::default())
    }

    /// The graph, in the form that the options say.
    ///
    /// # Errors
    /// As [`Description::build`].
    pub fn build_with(&self, weights: Weights, options: &BuildOptions) -> Result<Graph, DescribeError> {
        build::build(self, weights, options)
    }
}

impl<'de> serde::Deserialize<'de> for Description {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read::description(tree::Item::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
