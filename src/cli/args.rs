//! Arguments that several verbs share.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use incept::{CompileOptions, Error, LoadOptions, Model};

/// Which model.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// An .onnx file, a description (.toml, .json), a saved plan (.plan), or a built-in name
    pub model: String,
    #[command(flatten)]
    load: LoadArgs,
}

impl ModelArgs {
    /// Loads the model.
    pub fn load(&self) -> Result<Model, Error> {
        self.load.load(&self.model)
    }
}

/// How to load what leaves a choice.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// The safetensors file with the weights of a description
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Seeds the weights of models that bring none
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Keep the auxiliary heads of a built-in model as further outputs
    #[arg(long)]
    training_heads: bool,
}

impl LoadArgs {
    /// Loads the model of this name.
    pub fn load(&self, model: &str) -> Result<Model, Error> {
        let options =
            LoadOptions { weights: self.weights.clone(), seed: self.seed, training_heads: self.training_heads };
        Model::load_with(model, &options)
    }
}

/// How to compile it.
#[derive(Debug, Args)]
pub struct CompileArgs {
    /// The batch size of a model whose batch is symbolic [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    batch: Option<u64>,
    /// Leave a pass out; may be repeated (`incept passes` lists them)
    #[arg(long = "disable-pass", value_name = "PASS")]
    disabled: Vec<String>,
    /// Sum convolutions directly only, never by Winograd's algorithm
    #[arg(long)]
    exact: bool,
    /// Verify the graph after every rewrite
    #[arg(long)]
    verify_each: bool,
    /// Stop after this many rewrites: to find the one that breaks a model
    #[arg(long, value_name = "N")]
    stop_after: Option<usize>,
    /// The graph outputs that are wanted, by name; the compiler removes what only the others need [default: all]
    #[arg(long = "outputs", value_name = "NAME,...", value_delimiter = ',')]
    wanted: Vec<String>,
    /// Subtract these from the channels of the input
    #[arg(long, value_name = "M,...", value_delimiter = ',', allow_negative_numbers = true)]
    mean: Vec<f32>,
    /// Divide the channels of the input by these, after --mean
    #[arg(long, value_name = "S,...", value_delimiter = ',', allow_negative_numbers = true)]
    std: Vec<f32>,
    /// The instructions to use: auto (the widest that this CPU has), avx512, avx2 or v128
    #[arg(long, value_name = "TARGET", default_value = "auto")]
    target: String,
}

/// How to run it.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// How many threads a run uses; results do not depend on it [default: the physical cores that this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4096))]
    threads: Option<u64>,
}

impl RunArgs {
    /// The number of threads, if one was given.
    pub fn threads(&self) -> Option<NonZeroUsize> {
        self.threads.and_then(|threads| NonZeroUsize::new(usize::try_from(threads).ok()?))
    }
}

impl CompileArgs {
    /// The options.
    pub fn options(&self) -> CompileOptions {
        CompileOptions {
            batch: self.batch.and_then(|batch| usize::try_from(batch).ok()),
            target: self.target.clone(),
            disabled: self.disabled.clone(),
            exact: self.exact,
            verify_each: self.verify_each,
            stop_after: self.stop_after,
            outputs: self.wanted.clone(),
            mean: self.mean.clone(),
            std: self.std.clone(),
            ..CompileOptions::default()
        }
    }
}
