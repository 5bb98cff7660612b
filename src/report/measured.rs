//! Measurements to show in a report: the documents that `profile --json` and `bench --json` print.
//!
//! Only the keys that a report shows are read, so documents of later versions with more keys are understood.

use serde::Deserialize;

/// The schema that is understood.
pub const SCHEMA: u32 = 1;

/// Where the time of a run went.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Profile {
    schema: u32,
    /// The steps, in order.
    pub steps: Vec<ProfileStep>,
    /// Milliseconds of a plain run.
    pub total_ms: f64,
    /// Milliseconds of all steps together.
    pub sum_ms: f64,
    /// What the machine could do.
    #[serde(default)]
    pub peak: Option<Peak>,
    /// How many threads ran.
    #[serde(default)]
    pub threads: Option<usize>,
    /// The machine.
    #[serde(default)]
    pub machine: Machine,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ProfileStep {
    /// Its id in the plan.
    pub step: String,
    /// Its kind.
    pub kind: String,
    /// Its kernel.
    pub algorithm: String,
    /// The source nodes that it stands for.
    pub nodes: Vec<String>,
    /// Milliseconds.
    pub ms: f64,
    /// 10⁹ floating-point operations a second.
    pub gflops: f64,
    /// 10⁹ bytes a second.
    pub gbps: f64,
    /// The share of what its bound allows.
    pub percent_of_peak: f64,
    /// What bounds it.
    #[serde(default)]
    pub bound: String,
}

/// What a machine can do.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Peak {
    /// 10⁹ floating-point operations a second.
    pub gflops: f64,
    /// How fast it reads what lies near and far.
    #[serde(default)]
    pub reading: Vec<Reading>,
}

/// How fast a working set is read.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Reading {
    /// Its size.
    pub working_set_bytes: usize,
    /// 10⁹ bytes a second.
    pub gbps: f64,
}

/// A machine, as far as it is shown.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Machine {
    /// Its processor.
    #[serde(default)]
    pub cpu: String,
}

/// Variants timed beside each other.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Bench {
    schema: u32,
    /// The variants.
    pub variants: Vec<Variant>,
    /// Which of two is faster, and how sure that is.
    pub ratios: Vec<Ratio>,
    /// The machine.
    #[serde(default)]
    pub machine: Machine,
}

/// One variant and its times.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// How many threads ran.
    pub threads: usize,
    /// Items in one run.
    pub batch: usize,
    /// The shortest run.
    pub min_ms: f64,
    /// Half of the runs take no longer.
    pub median_ms: f64,
    /// Nine of ten runs take no longer.
    pub p90_ms: f64,
    /// Of a hundred runs 99 take no longer.
    pub p99_ms: f64,
    /// How many runs there were.
    pub runs: usize,
    /// The arena.
    pub arena_bytes: usize,
    /// The steps of the plan.
    pub steps: usize,
}

/// The time of one variant over that of another.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Ratio {
    /// The one above.
    pub slow: String,
    /// The one below.
    pub fast: String,
    /// The ratio of the medians.
    pub median: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end; nothing where it is open.
    pub high: Option<f64>,
    /// Whether the interval excludes 1.
    pub significant: bool,
}

/// Why a document is not understood.
#[derive(Debug, thiserror::Error)]
pub enum MeasuredError {
    /// It is no document of this form.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// It is of another schema.
    #[error("its schema is {0}, but {SCHEMA} is understood")]
    Schema(u32),
}

/// Reads a profile.
///
/// # Errors
/// Where the text is no document of `profile --json` in this schema.
pub fn profile(text: &str) -> Result<Profile, MeasuredError> {
    let found: Profile = serde_json::from_str(text)?;
    if found.schema == SCHEMA { Ok(found) } else { Err(MeasuredError::Schema(found.schema)) }
}

/// Reads a benchmark.
///
/// # Errors
/// Where the text is no document of `bench --json` in this schema.
pub fn bench(text: &str) -> Result<Bench, MeasuredError> {
    let found: Bench = serde_json::from_str(text)?;
    if found.schema == SCHEMA { Ok(found) } else { Err(MeasuredError::Schema(found.schema)) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn documents_need_their_schema_and_may_have_more_keys() {
        let text = r#"{"schema": 1, "variants": [], "ratios": [], "later": true}"#;
        assert!(bench(text).unwrap().variants.is_empty());
        let other = bench(&text.replace("1,", "2,")).unwrap_err();
        assert_eq!(other.to_string(), "its schema is 2, but 1 is understood");
        assert!(profile(text).unwrap_err().to_string().contains("missing field `steps`"));
        assert!(profile("[").is_err());
    }
}
