//! `incept run`: a model on a picture or on arrays.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use incept::{Compiled, Model, Session};
use serde_json::{Value, json};

use super::args::{CompileArgs, ModelArgs, RunArgs};
use super::failure::{Failure, Outcome};
use super::feed::{self, FeedArgs};
use super::scores::{self, Class};
use super::{arrays, out, summary};

/// Run a model on a picture or on arrays.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    incept run googlenet-mnist --image digit.png\n  \
    incept run model.onnx --image photo.jpg --preprocess torch --labels labels.txt --top-k 3\n  \
    incept run model.onnx --input x=x.npy --output softmax_28=y.npy\n  \
    incept run model.plan --input-dir inputs --output-dir outputs")]
pub struct Run {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    feed: FeedArgs,
    #[command(flatten)]
    compile: CompileArgs,
    /// Save the output of this name; may be repeated
    #[arg(long = "output", value_name = "NAME=y.npy")]
    outputs: Vec<String>,
    /// Save all outputs as output_0.npy, output_1.npy... in the order of the model's outputs
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Print the best classes, with these names (a line for each class)
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Print this many of the best classes [default: 5 for pictures]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    top_k: Option<u64>,
    /// Run this many times, and say how long each took
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    repeat: u64,
    #[command(flatten)]
    run: RunArgs,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What ran.
struct Done {
    model: Model,
    compiled: Compiled,
    session: Session,
    load: Duration,
    runs: Vec<Duration>,
}

/// The best classes of each item of the batch.
struct Ranking {
    items: Vec<Vec<Class>>,
    labels: Option<Vec<String>>,
    softmax: bool,
}

impl Run {
    pub fn run(&self) -> Outcome {
        let start = Instant::now();
        let model = self.model.load()?;
        let load = start.elapsed();
        let mut options = self.compile.options();
        options.threads = self.run.threads();
        let feed = self.feed.read(&model, options.batch)?;
        if feed.batch.is_some() {
            options.batch = feed.batch;
        }
        let targets = self.output_files(&model)?;
        let compiled = model.compile(&options)?;
        let mut session = compiled.session()?;
        let inputs: Vec<&[f32]> = feed.arrays.iter().map(|array| array.values.as_slice()).collect();
        let mut runs = Vec::new();
        for _ in 0..self.repeat {
            let start = Instant::now();
            session.run(&inputs).map_err(incept::Error::from)?;
            runs.push(start.elapsed());
        }
        let done = Done { model, compiled, session, load, runs };
        let ranking = self.ranking(&done.model, &done.session)?;
        self.save(&done.session, &targets)?;
        if self.json {
            return out::json(document(&done, ranking.as_ref(), &targets));
        }
        out::note(format_args!("{}", report(&done)));
        out::text(&match &ranking {
            Some(ranking) => classes(ranking),
            None => overview(&done.session),
        })
    }

    /// The outputs to save, by position.
    fn output_files(&self, model: &Model) -> Result<Vec<(usize, PathBuf)>, Failure> {
        let ports = feed::outputs_of(model);
        let mut files = Vec::new();
        for argument in &self.outputs {
            let (name, path) = feed::split(argument, "--output")?;
            let Some(index) = ports.iter().position(|port| port.name == name) else {
                let names: Vec<String> = ports.iter().map(|port| format!("`{}`", port.name)).collect();
                return Err(Failure::usage(
                    format!("the model has no output `{name}`"),
                    format!("its outputs are {}", names.join(", ")),
                ));
            };
            files.push((index, path));
        }
        if let Some(folder) = &self.output_dir {
            files.extend((0..ports.len()).map(|index| (index, folder.join(format!("output_{index}.npy")))));
        }
        Ok(files)
    }

    fn save(&self, session: &Session, files: &[(usize, PathBuf)]) -> Outcome {
        if let Some(folder) = &self.output_dir {
            std::fs::create_dir_all(folder).map_err(|error| Failure::write(folder, error))?;
        }
        for (index, path) in files {
            arrays::write(path, &session.outputs()[*index].sizes, session.output(*index))?;
        }
        Ok(())
    }

    /// The best classes, where they are asked for or a picture was given.
    fn ranking(&self, model: &Model, session: &Session) -> Result<Option<Ranking>, Failure> {
        let asked = self.top_k.is_some() || self.labels.is_some();
        let scores = session.outputs().first().and_then(|port| match port.sizes.as_slice() {
            [items, classes] | [items, classes, 1, 1] if *classes > 1 && *items > 0 => Some(*classes),
            [classes] if *classes > 1 => Some(*classes),
            _ => None,
        });
        let Some(count) = scores else {
            if asked {
                let message = "the model's first output does not hold a row of scores for each item";
                return Err(Failure::usage(message, "leave --top-k and --labels out, and save it with --output"));
            }
            return Ok(None);
        };
        if !asked && self.feed.image.is_none() {
            return Ok(None);
        }
        let labels = match self.labels.as_deref() {
            Some(path) => Some(scores::labels(path, count)?),
            None if model.labels().len() == count => Some(model.labels().iter().map(ToString::to_string).collect()),
            None => None,
        };
        let top = usize::try_from(self.top_k.unwrap_or(5)).unwrap_or(usize::MAX);
        let values = session.output(0);
        let softmax = !values.chunks_exact(count).all(scores::are_probabilities);
        let items = values.chunks_exact(count).map(|item| scores::best(item, softmax, top)).collect();
        Ok(Some(Ranking { items, labels, softmax }))
    }
}

impl Ranking {
    fn label(&self, class: &Class) -> Option<&str> {
        self.labels.as_ref()?.get(class.index).map(String::as_str)
    }
}

fn classes(ranking: &Ranking) -> String {
    let mut text = String::new();
    for (index, item) in ranking.items.iter().enumerate() {
        if ranking.items.len() > 1 {
            text += &format!("item {index}\n");
        }
        for class in item {
            let label = ranking.label(class).map_or(String::new(), |label| format!("  {label}"));
            text += &format!("{:>5}  {:>7.3} %{label}\n", class.index, class.probability * 100.0);
        }
    }
    text += if ranking.softmax {
        "(probabilities: softmax of the model's scores)\n"
    } else {
        "(probabilities as the model gives them)\n"
    };
    text
}

/// Smallest, mean, largest.
#[allow(clippy::cast_precision_loss, reason = "for people")]
fn range(values: &[f32]) -> (f32, f64, f32) {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (low, values.iter().copied().map(f64::from).sum::<f64>() / values.len().max(1) as f64, high)
}

fn overview(session: &Session) -> String {
    let rows = session.outputs().iter().enumerate().map(|(index, port)| {
        let (low, mean, high) = range(session.output(index));
        vec![
            port.name.clone(),
            format!("{:?}", port.sizes),
            format!("{low:.6}"),
            format!("{mean:.6}"),
            format!("{high:.6}"),
        ]
    });
    out::table(&["output", "sizes", "min", "mean", "max"], rows.collect())
}

fn report(done: &Done) -> String {
    let times = done.compiled.times;
    let mut text = format!("{} ({})\n", done.model.name(), done.model.source());
    text += &summary::compiled(&done.compiled);
    text += &format!(
        "times     load {}, optimise {}, plan {}, code {}; ",
        ms(done.load),
        ms(times.optimize),
        ms(times.lower),
        ms(times.link)
    );
    let first = done.runs.first().copied().unwrap_or_default();
    let best = done.runs.iter().min().copied().unwrap_or_default();
    let threads = match done.session.threads() {
        1 => "one thread".to_owned(),
        count => format!("{count} threads"),
    };
    text += &match done.runs.len() {
        1 => format!("first run {} on {threads}\n", ms(first)),
        count => format!("first run {}, best of {count} {} on {threads}\n", ms(first), ms(best)),
    };
    text
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn document(done: &Done, ranking: Option<&Ranking>, files: &[(usize, PathBuf)]) -> Value {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let times = done.compiled.times;
    let outputs: Vec<Value> = done
        .session
        .outputs()
        .iter()
        .enumerate()
        .map(|(index, port)| {
            let (low, mean, high) = range(done.session.output(index));
            let files: Vec<String> =
                files.iter().filter(|(of, _)| *of == index).map(|(_, path)| path.display().to_string()).collect();
            json!({ "name": port.name, "sizes": port.sizes, "min": low, "mean": mean, "max": high, "files": files })
        })
        .collect();
    let mut document = json!({
        "model": done.model.name(),
        "target": done.compiled.target.level().name(),
        "batch": done.compiled.plan().batch,
        "threads": done.session.threads(),
        "outputs": outputs,
        "compiled": summary::json(&done.compiled),
        "times": {
            "load_ms": millis(done.load),
            "optimize_ms": millis(times.optimize),
            "lower_ms": millis(times.lower),
            "link_ms": millis(times.link),
            "run_ms": done.runs.iter().copied().map(millis).collect::<Vec<_>>(),
        },
    });
    if let Some(ranking) = ranking {
        let items: Vec<Value> = ranking
            .items
            .iter()
            .map(|item| {
                item.iter()
                    .map(|class| {
                        json!({
                            "index": class.index,
                            "label": ranking.label(class),
                            "score": class.score,
                            "probability": class.probability,
                        })
                    })
                    .collect()
            })
            .collect();
        document["top"] = items.into();
        document["softmax"] = ranking.softmax.into();
    }
    document
}
