//! `incept compile`: a model to a saved plan.

use std::path::PathBuf;

use clap::Args;
use incept::ir::plan::file as plan_file;
use serde_json::json;

use super::args::{CompileArgs, ModelArgs};
use super::failure::Outcome;
use super::{files, out, summary};

/// Compile a model and save its plan.
///
/// The plan holds no machine code: it is verified when it is loaded, and code is emitted for the CPU at hand. Here code is
/// emitted too, and thrown away, so that a plan is only saved if it can run.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept compile model.onnx -o model.plan\n  \
    incept compile googlenet -o googlenet.plan --batch 8 --disable-pass fuse_activation")]
pub struct Compile {
    #[command(flatten)]
    model: ModelArgs,
    /// The file to write
    #[arg(short, long, value_name = "OUT.plan")]
    output: PathBuf,
    #[command(flatten)]
    compile: CompileArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Compile {
    pub fn run(&self) -> Outcome {
        let model = self.model.load()?;
        let compiled = model.compile(&self.compile.options())?;
        files::write_whole(&self.output, |file| {
            let mut file = std::io::BufWriter::with_capacity(1 << 20, file);
            plan_file::encode(compiled.plan(), model.hash(), &mut file).map_err(std::io::Error::other)?;
            std::io::Write::flush(&mut file)
        })?;
        if self.json {
            let mut document = summary::json(&compiled);
            document["model"] = json!(model.name());
            document["output"] = json!(self.output.display().to_string());
            return out::json(document);
        }
        out::text(&format!("{} -> {}\n{}", model.name(), self.output.display(), summary::compiled(&compiled)))
    }
}
