//! `incept profile`: where the time of a run goes, step by step, beside what this machine could do.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use incept::Compiled;
use incept::measure::Machine;
use incept::measure::profile::{self, StepProfile};
use serde_json::{Value, json};

use super::args::{CompileArgs, ModelArgs};
use super::failure::Outcome;
use super::progress::Progress;
use super::units::{self, ms};
use super::{files, out, trace};

/// Where the time of a run goes, step by step, beside what this machine could do.
///
/// Profiled runs on noise alternate with plain ones; times are means over the quieter half, so the steps add up to a whole
/// run, and the plain runs tell what profiling costs. The peaks are measured in the same process: multiply-adds on
/// registers, and reading speeds at several sizes. A step is bound by `compute` where its multiply-adds would take longer
/// at peak than its bytes, else by `memory`; `of peak` is that time over the time it took. Operations are counted as a
/// direct convolution needs them, so Winograd's algorithm, which needs fewer, may be above 100 %.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept profile tiny-inception --duration 100ms\n  \
    incept profile tiny-inception --duration 100ms --disable-pass fold_batch_norm\n  \
    incept profile tiny-inception --duration 100ms --trace out.json\n  \
    incept profile tiny-inception --duration 100ms --json")]
pub struct Profile {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    compile: CompileArgs,
    /// How many threads run it; on several, a step's time is what all spent on it over their number
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
    /// How long to measure: 5s, 500ms, 2m
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = units::duration)]
    duration: Duration,
    /// Write one run as a trace for Chrome (chrome://tracing) or Perfetto, a lane a thread
    #[arg(long, value_name = "OUT.json")]
    trace: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Profile {
    pub fn run(&self) -> Outcome {
        let model = self.model.load()?;
        let compiled = Arc::new(model.compile(&self.compile.options())?);
        let progress = Progress::new("profiling");
        let profile = profile::profile(&compiled, self.threads, self.duration, &mut |share| progress.set(share))?;
        drop(progress);
        if let Some(path) = &self.trace {
            let document = trace::document(model.name(), &profile);
            files::write_whole(path, |file| {
                let mut file = std::io::BufWriter::new(file);
                serde_json::to_writer(&mut file, &document)?;
                std::io::Write::flush(&mut file)
            })?;
        }
        if self.json {
            return out::json(document(model.name(), &compiled, &profile));
        }
        let mut text = head(model.name(), &compiled, &profile);
        text += &steps(&profile);
        text += &format!("\n{}", groups("module", &profile, |step| step.module.clone()));
        text += &format!("\n{}", groups("kind", &profile, |step| step.kind.into()));
        out::text(&text)
    }
}

fn head(name: &str, compiled: &Compiled, profile: &profile::Profile) -> String {
    let (machine, peaks) = (Machine::here(), &profile.peaks);
    let speeds: Vec<String> =
        peaks.gbps.iter().map(|(bytes, rate)| format!("{rate:.0} within {}", out::bytes(*bytes))).collect();
    let waiting = match profile.threads {
        1 => String::new(),
        _ => format!(
            "          {} ms of it is waiting of threads for each other\n",
            ms((profile.total - profile.sum).max(0.0))
        ),
    };
    format!(
        "{name}, batch {}, {}, {}, incept {}\n{}\npeak      {:.1} GFLOP/s; reading, GB/s: {}\n\
         one run   {} ms plain, {} ms in steps (means over the quieter {} runs); profiling costs {:+.1} %\n{waiting}\n",
        compiled.plan().batch,
        compiled.target.level().name(),
        units::threads(profile.threads),
        machine.incept,
        machine.cpu,
        peaks.gflops,
        speeds.join(", "),
        ms(profile.total),
        ms(profile.sum),
        profile.runs,
        profile.overhead * 100.0,
    )
}

fn steps(profile: &profile::Profile) -> String {
    let rows = profile.steps.iter().map(|step| {
        vec![
            format!("s{}", step.index),
            step.kind.into(),
            ms(step.seconds),
            format!("{:.1}", step.seconds / profile.sum * 100.0),
            format!("{:.1}", step.gflops()),
            format!("{:.1}", step.gbps()),
            format!("{:.0} {}", step.of_peak * 100.0, step.bound.name()),
            step.kernel.clone(),
            step.nodes.join(", "),
        ]
    });
    let head = ["step", "kind", "ms", "%", "GFLOP/s", "GB/s", "% of peak", "kernel", "nodes"];
    out::table(&head, rows.collect())
}

/// The steps by some property, in the order in which they first appear.
fn groups(what: &str, profile: &profile::Profile, key: impl Fn(&StepProfile) -> String) -> String {
    let mut order: Vec<String> = Vec::new();
    let mut sums: BTreeMap<String, (usize, f64, f64)> = BTreeMap::new();
    for step in &profile.steps {
        let key = key(step);
        if !sums.contains_key(&key) {
            order.push(key.clone());
        }
        let (count, seconds, flops) = sums.entry(key).or_default();
        (*count, *seconds, *flops) = (*count + 1, *seconds + step.seconds, *flops + step.work.flops);
    }
    let rows = order.into_iter().filter_map(|key| {
        let (count, seconds, flops) = *sums.get(&key)?;
        Some(vec![
            key,
            count.to_string(),
            ms(seconds),
            format!("{:.1}", seconds / profile.sum * 100.0),
            format!("{:.1}", flops / seconds.max(1e-12) / 1e9),
        ])
    });
    out::table(&[what, "steps", "ms", "%", "GFLOP/s"], rows.collect())
}

fn document(name: &str, compiled: &Compiled, profile: &profile::Profile) -> Value {
    let steps: Vec<Value> = profile
        .steps
        .iter()
        .map(|step| {
            json!({
                "step": format!("s{}", step.index),
                "kind": step.kind,
                "algorithm": step.kernel,
                "name": step.name,
                "nodes": step.nodes,
                "module": step.module,
                "ms": step.seconds * 1e3,
                "percent": step.seconds / profile.sum * 100.0,
                "gflops": step.gflops(),
                "gbps": step.gbps(),
                "flops": step.work.flops,
                "bytes": step.work.activations + step.work.weights,
                "bound": step.bound.name(),
                "percent_of_peak": step.of_peak * 100.0,
            })
        })
        .collect();
    let reading: Vec<Value> =
        profile.peaks.gbps.iter().map(|(bytes, rate)| json!({ "working_set_bytes": bytes, "gbps": rate })).collect();
    json!({
        "model": name,
        "machine": Machine::here(),
        "target": compiled.target.level().name(),
        "batch": compiled.plan().batch,
        "threads": profile.threads,
        "peak": { "gflops": profile.peaks.gflops, "reading": reading },
        "steps": steps,
        "total_ms": profile.total * 1e3,
        "sum_ms": profile.sum * 1e3,
        "overhead_percent": profile.overhead * 100.0,
        "runs": profile.runs,
    })
}
