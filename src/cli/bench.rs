//! `incept bench`: what fusion and each pass are worth, in time, memory and steps.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use incept::measure::stats::{blocks_needed, misses_of_each};
use incept::measure::variants::{Runs, Variant};
use incept::measure::{Budget, Interval, Machine, Ratio, Samples, Summary, interleave, ratio, summarize};
use incept::model::Body;
use incept::{CompileOptions, Model};
use serde_json::{Value, json};

use super::args::ModelArgs;
use super::baseline::{self, Baseline};
use super::failure::{Failure, Outcome};
use super::progress::Progress;
use super::units::{self, ms};
use super::{chart, out};

/// Time a model against itself without fusion, or without single passes.
///
/// Variants run in turns in one process, after a warm-up, on noise, for --duration in all. The time of one over that of
/// another is given with its interval of 99 % confidence, which assumes no distribution of the times; where the interval
/// holds 1, no difference is claimed. One thread runs them, unless --threads says otherwise. `unfused` runs without any pass (but those that the model cannot run without), with
/// concatenations copied and nothing in place, on kernels as good as those of `fused`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept bench tiny-inception --duration 200ms\n  \
    incept bench tiny-inception --duration 200ms --disable-pass fold_batch_norm,fuse_activation\n  \
    incept bench tiny-inception --duration 200ms --ablate\n  \
    incept bench tiny-inception --duration 200ms --json\n  \
    incept bench tiny-inception --duration 200ms --target v128 --baseline old.json --fail-above 1000%\n\n\
    Exit code 5: a variant is slower than in the baseline by more than --fail-above.")]
pub struct Bench {
    #[command(flatten)]
    model: ModelArgs,
    /// What is compared: unfused, fused [default: both; a saved plan alone]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    variants: Vec<String>,
    /// Another variant, without these passes (comma-separated); may be repeated
    #[arg(long = "disable-pass", value_name = "PASSES")]
    without: Vec<String>,
    /// Leave out one pass at a time, and show what each is worth
    #[arg(long, conflicts_with_all = ["variants", "without"])]
    ablate: bool,
    /// The batch size of a model whose batch is symbolic [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    batch: Option<u64>,
    /// Sum convolutions directly only, never by Winograd's algorithm
    #[arg(long)]
    exact: bool,
    /// The instructions to use: auto (the widest that this CPU has), avx512, avx2 or v128
    #[arg(long, value_name = "TARGET", default_value = "auto")]
    target: String,
    /// How many threads run them; several numbers, comma-separated, compare these too
    #[arg(long, value_delimiter = ',', value_name = "N,...", default_value = "1")]
    threads: Vec<NonZeroUsize>,
    /// How long to measure, all variants together: 5s, 500ms, 2m
    #[arg(long, value_name = "TIME", default_value = "8s", value_parser = units::duration)]
    duration: Duration,
    /// The JSON document of an earlier measurement to compare with
    #[arg(long, value_name = "OLD.json")]
    baseline: Option<PathBuf>,
    /// Fail where a variant is slower than in the baseline by more than this
    #[arg(long, value_name = "PERCENT", requires = "baseline", value_parser = units::percent, default_value = "5%")]
    fail_above: f64,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A variant and its times.
pub struct Measured {
    /// What was timed.
    pub variant: Variant,
    /// On how many threads: fewer than asked for where no step has so many tasks.
    pub threads: usize,
    /// Its times.
    pub samples: Samples,
    /// What they come to.
    pub summary: Summary,
}

/// Two variants compared: positions in the list.
struct Comparison {
    slow: usize,
    fast: usize,
    ratio: Ratio,
}

impl Bench {
    pub fn run(&self) -> Outcome {
        // Before the long work: a baseline that cannot be read should not cost a measurement.
        let baseline = self.baseline.as_deref().map(Baseline::read).transpose()?;
        let model = self.model.load()?;
        let options = CompileOptions {
            batch: self.batch.and_then(|batch| usize::try_from(batch).ok()),
            target: self.target.clone(),
            exact: self.exact,
            ..CompileOptions::default()
        };
        let (variants, idle) =
            if self.ablate { ablated(&model, &options)? } else { (self.chosen(&model, &options)?, vec![]) };
        let mut threads = self.threads.clone();
        threads.dedup();
        let on_each = threads.iter().flat_map(|threads| variants.iter().map(|variant| variant.on(*threads)));
        let measured = measure(on_each.collect(), self.duration)?;
        let comparisons = compare(&measured);
        let changes = baseline.as_ref().map(|baseline| baseline.changes(&model, &measured)).transpose()?;
        if self.json {
            let mut document = document(&model, self.exact, &measured, &comparisons, &idle);
            if let Some(changes) = &changes {
                document["baseline"] = changes.iter().map(baseline::Change::json).collect();
            }
            out::json(document)?;
        } else {
            out::text(&self.report(&model, &measured, &comparisons, &idle, changes.as_deref()))?;
        }
        match changes.iter().flatten().find(|change| change.is_slower(self.fail_above)) {
            Some(change) => Err(Failure::Slower {
                variant: change.variant.clone(),
                times: change.ratio.median,
                baseline: self.baseline.clone().unwrap_or_default(),
            }),
            None => Ok(()),
        }
    }

    /// The variants that were asked for.
    fn chosen(&self, model: &Model, options: &CompileOptions) -> Result<Vec<Variant>, Failure> {
        let default: &[&str] = if matches!(model.body(), Body::Plan(_)) { &["fused"] } else { &["unfused", "fused"] };
        let names: Vec<&str> = if self.variants.is_empty() {
            default.to_vec()
        } else {
            self.variants.iter().map(String::as_str).collect()
        };
        let mut variants = Vec::new();
        for name in names {
            if variants.iter().any(|known: &Variant| known.name == name) {
                return Err(Failure::usage(format!("the variant `{name}` is given twice"), "give each variant once"));
            }
            variants.push(match name {
                "unfused" => Variant::unfused(model, options)?,
                "fused" => Variant::of(name, model, options)?,
                _ => {
                    let help = "variants are unfused and fused; --disable-pass adds others";
                    return Err(Failure::usage(format!("there is no variant `{name}`"), help));
                }
            });
        }
        for passes in &self.without {
            let disabled: Vec<String> = passes.split(',').map(|pass| pass.trim().to_owned()).collect();
            let name = format!("without {}", disabled.join(", "));
            variants.push(Variant::of(&name, model, &CompileOptions { disabled, ..options.clone() })?);
        }
        Ok(variants)
    }

    fn report(
        &self,
        model: &Model,
        measured: &[Measured],
        comparisons: &[Comparison],
        idle: &[&str],
        changes: Option<&[baseline::Change]>,
    ) -> String {
        let mut text = head(model, measured);
        text += &table(measured);
        text.push('\n');
        text += &if self.ablate { ablation(measured, comparisons, idle) } else { claims(measured, comparisons) };
        text += &format!("\n{}", chart::distributions(measured));
        for change in changes.into_iter().flatten() {
            text += &change.text();
        }
        text
    }
}

/// All passes, and without each that changes the plan; the names of those that change nothing.
fn ablated(model: &Model, options: &CompileOptions) -> Result<(Vec<Variant>, Vec<&'static str>), Failure> {
    let all = Variant::of("fused", model, options)?;
    // A compiled plan has given its weights away, so plans are compared as they are made.
    let plan = model.plan(options)?.plan;
    let mut variants = vec![];
    let mut idle = Vec::new();
    for pass in incept::compile::pass_names() {
        let disabled = CompileOptions { disabled: vec![pass.into()], ..options.clone() };
        if model.plan(&disabled)?.plan == plan {
            idle.push(pass);
        } else {
            variants.push(Variant::of(&format!("without {pass}"), model, &disabled)?);
        }
    }
    variants.push(all);
    Ok((variants, idle))
}

fn measure(variants: Vec<Variant>, duration: Duration) -> Result<Vec<Measured>, Failure> {
    let mut contenders = variants.iter().map(Variant::contender).collect::<Result<Vec<Runs>, _>>()?;
    // At most one comparison for each variant.
    let min_blocks = blocks_needed(misses_of_each(variants.len().saturating_sub(1)));
    let progress = Progress::new(format!("timing {} variants", variants.len()));
    let samples = interleave(&mut contenders, &Budget { duration, min_blocks }, &mut |share| progress.set(share))?;
    let threads: Vec<usize> = contenders.iter().map(Runs::threads).collect();
    let with_summary = |((variant, samples), threads): ((Variant, Samples), usize)| {
        let summary = summarize(&samples);
        Measured { variant, threads, samples, summary }
    };
    Ok(variants.into_iter().zip(samples).zip(threads).map(with_summary).collect())
}

/// Every variant over `fused` on as many threads (over the last variant where there is no `fused`), and that on the first
/// number of threads over that on each other.
fn compare(measured: &[Measured]) -> Vec<Comparison> {
    let name = if measured.iter().any(|one| one.variant.name == "fused") { Some("fused") } else { None };
    let Some(name) = name.or(measured.last().map(|one| one.variant.name.as_str())) else { return Vec::new() };
    let position = |threads: NonZeroUsize| {
        measured.iter().position(|one| one.variant.name == name && one.variant.threads == threads)
    };
    let first = measured.iter().position(|one| one.variant.name == name);
    let mut pairs = Vec::new();
    for (index, one) in measured.iter().enumerate() {
        match position(one.variant.threads) {
            Some(fast) if fast != index => pairs.push((index, fast)),
            Some(fast) => pairs.extend(first.filter(|first| *first != fast).map(|first| (first, fast))),
            None => {}
        }
    }
    let misses = misses_of_each(pairs.len());
    let compared = pairs.into_iter().map(|(slow, fast)| {
        let ratio = ratio(&measured[slow].samples, &measured[fast].samples, misses);
        Comparison { slow, fast, ratio }
    });
    compared.collect()
}

impl Measured {
    /// The variant's name, and the number of threads where there are several.
    pub fn label(&self, several: bool) -> String {
        match several {
            true => format!("{}, {}", self.variant.name, units::threads(self.threads)),
            false => self.variant.name.clone(),
        }
    }
}

/// Whether variants ran on several numbers of threads.
pub fn several(measured: &[Measured]) -> bool {
    measured.iter().any(|one| one.variant.threads != measured[0].variant.threads)
}

fn head(model: &Model, measured: &[Measured]) -> String {
    let machine = Machine::here();
    let Some(first) = measured.first() else { return String::new() };
    let compiled = &first.variant.compiled;
    let mut text = format!(
        "{} ({}), batch {}, {}{}\n{}, {} cores, incept {}\n\n",
        model.name(),
        model.source(),
        compiled.plan().batch,
        compiled.target.level().name(),
        if several(measured) { String::new() } else { format!(", {}", units::threads(first.threads)) },
        machine.cpu,
        machine.cores,
        machine.incept
    );
    for one in measured.iter().filter(|one| one.variant.name == "unfused") {
        let ran = one.variant.passes_that_ran();
        if !ran.is_empty() {
            text += &format!("unfused runs {}: the model cannot do without\n\n", ran.join(", "));
        }
    }
    text
}

/// Items of the batch a second.
#[allow(clippy::cast_precision_loss, reason = "a batch size")]
fn throughput(one: &Measured) -> f64 {
    one.variant.compiled.plan().batch as f64 / one.summary.median
}

fn table(measured: &[Measured]) -> String {
    let rows = measured.iter().map(|one| {
        let plan = one.variant.compiled.plan();
        let summary = &one.summary;
        vec![
            one.label(several(measured)),
            ms(summary.min),
            ms(summary.median),
            ms(summary.p90),
            ms(summary.p99),
            format!("{:.1}", throughput(one)),
            summary.runs.to_string(),
            plan.steps.len().to_string(),
            out::bytes(plan.memory.arena_bytes),
        ]
    });
    let head = ["variant", "min ms", "median", "p90", "p99", "items/s", "runs", "steps", "arena"];
    out::table(&head, rows.collect())
}

/// `1.52 (1.49 to 1.55)`
fn in_words(ratio: &Ratio) -> String {
    let Interval { low, high } = ratio.interval;
    format!("{:.3} ({low:.3} to {high:.3})", ratio.median)
}

fn claims(measured: &[Measured], comparisons: &[Comparison]) -> String {
    let sentence = |comparison: &Comparison| {
        let [slow, fast] = [comparison.slow, comparison.fast].map(|index| measured[index].label(several(measured)));
        let words = in_words(&comparison.ratio);
        if comparison.ratio.significant() {
            format!("{slow} takes {words} times as long as {fast}\n")
        } else {
            format!("no difference between {slow} and {fast} beyond the noise: {words} times\n")
        }
    };
    comparisons.iter().map(sentence).collect()
}

#[allow(clippy::cast_possible_wrap, reason = "sizes of arenas and counts of steps")]
fn ablation(measured: &[Measured], comparisons: &[Comparison], idle: &[&str]) -> String {
    let rows = comparisons.iter().map(|comparison| {
        let (slow, fast) = (&measured[comparison.slow].variant, &measured[comparison.fast].variant);
        let (without, with) = (slow.compiled.plan(), fast.compiled.plan());
        let ratio = &comparison.ratio;
        let worth = |ratio: f64| (1.0 - 1.0 / ratio) * 100.0;
        let time = if ratio.significant() {
            let Interval { low, high } = ratio.interval;
            format!("{:.1} % ({:.1} to {:.1})", worth(ratio.median), worth(low), worth(high))
        } else {
            "none shown".into()
        };
        let arena = without.memory.arena_bytes as i64 - with.memory.arena_bytes as i64;
        let steps = without.steps.len() as i64 - with.steps.len() as i64;
        let size = out::bytes(usize::try_from(arena.unsigned_abs()).unwrap_or(usize::MAX));
        let sign = if arena < 0 { "-" } else { "" };
        vec![measured[comparison.slow].label(several(measured)), time, format!("{sign}{size}"), steps.to_string()]
    });
    let mut text = out::table(&["", "the pass saves, of the time", "of the arena", "steps"], rows.collect());
    if !idle.is_empty() {
        text += &format!("changes nothing here: {}\n", idle.join(", "));
    }
    text
}

fn document(model: &Model, exact: bool, measured: &[Measured], comparisons: &[Comparison], idle: &[&str]) -> Value {
    let millis = |seconds: f64| seconds * 1e3;
    let finite = |value: f64| if value.is_finite() { json!(value) } else { Value::Null };
    let variants: Vec<Value> = measured
        .iter()
        .map(|one| {
            let (plan, summary) = (one.variant.compiled.plan(), &one.summary);
            json!({
                "name": one.variant.name,
                "threads": one.threads,
                "batch": plan.batch,
                "target": one.variant.compiled.target.level().name(),
                "min_ms": millis(summary.min),
                "median_ms": millis(summary.median),
                "median_low_ms": millis(summary.interval.low),
                "median_high_ms": finite(millis(summary.interval.high)),
                "p90_ms": millis(summary.p90),
                "p99_ms": millis(summary.p99),
                "items_per_second": throughput(one),
                "runs": summary.runs,
                "arena_bytes": plan.memory.arena_bytes,
                "copied_bytes": plan.copied_bytes(),
                "steps": plan.steps.len(),
                "steps_by_kind": plan.steps_by_kind(),
                "disabled": one.variant.disabled,
            })
        })
        .collect();
    let ratios: Vec<Value> = comparisons
        .iter()
        .map(|comparison| {
            json!({
                "slow": measured[comparison.slow].variant.name,
                "fast": measured[comparison.fast].variant.name,
                "threads": measured[comparison.fast].threads,
                "slow_threads": measured[comparison.slow].threads,
                "median": comparison.ratio.median,
                "low": comparison.ratio.interval.low,
                "high": finite(comparison.ratio.interval.high),
                "significant": comparison.ratio.significant(),
            })
        })
        .collect();
    json!({
        "model": model.name(),
        "machine": Machine::here(),
        "exact": exact,
        "variants": variants,
        "ratios": ratios,
        "changes_nothing": idle,
    })
}
