//! `incept report`: one page about a compilation.

use std::path::{Path, PathBuf};

use clap::Args;
use incept::report::measured::{self, MeasuredError};
use incept::report::{self, Measurements};
use serde_json::json;

use super::args::{CompileArgs, ModelArgs};
use super::failure::{Failure, Outcome};
use super::{files, out};

/// One page about a compilation: graphs, memory, passes, and measurements where there are any.
///
/// The page is a single HTML file that works offline. It shows the graph before and after all passes side by side, linked
/// by what became of what; the arena with every buffer named; every rewrite and refusal. What `incept profile --json` and
/// `incept bench --json` measured of the same model is shown too: a roofline plot, a line a step, and variants side by side.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept report model.onnx -o model.html\n  \
    incept report googlenet -o googlenet.html")]
pub struct Report {
    #[command(flatten)]
    model: ModelArgs,
    /// The file to write
    #[arg(short, long, value_name = "OUT.html")]
    output: PathBuf,
    /// What `incept profile --json` printed
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// What `incept bench --json` printed
    #[arg(long, value_name = "FILE")]
    bench: Option<PathBuf>,
    #[command(flatten)]
    compile: CompileArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Report {
    pub fn run(&self) -> Outcome {
        let model = self.model.load()?;
        let measurements = Measurements {
            profile: self.profile.as_deref().map(|path| read(path, "profile", measured::profile)).transpose()?,
            bench: self.bench.as_deref().map(|path| read(path, "bench", measured::bench)).transpose()?,
        };
        let page = report::html(&model, &self.compile.options(), &measurements)?;
        files::write_whole(&self.output, |file| std::io::Write::write_all(file, page.as_bytes()))?;
        let output = self.output.display().to_string();
        if self.json {
            return out::json(json!({ "model": model.name(), "output": output, "bytes": page.len() }));
        }
        out::text(&format!("{} -> {output} ({})\n", model.name(), out::bytes(page.len())))
    }
}

fn read<T>(path: &Path, verb: &str, parse: impl FnOnce(&str) -> Result<T, MeasuredError>) -> Result<T, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::read(path, error))?;
    parse(&text).map_err(|error| {
        let message = format!("`{}` holds no measurement: {error}", path.display());
        Failure::usage(message, format!("make it with `incept {verb} MODEL --json > FILE`"))
    })
}
