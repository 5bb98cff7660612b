//! One profiled run as a trace that Chrome and Perfetto show.
//!
//! The format is Chrome's JSON trace events: complete events (`"ph": "X"`) with microseconds since the run began, one lane
//! (`tid`) a thread.

use incept::measure::profile::Profile;
use serde_json::{Value, json};

/// The trace of one run of a model.
pub fn document(model: &str, profile: &Profile) -> Value {
    let name = |thread: usize, what: &str, name: String| json!({ "ph": "M", "pid": 1, "tid": thread, "name": what, "args": { "name": name } });
    let mut events = vec![name(0, "process_name", format!("incept {model}"))];
    events.extend((0..profile.threads).map(|thread| name(thread, "thread_name", format!("thread {thread}"))));
    for record in &profile.one_run {
        let Some(step) = profile.steps.get(record.step.index()) else { continue };
        events.push(json!({
            "ph": "X",
            "pid": 1,
            "tid": record.thread,
            "name": step.name,
            "cat": step.kind,
            "ts": micros(record.begin_ns),
            "dur": micros(record.ns()),
            "args": {
                "step": format!("s{}", step.index),
                "kernel": step.kernel,
                "module": step.module,
                "nodes": step.nodes,
            },
        }));
    }
    json!({ "displayTimeUnit": "ms", "traceEvents": events })
}

#[allow(clippy::cast_precision_loss, reason = "nanoseconds of one run")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}
