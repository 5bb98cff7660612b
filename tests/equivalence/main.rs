//! Random legal graphs mean the same raw, after each pass alone, after all of them, and compiled for each instruction set
//! of this machine, raw and optimised, with and without the decisions of lowering, as the reference interpreter sees it.
//!
//! Half of the graphs have whole numbers. Where these cannot be rounded (`exact.rs`), no difference at all is allowed;
//! elsewhere a part of the largest value is.
//!
//! `INCEPT_EQUIVALENCE_GRAPHS` sets how many graphs are tried, `INCEPT_EQUIVALENCE_SEED` the first seed. A failure prints
//! the seed and the smallest graph that was found to fail in the same way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod exact;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use incept::compiler::codegen::target::Target;
use incept::compiler::lower;
use incept::compiler::pass::{Optimized, PassOptions};
use incept::compiler::pipeline::{self, PASSES};
use incept::ir::graph::{Graph, Output};
use incept::ir::interp;
use incept::ir::tensor::Tensor;
use incept::ir::testing::{random_graph, random_inputs};
use incept::ir::text::{Constants, PrintOptions, print};
use incept::{CompileOptions, Model};

use exact::is_exact;

/// Motifs of a graph.
const STEPS: usize = 8;

/// What rounding weights anew and other orders of sums may change, as a part of the largest value.
const TOLERANCE: f32 = 1e-4;

/// What counts as the largest value where all are less: inputs and weights are of order 1, so what cancels to less keeps
/// their rounding.
const LEAST_MAGNITUDE: f32 = 0.05;

/// Graphs whose values reach this are left out, for squares of them overflow.
const MOST_MAGNITUDE: f32 = 1e15;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What a graph was tried in.
#[derive(Default)]
struct Tried {
    graphs: usize,
    exact: usize,
    overflowing: usize,
    runs: BTreeMap<String, usize>,
    rewrites: BTreeMap<&'static str, usize>,
    worst: f32,
}

impl Tried {
    fn add(&mut self, other: Self) {
        self.graphs += other.graphs;
        self.exact += other.exact;
        self.overflowing += other.overflowing;
        self.worst = self.worst.max(other.worst);
        for (run, count) in other.runs {
            *self.runs.entry(run).or_default() += count;
        }
        for (pass, count) in other.rewrites {
            *self.rewrites.entry(pass).or_default() += count;
        }
    }
}

fn text(graph: &Graph) -> String {
    print(graph, &PrintOptions { constants: Constants::Full })
}

fn without(disabled: impl IntoIterator<Item = &'static str>) -> PassOptions {
    let disabled = disabled.into_iter().map(str::to_owned).collect();
    PassOptions { disabled, verify_each: true, stop_after: None }
}

fn optimize(graph: &Graph, options: &PassOptions) -> Result<Optimized, String> {
    pipeline::optimize(graph.clone(), options, &mut |_, _| {}).map_err(|error| error.to_string())
}

/// The largest finite magnitude.
fn magnitude(values: &[f32]) -> f32 {
    values.iter().filter(|x| x.is_finite()).fold(0.0, |most, x| most.max(x.abs()))
}

/// What one graph must give.
struct Expected {
    outputs: Vec<Tensor>,
    /// Whether no rounding happens in the graph as it is.
    exact: bool,
    /// The largest value on the way.
    largest: f32,
}

impl Expected {
    /// Compares outputs; gives the largest difference as a part of the largest value.
    fn compare(&self, found: &[&[f32]], exact: bool) -> Result<f32, String> {
        if found.len() != self.outputs.len() {
            return Err(format!("{} outputs instead of {}", found.len(), self.outputs.len()));
        }
        let mut worst = 0.0f32;
        for (index, (expected, found)) in self.outputs.iter().zip(found).enumerate() {
            let expected = expected.as_f32().unwrap();
            if expected.len() != found.len() {
                return Err(format!("output {index} has {} elements instead of {}", found.len(), expected.len()));
            }
            let scale = magnitude(&expected).max(LEAST_MAGNITUDE);
            // What large values on the way have cancelled to keeps their rounding.
            let scale = if self.largest > 64.0 { scale.max(self.largest) } else { scale };
            for (at, (a, b)) in expected.iter().zip(found.iter()).enumerate() {
                if a == b || a.is_nan() && b.is_nan() {
                    continue;
                }
                let part = (a - b).abs() / scale;
                if exact || part.is_nan() || part > TOLERANCE {
                    let kind = if exact { "exactly" } else { "about" };
                    return Err(format!("output {index} at {at}: {b} instead of {kind} {a}"));
                }
                worst = worst.max(part);
            }
        }
        Ok(worst)
    }
}

/// A way to fail: what was run, and what was wrong.
type Failure = (String, String);

/// Makes a failure of an error.
fn at(what: &str) -> impl FnOnce(String) -> Failure + use<> {
    let what = what.to_owned();
    move |error| (what, error)
}

/// Tries a graph in every way.
fn try_graph(graph: &Graph, seed: u64, targets: &[Target]) -> Result<Tried, Failure> {
    let mut tried = Tried { graphs: 1, ..Tried::default() };
    let batch = 1 + usize::try_from(seed % 3).unwrap();
    let inputs = random_inputs(graph, seed, batch).map_err(|error| at("inputs")(error.to_string()))?;
    let all = interp::run_all(graph, &inputs).map_err(|error| at("interpreter")(error.to_string()))?;
    let outputs: Vec<Tensor> = graph.outputs().iter().map(|output| all[&output.value].clone()).collect();
    let floats = all.values().filter_map(|tensor| tensor.as_f32().ok());
    let largest = floats.fold(0.0f32, |most, values| most.max(magnitude(&values)));
    if largest > MOST_MAGNITUDE {
        tried.overflowing += 1;
        return Ok(tried);
    }
    let expected = Expected { outputs, exact: is_exact(graph, &all), largest };
    tried.exact += usize::from(expected.exact);

    // After each pass alone and after all of them, as the interpreter sees it.
    let names: Vec<&'static str> = PASSES.iter().map(|pass| pass.name).collect();
    let mut whole = false;
    for only in names.iter().map(std::slice::from_ref).chain([names.as_slice()]) {
        let what = if only.len() == 1 { only[0] } else { "all passes" };
        let left_out = names.iter().copied().filter(|name| !only.contains(name));
        let optimized = optimize(graph, &without(left_out)).map_err(at(what))?;
        let after = interp::run_all(&optimized.graph, &inputs).map_err(|error| at(what)(error.to_string()))?;
        whole = expected.exact && is_exact(&optimized.graph, &after);
        let found: Vec<Tensor> = optimized.graph.outputs().iter().map(|output| after[&output.value].clone()).collect();
        let found: Vec<_> = found.iter().map(|tensor| tensor.as_f32().unwrap()).collect();
        let found: Vec<&[f32]> = found.iter().map(AsRef::as_ref).collect();
        tried.worst = tried.worst.max(expected.compare(&found, whole).map_err(at(what))?);
        for rewrite in &optimized.report.rewrites {
            *tried.rewrites.entry(rewrite.pass).or_default() += 1;
        }
        *tried.runs.entry("interpreted".into()).or_default() += 1;
    }

    // Compiled: optimised on every level; on one level raw, without the decisions of lowering, and image by image.
    let model = Model::from_graph(graph.clone());
    let decisions: Vec<&'static str> = lower::PASSES.iter().map(|(name, _)| *name).collect();
    let turn = usize::try_from(seed).unwrap() % targets.len();
    let optimised = targets.iter().map(|target| ("optimised", target, Vec::new(), whole));
    let after = |turns: usize| &targets[(turn + turns) % targets.len()];
    let forms = optimised.chain([
        ("raw", &targets[turn], names.clone(), expected.exact),
        ("raw and copying", &targets[turn], [names.clone(), decisions.clone()].concat(), expected.exact),
        ("copying", after(1), decisions, whole),
        ("optimised, in parts", after(2), Vec::new(), whole),
        ("raw, in parts", after(1), names.clone(), expected.exact),
    ]);
    for (form, target, disabled, exact) in forms {
        let what = format!("{form} on {}", target.level().name());
        let options = CompileOptions {
            batch: graph.is_symbolic().then_some(batch),
            target: target.level().name().into(),
            disabled: disabled.into_iter().map(str::to_owned).collect(),
            // Winograd's algorithm rounds; elsewhere it may be chosen.
            exact,
            part_bytes: if form.ends_with("in parts") { 0 } else { usize::MAX },
            ..CompileOptions::default()
        };
        let compiled = model.compile(&options).map_err(|error| at(&what)(error.to_string()))?;
        let parts = compiled.plan().parts.get();
        if parts > 1 {
            *tried.runs.entry(format!("{parts} parts")).or_default() += 1;
        }
        let mut session = compiled.session().map_err(|error| at(&what)(error.to_string()))?;
        session.poison_arena();
        let values: Vec<_> = inputs.iter().map(|input| input.as_f32().unwrap()).collect();
        let values: Vec<&[f32]> = values.iter().map(AsRef::as_ref).collect();
        session.run(&values).map_err(|error| at(&what)(error.to_string()))?;
        let found: Vec<&[f32]> = (0..session.outputs().len()).map(|index| session.output(index)).collect();
        tried.worst = tried.worst.max(expected.compare(&found, exact).map_err(at(&what))?);
        *tried.runs.entry(what).or_default() += 1;
    }
    Ok(tried)
}

/// As [`try_graph`]; a panic is a failure too.
fn try_safely(graph: &Graph, seed: u64, targets: &[Target]) -> Result<Tried, Failure> {
    catch_unwind(AssertUnwindSafe(|| try_graph(graph, seed, targets))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(("panic".into(), text.unwrap_or("without a message").into()))
    })
}

/// The graph with one output only.
fn with_output(graph: &Graph, output: Output) -> Option<Graph> {
    let mut graph = graph.clone();
    graph.set_outputs(vec![output]).ok()?;
    let left_out = PASSES.iter().map(|pass| pass.name).filter(|name| *name != "dead_code");
    optimize(&graph, &without(left_out)).ok().map(|optimized| optimized.graph)
}

/// The smallest failing graph that is easily found: fewer motifs, then one output, then an earlier value as that output.
fn shrink(seed: u64, targets: &[Target], failure: Failure) -> (Graph, Failure) {
    let mut found = (random_graph(seed, STEPS).unwrap(), failure);
    let fails = |graph: &Graph| try_safely(graph, seed, targets).err();
    for steps in 1..STEPS {
        let graph = random_graph(seed, steps).unwrap();
        if let Some(failure) = fails(&graph) {
            found = (graph, failure);
            break;
        }
    }
    let before = found.0.clone();
    for output in before.outputs() {
        let Some(graph) = with_output(&before, output.clone()) else { continue };
        if let Some(failure) = fails(&graph) {
            found = (graph, failure);
            break;
        }
    }
    let before = found.0.clone();
    for id in before.order().unwrap() {
        let value = before.node(id).unwrap().outputs[0];
        let Some(graph) = with_output(&before, Output { name: "y".into(), value }) else { continue };
        if graph.len() >= found.0.len() {
            continue;
        }
        if let Some(failure) = fails(&graph) {
            found = (graph, failure);
            break;
        }
    }
    found
}

#[test]
fn random_graphs_compute_what_the_interpreter_does() {
    let first = number("INCEPT_EQUIVALENCE_SEED", 0);
    let count = number("INCEPT_EQUIVALENCE_GRAPHS", 2000);
    let targets = Target::all().unwrap();
    let next = AtomicU64::new(first);
    let total = Mutex::new((Tried::default(), None::<(u64, Failure)>));
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count || total.lock().unwrap().1.is_some() {
                return;
            }
            let graph = random_graph(seed, STEPS).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let tried = try_safely(&graph, seed, &targets);
            let mut total = total.lock().unwrap();
            match tried {
                Ok(tried) => total.0.add(tried),
                Err(failure) => total.1 = Some((seed, failure)),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(8) {
            scope.spawn(worker);
        }
    });
    let (tried, failure) = total.into_inner().unwrap();
    if let Some((seed, failure)) = failure {
        let whole = format!("seed {seed}, {}: {}", failure.0, failure.1);
        let (graph, (what, error)) = shrink(seed, &targets, failure);
        let optimized = optimize(&graph, &without([])).map_or_else(|error| error, |optimized| text(&optimized.graph));
        panic!("{whole}\nsmallest found, {what}: {error}\n{}\noptimised:\n{optimized}", text(&graph));
    }
    println!(
        "{} graphs, {} of them exact, {} left out; largest difference {:e} of the largest value; runs {:?}; rewrites {:?}",
        tried.graphs, tried.exact, tried.overflowing, tried.worst, tried.runs, tried.rewrites
    );
    // The generator must reach every pass and both kinds of graphs, or the test asserts little.
    assert_eq!(tried.graphs as u64, count);
    if count >= 1000 {
        assert!(tried.exact * 4 > tried.graphs, "only {} of {} graphs are exact", tried.exact, tried.graphs);
        assert!(tried.overflowing * 50 < tried.graphs, "{} of {} graphs overflow", tried.overflowing, tried.graphs);
        for pass in PASSES {
            assert!(tried.rewrites.get(pass.name).is_some_and(|used| *used > 100), "{} is hardly used", pass.name);
        }
        let in_parts: usize = [2, 3].iter().filter_map(|parts| tried.runs.get(&format!("{parts} parts"))).sum();
        assert!(in_parts * 2 > tried.graphs, "only {in_parts} plans ran in parts");
        for target in &targets {
            let runs = tried.runs[&format!("optimised on {}", target.level().name())];
            assert!(runs * 50 > tried.graphs * 49, "{:?} ran {runs} graphs only", target.level());
        }
    }
}
