#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
//! Every family of the kernel table on every level of this machine against plain loops: a family without cases does not
//! compile (`cases` matches on the table), and one with too few fails.
//!
//! Data are small integers, so that sums are exact and the comparison allows no error, except where a case states a
//! bound. What lies between an input's elements is NaN, what lies around an output's must stay as it was.

mod arrays;
mod convs;
mod layers;
mod norms;
mod products;

use arrays::{Random, Tensor};

use super::{Emitted, Family, Spec};
use crate::codegen::link::Linker;
use crate::codegen::target::Target;
use incept_ir::abi::{AlignedBytes, KernelArgs};

/// How far a result may be from the reference.
#[derive(Debug, Clone, Copy)]
enum Bound {
    /// Not at all.
    Exact,
    /// This factor of the reference, or this much below the smallest normal number.
    Relative(f32),
}

/// Packs an operand for a level.
type Pack = Box<dyn Fn(&Target) -> Vec<f32>>;

/// One operand beside the output.
enum Input {
    Tensor(Tensor),
    /// What packing gives for the level.
    Packed(Pack),
}

/// A kernel, its data and what it must give.
struct Case {
    spec: Spec,
    /// The outputs as the reference gives them; the kernel's start with the same guard values around theirs.
    outputs: Vec<Tensor>,
    inputs: Vec<Input>,
    /// The kernel's operands: `Ok` is an output, `Err` an input.
    order: Vec<Result<usize, usize>>,
    bound: Bound,
}

impl Case {
    /// A kernel with one output, which is its first operand.
    fn new(spec: Spec, output: Tensor, inputs: Vec<Input>) -> Self {
        let order = std::iter::once(Ok(0)).chain((0..inputs.len()).map(Err)).collect();
        Self { spec, outputs: vec![output], inputs, order, bound: Bound::Exact }
    }

    fn within(self, bound: f32) -> Self {
        Self { bound: Bound::Relative(bound), ..self }
    }
}

/// The cases of a family.
fn cases(family: Family) -> Vec<Case> {
    match family {
        Family::Conv => products::conv().into_iter().chain(convs::conv()).collect(),
        Family::Winograd => products::winograd(),
        Family::Gemm => products::gemm(),
        Family::MatMul => products::matmul(),
        Family::Pool => layers::pool(),
        Family::GlobalPool => layers::global_pool(),
        Family::Elementwise => layers::elementwise(),
        Family::Copy => layers::copy(),
        Family::Pad => layers::pad(),
        Family::BatchNorm => norms::batch_norm(),
        Family::Lrn => norms::lrn(),
        Family::Softmax => norms::softmax(),
    }
}

fn run_family(family: Family, least: usize) {
    let cases = cases(family);
    assert!(cases.len() >= least, "{} has {} cases only", family.name(), cases.len());
    for target in Target::all().unwrap() {
        let mut linker = Linker::new(&target);
        let emitted: Vec<Emitted> = cases
            .iter()
            .map(|case| {
                assert_eq!(case.spec.family(), family);
                case.spec.emit(&mut linker).unwrap_or_else(|error| panic!("{target:?}: {error}: {:?}", case.spec))
            })
            .collect();
        let linked = linker.finish().unwrap();
        let mut random = Random::new(7);
        for (case, emitted) in cases.iter().zip(&emitted) {
            let kernel = linked.kernel(emitted.kernel).unwrap();
            let mut outputs: Vec<Tensor> = case.outputs.iter().map(Tensor::cleared).collect();
            let packed: Vec<Vec<f32>> = case
                .inputs
                .iter()
                .map(|input| match input {
                    Input::Tensor(_) => Vec::new(),
                    Input::Packed(pack) => pack(&target),
                })
                .collect();
            let mut scratch = AlignedBytes::zeroed(emitted.scratch_bytes).unwrap();
            scratch.floats_mut().fill(f32::NAN);
            let operands: Vec<*mut u8> = case
                .order
                .iter()
                .map(|operand| match operand {
                    Ok(output) => outputs[*output].pointer_mut(),
                    Err(input) => match &case.inputs[*input] {
                        Input::Tensor(tensor) => tensor.pointer(),
                        Input::Packed(_) => packed[*input].as_ptr().cast_mut().cast(),
                    },
                })
                .collect();
            // The tasks in a random partition, last part first.
            let (mut end, mut ranges) = (emitted.tasks, Vec::new());
            while end > 0 {
                let begin = end - (1 + random.below(end as usize) as u64);
                ranges.push((begin, end));
                end = begin;
            }
            for (task_begin, task_end) in ranges {
                let args = KernelArgs {
                    operands: operands.as_ptr(),
                    scratch: scratch.bytes_mut().as_mut_ptr(),
                    task_begin,
                    task_end,
                };
                // SAFETY: every operand has the extent that the spec describes, with room around it.
                unsafe { kernel(&args) };
            }
            for (got, wanted) in outputs.iter().zip(&case.outputs) {
                compare(case, &target, got.values(), wanted.values());
            }
        }
    }
}

fn compare(case: &Case, target: &Target, got: &[f32], wanted: &[f32]) {
    for (index, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let close = match case.bound {
            Bound::Exact => got == wanted,
            Bound::Relative(bound) => (got - wanted).abs() <= bound * wanted.abs().max(f32::MIN_POSITIVE),
        };
        if !(close || (got.is_nan() && wanted.is_nan())) {
            panic!("{target:?}: {got} instead of {wanted} at {index}: {:?}", case.spec);
        }
    }
}

macro_rules! families {
    ($($test:ident: $family:ident, $least:literal;)*) => {
        $(#[test]
        fn $test() {
            run_family(Family::$family, $least);
        })*

        #[test]
        fn every_family_is_run() {
            assert_eq!(Family::ALL, [$(Family::$family),*]);
            // The convolutions' own tests have some 1500 more.
            assert!([$($least),*].iter().sum::<usize>() >= 2000);
        }
    };
}

families! {
    conv: Conv, 640;
    winograd: Winograd, 14;
    pool: Pool, 318;
    global_pool: GlobalPool, 85;
    elementwise: Elementwise, 256;
    batch_norm: BatchNorm, 140;
    copy: Copy, 100;
    pad: Pad, 80;
    lrn: Lrn, 70;
    softmax: Softmax, 130;
    gemm: Gemm, 126;
    matmul: MatMul, 85;
}

#[test]
fn equal_specs_share_a_kernel_and_names_differ() {
    let mut linker = Linker::new(&Target::host().unwrap());
    for &family in Family::ALL {
        let case = &cases(family)[0];
        let first = case.spec.emit(&mut linker).unwrap();
        assert_eq!(case.spec.emit(&mut linker).unwrap().kernel, first.kernel);
        assert!(!first.name.is_empty() && !family.description().is_empty());
        assert_eq!(Family::ALL.iter().filter(|other| other.name() == family.name()).count(), 1);
    }
}
