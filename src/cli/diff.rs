//! `incept diff`: what changed between two graphs.

use clap::Args;
use incept::compiler::pipeline::PASSES;
use incept::ir::graph::Graph;
use incept::names::nearest;
use incept::report::diff;
use incept::{CompileOptions, Error, Model};
use serde_json::json;

use super::args::{CompileArgs, LoadArgs};
use super::failure::{Failure, Outcome};
use super::out;

/// What changed between two graphs: two models, or two stages of one.
///
/// Nodes belong together where they stand for the same source nodes, so what passes merged, rewrote and removed is told
/// by the names of the model. A graph is MODEL, MODEL@imported (as read; what MODEL alone means between two models),
/// MODEL@optimized (after all passes), or MODEL@PASS (after that pass).
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept diff googlenet\n  \
    incept diff googlenet@canonicalize googlenet@fold_batch_norm\n  \
    incept diff model.onnx optimized.onnx --exit-code")]
pub struct Diff {
    /// The graph before; alone, it is compared as imported with itself as optimised
    #[arg(value_name = "A")]
    before: String,
    /// The graph after
    #[arg(value_name = "B")]
    after: Option<String>,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    compile: CompileArgs,
    /// End with exit code 4 where the graphs differ
    #[arg(long)]
    exit_code: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A graph, and how it is called.
struct Side {
    graph: Graph,
    label: String,
}

impl Diff {
    pub fn run(&self) -> Outcome {
        let (before, after) = match &self.after {
            Some(after) => (self.side(&self.before)?, self.side(after)?),
            None if stage_of(&self.before).1.is_some() => {
                let help = "leave the stage out to compare the model as read with what all passes make of it";
                return Err(Failure::usage("one graph alone cannot be compared", help));
            }
            None => {
                (self.side(&format!("{}@imported", self.before))?, self.side(&format!("{}@optimized", self.before))?)
            }
        };
        let found = diff::diff(&before.graph, &after.graph);
        if self.json {
            let mut document = diff::json(&found, &before.graph, &after.graph);
            let end = |side: &Side| json!({"graph": side.label, "nodes": side.graph.len()});
            document["before"] = end(&before);
            document["after"] = end(&after);
            out::json(document)?;
        } else {
            let head = format!(
                "{} ({} nodes) -> {} ({} nodes)\n",
                before.label,
                before.graph.len(),
                after.label,
                after.graph.len()
            );
            out::text(&(head + &diff::text(&found, &before.graph, &after.graph)))?;
        }
        if self.exit_code && !found.is_empty() {
            let message = format!("{} differs from {}", after.label, before.label);
            return Err(Failure::Differ { message, help: "the result above says in what".into() });
        }
        Ok(())
    }

    fn side(&self, named: &str) -> Result<Side, Failure> {
        let (name, stage) = stage_of(named);
        let model = self.load.load(name)?;
        let stage = stage.unwrap_or("imported");
        let graph = at_stage(&model, stage, &self.compile.options())?;
        Ok(Side { graph, label: format!("{name}@{stage}") })
    }
}

/// The model and the stage of `MODEL@STAGE`. A file may have an `@` in its name: the stage is what follows the last, where
/// that is a word.
fn stage_of(named: &str) -> (&str, Option<&str>) {
    match named.rsplit_once('@') {
        Some((model, stage)) if stage.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
            (model, Some(stage))
        }
        _ => (named, None),
    }
}

fn at_stage(model: &Model, stage: &str, options: &CompileOptions) -> Result<Graph, Failure> {
    match stage {
        "imported" => Ok(model.graph()?.clone()),
        "optimized" => Ok(model.optimize(options, &mut |_, _| {})?.graph),
        pass if PASSES.iter().any(|known| known.name == pass) => {
            let mut found = None;
            model.optimize(options, &mut |name, graph| {
                if name == pass {
                    found = Some(graph.clone());
                }
            })?;
            let message = || Failure::usage(format!("the pass `{pass}` did not run"), "--disable-pass leaves it out");
            found.ok_or_else(message)
        }
        other => {
            let known = PASSES.iter().map(|known| known.name).chain(["imported", "optimized"]);
            let nearest = nearest(other, known).map(Into::into);
            Err(Error::NoPass { names: vec![other.into()], nearest }.into())
        }
    }
}
