//! `incept inspect`: what a model takes, gives and is made of.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use incept::Model;
use incept::ir::graph::Graph;
use incept::ir::ops::Op;
use incept::model::Body;
use serde_json::{Value, json};

use super::args::{CompileArgs, ModelArgs};
use super::failure::Outcome;
use super::feed::{self, Port};
use super::{out, summary};

/// A model's inputs, outputs and operators; or what it costs once compiled.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept inspect model.onnx\n  \
    incept inspect googlenet --stage plan --json")]
pub struct Inspect {
    #[command(flatten)]
    model: ModelArgs,
    /// At which stage of compilation [default: imported; plan for saved plans]
    #[arg(long, value_enum)]
    stage: Option<Stage>,
    #[command(flatten)]
    compile: CompileArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A stage that can be inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// As read
    Imported,
    /// After all passes
    Optimized,
    /// Steps, memory, copies
    Plan,
}

impl Inspect {
    pub fn run(&self) -> Outcome {
        let model = self.model.load()?;
        let default = if matches!(model.body(), Body::Plan(_)) { Stage::Plan } else { Stage::Imported };
        match self.stage.unwrap_or(default) {
            Stage::Imported => self.graph(&model, model.graph()?),
            Stage::Optimized => {
                let optimized = model.optimize(&self.compile.options(), &mut |_, _| {})?;
                self.graph(&model, &optimized.graph)
            }
            Stage::Plan => {
                let options = self.compile.options();
                let target = incept::compile::target(&options.target)?;
                let planned = model.plan(&options)?;
                if self.json {
                    return out::json(incept::ir::plan::json::summary(&planned.plan, Some(target.level().name())));
                }
                let ports = ports(&feed::inputs_of(&model), &feed::outputs_of(&model));
                out::text(&format!("{} ({})\n{ports}{}", model.name(), model.source(), summary::planned(&planned)))
            }
        }
    }

    fn graph(&self, model: &Model, graph: &Graph) -> Outcome {
        let mut ops: BTreeMap<&'static str, usize> = BTreeMap::new();
        let mut parameters = 0usize;
        let mut parameter_bytes = 0usize;
        for (_, node) in graph.nodes() {
            match &node.op {
                Op::Constant(constant) => {
                    parameters += constant.tensor.elements();
                    parameter_bytes += constant.tensor.bytes().len();
                }
                Op::Input(_) => {}
                op => *ops.entry(op.name()).or_default() += 1,
            }
        }
        let (inputs, outputs) = (feed::inputs_of(model), feed::outputs_of(model));
        if self.json {
            let list = |ports: &[Port]| -> Vec<Value> {
                ports
                    .iter()
                    .map(|port| {
                        let sizes: Vec<Value> = port
                            .shape
                            .dims()
                            .iter()
                            .map(|dim| dim.fixed().map_or_else(|| dim.to_string().into(), Into::into))
                            .collect();
                        json!({ "name": port.name, "dtype": port.dtype.name(), "sizes": sizes })
                    })
                    .collect()
            };
            return out::json(json!({
                "model": model.name(),
                "source": model.source().to_string(),
                "stage": graph.stage().name(),
                "inputs": list(&inputs),
                "outputs": list(&outputs),
                "ops": ops,
                "parameters": parameters,
                "parameter_bytes": parameter_bytes,
            }));
        }
        let mut text = format!("{} ({})\n{}", model.name(), model.source(), ports(&inputs, &outputs));
        let mut counts: Vec<_> = ops.into_iter().collect();
        counts.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
        let counts: Vec<String> = counts.into_iter().map(|(name, count)| format!("{count} {name}")).collect();
        text += &format!("ops        {}\n", counts.join(", "));
        text += &format!("weights    {parameters} values, {}\n", out::bytes(parameter_bytes));
        out::text(&text)
    }
}

fn ports(inputs: &[Port], outputs: &[Port]) -> String {
    let lines = |what: &str, ports: &[Port]| -> String {
        ports.iter().map(|port| format!("{what:<9}  {}: {}{}\n", port.name, port.dtype, port.shape)).collect()
    };
    lines("input", inputs) + &lines("output", outputs)
}
