//! `incept dump`: a model at one stage of compilation.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use incept::compiler::frontend::onnx;
use incept::compiler::pipeline::PASSES;
use incept::ir::graph::Graph;
use incept::ir::plan;
use incept::ir::text::svg::SvgOptions;
use incept::ir::text::{self, Constants, PrintOptions};
use incept::names::nearest;
use incept::{Error, Model, report};
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
    incept dump model.onnx --format svg -o model.svg\n  \
    incept dump model.onnx --format onnx -o optimized.onnx\n  \
    incept dump model.onnx --format html -o model.html\n  \
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
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE", conflicts_with = "dump_dir")]
    output: Option<PathBuf>,
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
    /// A picture for browsers; graphs only
    Svg,
    /// An ONNX model, for viewers and other engines; graphs only
    Onnx,
    /// One page about the whole compilation: graphs before and after, memory, passes
    Html,
}

impl Format {
    fn extension(self) -> &'static str {
        match self {
            Self::Text => "txt",
            Self::Dot => "dot",
            Self::Json => "json",
            Self::Svg => "svg",
            Self::Onnx => "onnx",
            Self::Html => "html",
        }
    }
}

impl Dump {
    pub fn run(&self) -> Outcome {
        let model = self.model.load()?;
        if self.format == Format::Html {
            return self.html(&model);
        }
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
            Stage::Imported => self.print(self.graph(&model, model.graph()?)?),
            Stage::Optimized => self.print(self.graph(&model, &model.optimize(&options, &mut |_, _| {})?.graph)?),
            Stage::Plan => self.print(self.plan(&model.plan(&options)?.plan)?),
            Stage::Clif | Stage::Asm => {
                if self.format != Format::Text {
                    return Err(no_form(self.format, "code"));
                }
                let options = incept::CompileOptions { keep_text: stage == Stage::Clif, ..options };
                let compiled = model.compile(&options)?;
                let text = if stage == Stage::Clif { compiled.linked.listing.clif() } else { compiled.assembly()? };
                self.print(text.into_bytes())
            }
        }
    }

    fn html(&self, model: &Model) -> Outcome {
        if self.stage.is_some() || self.after.is_some() || self.dump_dir.is_some() {
            let help = "leave --stage, --after and --dump-dir out: the page has all stages";
            return Err(Failure::usage("a page is about the whole compilation, not about one stage", help));
        }
        self.print(report::html(model, &self.compile.options(), &report::Measurements::default())?.into_bytes())
    }

    /// Writes a result where it was asked for.
    fn print(&self, result: Vec<u8>) -> Outcome {
        match &self.output {
            Some(path) => files::write_whole(path, |file| file.write_all(&result)),
            None if self.format == Format::Onnx && std::io::stdout().is_terminal() => {
                Err(Failure::usage("an ONNX model is no text for a terminal", "name a file with -o FILE"))
            }
            None => out::raw(&result),
        }
    }

    fn after(&self, model: &Model, pass: &str) -> Outcome {
        if !PASSES.iter().any(|known| known.name == pass) {
            let nearest = nearest(pass, PASSES.iter().map(|known| known.name)).map(Into::into);
            return Err(Error::NoPass { names: vec![pass.into()], nearest }.into());
        }
        let mut found = None;
        model.optimize(&self.compile.options(), &mut |name, graph| {
            if name == pass {
                found = Some(graph.clone());
            }
        })?;
        match found {
            Some(graph) => self.print(self.graph(model, &graph)?),
            None => Err(Failure::usage(format!("the pass `{pass}` did not run"), "it is left out by --disable-pass")),
        }
    }

    fn all(&self, model: &Model, folder: &Path) -> Outcome {
        let options = self.compile.options();
        std::fs::create_dir_all(folder).map_err(|error| Failure::write(folder, error))?;
        let mut names = String::new();
        let mut count = 0;
        // Each file is written at once: the stages of a large model need not be in memory together.
        let mut write = |name: &str, stage: Result<Vec<u8>, Failure>| -> Outcome {
            let path = folder.join(format!("{count:02}-{name}.{}", self.format.extension()));
            let stage = stage?;
            files::write_whole(&path, |file| file.write_all(&stage))?;
            names += &format!("{}\n", path.display());
            count += 1;
            Ok(())
        };
        write("imported", self.graph(model, model.graph()?))?;
        let mut written = Ok(());
        model.optimize(&options, &mut |name, graph| {
            if written.is_ok() {
                written = write(name, self.graph(model, graph));
            }
        })?;
        written?;
        if matches!(self.format, Format::Text | Format::Json) {
            write("plan", self.plan(&model.plan(&options)?.plan))?;
        }
        out::text(&names)
    }

    /// A graph, at the batch size that was asked for.
    fn graph(&self, model: &Model, graph: &Graph) -> Result<Vec<u8>, Failure> {
        let concrete = match self.compile.options().batch {
            Some(batch) if graph.is_symbolic() => Some(model.with_batch(graph, batch)?),
            _ => None,
        };
        let graph = concrete.as_ref().unwrap_or(graph);
        Ok(match self.format {
            Format::Text => {
                let constants = if self.constants { Constants::Full } else { Constants::Elided };
                text::print(graph, &PrintOptions { constants }).into_bytes()
            }
            Format::Dot => text::dot::print(graph).into_bytes(),
            Format::Json => with_schema(text::json::print(graph)).into_bytes(),
            Format::Svg => text::svg::print(graph, &SvgOptions::default()).into_bytes(),
            Format::Onnx => onnx::export(graph)
                .map_err(|source| Error::Export { model: model.name().into(), source: Box::new(source) })?,
            Format::Html => return Err(no_form(Format::Html, "single graphs")),
        })
    }

    fn plan(&self, plan: &plan::Plan) -> Result<Vec<u8>, Failure> {
        match self.format {
            Format::Text => Ok(plan::text::print(plan).into_bytes()),
            Format::Json => Ok(with_schema(plan::json::summary(plan, None)).into_bytes()),
            format => Err(no_form(format, "plans")),
        }
    }
}

fn no_form(format: Format, what: &str) -> Failure {
    Failure::usage(format!("there is no {} form of {what}", format.extension()), "leave --format out")
}

fn with_schema(document: Value) -> String {
    let mut whole = serde_json::Map::new();
    whole.insert("schema".into(), out::SCHEMA.into());
    if let Value::Object(keys) = document {
        whole.extend(keys.into_iter().filter(|(key, _)| key != "schema"));
    }
    format!("{:#}\n", Value::Object(whole))
}
