//! Answers a benchmark driver on standard input and output, so that this engine can be timed beside others in one run.
//!
//! ```text
//! bench_worker MODEL INPUT.raw BATCH THREADS [--exact] [--target T] [--disable-pass P]...
//! ```
//!
//! INPUT.raw holds the values of the model's only input as little-endian `f32`. A line each way:
//!
//! | request | answer |
//! |---|---|
//! | (start) | `ready LOAD_MS {json}`: from nothing to a session that can run |
//! | `run N` | `t NS NS ...`: the nanoseconds of each of N runs |
//! | `out PATH` | `ok`, once the first output of the last run is there as raw `f32` |
//! | `rss` | `rss KIB`: the largest resident memory so far |
//! | `quit`, or the end of the input | the process ends |
//!
//! The document of `ready` says on how many threads runs are: THREADS, or fewer where no step has so many tasks.
//! `--exact` asks for direct convolutions only.

use std::error::Error;
use std::io::{BufRead, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use incept::{CompileOptions, Model, Session};
use serde_json::json;

struct Arguments {
    model: String,
    input: String,
    batch: usize,
    threads: NonZeroUsize,
    options: CompileOptions,
}

fn main() -> ExitCode {
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                text += &format!(": {error}");
                cause = error.source();
            }
            eprintln!("bench_worker: {text}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut plain = Vec::new();
    let mut options = CompileOptions::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--exact" => options.exact = true,
            "--target" => options.target = value()?,
            "--disable-pass" => options.disabled.push(value()?),
            option if option.starts_with("--") => return Err(format!("there is no option {option}").into()),
            _ => plain.push(word),
        }
    }
    let [model, input, batch, threads] = <[String; 4]>::try_from(plain).map_err(
        |_| "usage: bench_worker MODEL INPUT.raw BATCH THREADS [--exact] [--target T] [--disable-pass P]...",
    )?;
    let batch = batch.parse()?;
    let threads = threads.parse()?;
    options.batch = Some(batch);
    options.threads = Some(threads);
    Ok(Arguments { model, input, batch, threads, options })
}

fn work() -> Result<(), Box<dyn Error>> {
    let arguments = arguments()?;
    let bytes = std::fs::read(&arguments.input)?;
    let input: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect();

    let start = Instant::now();
    let model = Model::load(&arguments.model)?;
    let compiled = model.compile(&arguments.options)?;
    let mut session = compiled.session()?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
    // The graph and its buffers are not needed to run.
    drop(model);

    let facts = json!({
        "target": compiled.target.level().name(),
        "threads": session.threads(),
        "threads_asked": arguments.threads,
        "batch": arguments.batch,
        "steps": compiled.plan().steps.len(),
        "arena_bytes": session.arena_bytes(),
        "optimize_ms": ms(compiled.times.optimize),
        "lower_ms": ms(compiled.times.lower),
        "link_ms": ms(compiled.times.link),
    });
    serve(&format!("ready {load_ms:.3} {facts}"), &mut session, &input)
}

fn serve(ready: &str, session: &mut Session, input: &[f32]) -> Result<(), Box<dyn Error>> {
    let mut answers = std::io::stdout();
    let mut answer = |line: &str| writeln!(answers, "{line}").and_then(|()| answers.flush());
    answer(ready)?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (request, argument) = line.split_once(' ').unwrap_or((&line, ""));
        match request {
            "run" => {
                let mut times = String::from("t");
                for _ in 0..argument.trim().parse::<usize>()? {
                    let start = Instant::now();
                    session.run(&[input])?;
                    times += &format!(" {}", start.elapsed().as_nanos());
                }
                answer(&times)?;
            }
            "out" => {
                let bytes: Vec<u8> = session.output(0).iter().flat_map(|value| value.to_le_bytes()).collect();
                std::fs::write(argument, bytes)?;
                answer("ok")?;
            }
            "rss" => answer(&format!("rss {}", peak_memory_kib()))?,
            "quit" => return Ok(()),
            _ => return Err(format!("unknown request `{line}`").into()),
        }
    }
    Ok(())
}

/// The largest resident memory of this process so far, in KiB; 0 where the system does not say.
fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
