//! `incept compile`: a model to a saved plan.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use incept::ir::plan::file as plan_file;
use incept::report;
use serde_json::json;

use super::args::{CompileArgs, ModelArgs};
use super::failure::Outcome;
use super::progress::Progress;
use super::{files, out, summary};

/// Compile a model and save its plan.
///
/// The plan holds no machine code: it is verified when it is loaded, and code is emitted for the CPU at hand. Here code is
/// emitted too, and thrown away, so that a plan is only saved if it can run.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept compile model.onnx -o model.plan\n  \
    incept compile googlenet -o googlenet.plan --batch 8 --disable-pass fuse_activation\n  \
    incept compile tiny-inception -o tiny.plan --report tiny.html\n  \
    incept compile tiny-inception -o tiny.plan --tune 1")]
pub struct Compile {
    #[command(flatten)]
    model: ModelArgs,
    /// The file to write
    #[arg(short, long, value_name = "OUT.plan")]
    output: PathBuf,
    #[command(flatten)]
    compile: CompileArgs,
    /// Measure the algorithms of each convolution for about so many seconds; the plan keeps what was fastest on this CPU
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    tune: Option<u64>,
    /// Write a page about the compilation too: graphs before and after, memory, passes
    #[arg(long, value_name = "OUT.html")]
    report: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Compile {
    pub fn run(&self) -> Outcome {
        let model = self.model.load()?;
        let options = self.compile.options();
        let target = incept::compile::target(&options.target)?;
        let mut planned = model.plan(&options)?;
        if let Some(seconds) = self.tune {
            let progress = Progress::new("measuring");
            planned.tune(&target, &options, Duration::from_secs(seconds), &mut |done| progress.set(done))?;
        }
        // Once it is linked, its weights are packed and gone.
        let plan = planned.plan.clone();
        let compiled = planned.link(target, &options)?;
        if let Some(path) = &self.report {
            let page = report::html(&model, &options, &report::Measurements::default())?;
            files::write_whole(path, |file| std::io::Write::write_all(file, page.as_bytes()))?;
        }
        files::write_whole(&self.output, |file| {
            let mut file = std::io::BufWriter::with_capacity(1 << 20, file);
            plan_file::encode(&plan, model.hash(), &mut file).map_err(std::io::Error::other)?;
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
