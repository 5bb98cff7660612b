//! How a verb ends when it does not end well: the exit code, and what is said on stderr.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use incept::error::{Error, Kind};
use incept::preprocess::PreprocessError;
use miette::Diagnostic;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The library refused.
    #[error(transparent)]
    Library(#[from] Error),
    /// The request does not make sense.
    #[error("{message}")]
    Usage {
        /// What does not.
        message: String,
        /// What would.
        help: String,
    },
    /// An array file cannot be used.
    #[error("`{}`: {cause}", .path.display())]
    Array {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
        /// What would help.
        help: String,
    },
    /// A picture cannot be decoded.
    #[error("`{}` is not a picture that can be read", .path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },
    /// A picture cannot be prepared for the model.
    #[error("`{}` cannot be prepared for this model", .path.display())]
    Prepare {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PreprocessError,
    },
    /// Results differ by more than they may.
    #[error("{message}")]
    Differ {
        /// What differs, and by how much.
        message: String,
        /// How to find out more.
        help: String,
    },
    /// No test could run.
    #[error("no test could run: {count} are refused")]
    AllRefused {
        /// How many tests there are.
        count: usize,
    },
    /// Something is slower than it was.
    #[error("{variant} takes {times:.3} times as long as in `{}`", .baseline.display())]
    Slower {
        /// The variant.
        variant: String,
        /// The time now over the time then.
        times: f64,
        /// The earlier measurement.
        baseline: PathBuf,
    },
    /// Standard output is closed or full.
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
}

/// What a verb returns.
pub type Outcome = Result<(), Failure>;

impl Failure {
    /// A request that does not make sense.
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), help: help.into() }
    }

    /// An array file that cannot be used.
    pub fn array(path: &Path, cause: impl fmt::Display, help: impl Into<String>) -> Self {
        Self::Array { path: path.into(), cause: cause.to_string(), help: help.into() }
    }

    /// A file that cannot be read.
    pub fn read(path: &Path, source: io::Error) -> Self {
        Error::Read { path: path.into(), source }.into()
    }

    /// A file that cannot be written.
    pub fn write(path: &Path, source: io::Error) -> Self {
        Error::Write { path: path.into(), source }.into()
    }

    /// The exit code: 1 failed, 2 usage, 3 the model is invalid or unsupported, 4 results differ, 5 slower than the
    /// baseline. A reader that went away is fine.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) => 1,
            Self::AllRefused { .. } => 3,
            Self::Differ { .. } => 4,
            Self::Slower { .. } => 5,
            Self::Usage { .. } | Self::Array { .. } | Self::Picture { .. } | Self::Prepare { .. } => 2,
            Self::Library(error) => match error.kind() {
                Kind::Usage => 2,
                Kind::Model => 3,
                Kind::Failed => 1,
            },
        }
    }
}

impl Diagnostic for Failure {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match self {
            Self::Library(error) => error.code(),
            Self::Usage { .. } => Some(Box::new("incept::usage")),
            Self::Array { .. } => Some(Box::new("incept::array")),
            Self::Picture { .. } | Self::Prepare { .. } => Some(Box::new("incept::picture")),
            Self::AllRefused { .. } => Some(Box::new("incept::all_refused")),
            Self::Differ { .. } => Some(Box::new("incept::differ")),
            Self::Slower { .. } => Some(Box::new("incept::slower")),
            Self::Output(_) => Some(Box::new("incept::stdout")),
        }
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match self {
            Self::Library(error) => error.help(),
            Self::Usage { help, .. } | Self::Array { help, .. } | Self::Differ { help, .. } => Some(Box::new(help)),
            Self::Slower { .. } => {
                Some(Box::new("`incept bench MODEL --ablate` and `incept profile MODEL` show where the time goes"))
            }
            Self::Picture { .. } => Some(Box::new("PNG, JPEG, WebP, BMP and PNM files can be read")),
            Self::AllRefused { .. } => Some(Box::new("the reasons are above; `incept ops` lists what is supported")),
            Self::Prepare { .. } | Self::Output(_) => None,
        }
    }
}
