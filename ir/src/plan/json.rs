//! The summary of a plan as JSON, for other programs.

use serde_json::{Value, json};

use super::Plan;

/// The number that other programs check before they read the keys; keys may be added within one schema, not changed.
pub const SCHEMA: u32 = 1;

/// The summary: steps by kind, the arena, copies and weights. `target` names the CPU level that the plan would be linked
/// for, where that is known.
#[must_use]
pub fn summary(plan: &Plan, target: Option<&str>) -> Value {
    json!({
        "schema": SCHEMA,
        "name": plan.name,
        "batch": plan.batch,
        "parts": plan.parts,
        "exact": plan.exact,
        "steps": plan.steps.len(),
        "steps_by_kind": plan.steps_by_kind(),
        "regions": plan.regions,
        "arena_bytes": plan.memory.arena_bytes,
        "arena_lower_bound_bytes": plan.memory.lower_bound_bytes,
        "arena_proven_optimal": plan.memory.proven_optimal,
        "arena_strategy": plan.memory.strategy,
        "copied_bytes": plan.copied_bytes(),
        "weight_bytes": plan.weight_bytes(),
        "target": target,
    })
}
