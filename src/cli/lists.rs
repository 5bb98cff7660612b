//! `incept models`, `incept passes`, `incept ops`: what there is.

use clap::Args;
use incept::compiler::lower;
use incept::compiler::pipeline::PASSES;
use incept::ir::models;
use incept::ir::ops::Op;
use serde_json::{Value, json};

use super::failure::Outcome;
use super::out;

/// The built-in models.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept models")]
pub struct Models {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Models {
    pub fn run(&self) -> Outcome {
        if self.json {
            let all: Vec<Value> = models::MODELS
                .iter()
                .map(|model| json!({ "name": model.name, "description": model.summary, "trained": model.trained }))
                .collect();
            return out::json(json!({ "models": all }));
        }
        let rows = models::MODELS.iter().map(|model| vec![model.name.into(), model.summary.into()]);
        out::text(&out::table(&["model", "what it is"], rows.collect()))
    }
}

/// The passes, in the order in which they run; then the decisions of lowering, which `--disable-pass` knows as well.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept passes")]
pub struct Passes {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Passes {
    pub fn run(&self) -> Outcome {
        let passes = PASSES.iter().map(|pass| (pass.name, "graph", pass.description));
        let decisions = lower::PASSES.iter().map(|(name, text)| (*name, "lowering", *text));
        let all = passes.chain(decisions);
        if self.json {
            let all: Vec<Value> =
                all.map(|(name, stage, text)| json!({ "name": name, "stage": stage, "description": text })).collect();
            return out::json(json!({ "passes": all }));
        }
        let rows = all.map(|(name, stage, text)| vec![name.into(), stage.into(), text.into()]);
        out::text(&out::table(&["pass", "stage", "what it does"], rows.collect()))
    }
}

/// The operators of the graph, as text dumps name them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept ops")]
pub struct Ops {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Ops {
    pub fn run(&self) -> Outcome {
        if self.json {
            return out::json(json!({ "ops": Op::NAMES }));
        }
        out::text(&Op::NAMES.iter().map(|name| format!("{name}\n")).collect::<String>())
    }
}
