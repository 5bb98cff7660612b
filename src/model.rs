//! A model as the compiler takes it: a graph, or a plan that was compiled before.

use std::fmt;
use std::path::{Path, PathBuf};

use incept_compiler::frontend::onnx;
use incept_ir::describe::{self, Weights};
use incept_ir::graph::Graph;
use incept_ir::models::{self, ModelOptions};
use incept_ir::plan::{Plan, file as plan_file};
use incept_runtime::{FileBytes, map_file};

use crate::error::Error;
use crate::names::nearest;
use crate::preprocess::Preprocess;

/// Where a model came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An ONNX file.
    Onnx(PathBuf),
    /// A description (`.toml`, `.json`).
    Description(PathBuf),
    /// A built-in model.
    BuiltIn(String),
    /// A saved plan.
    Plan(PathBuf),
    /// A graph made by the caller.
    Memory,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Onnx(path) => write!(f, "ONNX file {}", path.display()),
            Self::Description(path) => write!(f, "description {}", path.display()),
            Self::BuiltIn(name) => write!(f, "built-in model {name}"),
            Self::Plan(path) => write!(f, "saved plan {}", path.display()),
            Self::Memory => f.write_str("graph in memory"),
        }
    }
}

/// What a model is made of.
#[derive(Debug, Clone)]
pub enum Body {
    /// A graph, to be optimised and lowered.
    Graph(Graph),
    /// A plan for one batch size; only code is missing.
    Plan(Plan),
}

/// How to load what leaves a choice.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The safetensors file with a description's weights.
    pub weights: Option<PathBuf>,
    /// Seeds the weights of a description, or of a built-in model that brings none of its own.
    pub seed: u64,
    /// Keeps the auxiliary heads of a built-in model that has some, as further outputs.
    pub training_heads: bool,
}

/// A loaded model.
#[derive(Debug, Clone)]
pub struct Model {
    name: String,
    source: Source,
    body: Body,
    preprocess: Option<Preprocess>,
    /// The hash of the file that it was read from; 0 for others, and for large files, which are hashed when asked.
    hash: u128,
    /// The file that most of its bytes are in.
    file: Option<FileBytes>,
}

impl Model {
    /// Loads a model: the path of an `.onnx` file, a description (`.toml`, `.json`) or a saved plan (`.plan`), or the name
    /// of a built-in model ([`models::names`]).
    ///
    /// # Errors
    /// Where there is no such model, or it is invalid.
    pub fn load(model: &str) -> Result<Self, Error> {
        Self::load_with(model, &LoadOptions::default())
    }

    /// As [`Model::load`], with options.
    ///
    /// # Errors
    /// As [`Model::load`], and where an option does not apply to the model.
    pub fn load_with(model: &str, options: &LoadOptions) -> Result<Self, Error> {
        let path = Path::new(model);
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        let described = matches!(extension.as_deref(), Some("toml" | "json"));
        if options.weights.is_some() && !described {
            let help = "the weights of ONNX files, plans and built-in models are part of them";
            return Err(Error::NotApplicable { option: "--weights", to: format!("`{model}`"), help });
        }
        match extension.as_deref() {
            Some("onnx") => Self::load_onnx(path),
            Some("plan") => Self::load_plan(path),
            Some("toml" | "json") => Self::load_description(path, extension.as_deref() == Some("json"), options),
            _ if models::names().any(|name| name == model) => Self::built_in(model, options),
            _ if path.exists() => {
                map_file(path).map_err(|source| Error::Read { path: path.into(), source })?;
                Err(Error::UnknownKind { path: path.into() })
            }
            _ => {
                let known = models::names().map(Into::into).collect();
                let nearest = nearest(model, models::names()).map(Into::into);
                Err(Error::NoModel { name: model.into(), nearest, known })
            }
        }
    }

    /// A graph made by the caller.
    #[must_use]
    pub fn from_graph(graph: Graph) -> Self {
        let name = graph.name().to_string();
        Self { name, source: Source::Memory, body: Body::Graph(graph), preprocess: None, hash: 0, file: None }
    }

    fn load_onnx(path: &Path) -> Result<Self, Error> {
        let file = read(path)?;
        let name = stem(path);
        let graph = onnx::import(file.bytes().clone(), &name)
            .map_err(|source| Error::Import { file: path.display().to_string(), source: Box::new(source) })?;
        let (source, body) = (Source::Onnx(path.into()), Body::Graph(graph));
        Ok(Self { name, source, body, preprocess: None, hash: 0, file: Some(file) })
    }

    fn load_plan(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::PlanFile { path: path.into(), source: Box::new(source) };
        let file = read(path)?;
        let plan = plan_file::decode(file.bytes()).map_err(failed)?;
        let hash = plan_file::Header::read(file.bytes()).map_err(failed)?.model_hash;
        let preprocess = preprocess_of(&plan.name);
        let (name, source) = (plan.name.clone(), Source::Plan(path.into()));
        Ok(Self { name, source, body: Body::Plan(plan), preprocess, hash, file: Some(file) })
    }

    fn load_description(path: &Path, json: bool, options: &LoadOptions) -> Result<Self, Error> {
        let failed = |source| Error::Describe { file: path.display().to_string(), source: Box::new(source) };
        let bytes = read(path)?.bytes().clone();
        let text = std::str::from_utf8(&bytes).map_err(|error| Error::Read {
            path: path.into(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        })?;
        let description = if json { describe::parse_json(text) } else { describe::parse_toml(text) }.map_err(failed)?;
        let file = options.weights.as_ref().map(|weights| read(weights)).transpose()?;
        let weights = match &file {
            Some(file) => Weights::Safetensors(file.bytes().clone()),
            None => Weights::Seeded(options.seed),
        };
        let graph = description.build(weights).map_err(failed)?;
        let (name, hash) = (graph.name().to_string(), plan_file::model_hash(&bytes));
        let (source, body) = (Source::Description(path.into()), Body::Graph(graph));
        Ok(Self { name, source, body, preprocess: None, hash, file })
    }

    fn built_in(name: &str, options: &LoadOptions) -> Result<Self, Error> {
        let model_options = ModelOptions { seed: options.seed, training_heads: options.training_heads };
        let graph = models::build(name, &model_options).map_err(|source| Error::BuiltIn(Box::new(source)))?;
        let preprocess = preprocess_of(name);
        Ok(Self {
            name: name.into(),
            source: Source::BuiltIn(name.into()),
            body: Body::Graph(graph),
            preprocess,
            hash: 0,
            file: None,
        })
    }

    /// Gives the memory of the model's file back to the system, where it was mapped; see [`FileBytes::let_go`].
    pub(crate) fn let_go(&self) {
        if let Some(file) = &self.file {
            file.let_go();
        }
    }

    /// The model's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it came from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// What it is made of.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The hash of the file that it was read from, by which a plan remembers it; 0 where there was none. A saved plan gives
    /// that of the model that it was compiled from.
    #[must_use]
    pub fn hash(&self) -> u128 {
        match (&self.source, &self.file) {
            (Source::Onnx(_), Some(file)) => plan_file::model_hash(file.bytes()),
            _ => self.hash,
        }
    }

    /// How pictures are prepared for it, where the model says so.
    #[must_use]
    pub fn preprocess(&self) -> Option<Preprocess> {
        self.preprocess
    }

    /// The names of its classes, in the order of its scores; empty where the model brings none.
    #[must_use]
    pub fn labels(&self) -> &'static [&'static str] {
        match &self.source {
            Source::BuiltIn(_) | Source::Plan(_) => built_in(&self.name).map_or(&[], |model| model.labels),
            _ => &[],
        }
    }

    /// Its graph.
    ///
    /// # Errors
    /// Where the model is a saved plan, which holds none.
    pub fn graph(&self) -> Result<&Graph, Error> {
        match &self.body {
            Body::Graph(graph) => Ok(graph),
            Body::Plan(_) => Err(Error::NotApplicable {
                option: "a stage before `plan`",
                to: self.source.to_string(),
                help: "a saved plan holds no graph: give the model that it was compiled from",
            }),
        }
    }
}

fn read(path: &Path) -> Result<FileBytes, Error> {
    map_file(path).map_err(|source| Error::Read { path: path.into(), source })
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy().into_owned())
}

/// How pictures are prepared for a built-in model.
fn preprocess_of(name: &str) -> Option<Preprocess> {
    Preprocess::parse(built_in(name)?.preprocess?)
}

fn built_in(name: &str) -> Option<&'static models::Model> {
    models::MODELS.iter().find(|model| model.name == name)
}
