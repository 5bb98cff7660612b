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

    /// The exit code: 1 failed, 2 usage, 3 the model is invalid or unsupported. A reader that went away is fine.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) => 1,
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
            Self::Output(_) => Some(Box::new("incept::stdout")),
        }
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match self {
            Self::Library(error) => error.help(),
            Self::Usage { help, .. } | Self::Array { help, .. } => Some(Box::new(help)),
            Self::Picture { .. } => Some(Box::new("PNG, JPEG, WebP, BMP and PNM files can be read")),
            Self::Prepare { .. } | Self::Output(_) => None,
        }
    }
}
