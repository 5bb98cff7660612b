//! `incept memory`: the arena map of a plan.

use clap::Args;
use incept::report::memory;

use super::args::{CompileArgs, ModelArgs};
use super::failure::Outcome;
use super::out;

/// The memory that a model runs in: a map of the arena, its peak beside the lower bound.
///
/// Addresses run from left to right, steps from top to bottom: a buffer is a box over the steps during which it lives.
/// The lower bound is the largest sum of buffers that live at once: no placement for this order of the steps needs less.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept memory googlenet\n  \
    incept memory model.onnx --batch 8 --width 120\n  \
    incept memory model.plan --json")]
pub struct Memory {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    compile: CompileArgs,
    /// The columns of the map
    #[arg(long, value_name = "COLUMNS", default_value_t = 80, value_parser = clap::value_parser!(u16).range(16..=1000))]
    width: u16,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Memory {
    pub fn run(&self) -> Outcome {
        let model = self.model.load()?;
        let planned = model.plan(&self.compile.options())?;
        if self.json {
            return out::json(memory::json(&planned.plan));
        }
        out::text(&memory::text(&planned.plan, self.width.into()))
    }
}
