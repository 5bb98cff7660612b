//! `incept compare`: compiled results against a reference.

use std::path::Path;

use clap::Args;
use incept::compare::{Culprit, Difference, Layer, Tolerance, bisect, layers, run_compiled, run_interpreted};
use incept::compiler::pipeline::PASSES;
use incept::inputs::noise_tensor;
use incept::ir::graph::Graph;
use incept::ir::tensor::Tensor;
use incept::{CompileOptions, Error, Model};
use serde_json::{Value, json};

use super::args::{CompileArgs, ModelArgs};
use super::cases::{self, Case, Ports};
use super::failure::{Failure, Outcome};
use super::feed::{self, Port};
use super::out;
use super::progress::Progress;

/// Check compiled results against the interpreter or against given outputs.
///
/// The reference is the interpreter, which evaluates the model as imported, in f64, on noise (--noise seeds it); or ONNX
/// test data; or arrays. An output is right if its largest difference is at most --tolerance times the largest reference
/// value (plus 1e-7): rounding leaves errors in proportion to the size of the sums, also where they cancel, so a bound on
/// the relative error of each value would be unfair near zero. The default of 1e-4 leaves room for Winograd's algorithm
/// (about 1e-5 a layer); with --tolerance 1e-5 direct convolutions still pass.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept compare tiny-inception\n  \
    incept compare tiny-inception --per-layer\n  \
    incept compare tiny-inception --bisect\n  \
    incept compare onnx/pools/model.onnx --ref onnx/pools\n\n\
    Exit code 4: results differ.")]
pub struct Compare {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    compile: CompileArgs,
    /// interp; or a folder with test_data_set_*, or with input_0.pb|npy and output_0.pb|npy; or an .npz archive whose
    /// arrays are named like the model's inputs and outputs
    #[arg(long = "ref", value_name = "interp|DIR|FILE.npz", default_value = "interp")]
    reference: String,
    /// Seeds the noise of inputs that the reference does not bring
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    noise: u64,
    /// How far outputs may be from the reference, as a share of the largest reference value
    #[arg(long, value_name = "SHARE", default_value_t = Tolerance::default().relative)]
    tolerance: f64,
    /// Compare every layer of the optimised graph, and name the first that departs
    #[arg(long)]
    per_layer: bool,
    /// Find the pass, and the rewrite of it, that makes results depart
    #[arg(long)]
    bisect: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// One output of one case.
struct Checked {
    case: String,
    output: String,
    difference: Difference,
}

/// What was found.
struct Findings {
    outputs: Vec<Checked>,
    layers: Option<Vec<Layer>>,
    culprit: Option<Culprit>,
}

impl Compare {
    pub fn run(&self) -> Outcome {
        let model = self.model.load()?;
        let (inputs, outputs) = (feed::inputs_of(&model), feed::outputs_of(&model));
        let progress = Progress::new("computing the reference");
        let cases = self.cases(&model, &inputs, &outputs)?;
        let options = self.options(&cases, &inputs)?;
        let mut checked = Vec::new();
        for (index, case) in cases.iter().enumerate() {
            let values = run_compiled(&model, &options, &case.inputs)?;
            checked.extend(differences(case, &values, &outputs));
            #[allow(clippy::cast_precision_loss, reason = "a share for a progress bar")]
            progress.set((index + 1) as f64 / cases.len() as f64);
        }
        drop(progress);
        let first = cases.first();
        let found = Findings {
            outputs: checked,
            layers: match first.filter(|_| self.per_layer) {
                Some(case) => {
                    let _progress = Progress::new("interpreting every layer");
                    Some(layers(&model, &options, &case.inputs)?)
                }
                None => None,
            },
            culprit: match first.filter(|_| self.bisect) {
                Some(case) => Some(self.culprit(&model, &options, case, &outputs)?),
                None => None,
            },
        };
        if self.json {
            out::json(self.document(&model, &found))?;
        } else {
            out::text(&self.report(&model, &options, &found))?;
        }
        self.verdict(&found)
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance { relative: self.tolerance, ..Tolerance::default() }
    }

    /// All cases have one batch size, that of the first.
    fn options(&self, cases: &[Case], inputs: &[Port]) -> Result<CompileOptions, Failure> {
        let mut options = self.compile.options();
        for case in cases {
            let batch = cases::batch_of(&case.inputs, inputs).map_err(|cause| {
                Failure::usage(
                    format!("{}: {cause}", case.name),
                    "`incept inspect MODEL` shows the inputs and their sizes",
                )
            })?;
            match (options.batch, batch) {
                (Some(wanted), Some(given)) if wanted != given => {
                    let message = format!("{}: the batch size is {given}, not {wanted}", case.name);
                    return Err(Failure::usage(message, "compare one batch size at a time"));
                }
                (None, batch) => options.batch = batch,
                _ => {}
            }
        }
        Ok(options)
    }

    fn cases(&self, model: &Model, inputs: &[Port], outputs: &[Port]) -> Result<Vec<Case>, Failure> {
        let ports = Ports { inputs, outputs };
        if self.reference == "interp" {
            let graph = model.graph()?;
            let inputs = (0..inputs.len()).map(|index| self.noise(inputs, index)).collect::<Result<Vec<_>, _>>()?;
            let outputs = run_interpreted(graph, &inputs)?.into_iter().map(Some).collect();
            return Ok(vec![Case { name: "noise".into(), inputs, outputs }]);
        }
        let path = Path::new(&self.reference);
        match path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npz")) {
            true => Ok(vec![cases::of_archive(path, &ports, &mut |index| self.noise(inputs, index))?]),
            false => cases::of_folder(path, &ports),
        }
    }

    /// Noise for an input.
    fn noise(&self, inputs: &[Port], index: usize) -> Result<Tensor, Failure> {
        let Some(port) = inputs.get(index) else {
            return Err(Failure::usage("there is no such input", "name another"));
        };
        let batch = self.compile.options().batch.unwrap_or(1);
        let sizes = port.shape.with_batch(batch).and_then(|shape| shape.sizes()).unwrap_or_default();
        let seed = self.noise.wrapping_add(index as u64);
        noise_tensor(&sizes, seed).map_err(|error| {
            Failure::usage(format!("the input `{}` cannot be made: {error}", port.name), "take a smaller --batch")
        })
    }

    fn culprit(
        &self,
        model: &Model,
        options: &CompileOptions,
        case: &Case,
        outputs: &[Port],
    ) -> Result<Culprit, Failure> {
        let progress = Progress::new("looking for the rewrite");
        let is_pass = |name: &&String| PASSES.iter().any(|pass| pass.name == **name);
        let disabled: Vec<String> = options.disabled.iter().filter(is_pass).cloned().collect();
        let mut tried = 0;
        let mut departs = |graph: &Graph| -> Result<bool, Error> {
            tried += 1;
            progress.set(f64::from(tried) / 12.0);
            let model = Model::from_graph(graph.clone());
            let values = run_compiled(&model, &without_passes(options), &case.inputs)?;
            Ok(!differences(case, &values, outputs).iter().all(|one| one.difference.within(&self.tolerance())))
        };
        Ok(bisect(model.graph()?, PASSES, &disabled, &mut departs)?)
    }

    fn verdict(&self, found: &Findings) -> Outcome {
        let wrong: Vec<&Checked> =
            found.outputs.iter().filter(|one| !one.difference.within(&self.tolerance())).collect();
        let Some(worst) = wrong.iter().max_by(|a, b| a.difference.relative().total_cmp(&b.difference.relative()))
        else {
            return Ok(());
        };
        let message = format!(
            "the output `{}` is off by {:.3e} of the largest reference value; {:.3e} is allowed",
            worst.output,
            worst.difference.relative(),
            self.tolerance
        );
        let help = match (self.per_layer, self.bisect) {
            (false, _) => "--per-layer finds the first layer that departs",
            (true, false) => "--bisect finds the rewrite that makes it depart",
            (true, true) => "`incept explain MODEL --node NAME` shows what was done to a node",
        };
        Err(Failure::Differ { message, help: help.into() })
    }

    fn report(&self, model: &Model, options: &CompileOptions, found: &Findings) -> String {
        let batch = options.batch.map_or(String::new(), |batch| format!(", batch {batch}"));
        let mut text =
            format!("{}{batch}, compiled for {}, against {}\n", model.name(), options.target, self.against());
        let rows = found.outputs.iter().map(|one| {
            let verdict = if one.difference.within(&self.tolerance()) { "ok" } else { "differs" };
            vec![
                one.case.clone(),
                one.output.clone(),
                format!("{:.2e}", one.difference.max),
                format!("{:.2e}", one.difference.scale),
                format!("{:.2e}", one.difference.relative()),
                format!("{:.2e}", one.difference.l2),
                verdict.into(),
            ]
        });
        let head = ["case", "output", "max error", "max |ref|", "share", "L2 share", ""];
        text += &out::table(&head, rows.collect());
        if let Some(layers) = &found.layers {
            text += &self.layer_table(layers);
        }
        if let Some(culprit) = &found.culprit {
            text += &format!("\n{}\n", in_words(culprit));
        }
        text
    }

    fn against(&self) -> String {
        match self.reference.as_str() {
            "interp" => format!("the interpreter on noise (seed {})", self.noise),
            path => path.into(),
        }
    }

    fn layer_table(&self, layers: &[Layer]) -> String {
        let rows = layers.iter().map(|layer| {
            let source = layer.source.as_ref();
            vec![
                layer.name.clone(),
                layer.op.into(),
                format!("{:.2e}", layer.compiled.relative()),
                source.map_or("-".into(), |(_, difference)| format!("{:.2e}", difference.relative())),
                source.map_or("-".into(), |(name, _)| name.clone()),
            ]
        });
        let head = ["layer", "op", "compiled, share", "optimised, share", "source node"];
        let mut text = format!("\n{}", out::table(&head, rows.collect()));
        text += &match self.first_departing(layers) {
            None => "no layer departs\n".into(),
            Some((layer, true)) => {
                format!("the first layer that departs: {} ({}), as compiled\n", layer.name, layer.op)
            }
            Some((layer, false)) => {
                format!("the first layer that departs: {} ({}), as the passes left it\n", layer.name, layer.op)
            }
        };
        text
    }

    /// The first layer that departs, and whether it is the compiled value that does.
    fn first_departing<'a>(&self, layers: &'a [Layer]) -> Option<(&'a Layer, bool)> {
        let tolerance = self.tolerance();
        layers.iter().find_map(|layer| {
            if layer.source.as_ref().is_some_and(|(_, difference)| !difference.within(&tolerance)) {
                return Some((layer, false));
            }
            (!layer.compiled.within(&tolerance)).then_some((layer, true))
        })
    }

    fn document(&self, model: &Model, found: &Findings) -> Value {
        let tolerance = self.tolerance();
        let numbers = |difference: &Difference| {
            let finite = |value: f64| if value.is_finite() { json!(value) } else { Value::Null };
            json!({
                "max_error": finite(difference.max),
                "max_reference": difference.scale,
                "share": finite(difference.relative()),
                "l2_share": finite(difference.l2),
                "within": difference.within(&tolerance),
            })
        };
        let outputs: Vec<Value> = found
            .outputs
            .iter()
            .map(|one| {
                let mut value = numbers(&one.difference);
                value["case"] = json!(one.case);
                value["output"] = json!(one.output);
                value
            })
            .collect();
        let mut document = json!({
            "model": model.name(),
            "reference": self.reference,
            "tolerance": self.tolerance,
            "equal": found.outputs.iter().all(|one| one.difference.within(&tolerance)),
            "outputs": outputs,
        });
        if let Some(layers) = &found.layers {
            document["layers"] = layers
                .iter()
                .map(|layer| {
                    json!({
                        "layer": layer.name,
                        "op": layer.op,
                        "nodes": layer.nodes,
                        "compiled": numbers(&layer.compiled),
                        "source": layer.source.as_ref().map(|(name, difference)| {
                            let mut value = numbers(difference);
                            value["node"] = json!(name);
                            value
                        }),
                    })
                })
                .collect();
            document["first_departing"] = json!(self.first_departing(layers).map(|(layer, _)| &layer.name));
        }
        if let Some(culprit) = &found.culprit {
            document["culprit"] = match culprit {
                Culprit::Nobody => json!({ "what": "nothing" }),
                Culprit::NoPass => json!({ "what": "no pass" }),
                Culprit::Rewrite { number, of, rewrite } => json!({
                    "what": "rewrite",
                    "pass": rewrite.pass,
                    "nodes": rewrite.nodes,
                    "result": rewrite.result,
                    "number": number,
                    "of": of,
                }),
            };
        }
        document
    }
}

/// The same options, but every pass over the graph left out: it ran already.
fn without_passes(options: &CompileOptions) -> CompileOptions {
    let mut disabled: Vec<String> = PASSES.iter().map(|pass| pass.name.to_owned()).collect();
    disabled.extend(options.disabled.iter().filter(|name| !PASSES.iter().any(|pass| pass.name == **name)).cloned());
    CompileOptions { disabled, stop_after: None, ..options.clone() }
}

fn differences(case: &Case, values: &[Vec<f32>], outputs: &[Port]) -> Vec<Checked> {
    let pairs = values.iter().zip(outputs).zip(&case.outputs);
    let expected = pairs.filter_map(|((values, port), expected)| Some((values, port, expected.as_ref()?)));
    let checked = expected.map(|(values, port, expected)| Checked {
        case: case.name.clone(),
        output: port.name.clone(),
        difference: Difference::of(values, &expected.to_f64()),
    });
    checked.collect()
}

fn in_words(culprit: &Culprit) -> String {
    match culprit {
        Culprit::Nobody => "no rewrite makes results depart".into(),
        Culprit::NoPass => {
            "results depart although no pass ran: look at lowering (--disable-pass alias_concat, in_place), \
                            at the kernels (--target v128), or at the reference"
                .into()
        }
        Culprit::Rewrite { number, of, rewrite } => format!(
            "rewrite {number} of {of} makes results depart: {} [{}]: {}",
            rewrite.pass,
            rewrite.nodes.join(", "),
            rewrite.result
        ),
    }
}
