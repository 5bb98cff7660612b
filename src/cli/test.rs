//! `incept test`: ONNX test directories.

use std::path::{Path, PathBuf};

use clap::Args;
use incept::compare::{Difference, Tolerance, run_compiled};
use incept::error::Kind;
use incept::ir::types::DType;
use incept::{CompileOptions, Model};
use serde_json::{Value, json};

use super::args::CompileArgs;
use super::cases::{self, Ports};
use super::failure::{Failure, Outcome};
use super::progress::Progress;
use super::{feed, out};

/// The file that makes a folder a test.
const MODEL: &str = "model.onnx";

/// The relative tolerance of ONNX's own runner.
const TOLERANCE: f64 = 1e-3;

/// Run ONNX test directories: compile model.onnx, run it on every test data set, compare with the expected outputs.
///
/// A directory with model.onnx and test_data_set_*/{input,output}_*.pb is a test; of any other, its subdirectories are.
/// `pass`: every output is within the tolerance. `refused`: the model, or a type of its inputs or outputs, is not
/// supported; the reason says what. `wrong`: an output differs, or compilation failed where it should not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept test onnx/pools onnx/unknown_ops\n  \
    incept test onnx --json\n\n\
    Exit codes: 4 where a test is wrong, 3 where all are refused.")]
pub struct Test {
    /// Test directories, or directories of them
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    #[command(flatten)]
    compile: CompileArgs,
    /// How far outputs may be from the expected ones, as a share of the largest expected value; by default what ONNX's
    /// own runner allows, for some of its expected values have four digits
    #[arg(long, value_name = "SHARE", default_value_t = TOLERANCE)]
    tolerance: f64,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// How a test ended.
enum Ending {
    Pass,
    Refused(String),
    Wrong(String),
}

impl Ending {
    fn name(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Refused(_) => "refused",
            Self::Wrong(_) => "wrong",
        }
    }

    fn reason(&self) -> &str {
        match self {
            Self::Pass => "",
            Self::Refused(reason) | Self::Wrong(reason) => reason,
        }
    }
}

impl Test {
    pub fn run(&self) -> Outcome {
        let folders = self.tests()?;
        let progress = Progress::new(format!("{} tests", folders.len()));
        let tolerance = Tolerance { relative: self.tolerance, ..Tolerance::default() };
        let mut endings = Vec::with_capacity(folders.len());
        for (index, folder) in folders.iter().enumerate() {
            endings.push(test(folder, &self.compile.options(), &tolerance));
            #[allow(clippy::cast_precision_loss, reason = "a share for a progress bar")]
            progress.set((index + 1) as f64 / folders.len() as f64);
        }
        drop(progress);
        let count = |name: &str| endings.iter().filter(|ending| ending.name() == name).count();
        let (pass, refused, wrong) = (count("pass"), count("refused"), count("wrong"));
        if self.json {
            let tests: Vec<Value> = folders
                .iter()
                .zip(&endings)
                .map(|(folder, ending)| {
                    json!({ "name": folder.display().to_string(), "result": ending.name(), "reason": ending.reason() })
                })
                .collect();
            out::json(json!({ "tests": tests, "pass": pass, "refused": refused, "wrong": wrong }))?;
        } else {
            let line = |(folder, ending): (&PathBuf, &Ending)| {
                let reason = ending.reason();
                let colon = if reason.is_empty() { "" } else { ": " };
                format!("{:<7}  {}{colon}{reason}\n", ending.name(), folder.display())
            };
            let lines: String = folders.iter().zip(&endings).map(line).collect();
            out::text(&format!("{lines}{pass} pass, {refused} refused, {wrong} wrong\n"))?;
        }
        if wrong > 0 {
            let help = "`incept compare MODEL --ref DIR --per-layer` finds where a model departs";
            return Err(Failure::Differ {
                message: format!("{wrong} of {} tests are wrong", folders.len()),
                help: help.into(),
            });
        }
        if pass == 0 {
            return Err(Failure::AllRefused { count: refused });
        }
        Ok(())
    }

    /// The test directories among and within the given ones.
    fn tests(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut found = Vec::new();
        for folder in &self.folders {
            if folder.join(MODEL).exists() {
                found.push(folder.clone());
                continue;
            }
            let entries = std::fs::read_dir(folder).map_err(|error| Failure::read(folder, error))?;
            let mut within: Vec<PathBuf> =
                entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.join(MODEL).exists()).collect();
            if within.is_empty() {
                let message = format!("`{}` holds no test", folder.display());
                return Err(Failure::usage(message, format!("a test is a directory with {MODEL} and test_data_set_0")));
            }
            within.sort();
            found.append(&mut within);
        }
        Ok(found)
    }
}

fn test(folder: &Path, options: &CompileOptions, tolerance: &Tolerance) -> Ending {
    match attempt(folder, options, tolerance) {
        Ok(ending) => ending,
        Err(failure) => {
            let reason = chain(&failure);
            match &failure {
                Failure::Library(error) if error.kind() == Kind::Failed => Ending::Wrong(reason),
                _ => Ending::Refused(reason),
            }
        }
    }
}

fn attempt(folder: &Path, options: &CompileOptions, tolerance: &Tolerance) -> Result<Ending, Failure> {
    let model = Model::load(&folder.join(MODEL).to_string_lossy())?;
    let (inputs, outputs) = (feed::inputs_of(&model), feed::outputs_of(&model));
    if let Some(port) = inputs.iter().find(|port| port.dtype != DType::F32) {
        return Ok(Ending::Refused(format!("the input `{}` is {}, not f32", port.name, port.dtype)));
    }
    for case in cases::of_folder(folder, &Ports { inputs: &inputs, outputs: &outputs })? {
        let batch = match cases::batch_of(&case.inputs, &inputs) {
            Ok(batch) => batch.or(options.batch),
            Err(cause) => return Ok(Ending::Wrong(cause)),
        };
        let values = run_compiled(&model, &CompileOptions { batch, ..options.clone() }, &case.inputs)?;
        for ((values, port), expected) in values.iter().zip(&outputs).zip(&case.outputs) {
            let Some(expected) = expected else { continue };
            let difference = Difference::of(values, &expected.to_f64());
            if !difference.within(tolerance) {
                return Ok(Ending::Wrong(format!(
                    "{}: `{}` is off by {:.3e} of the largest expected value {:.3e}, at element {}",
                    case.name,
                    port.name,
                    difference.relative(),
                    difference.scale,
                    difference.at
                )));
            }
        }
    }
    Ok(Ending::Pass)
}

/// An error and its causes in a line.
fn chain(failure: &Failure) -> String {
    let mut text = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text += &format!(": {next}");
        }
        cause = error.source();
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join("; ").replace(":; ", ": ")
}
