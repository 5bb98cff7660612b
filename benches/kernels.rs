//! Convolution, direct and Winograd, against this machine's peak, for every vector level that it has.
//!
//! Prints a table first, then times every distinct layer with criterion. The table has the least time of many runs beside the
//! multiply-add peak of the same width, which a tile of the same assembler measures; products with padding, which the
//! kernel leaves out, are not counted. A second table has the 3×3 layers by Winograd's algorithm at the rate of the
//! direct products that they stand for. Layers are GoogLeNet's, sibling 1×1s merged. An argument `avx512`, `avx2` or
//! `v128` limits the tables to that level.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use incept_compiler::codegen::kernels::conv_direct::{ConvInput, ConvOutput, ConvSpec, PixelStrides, emit, packed_len};
use incept_compiler::codegen::kernels::conv_winograd::{self, WinogradSpec};
use incept_compiler::codegen::kernels::window::Axis;
use incept_compiler::codegen::link::{Linked, Linker};
use incept_compiler::codegen::target::Target;
use incept_compiler::codegen::vector::{Asm, Count, repeat};
use incept_compiler::codegen::{CodegenError, epilogue::PostOp};
use incept_ir::abi::{AlignedBytes, KernelArgs, KernelFn};

type Outcome<T> = Result<T, CodegenError>;

/// A linked kernel with operands of its own.
struct Job {
    name: String,
    kernel: KernelFn,
    tasks: u64,
    flops: f64,
    operands: Vec<AlignedBytes>,
    scratch: AlignedBytes,
    _linked: Linked,
}

impl Job {
    fn run(&mut self) {
        self.tasks(0, self.tasks);
    }

    fn tasks(&mut self, task_begin: u64, task_end: u64) {
        let mut pointers = [std::ptr::null_mut(); 8];
        for (pointer, bytes) in pointers.iter_mut().zip(&mut self.operands) {
            *pointer = bytes.bytes_mut().as_mut_ptr();
        }
        let scratch = self.scratch.bytes_mut().as_mut_ptr();
        let args = KernelArgs { operands: pointers.as_ptr(), scratch, task_begin, task_end };
        // SAFETY: the operands and the scratch memory are as long as the kernel's spec says, and the linked code lives in this value.
        unsafe { (self.kernel)(&args) };
    }

    /// Runs all tasks once and keeps the least time of each part of them: on a busy machine a whole run is seldom left
    /// alone, but each part of it is now and then.
    fn sample(&mut self, least: &mut [f64; PARTS]) {
        for (part, least) in least.iter_mut().enumerate() {
            let cut = |part: usize| self.tasks * part as u64 / PARTS as u64;
            let (begin, end) = (cut(part), cut(part + 1));
            let start = Instant::now();
            if begin < end {
                self.tasks(begin, end);
                *least = least.min(start.elapsed().as_secs_f64());
            } else {
                *least = 0.0;
            }
        }
    }

    /// Least seconds of one run.
    fn least(&mut self, budget: Duration) -> f64 {
        self.run();
        let (mut least, begin) = ([f64::INFINITY; PARTS], Instant::now());
        while begin.elapsed() < budget {
            self.sample(&mut least);
        }
        least.iter().sum()
    }
}

/// Parts of a run that are timed alone.
const PARTS: usize = 16;

/// A kernel that does nothing but independent multiply-adds.
fn peak(target: &Target) -> Outcome<Job> {
    const ROUNDS: u64 = 2_000;
    let mut linker = Linker::new(target);
    let sums = target.registers() - 3;
    let body = move |a: &mut dyn Asm| {
        let zero = a.vec();
        a.zero(zero);
        let sums: Vec<_> = (0..sums).map(|_| a.vec()).collect();
        for sum in &sums {
            a.zero(*sum);
        }
        repeat(a, Count::Times(ROUNDS), |a| {
            for _ in 0..4 {
                for sum in &sums {
                    a.fma(*sum, *sum, zero);
                }
            }
        });
    };
    let tile = linker.tile("peak", 0, &body)?;
    let kernel = linker.kernel("peak", |nest| {
        nest.call(tile, &[]);
        Ok(())
    })?;
    let linked = linker.finish()?;
    let flops = (2 * target.lanes() * sums * 4) as f64 * ROUNDS as f64;
    Ok(Job {
        name: "peak".into(),
        kernel: linked.kernel(kernel)?,
        tasks: 1,
        flops,
        operands: vec![],
        scratch: AlignedBytes::default(),
        _linked: linked,
    })
}

/// A layer: input channels, size, output channels of each destination, kernel, stride.
type Layer = (usize, usize, &'static [usize], usize, usize);

/// GoogLeNet's convolutions in order.
const LAYERS: [Layer; 39] = [
    (3, 224, &[64], 7, 2),
    (64, 56, &[64], 1, 1),
    (64, 56, &[192], 3, 1),
    (192, 28, &[64, 96, 16], 1, 1),
    (96, 28, &[128], 3, 1),
    (16, 28, &[32], 3, 1),
    (192, 28, &[32], 1, 1),
    (256, 28, &[128, 128, 32], 1, 1),
    (128, 28, &[192], 3, 1),
    (32, 28, &[96], 3, 1),
    (256, 28, &[64], 1, 1),
    (480, 14, &[192, 96, 16], 1, 1),
    (96, 14, &[208], 3, 1),
    (16, 14, &[48], 3, 1),
    (480, 14, &[64], 1, 1),
    (512, 14, &[160, 112, 24], 1, 1),
    (112, 14, &[224], 3, 1),
    (24, 14, &[64], 3, 1),
    (512, 14, &[64], 1, 1),
    (512, 14, &[128, 128, 24], 1, 1),
    (128, 14, &[256], 3, 1),
    (24, 14, &[64], 3, 1),
    (512, 14, &[64], 1, 1),
    (512, 14, &[112, 144, 32], 1, 1),
    (144, 14, &[288], 3, 1),
    (32, 14, &[64], 3, 1),
    (512, 14, &[64], 1, 1),
    (528, 14, &[256, 160, 32], 1, 1),
    (160, 14, &[320], 3, 1),
    (32, 14, &[128], 3, 1),
    (528, 14, &[128], 1, 1),
    (832, 7, &[256, 160, 32], 1, 1),
    (160, 7, &[320], 3, 1),
    (32, 7, &[128], 3, 1),
    (832, 7, &[128], 1, 1),
    (832, 7, &[384, 192, 48], 1, 1),
    (192, 7, &[384], 3, 1),
    (48, 7, &[128], 3, 1),
    (832, 7, &[128], 1, 1),
];

fn spec(&(channels, size, outputs, kernel, stride): &Layer) -> ConvSpec {
    let pad = kernel / 2;
    let out = (size + 2 * pad - kernel) / stride + 1;
    let nhwc = |size: usize, pixel: usize| PixelStrides { n: size * size * pixel, h: size * pixel, w: pixel };
    // The first layer reads the model's own layout.
    let stem = channels == 3;
    ConvSpec {
        batch: 1,
        input: ConvInput {
            channels,
            height: size,
            width: size,
            strides: if stem { PixelStrides { n: 3 * size * size, h: size, w: 1 } } else { nhwc(size, channels) },
            channel_stride: if stem { size * size } else { 1 },
        },
        out_height: out,
        out_width: out,
        outputs: outputs
            .iter()
            .map(|&channels| ConvOutput {
                channels,
                strides: nhwc(out, channels),
                residual: None,
                post: vec![PostOp::Relu],
            })
            .collect(),
        kernel: [kernel; 2],
        strides: [stride; 2],
        dilations: [1; 2],
        pads: [pad; 2],
        groups: 1,
    }
}

/// Multiply-adds whose input is not padding.
fn products(spec: &ConvSpec) -> f64 {
    let taps = |index: usize, input: usize, output: usize| -> usize {
        let axis = Axis {
            input,
            output,
            kernel: spec.kernel[index],
            stride: spec.strides[index],
            dilation: 1,
            pad: spec.pads[index],
        };
        (0..output).map(|at| (0..axis.kernel).filter(|tap| axis.inside(at, *tap)).count()).sum()
    };
    let (rows, columns) = (taps(0, spec.input.height, spec.out_height), taps(1, spec.input.width, spec.out_width));
    (rows * columns) as f64 * (spec.input.channels * spec.out_channels()) as f64
}

fn zeroed(bytes: usize) -> Outcome<AlignedBytes> {
    AlignedBytes::zeroed(bytes).ok_or(CodegenError::Internal("no memory for a bench's operands"))
}

/// A layer, directly or by Winograd's algorithm with output tiles of `m`.
fn convolution(layer: &Layer, m: Option<usize>, target: &Target) -> Outcome<Job> {
    let spec = spec(layer);
    let (channels, size, outputs, kernel, _) = layer;
    let mut linker = Linker::new(target);
    let (emitted, weights) = match m {
        None => (emit(&mut linker, &spec)?, packed_len(&spec, target)?),
        Some(m) => {
            let spec = WinogradSpec { conv: spec.clone(), m };
            (conv_winograd::emit(&mut linker, &spec)?, conv_winograd::packed_len(&spec, target)?)
        }
    };
    let linked = linker.finish()?;
    let pixels = spec.out_height * spec.out_width;
    let floats = [channels * size * size, weights].into_iter().chain(outputs.iter().map(|channels| channels * pixels));
    let mut operands = floats.map(|floats| zeroed(4 * floats)).collect::<Outcome<Vec<_>>>()?;
    for (index, value) in operands[0].floats_mut().iter_mut().enumerate() {
        *value = (index % 17) as f32 - 8.0;
    }
    for (index, value) in operands[1].floats_mut().iter_mut().enumerate() {
        *value = ((index % 13) as f32 - 6.0) / 64.0;
    }
    let name = format!("{kernel}x{kernel} {channels}->{outputs:?} at {size} {}", emitted.name);
    let flops = 2.0 * products(&spec);
    Ok(Job {
        name,
        kernel: linked.kernel(emitted.kernel)?,
        tasks: emitted.tasks,
        flops,
        operands,
        scratch: zeroed(emitted.scratch_bytes)?,
        _linked: linked,
    })
}

/// Least seconds of each job when they run one after the other, so that each finds the caches as the others left them.
fn in_a_row(jobs: &mut [Job]) -> Vec<f64> {
    let mut least = vec![[f64::INFINITY; PARTS]; jobs.len()];
    for _ in 0..60 {
        jobs.iter_mut().zip(&mut least).for_each(|(job, least)| job.sample(least));
    }
    least.iter().map(|parts| parts.iter().sum()).collect()
}

fn table(target: &Target) -> Outcome<()> {
    let mut roof = peak(target)?;
    let mut roof_time = roof.least(Duration::from_millis(60));
    let mut jobs = LAYERS.iter().map(|layer| convolution(layer, None, target)).collect::<Outcome<Vec<_>>>()?;
    let mut rows = Vec::new();
    for job in &mut jobs {
        let least = job.least(Duration::from_millis(40));
        // Frequencies drift: the roof is measured beside every layer, and the highest counts.
        roof_time = roof_time.min(roof.least(Duration::from_millis(5)));
        rows.push((least, job.flops));
    }
    let in_row = in_a_row(&mut jobs);
    let whole: f64 = in_row.iter().sum();
    let roof_rate = roof.flops / roof_time;
    println!("{target:?}: peak {:.1} GFLOP/s", roof_rate / 1e9);
    println!("  alone: ms, GFLOP/s, of peak | in a row, each with its own weights: ms, of peak");
    for ((job, (least, flops)), row) in jobs.iter().zip(&rows).zip(&in_row) {
        let percent = |time: f64| 100.0 * flops / time / roof_rate;
        println!(
            "  {:7.3} {:6.1} {:5.1} % | {:7.3} {:5.1} %  {}",
            least * 1e3,
            flops / least / 1e9,
            percent(*least),
            row * 1e3,
            percent(*row),
            job.name
        );
    }
    let (sum, flops) = rows.iter().fold((0.0, 0.0), |(a, b), (time, flops)| (a + time, b + flops));
    println!(
        "  all layers: alone {:.2} ms ({:.1} %), in a row {:.2} ms ({:.1} %)\n",
        sum * 1e3,
        100.0 * flops / sum / roof_rate,
        whole * 1e3,
        100.0 * flops / whole / roof_rate
    );
    let direct = rows.iter().zip(&in_row).map(|((least, _), row)| (*least, *row)).collect::<Vec<_>>();
    winograd(target, roof_rate, &direct)
}

/// The 3×3 layers by Winograd's algorithm; `direct` has the times of all layers alone and in a row.
fn winograd(target: &Target, roof_rate: f64, direct: &[(f64, f64)]) -> Outcome<()> {
    const SIZES: [usize; 4] = [2, 3, 4, 5];
    let three = |layer: &Layer| layer.3 > 1;
    let mut columns = Vec::new();
    for m in SIZES {
        let make =
            |layer: &Layer| convolution(layer, three(layer).then_some(if layer.4 > 1 { m.min(4) } else { m }), target);
        let mut jobs = LAYERS.iter().map(make).collect::<Outcome<Vec<_>>>()?;
        let mut alone = Vec::new();
        for (layer, job) in LAYERS.iter().zip(&mut jobs) {
            alone.push(if three(layer) { job.least(Duration::from_millis(40)) } else { 0.0 });
        }
        let in_row = in_a_row(&mut jobs);
        let all: f64 = in_row.iter().sum();
        println!("  F({m}x{m},3x3) for every 3x3: all layers in a row {:.2} ms", all * 1e3);
        columns.push((alone, in_row, jobs));
    }
    println!("  3x3 layers, ms and times the peak, alone | in a row: direct, then F(m,3) of m = {SIZES:?}");
    for (index, layer) in LAYERS.iter().enumerate().filter(|(_, layer)| three(layer)) {
        let flops = columns[0].2[index].flops;
        let cell = |time: f64| format!("{:6.3} {:4.2}", time * 1e3, flops / time / roof_rate);
        let mut alone = vec![cell(direct[index].0)];
        let mut row = vec![cell(direct[index].1)];
        for (times, rows, _) in &columns {
            alone.push(cell(times[index]));
            row.push(cell(rows[index]));
        }
        let tiles = columns.last().map_or("", |(_, _, jobs)| &jobs[index].name);
        println!("  {} | {}  {} at {}: {tiles}", alone.join("  "), row.join("  "), layer.0, layer.1);
    }
    println!();
    Ok(())
}

fn main() -> Outcome<()> {
    let targets = Target::all()?;
    let only = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let wanted = |name: &str| only.as_ref().is_none_or(|only| only == name || only == "table");
    for target in targets.iter().rev().filter(|target| wanted(target.level().name())) {
        table(target)?;
    }
    // Many and short: the tables above say more, these are for comparing versions.
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(10)
        .nresamples(2000)
        .warm_up_time(Duration::from_millis(30))
        .measurement_time(Duration::from_millis(100))
        .configure_from_args();
    let mut shapes: Vec<&Layer> = Vec::new();
    for layer in &LAYERS {
        if !shapes.contains(&layer) {
            shapes.push(layer);
        }
    }
    for target in &targets {
        let mut group = criterion.benchmark_group(format!("conv/{}", target.level()));
        for layer in &shapes {
            for m in [None, Some(2), Some(4)].into_iter().filter(|m| m.is_none() || layer.3 == 3) {
                let mut job = convolution(layer, m, target)?;
                group.throughput(criterion::Throughput::Elements(job.flops as u64));
                let name = job.name.clone();
                group.bench_function(name, |bencher| bencher.iter(|| black_box(&mut job).run()));
            }
        }
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}
