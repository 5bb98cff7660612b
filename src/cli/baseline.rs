//! An earlier measurement, to compare with.
//!
//! The two were not measured in turns, so what is compared is weaker than within one measurement: the medians, with the
//! interval that both of theirs allow.

use std::path::{Path, PathBuf};

use incept::Model;
use incept::measure::{Interval, Machine, Ratio};
use serde::Deserialize;
use serde_json::{Value, json};

use super::bench::Measured;
use super::failure::Failure;
use super::out;
use super::units::threads;

/// What is read of the document of `incept bench --json`.
#[derive(Debug, Deserialize)]
struct Document {
    schema: u32,
    model: String,
    machine: OldMachine,
    variants: Vec<OldVariant>,
}

#[derive(Debug, Deserialize)]
struct OldMachine {
    cpu: String,
}

#[derive(Debug, Deserialize)]
struct OldVariant {
    name: String,
    threads: usize,
    batch: usize,
    target: String,
    median_ms: f64,
    median_low_ms: f64,
    median_high_ms: Option<f64>,
}

/// An earlier measurement.
#[derive(Debug)]
pub struct Baseline {
    path: PathBuf,
    document: Document,
}

/// A variant then and now.
#[derive(Debug)]
pub struct Change {
    /// The variant.
    pub variant: String,
    /// On how many threads.
    pub threads: usize,
    /// The time now over the time then.
    pub ratio: Ratio,
}

impl Baseline {
    /// Reads the document of an earlier measurement.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::read(path, error))?;
        let help = "make it with `incept bench MODEL --json`";
        let document: Document = serde_json::from_str(&text).map_err(|error| {
            Failure::usage(format!("`{}` is no measurement that can be compared with: {error}", path.display()), help)
        })?;
        if document.schema != out::SCHEMA {
            let message = format!("`{}` has schema {}, not {}", path.display(), document.schema, out::SCHEMA);
            return Err(Failure::usage(message, help));
        }
        Ok(Self { path: path.into(), document })
    }

    /// What changed, of the variants that both have.
    pub fn changes(&self, model: &Model, measured: &[Measured]) -> Result<Vec<Change>, Failure> {
        let machine = Machine::here();
        if machine.cpu != self.document.machine.cpu {
            out::note(format_args!(
                "note: the baseline was measured on another CPU ({}); this is {}",
                self.document.machine.cpu, machine.cpu
            ));
        }
        let mut changes = Vec::new();
        for one in measured {
            let compiled = &one.variant.compiled;
            let old = self.document.variants.iter().find(|old| {
                old.name == one.variant.name
                    && old.threads == one.threads
                    && old.batch == compiled.plan().batch
                    && old.target == compiled.target.level().name()
                    && self.document.model == model.name()
            });
            if let Some(old) = old {
                changes.push(Change { variant: one.variant.name.clone(), threads: one.threads, ratio: old.ratio(one) });
            }
        }
        if changes.is_empty() {
            let message = format!("`{}` holds no variant of this model, batch size and target", self.path.display());
            return Err(Failure::usage(message, "measure the same variants as the baseline's"));
        }
        Ok(changes)
    }
}

impl OldVariant {
    fn ratio(&self, now: &Measured) -> Ratio {
        let (low, high) = (self.median_low_ms / 1e3, self.median_high_ms.unwrap_or(f64::INFINITY) / 1e3);
        let summary = &now.summary;
        Ratio {
            median: summary.median / (self.median_ms / 1e3),
            interval: Interval { low: summary.interval.low / high, high: summary.interval.high / low },
        }
    }
}

impl Change {
    /// Whether the variant is slower by more than this share, and not by chance.
    pub fn is_slower(&self, above: f64) -> bool {
        self.ratio.median > 1.0 + above && self.ratio.interval.low > 1.0
    }

    /// The change for people.
    pub fn text(&self) -> String {
        let Interval { low, high } = self.ratio.interval;
        let verdict = if self.ratio.significant() { "" } else { ", which may be noise" };
        format!(
            "{} on {}: {:.3} ({low:.3} to {high:.3}) times the baseline's time{verdict}\n",
            self.variant,
            threads(self.threads),
            self.ratio.median
        )
    }

    /// The change for programs.
    pub fn json(&self) -> Value {
        let Interval { low, high } = self.ratio.interval;
        let finite = |value: f64| if value.is_finite() { json!(value) } else { Value::Null };
        json!({
            "variant": self.variant,
            "threads": self.threads,
            "median": self.ratio.median,
            "low": low,
            "high": finite(high),
            "significant": self.ratio.significant(),
        })
    }
}
