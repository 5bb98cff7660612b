//! `incept kernels`: which kernel each step of a model became.

use clap::Args;
use serde_json::{Value, json};

use super::args::{CompileArgs, ModelArgs};
use super::failure::Outcome;
use super::out;

/// The kernels that a model is compiled to, step by step.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept kernels model.onnx")]
pub struct Kernels {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    compile: CompileArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Kernels {
    pub fn run(&self) -> Outcome {
        let model = self.model.load()?;
        let compiled = model.compile(&self.compile.options())?;
        let steps = compiled.plan().steps.iter().zip(&compiled.linked.module.entries).enumerate();
        if self.json {
            let steps: Vec<Value> = steps
                .map(|(index, (step, entry))| {
                    json!({
                        "step": format!("s{index}"),
                        "kind": step.kind.name(),
                        "kernel": entry.name,
                        "tasks": entry.tasks,
                        "scratch_bytes": entry.scratch_bytes,
                        "nodes": step.nodes,
                    })
                })
                .collect();
            return out::json(json!({ "target": compiled.target.level().name(), "steps": steps }));
        }
        let rows = steps.map(|(index, (step, entry))| {
            vec![
                format!("s{index}"),
                step.kind.name().into(),
                entry.name.clone(),
                entry.tasks.to_string(),
                step.name.clone(),
            ]
        });
        out::text(&out::table(&["step", "kind", "kernel", "tasks", "node"], rows.collect()))
    }
}
