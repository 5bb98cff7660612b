//! Places buffers given as CSV files and says how low: the planner's benchmark on problems of others.
//!
//! ```text
//! place [--seconds S] [--work N] [--capacity BYTES] FILE.csv...
//! ```
//!
//! A file has a header and lines of `id,lower,upper,size`: a buffer of `size` bytes that lives in `[lower, upper)`. Its
//! capacity is the number before `.csv` in its name, where there is one, unless it is given; a placement within the
//! capacity ends the search. google/minimalloc's `benchmarks/challenging` is such a set. Every placement is checked here,
//! by code that shares nothing with the planner. The exit code is 1 where buffers overlap or are beyond the capacity.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use incept::compiler::lower::place::{Item, Placement, SearchLimits, place};

struct Arguments {
    limits: SearchLimits,
    capacity: Option<usize>,
    files: Vec<String>,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let limits = SearchLimits { work: u64::MAX, time: Duration::from_secs(60), enough: 0 };
    let mut found = Arguments { limits, capacity: None, files: Vec::new() };
    let mut rest = std::env::args().skip(1);
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--seconds" => found.limits.time = Duration::from_secs_f64(value()?.parse()?),
            "--work" => found.limits.work = value()?.parse()?,
            "--capacity" => found.capacity = Some(value()?.parse()?),
            option if option.starts_with('-') => return Err(format!("there is no option {option}").into()),
            file => found.files.push(file.into()),
        }
    }
    if found.files.is_empty() {
        return Err("usage: place [--seconds S] [--work N] [--capacity BYTES] FILE.csv...".into());
    }
    Ok(found)
}

fn run() -> Result<bool, Box<dyn Error>> {
    let arguments = arguments()?;
    let (mut within, mut sound) = (0, true);
    println!(
        "{:24} {:>6} {:>12} {:>12} {:>8} {:>8}  found by",
        "problem", "items", "bound", "bytes", "ratio", "seconds"
    );
    for file in &arguments.files {
        let named = |error: Box<dyn Error>| format!("{file}: {error}");
        let items = read(file).map_err(named)?;
        let stem = Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let capacity = arguments.capacity.or_else(|| stem.rsplit('.').next()?.parse().ok());
        let start = Instant::now();
        let limits = SearchLimits { enough: capacity.unwrap_or(0), ..arguments.limits };
        let placement = place(&items, &limits);
        let seconds = start.elapsed().as_secs_f64();
        let overlaps = overlaps(&items, &placement);
        if overlaps > 0 {
            println!("{stem}: {overlaps} pairs overlap");
            sound = false;
        }
        let fits = capacity.is_none_or(|capacity| placement.bytes <= capacity);
        within += usize::from(fits);
        #[allow(clippy::cast_precision_loss, reason = "for people")]
        let ratio = placement.bytes as f64 / capacity.unwrap_or(placement.lower_bound) as f64;
        let (bound, bytes) = (placement.lower_bound, placement.bytes);
        let proof = if placement.is_optimal { " (optimal)" } else { "" };
        let count = items.len();
        println!("{stem:24} {count:6} {bound:12} {bytes:12} {ratio:8.4} {seconds:8.2}  {}{proof}", placement.strategy);
    }
    println!("{within} of {} within their capacity", arguments.files.len());
    Ok(sound && within == arguments.files.len())
}

fn read(file: &str) -> Result<Vec<Item>, Box<dyn Error>> {
    let text = std::fs::read_to_string(file)?;
    let mut items = Vec::new();
    for (number, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = || format!("line {}: `{line}` is not id,lower,upper,size", number + 1);
        let fields: Vec<usize> = line.split(',').skip(1).map_while(|field| field.trim().parse().ok()).collect();
        let [first, end, bytes] = fields[..] else { return Err(wrong().into()) };
        let last = end.checked_sub(1).filter(|last| *last >= first && bytes > 0).ok_or_else(wrong)?;
        items.push(Item { bytes, first, last });
    }
    Ok(items)
}

/// How many pairs of buffers live at once and share a byte.
fn overlaps(items: &[Item], placement: &Placement) -> usize {
    let mut count = 0;
    for (at, (a, x)) in items.iter().zip(&placement.offsets).enumerate() {
        for (b, y) in items.iter().zip(&placement.offsets).skip(at + 1) {
            let apart = a.last < b.first || b.last < a.first || x + a.bytes <= *y || y + b.bytes <= *x;
            count += usize::from(!apart);
        }
    }
    count
}
