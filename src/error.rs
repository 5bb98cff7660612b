//! The one error of this library: everything between a file and a running session.
//!
//! An [`Error`] names the file, the node and its op, the cause and what would help. It is a [`miette::Diagnostic`]: `code`
//! is a stable name for scripts and searches, `help` is what to try. [`Error::kind`] says whose move it is.

use std::fmt;
use std::io;
use std::path::PathBuf;

use incept_compiler::codegen::CodegenError;
use incept_compiler::frontend::onnx::{ExportError, ImportError};
use incept_compiler::lower::LowerError;
use incept_compiler::pass::PassError;
use incept_ir::describe::DescribeError;
use incept_ir::graph::GraphError;
use incept_ir::interp::InterpError;
use incept_ir::models::ModelError;
use incept_ir::plan::file::PlanFileError;
use incept_ir::tensor::TensorError;
use incept_runtime::SessionError;
use miette::Diagnostic;

/// Whose move it is after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be understood: a name, an option, a path or an array is wrong.
    Usage,
    /// The model is invalid, or asks for what is not supported.
    Model,
    /// Everything else: files that cannot be written, memory that is not there, errors of this program.
    Failed,
}

/// Why a model could not be loaded, compiled or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write `{}`", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A name is that of neither a file nor a built-in model.
    #[error("there is no model `{name}`: neither a file nor a built-in model has this name")]
    NoModel {
        /// What was asked for.
        name: String,
        /// The built-in model with the nearest name.
        nearest: Option<String>,
        /// All built-in models.
        known: Vec<String>,
    },
    /// A file is of no kind that models have.
    #[error("`{}` is of no known kind", .path.display())]
    UnknownKind {
        /// The file.
        path: PathBuf,
    },
    /// An option does not apply to this kind of model.
    #[error("{option} does not apply to {to}")]
    NotApplicable {
        /// The option.
        option: &'static str,
        /// What it does not apply to.
        to: String,
        /// What to do instead.
        help: &'static str,
    },
    /// Passes are named that do not exist.
    #[error("there is no pass {}", quoted(.names))]
    NoPass {
        /// The unknown names.
        names: Vec<String>,
        /// The pass with the name nearest to the first.
        nearest: Option<String>,
    },
    /// An output is asked for that the model does not have.
    #[error("the model has no output `{name}`")]
    NoOutput {
        /// What was asked for.
        name: String,
        /// The output with the nearest name.
        nearest: Option<String>,
        /// All outputs.
        known: Vec<String>,
    },
    /// An ONNX file cannot be read as a graph.
    #[error("`{file}` cannot be imported")]
    Import {
        /// The file.
        file: String,
        /// Why.
        source: Box<ImportError>,
    },
    /// A description or its weights cannot be built into a graph.
    #[error("`{file}` cannot be built")]
    Describe {
        /// The description's file.
        file: String,
        /// Why.
        source: Box<DescribeError>,
    },
    /// A built-in model cannot be built.
    #[error(transparent)]
    BuiltIn(Box<ModelError>),
    /// A saved plan cannot be read.
    #[error("`{}` cannot be loaded", .path.display())]
    PlanFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<PlanFileError>,
    },
    /// A graph is invalid, or has no form for the batch size.
    #[error("the graph of `{model}` is invalid")]
    Graph {
        /// The model.
        model: String,
        /// Why.
        source: Box<GraphError>,
    },
    /// A graph has no form in a file format.
    #[error("`{model}` cannot be written as ONNX")]
    Export {
        /// The model.
        model: String,
        /// Why.
        source: Box<ExportError>,
    },
    /// A pass failed.
    #[error("optimising `{model}` failed")]
    Pass {
        /// The model.
        model: String,
        /// Why.
        source: Box<PassError>,
    },
    /// Nodes have no compiled form.
    #[error("`{model}` cannot be compiled")]
    Lower {
        /// The model.
        model: String,
        /// Why.
        source: Box<LowerError>,
    },
    /// No code can be emitted.
    #[error("no code can be emitted for `{model}`")]
    Codegen {
        /// The model.
        model: String,
        /// Why.
        source: Box<CodegenError>,
    },
    /// The target is unknown, or this CPU lacks it.
    #[error(transparent)]
    Target(Box<CodegenError>),
    /// The reference interpreter refuses the model or its inputs.
    #[error("`{model}` cannot be interpreted")]
    Interp {
        /// The model.
        model: String,
        /// Why.
        source: Box<InterpError>,
    },
    /// An input does not hold `f32`.
    #[error("input {index} cannot be given to compiled code")]
    Input {
        /// Its position among the model's inputs.
        index: usize,
        /// Why.
        source: Box<TensorError>,
    },
    /// A session cannot be made or run.
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl Error {
    /// Whose move it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Read { .. }
            | Self::NoModel { .. }
            | Self::NotApplicable { .. }
            | Self::BuiltIn(_)
            | Self::NoPass { .. }
            | Self::NoOutput { .. }
            | Self::Target(_)
            | Self::Input { .. }
            | Self::Session(
                SessionError::InputCount { .. } | SessionError::OutputCount { .. } | SessionError::PortSize { .. },
            ) => Kind::Usage,
            Self::UnknownKind { .. }
            | Self::Import { .. }
            | Self::Describe { .. }
            | Self::PlanFile { .. }
            | Self::Graph { .. }
            | Self::Interp { .. }
            | Self::Export { .. }
            | Self::Lower { .. } => Kind::Model,
            Self::Write { .. }
            | Self::Pass { .. }
            | Self::Codegen { .. }
            | Self::Session(SessionError::Module { .. } | SessionError::Memory { .. } | SessionError::Threads { .. }) => {
                Kind::Failed
            }
        }
    }

    fn code_name(&self) -> &'static str {
        match self {
            Self::Read { .. } => "incept::read",
            Self::Write { .. } => "incept::write",
            Self::NoModel { .. } => "incept::no_model",
            Self::UnknownKind { .. } => "incept::unknown_kind",
            Self::NotApplicable { .. } => "incept::not_applicable",
            Self::NoPass { .. } => "incept::no_pass",
            Self::NoOutput { .. } => "incept::no_output",
            Self::Import { .. } => "incept::import",
            Self::Describe { .. } => "incept::describe",
            Self::PlanFile { .. } => "incept::plan_file",
            Self::Graph { .. } => "incept::graph",
            Self::Export { .. } => "incept::export",
            Self::Pass { .. } => "incept::pass",
            Self::Lower { .. } => "incept::lower",
            Self::BuiltIn(_) => "incept::built_in",
            Self::Codegen { .. } => "incept::codegen",
            Self::Target(_) => "incept::target",
            Self::Interp { .. } => "incept::interp",
            Self::Input { .. } => "incept::input",
            Self::Session(_) => "incept::session",
        }
    }

    fn help_text(&self) -> Option<String> {
        Some(match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "check the path; `incept --help` lists the built-in models".into()
            }
            Self::NoModel { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            Self::NoModel { known, .. } => format!("built-in models: {}", known.join(", ")),
            Self::UnknownKind { .. } => {
                "models are .onnx files, descriptions (.toml, .json), saved plans (.plan) or built-in names".into()
            }
            Self::NotApplicable { help, .. } => (*help).into(),
            Self::NoPass { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`? `incept passes` lists all"),
            Self::NoPass { .. } => "`incept passes` lists all".into(),
            Self::NoOutput { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            Self::NoOutput { known, .. } => format!("its outputs: {}", known.join(", ")),
            Self::Import { source, .. } => return source.help(),
            Self::PlanFile { .. } => "make the plan again from its model with `incept compile MODEL -o OUT.plan`".into(),
            Self::Pass { .. } => {
                "this is an error of the compiler, not of the model; `--disable-pass` leaves the pass out".into()
            }
            Self::Lower { source, .. } if matches!(**source, LowerError::Plan(_)) => {
                "this is an error of the compiler, not of the model; `incept dump MODEL` shows what it was given".into()
            }
            Self::Codegen { .. } => {
                "this is an error of the compiler, not of the model; `incept dump MODEL --stage plan` shows what it made"
                    .into()
            }
            Self::Target(_) => "`incept doctor` shows what this CPU can run".into(),
            Self::Session(SessionError::PortSize { .. } | SessionError::InputCount { .. }) => {
                "`incept inspect MODEL` shows the inputs and their sizes".into()
            }
            _ => return None,
        })
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl Diagnostic for Error {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code_name()))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help_text().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
}
