//! What a compilation came to, in a few lines or keys.

use std::collections::BTreeMap;

use incept::{Compiled, Planned};
use serde_json::{Value, json};

use super::out;

/// How many steps of each kind, the most frequent first.
pub fn steps(planned: &Planned) -> Vec<(&'static str, usize)> {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for step in &planned.plan.steps {
        *counts.entry(step.kind.name()).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(name, count)| (std::cmp::Reverse(*count), *name));
    counts
}

/// How many rewrites each pass made, in the order of the passes; passes that made none are left out.
pub fn rewrites(planned: &Planned) -> Vec<(String, usize)> {
    let mut counts: Vec<(String, usize)> = Vec::new();
    for rewrite in planned.passes.iter().flat_map(|report| &report.rewrites) {
        match counts.iter_mut().find(|(pass, _)| pass.as_str() == rewrite.pass) {
            Some((_, count)) => *count += 1,
            None => counts.push((rewrite.pass.to_string(), 1)),
        }
    }
    counts
}

fn list<T: AsRef<str>>(counts: &[(T, usize)]) -> String {
    counts.iter().map(|(name, count)| format!("{count} {}", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// The plan in three lines.
pub fn planned(planned: &Planned) -> String {
    let plan = &planned.plan;
    let memory = &plan.memory;
    let mut text =
        format!("steps     {} for batch {}: {}\n", plan.steps.len(), plan.batch_text(), list(&steps(planned)));
    let rewrites = rewrites(planned);
    if !rewrites.is_empty() {
        text += &format!("rewrites  {}\n", list(&rewrites));
    }
    let proven = if memory.proven_optimal {
        "proven optimal".into()
    } else {
        format!("lower bound {}", out::bytes(memory.lower_bound_bytes))
    };
    text += &format!(
        "memory    arena {} ({proven}), weights {}, {} copied between layers\n",
        out::bytes(memory.arena_bytes),
        out::bytes(plan.weight_bytes()),
        out::bytes(plan.copied_bytes()),
    );
    text
}

/// The plan and the code.
pub fn compiled(compiled: &Compiled) -> String {
    let level = compiled.target.level();
    planned(&compiled.planned) + &format!("target    {} ({} lanes)\n", level.name(), level.lanes())
}

/// The same for programs: the plan's summary, and how many rewrites each pass made.
pub fn json(compiled: &Compiled) -> Value {
    let mut value = incept::ir::plan::json::summary(compiled.plan(), Some(compiled.target.level().name()));
    let rewrites: serde_json::Map<String, Value> =
        rewrites(&compiled.planned).into_iter().map(|(pass, count)| (pass, json!(count))).collect();
    value["rewrites_by_pass"] = rewrites.into();
    value
}
