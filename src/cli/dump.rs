//! `incept dump`: a model at one stage of compilation.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use incept::compiler::pipeline::PASSES;
use incept::ir::graph::Graph;
use incept::ir::plan;
use incept::ir::text::{self, Constants, PrintOptions};
use incept::names::nearest;
use incept::{Error, Model};
use serde_json::Value;

use super::args::{CompileArgs, ModelArgs};
use super::failure::{Failure, Outcome};
use super::{files, out};

/// Print a model at one stage of compilation.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept dump model.onnx\n  \
    incept dump model.onnx --after fold_batch_norm\n  \
    incept dump model.onnx --stage plan\n  \
    incept dump model.onnx --dump-dir stages --format dot")]
pub struct Dump {
    #[command(flatten)]
    model: ModelArgs,
    /// Which stage [default: optimized; plan for saved plans]
    #[arg(long, value_enum, conflicts_with = "after")]
    stage: Option<Stage>,
    /// The graph after this pass
    #[arg(long, value_name = "PASS")]
    after: Option<String>,
    /// Write the graph as imported, after each pass, and the plan, as numbered files of this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["stage", "after"])]
    dump_dir: Option<PathBuf>,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print every value of every constant, so that the text can be read back
    #[arg(long)]
    constants: bool,
    #[command(flatten)]
    compile: CompileArgs,
}

/// A stage of compilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// The graph as read
    Imported,
    /// The graph after all passes
    Optimized,
    /// Steps, buffers, views
    Plan,
    /// Cranelift's code of the loop nests
    Clif,
    /// Disassembled machine code
    Asm,
}

/// How something is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The text form of the stage
    Text,
    /// Graphviz; graphs only
    Dot,
    /// One JSON document; graphs and plans
    Json,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Text => "txt",
            Self::Dot => "dot",
            Self::Json => "json",
        }
    }
}

impl Dump {
    pub fn run(&self) -> Outcome {
        let model = self.model.load()?;
        if let Some(folder) = &self.dump_dir {
            return self.all(&model, folder);
        }
        if let Some(pass) = &self.after {
            return self.after(&model, pass);
        }
        let default = if model.graph().is_ok() { Stage::Optimized } else { Stage::Plan };
        let stage = self.stage.unwrap_or(default);
        let options = self.compile.options();
        match stage {
            Stage::Imported => out::text(&self.graph(model.graph()?)),
            Stage::Optimized => out::text(&self.graph(&model.optimize(&options, &mut |_, _| {})?.graph)),
            Stage::Plan => {
                let text = self.plan(&model.plan(&options)?.plan)?;
                out::text(&text)
            }
            Stage::Clif | Stage::Asm => {
                if self.format != Format::Text {
                    return Err(no_form(self.format, "code"));
                }
                let options = incept::CompileOptions { keep_text: stage == Stage::Clif, ..options };
                let compiled = model.compile(&options)?;
                out::text(&if stage == Stage::Clif { compiled.linked.listing.clif() } else { compiled.assembly()? })
            }
        }
    }

    fn after(&self, model: &Model, pass: &str) -> Outcome {
        if !PASSES.iter().any(|known| known.name == pass) {
            let nearest = nearest(pass, PASSES.iter().map(|known| known.name)).map(Into::into);
            return Err(Error::NoPass { names: vec![pass.into()], nearest }.into());
        }
        let mut text = None;
        model.optimize(&self.compile.options(), &mut |name, graph| {
            if name == pass {
                text = Some(self.graph(graph));
            }
        })?;
        match text {
            Some(text) => out::text(&text),
            None => Err(Failure::usage(format!("the pass `{pass}` did not run"), "it is left out by --disable-pass")),
        }
    }

    fn all(&self, model: &Model, folder: &Path) -> Outcome {
        let mut stages = vec![("imported".to_owned(), self.graph(model.graph()?))];
        let options = self.compile.options();
        model.optimize(&options, &mut |name, graph| stages.push((name.to_owned(), self.graph(graph))))?;
        if self.format != Format::Dot {
            stages.push(("plan".to_owned(), self.plan(&model.plan(&options)?.plan)?));
        }
        std::fs::create_dir_all(folder).map_err(|error| Failure::write(folder, error))?;
        let mut names = String::new();
        for (index, (name, text)) in stages.iter().enumerate() {
            let path = folder.join(format!("{index:02}-{name}.{}", self.format.extension()));
            files::write_whole(&path, |file| std::io::Write::write_all(file, text.as_bytes()))?;
            names += &format!("{}\n", path.display());
        }
        out::text(&names)
    }

    fn graph(&self, graph: &Graph) -> String {
        match self.format {
            Format::Text => {
                let constants = if self.constants { Constants::Full } else { Constants::Elided };
                text::print(graph, &PrintOptions { constants })
            }
            Format::Dot => text::dot::print(graph),
            Format::Json => with_schema(text::json::print(graph)),
        }
    }

    fn plan(&self, plan: &plan::Plan) -> Result<String, Failure> {
        match self.format {
            Format::Text => Ok(plan::text::print(plan)),
            Format::Json => Ok(with_schema(plan::json::summary(plan, None))),
            Format::Dot => Err(no_form(Format::Dot, "plans")),
        }
    }
}

fn no_form(format: Format, what: &str) -> Failure {
    Failure::usage(format!("{what} have no {} form", format.extension()), "leave --format out")
}

fn with_schema(document: Value) -> String {
    let mut whole = serde_json::Map::new();
    whole.insert("schema".into(), out::SCHEMA.into());
    if let Value::Object(keys) = document {
        whole.extend(keys.into_iter().filter(|(key, _)| key != "schema"));
    }
    format!("{:#}\n", Value::Object(whole))
}
