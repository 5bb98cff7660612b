//! Measurements as pictures: the roofline of a profile, and the times of variants.

use std::fmt::Write as _;

use super::escaped;
use crate::report::measured::{Bench, Peak, Profile, ProfileStep};

/// The size of the roofline plot, and the room for its axes.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;

const STYLE: &str = ".plot text{font:11px system-ui,'DejaVu Sans',sans-serif;fill:#1b1f24}.plot .dim{fill:#57606a}\
    .plot .end{text-anchor:end}.plot .middle{text-anchor:middle}.plot line{stroke:#d0d7de}\
    .plot .roof{fill:none;stroke:#57606a;stroke-width:1.5}.plot circle{fill-opacity:.65;stroke:#1b1f24;stroke-width:.6}";

/// A logarithmic axis.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis over whole decades that holds these values, which are positive.
    fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite() && *value > 0.0)
            .fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if high > 0.0 { (low.log10().floor(), high.log10().ceil()) } else { (0.0, 1.0) };
        // Absurd numbers make no picture, but no harm either.
        let low = low.clamp(-9.0, 9.0);
        Self { low, high: high.clamp(low + 1.0, low + 18.0), from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.max(f64::MIN_POSITIVE).log10() - self.low) / (self.high - self.low);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        let (low, high) = (self.low, self.high);
        (0..=18)
            .map(move |step| low + f64::from(step))
            .take_while(move |decade| *decade <= high)
            .map(|decade| 10f64.powf(decade))
    }
}

/// The roofline: each step by its operations for a byte and its operations a second, under what the machine could do.
pub(super) fn roofline(profile: &Profile) -> String {
    let shown: Vec<&ProfileStep> = profile.steps.iter().filter(|step| step.gflops > 0.0 && step.gbps > 0.0).collect();
    let intensity = |step: &ProfileStep| step.gflops / step.gbps;
    let ridges = profile.peak.iter().flat_map(|peak| peak.reading.iter().map(|reading| peak.gflops / reading.gbps));
    let x = Axis::new(shown.iter().map(|step| intensity(step)).chain(ridges), LEFT, WIDTH - RIGHT);
    let peaks = profile.peak.iter().map(|peak| peak.gflops);
    let y = Axis::new(shown.iter().map(|step| step.gflops).chain(peaks), HEIGHT - BOTTOM, TOP);
    let mut out = begin("Roofline", WIDTH, HEIGHT);
    grid(&mut out, &x, &y);
    if let Some(peak) = &profile.peak {
        roofs(&mut out, peak, &x, &y);
    }
    for step in &shown {
        let radius = (step.ms / profile.sum_ms.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0).sqrt() * 36.0 + 2.5;
        let _ = write!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"{}\"><title>{} {} ({})\n{}\n{:.4} ms, {:.1} GFLOP/s, \
             {:.1} GB/s, {:.0} % of peak {}</title></circle>",
            x.at(intensity(step)),
            y.at(step.gflops),
            colour(&step.kind),
            escaped(&step.step),
            escaped(&step.kind),
            escaped(&step.algorithm),
            escaped(&step.nodes.join(", ")),
            step.ms,
            step.gflops,
            step.gbps,
            step.percent_of_peak,
            escaped(&step.bound),
        );
    }
    let mut kinds: Vec<&str> = shown.iter().map(|step| step.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut row = TOP + 12.0;
    for kind in kinds {
        let left = WIDTH - RIGHT + 20.0;
        let _ = write!(
            out,
            "<circle cx=\"{left}\" cy=\"{:.0}\" r=\"5\" fill=\"{}\"/><text x=\"{}\" y=\"{row:.0}\">{}</text>",
            row - 4.0,
            colour(kind),
            left + 10.0,
            escaped(kind)
        );
        row += 18.0;
    }
    out.push_str("</svg>");
    out
}

fn begin(title: &str, width: f64, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\"><title>{title}</title><style>{STYLE}</style>"
    )
}

fn grid(out: &mut String, x: &Axis, y: &Axis) {
    for decade in x.decades() {
        let at = x.at(decade);
        let bottom = HEIGHT - BOTTOM;
        let _ = write!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\"/><text class=\"dim middle\" x=\"{at:.1}\" \
             y=\"{}\">{decade}</text>",
            bottom + 16.0
        );
    }
    for decade in y.decades() {
        let at = y.at(decade);
        let _ = write!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{}\" y2=\"{at:.1}\"/><text class=\"dim end\" x=\"{}\" y=\"{:.1}\">\
             {decade}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0
        );
    }
    let _ = write!(
        out,
        "<text class=\"middle\" x=\"{}\" y=\"{}\">operations for a byte (FLOP/B)</text><text class=\"middle\" \
         transform=\"translate(16 {}) rotate(-90)\">GFLOP/s</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 8.0,
        f64::midpoint(TOP, HEIGHT - BOTTOM)
    );
}

/// What the machine could do: a slope for each reading speed, up to the peak of its arithmetic.
fn roofs(out: &mut String, peak: &Peak, x: &Axis, y: &Axis) {
    let (left, right) = (10f64.powf(x.low), 10f64.powf(x.high));
    let _ = write!(
        out,
        "<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">peak {:.1} GFLOP/s</text>",
        x.to - 4.0,
        y.at(peak.gflops) - 5.0,
        peak.gflops
    );
    for reading in peak.reading.iter().filter(|reading| reading.gbps > 0.0) {
        let bottom = 10f64.powf(y.low);
        // Where the slope comes into the picture, and where it meets the roof.
        let start = left.max(bottom / reading.gbps);
        let ridge = (peak.gflops / reading.gbps).clamp(start, right);
        let _ = write!(
            out,
            "<path class=\"roof\" d=\"M{:.1} {:.1}L{:.1} {:.1}H{:.1}\"><title>{:.1} GB/s within {} bytes</title></path>",
            x.at(start),
            y.at(start * reading.gbps),
            x.at(ridge),
            y.at(ridge * reading.gbps),
            x.to,
            reading.gbps,
            reading.working_set_bytes
        );
    }
}

/// A colour for each kind of step.
fn colour(kind: &str) -> String {
    let known = ["conv", "depthwise_conv", "gemm", "max_pool", "avg_pool", "global_avg_pool", "elementwise", "concat"];
    let colours = ["#3b82c4", "#6cb4ee", "#8250df", "#2da44e", "#7bc96f", "#1f883d", "#cf5c48", "#57606a"];
    match known.iter().position(|name| *name == kind) {
        Some(index) => colours[index].to_owned(),
        None => "#bf8700".to_owned(),
    }
}

/// The times of variants beside each other: from the shortest run to the 99th percentile, thick up to the 90th, a mark at
/// the median.
pub(super) fn variants(bench: &Bench) -> String {
    const ROW: f64 = 30.0;
    let named = 220.0;
    let right = 110.0;
    #[allow(clippy::cast_precision_loss, reason = "few variants")]
    let height = 44.0 + ROW * bench.variants.len() as f64;
    let most = bench.variants.iter().map(|variant| variant.p99_ms).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let x = |ms: f64| named + (ms / most).clamp(0.0, 1.0) * (WIDTH - named - right);
    let mut out = begin("Times of the variants", WIDTH, height);
    for part in 0..=4u32 {
        let ms = most * f64::from(part) / 4.0;
        let _ = write!(
            out,
            "<line x1=\"{0:.1}\" y1=\"6\" x2=\"{0:.1}\" y2=\"{1:.0}\"/><text class=\"dim middle\" x=\"{0:.1}\" y=\"{2:.0}\">\
             {ms:.3} ms</text>",
            x(ms),
            height - 32.0,
            height - 14.0
        );
    }
    let mut y = 22.0;
    for variant in &bench.variants {
        let name = format!("{}, {} thread(s), batch {}", variant.name, variant.threads, variant.batch);
        let _ = write!(
            out,
            "<g><title>{}: {:.4} ms at best, median {:.4}, p90 {:.4}, p99 {:.4}, {} runs</title><text class=\"end\" \
             x=\"{}\" y=\"{:.0}\">{}</text><path d=\"M{:.1} {y:.0}H{:.1}\" stroke=\"#3b82c4\" stroke-width=\"1.5\"/>\
             <path d=\"M{:.1} {y:.0}H{:.1}\" stroke=\"#3b82c4\" stroke-width=\"9\" stroke-opacity=\".5\"/>\
             <path d=\"M{:.1} {:.0}v16\" stroke=\"#1b1f24\" stroke-width=\"2\"/><text x=\"{:.1}\" y=\"{:.0}\">{:.3} ms</text></g>",
            escaped(&name),
            variant.min_ms,
            variant.median_ms,
            variant.p90_ms,
            variant.p99_ms,
            variant.runs,
            named - 10.0,
            y + 4.0,
            escaped(&name),
            x(variant.min_ms),
            x(variant.p99_ms),
            x(variant.min_ms),
            x(variant.p90_ms),
            x(variant.median_ms),
            y - 8.0,
            x(variant.p99_ms) + 8.0,
            y + 4.0,
            variant.median_ms,
        );
        y += ROW;
    }
    out.push_str("</svg>");
    out
}
