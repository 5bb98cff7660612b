//! The same model compiled in several ways, as contenders.

use std::num::NonZeroUsize;
use std::sync::Arc;

use incept_compiler::lower::{LowerError, parts};
use incept_compiler::pipeline::PASSES;
use incept_runtime::{Session, SessionOptions, profile};

use super::sample::Contender;
use crate::compile::{CompileOptions, Compiled, pass_names};
use crate::error::Error;
use crate::inputs::noise;
use crate::model::Model;

/// A model compiled in one way.
#[derive(Clone)]
pub struct Variant {
    /// What it is called in reports.
    pub name: String,
    /// The passes and lowering decisions that were left out.
    pub disabled: Vec<String>,
    /// The plan and its code.
    pub compiled: Arc<Compiled>,
    /// How many threads run it.
    pub threads: NonZeroUsize,
}

impl Variant {
    /// With all passes but those that the options leave out; on one thread where they do not say.
    ///
    /// # Errors
    /// As [`Model::compile`].
    pub fn of(name: &str, model: &Model, options: &CompileOptions) -> Result<Self, Error> {
        let compiled = Arc::new(model.compile(options)?);
        let threads = options.threads.unwrap_or(NonZeroUsize::MIN);
        Ok(Self { name: name.into(), disabled: options.disabled.clone(), compiled, threads })
    }

    /// Without any pass but those that the model cannot run without, concatenations copied, nothing in place. Its kernels
    /// are chosen as for any other plan, and a large batch runs in parts as any other.
    ///
    /// # Errors
    /// As [`Model::compile`]; a saved plan has its passes behind it.
    pub fn unfused(model: &Model, options: &CompileOptions) -> Result<Self, Error> {
        let mut kept = 0;
        loop {
            let needed: Vec<&str> = PASSES.iter().take(kept).map(|pass| pass.name).collect();
            let left_out = fusing().filter(|name| !needed.contains(name)).map(Into::into);
            let disabled: Vec<String> = left_out.collect();
            match Self::of("unfused", model, &CompileOptions { disabled, ..options.clone() }) {
                Err(Error::Lower { source, .. })
                    if kept < PASSES.len() && matches!(*source, LowerError::Unsupported(_)) =>
                {
                    kept += 1;
                }
                done => return done,
            }
        }
    }

    /// The passes that ran although the variant is to have none.
    #[must_use]
    pub fn passes_that_ran(&self) -> Vec<&'static str> {
        fusing().filter(|name| !self.disabled.iter().any(|disabled| disabled == name)).collect()
    }

    /// The same code on another number of threads.
    #[must_use]
    pub fn on(&self, threads: NonZeroUsize) -> Self {
        Self { threads, ..self.clone() }
    }

    /// A contender that runs it on noise.
    ///
    /// # Errors
    /// Where there is not enough memory, or not enough threads.
    pub fn contender(&self) -> Result<Runs, Error> {
        Runs::new(self.compiled.clone(), self.threads)
    }
}

/// The passes and decisions that make of the model's graph what is fused.
fn fusing() -> impl Iterator<Item = &'static str> {
    pass_names().filter(|name| *name != parts::NAME)
}

/// Runs of one compiled model on noise.
pub struct Runs {
    compiled: Arc<Compiled>,
    options: SessionOptions,
    session: Session,
    inputs: Vec<Vec<f32>>,
}

impl Runs {
    /// A session on so many threads, and its inputs.
    ///
    /// # Errors
    /// Where there is not enough memory, or not enough threads.
    pub fn new(compiled: Arc<Compiled>, threads: NonZeroUsize) -> Result<Self, Error> {
        let options = SessionOptions { threads: Some(threads) };
        let session = compiled.session_with(&options)?;
        let ports = session.inputs().iter().zip(0..);
        let inputs = ports.map(|(port, seed)| noise(port.elements, seed)).collect();
        Ok(Self { compiled, options, session, inputs })
    }

    /// How many threads run it: fewer than were asked for where no step has so many tasks.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.session.threads()
    }

    /// Runs once, and says when each call of a kernel ran on which thread.
    ///
    /// # Errors
    /// As [`Session::run_profiled`].
    pub fn profiled(&mut self) -> Result<&profile::Profile, Error> {
        let inputs: Vec<&[f32]> = self.inputs.iter().map(Vec::as_slice).collect();
        Ok(self.session.run_profiled(&inputs)?)
    }
}

impl Contender for Runs {
    type Error = Error;

    fn renew(&mut self) -> Result<(), Error> {
        // The old session goes after the new one is there, so that the new one cannot lie where the old one lay.
        self.session = self.compiled.session_with(&self.options)?;
        for input in &mut self.inputs {
            *input = input.clone();
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), Error> {
        // A model has few inputs: no allocation.
        if let [only] = self.inputs.as_slice() {
            return Ok(self.session.run(&[only])?);
        }
        let inputs: Vec<&[f32]> = self.inputs.iter().map(Vec::as_slice).collect();
        Ok(self.session.run(&inputs)?)
    }
}
