//! The command line: one file a verb.
//!
//! Results go to standard output, everything else to standard error. Verbs use the library's public interface only; what
//! lives here is arguments, files, pictures and printing.

mod args;
mod arrays;
mod baseline;
mod bench;
mod cases;
mod chart;
mod compare;
mod compile;
mod diff;
mod doctor;
mod dump;
mod explain;
mod failure;
mod feed;
mod files;
mod inspect;
mod interrupt;
mod kernels;
mod lists;
mod memory;
mod out;
mod profile;
mod progress;
mod report;
mod run;
mod scores;
mod summary;
mod test;
mod trace;
mod units;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use failure::{Failure, Outcome};
use tracing_subscriber::EnvFilter;

/// Compiles convolutional networks for the CPU, and runs them.
///
/// MODEL is an .onnx file, a description (.toml, .json), a saved plan (.plan), or the name of a built-in model
/// (`incept models` lists them).
#[derive(Debug, Parser)]
#[command(name = "incept", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 fine, 1 failed, 2 usage, 3 the model is invalid or unsupported,\n\
    4 results differ, 5 slower than the baseline.\n\
    INCEPT_LOG=debug shows what happens inside; NO_COLOR is honoured.")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Compile a model and save its plan.
    Compile(compile::Compile),
    /// Run a model on a picture or on arrays.
    Run(run::Run),
    /// Print a model at one stage of compilation.
    Dump(dump::Dump),
    /// What every pass rewrote and refused, with its reasons.
    Explain(explain::Explain),
    /// What changed between two graphs: two models, or two stages of one.
    Diff(diff::Diff),
    /// The memory that a model runs in: a map of the arena, its peak beside the lower bound.
    Memory(memory::Memory),
    /// A model's inputs, outputs and operators; or what it costs once compiled.
    Inspect(inspect::Inspect),
    /// Time a model against itself without fusion, or without single passes.
    Bench(bench::Bench),
    /// Where the time of a run goes, step by step, beside what this machine could do.
    Profile(profile::Profile),
    /// Check compiled results against the interpreter or against given outputs.
    Compare(compare::Compare),
    /// Run ONNX test directories.
    Test(test::Test),
    /// One page about a compilation: graphs, memory, passes, and measurements where there are any.
    Report(report::Report),
    /// The built-in models.
    Models(lists::Models),
    /// The passes, in the order in which they run.
    Passes(lists::Passes),
    /// The operators of the graph.
    Ops(lists::Ops),
    /// The kernels that a model is compiled to.
    Kernels(kernels::Kernels),
    /// What this machine can run, and what may disturb measurements.
    Doctor(doctor::Doctor),
}

impl Verb {
    fn run(&self) -> Outcome {
        match self {
            Self::Compile(verb) => verb.run(),
            Self::Run(verb) => verb.run(),
            Self::Dump(verb) => verb.run(),
            Self::Explain(verb) => verb.run(),
            Self::Diff(verb) => verb.run(),
            Self::Memory(verb) => verb.run(),
            Self::Inspect(verb) => verb.run(),
            Self::Bench(verb) => verb.run(),
            Self::Profile(verb) => verb.run(),
            Self::Compare(verb) => verb.run(),
            Self::Test(verb) => verb.run(),
            Self::Report(verb) => verb.run(),
            Self::Models(verb) => verb.run(),
            Self::Passes(verb) => verb.run(),
            Self::Ops(verb) => verb.run(),
            Self::Kernels(verb) => verb.run(),
            Self::Doctor(verb) => verb.run(),
        }
    }
}

/// Runs the verb of the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("INCEPT_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(out::colour()).init();
    interrupt::install();
    match cli.verb.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.exit_code();
            if code != 0 {
                complain(failure);
            }
            ExitCode::from(code)
        }
    }
}

fn complain(failure: Failure) {
    // Names are not broken at their hyphens, for people copy them. It fails only where a hook is set already: this one.
    let _ = miette::set_hook(Box::new(|_| {
        Box::new(miette::MietteHandlerOpts::new().word_splitter(textwrap::WordSplitter::NoHyphenation).build())
    }));
    let report = miette::Report::new(failure);
    out::note(format_args!("{report:?}"));
}
