//! Pictures and comparisons for people: what the compiler made of a model, and why.
//!
//! | module | what lives there |
//! |---|---|
//! | [`html`] | all of it as one page that works offline |
//! | [`measured`] | measurements to show: the documents of `profile --json` and `bench --json` |
//! | [`memory`] | the arena: who lies where, from when to when |
//! | [`diff`](mod@diff) | what changed between two graphs, by the source nodes that their nodes stand for |
//!
//! Depends on the graph and the plan of `ir`, and on what passes and lowering report. Everything here is derived: nothing
//! is decided, and nothing is read but what it is given.

pub mod diff;
pub mod html;
pub mod measured;
pub mod memory;

use crate::{CompileOptions, Error, Model};

/// Measurements to show beside what was compiled.
#[derive(Debug, Clone, Default)]
pub struct Measurements {
    /// Where the time of a run went.
    pub profile: Option<measured::Profile>,
    /// How variants compare.
    pub bench: Option<measured::Bench>,
}

/// A model's report as one HTML page; see [`html`](mod@html).
///
/// # Errors
/// As [`Model::plan`], and where the model is a saved plan, which holds no graph.
pub fn html(model: &Model, options: &CompileOptions, measurements: &Measurements) -> Result<String, Error> {
    let before = model.graph()?;
    let after = model.optimize(options, &mut |_, _| {})?.graph;
    let planned = model.plan(options)?;
    let target = crate::compile::target(&options.target)?;
    Ok(html::page(&html::Parts {
        model: model.name(),
        source: &model.source().to_string(),
        before,
        after: &after,
        passes: &planned.passes.unwrap_or_default(),
        lowering: &planned.lowering.unwrap_or_default(),
        plan: &planned.plan,
        target: Some(target.level().name()),
        profile: measurements.profile.as_ref(),
        bench: measurements.bench.as_ref(),
    }))
}
