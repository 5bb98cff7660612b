//! `incept explain`: every rewrite and every refusal, with its reason.

use clap::Args;
use incept::names::nearest;
use serde_json::{Value, json};

use super::args::{CompileArgs, ModelArgs};
use super::failure::{Failure, Outcome};
use super::out;

/// What every pass rewrote and refused, with its reasons.
///
/// Names are those of the model's own nodes, whatever passes made of them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept explain model.onnx\n  \
    incept explain model.onnx --node conv_1\n  \
    incept explain model.onnx --json")]
pub struct Explain {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    compile: CompileArgs,
    /// Only what concerns the source node of this name
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A rewrite or a refusal.
struct Entry {
    pass: String,
    nodes: Vec<String>,
    says: String,
}

impl Explain {
    pub fn run(&self) -> Outcome {
        let model = self.model.load()?;
        model.graph()?;
        let options = self.compile.options();
        let planned = model.plan(&options)?;
        let choices = planned.choices(&incept::compile::target(&options.target)?)?;
        let passes = planned.passes.unwrap_or_default();
        let rewrites = passes.rewrites.into_iter().map(|rewrite| Entry {
            pass: rewrite.pass.to_string(),
            nodes: rewrite.nodes,
            says: rewrite.result,
        });
        let graph_refusals = passes.refusals.into_iter().map(|refusal| Entry {
            pass: refusal.pass.to_string(),
            nodes: refusal.nodes,
            says: refusal.reason,
        });
        let lowering = planned.lowering.unwrap_or_default();
        let placed = lowering.rewrites.into_iter().map(|note| Entry {
            pass: note.pass.to_string(),
            nodes: note.nodes,
            says: note.text,
        });
        let lowering_refusals = lowering.refusals.into_iter().map(|refusal| Entry {
            pass: refusal.pass.to_string(),
            nodes: refusal.nodes,
            says: refusal.text,
        });
        let chosen = choices.into_iter().map(|choice| Entry {
            pass: "choose_algorithm".into(),
            nodes: choice.nodes,
            says: choice.text,
        });
        let wanted = |entry: &Entry| self.node.as_ref().is_none_or(|node| entry.nodes.contains(node));
        let rewrites: Vec<Entry> = rewrites.chain(placed).chain(chosen).filter(wanted).collect();
        let refusals: Vec<Entry> = graph_refusals.chain(lowering_refusals).filter(wanted).collect();
        if let (Some(node), true) = (&self.node, rewrites.is_empty() && refusals.is_empty()) {
            let known = || model.graph().into_iter().flat_map(|graph| graph.nodes()).map(|(_, found)| &*found.name);
            if !known().any(|name| name == node) {
                let message = format!("the model has no node `{node}`");
                let help = match nearest(node, known()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "`incept dump MODEL --stage imported` shows all nodes".into(),
                };
                return Err(Failure::usage(message, help));
            }
        }
        if self.json {
            let list = |entries: &[Entry], key: &str| -> Vec<Value> {
                entries
                    .iter()
                    .map(|entry| json!({ "pass": entry.pass, "nodes": entry.nodes, key: entry.says }))
                    .collect()
            };
            return out::json(json!({ "rewrites": list(&rewrites, "result"), "refusals": list(&refusals, "reason") }));
        }
        let section = |title: &str, entries: &[Entry]| {
            let lines =
                entries.iter().map(|entry| format!("  {} [{}]: {}\n", entry.pass, entry.nodes.join(", "), entry.says));
            format!("{title} ({})\n{}", entries.len(), lines.collect::<String>())
        };
        out::text(&(section("rewrites", &rewrites) + &section("refusals", &refusals)))
    }
}
