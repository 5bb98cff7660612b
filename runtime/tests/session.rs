//! Sessions over a module made by hand.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "small test values")]

mod support;

use std::num::NonZeroUsize;

use incept_ir::abi::Operand;
use incept_ir::ids::{BufferId, StepId, ViewId};
use incept_ir::plan::{Place, Region};
use incept_runtime::{Session, SessionError, SessionOptions};
use support::{N, expected, module, module_of, plan};

fn values(seed: usize) -> Vec<f32> {
    (0..N).map(|index| ((index * 7 + seed * 13) % 11) as f32 - 5.0).collect()
}

fn on_threads(threads: usize) -> Session {
    Session::with_options(module(), &SessionOptions { threads: NonZeroUsize::new(threads) }).unwrap()
}

fn check(session: &Session, x: &[f32]) {
    let (y, z) = expected(x);
    assert_eq!(session.output(0), y);
    assert_eq!(session.output(1), [z]);
}

#[test]
fn runs_and_names_its_ports() {
    let mut session = Session::new(module()).unwrap();
    assert_eq!(session.inputs()[0].name, "x");
    assert_eq!(session.inputs()[0].sizes, [1, N]);
    assert_eq!(session.outputs()[1].name, "z");
    assert_eq!(session.outputs()[1].elements, 1);
    assert_eq!(session.output(2), [0.0f32; 0]);
    for seed in 0..3 {
        let x = values(seed);
        session.run(&[&x]).unwrap();
        check(&session, &x);
    }
}

/// The network in three parts, each of one row.
fn in_parts() -> incept_ir::plan::Plan {
    incept_ir::plan::Plan { batch: 3, parts: NonZeroUsize::new(3).unwrap(), ..plan() }
}

#[test]
fn parts_run_one_after_the_other() {
    for threads in 1..=3 {
        let options = SessionOptions { threads: NonZeroUsize::new(threads) };
        let mut session = Session::with_options(module_of(in_parts()), &options).unwrap();
        assert_eq!((&session.inputs()[0].sizes[..], session.inputs()[0].elements), (&[3, N][..], 3 * N));
        assert_eq!((&session.outputs()[0].sizes[..], &session.outputs()[1].sizes[..]), (&[3, N][..], &[3][..]));
        let x: Vec<f32> = (0..3).flat_map(values).collect();
        session.run(&[&x]).unwrap();
        let (y, z): (Vec<_>, Vec<_>) = x.chunks(N).map(expected).unzip();
        assert_eq!((session.output(0), session.output(1)), (&y.concat()[..], &z[..]));
        let (mut own_y, mut own_z) = (vec![0.0; 3 * N], vec![0.0; 3]);
        session.run_into(&[&x], &mut [&mut own_y, &mut own_z]).unwrap();
        assert_eq!((&own_y, &own_z), (&y.concat(), &z));
        let (calls, steps) = {
            let profile = session.run_profiled(&[&x]).unwrap();
            (profile.records().len(), profile.steps_ns().len())
        };
        assert_eq!(steps, 3);
        assert!(calls >= 9, "{calls} calls of 3 steps in 3 parts");
        assert!(matches!(session.run(&[&x[..N]]), Err(SessionError::PortSize { wanted, .. }) if wanted == 3 * N));
    }
}

#[test]
fn an_input_may_lie_anywhere() {
    let mut session = Session::new(module()).unwrap();
    let mut room = values(1);
    room.insert(0, 0.0);
    session.run(&[&room[1..]]).unwrap();
    check(&session, &room[1..]);
}

#[test]
fn a_poisoned_arena_changes_nothing() {
    let mut session = Session::new(module()).unwrap();
    let x = values(2);
    session.run(&[&x]).unwrap();
    let before = session.output(0).to_vec();
    session.poison_arena();
    assert!(session.output(0).iter().all(|value| value.is_nan()));
    session.run(&[&x]).unwrap();
    assert_eq!(session.output(0), before);
    check(&session, &x);
}

#[test]
fn outputs_go_to_the_callers_memory_and_back() {
    let mut session = Session::new(module()).unwrap();
    let (x, other) = (values(3), values(4));
    session.run(&[&x]).unwrap();
    let (mut y, mut z) = (vec![0.0; N], vec![0.0; 1]);
    session.run_into(&[&other], &mut [&mut y, &mut z]).unwrap();
    assert_eq!((y, z[0]), expected(&other));
    check(&session, &x);
    session.run(&[&other]).unwrap();
    check(&session, &other);
}

#[test]
fn profiles_each_step() {
    let x = values(5);
    for threads in [1, 2, 3] {
        let mut session = on_threads(threads);
        for _ in 0..20 {
            let profile = session.run_profiled(&[&x]).unwrap().clone();
            check(&session, &x);
            assert_eq!(profile.steps_ns().len(), 3);
            let mut sums = vec![0; 3];
            for record in profile.records() {
                assert!(record.begin_ns <= record.end_ns && record.end_ns <= profile.total_ns());
                assert!(record.thread < threads);
                sums[record.step.index()] += record.ns();
            }
            assert_eq!(sums, profile.steps_ns());
            assert!(profile.records().is_sorted_by_key(|record| record.begin_ns));
            let steps: Vec<usize> = profile.records().iter().map(|record| record.step.index()).collect();
            match threads {
                1 => assert_eq!(steps, [0, 1, 2]),
                // `add` has 37 tasks, the others one each; no step begins before the one before has ended.
                _ => {
                    assert!(steps.len() >= 3 + threads - 1 && steps.is_sorted(), "{steps:?}");
                    assert_eq!(steps[steps.len() - 2..], [1, 2]);
                }
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same() {
    let x = values(7);
    for threads in [1, 2, 3, 4, 8, 37, 100] {
        let mut session = on_threads(threads);
        assert_eq!(session.threads(), threads.min(N), "as many as the largest step has tasks");
        for _ in 0..50 {
            session.poison_arena();
            session.run(&[&x]).unwrap();
            check(&session, &x);
        }
    }
    assert!(Session::new(module()).unwrap().threads() <= incept_runtime::available_cores().get());
}

/// `y` and `z` do not depend on each other.
#[test]
fn steps_of_a_region_run_at_once() {
    let mut plan = plan();
    let region = |begin, end| Region { begin: StepId::new(begin), end: StepId::new(end) };
    plan.regions = vec![region(0, 1), region(1, 3)];
    let module = module_of(plan);
    let x = values(8);
    for threads in [1, 2, 3] {
        let options = SessionOptions { threads: NonZeroUsize::new(threads) };
        let mut session = Session::with_options(module.clone(), &options).unwrap();
        for _ in 0..200 {
            session.poison_arena();
            let profile = session.run_profiled(&[&x]).unwrap();
            let end =
                |step| profile.records().iter().filter(move |record| record.step.index() == step).map(|r| r.end_ns);
            let first = profile.records().iter().filter(|record| record.step.index() > 0).map(|r| r.begin_ns).min();
            assert!(end(0).max() <= first, "a barrier after the first region");
            assert_eq!((end(1).count(), end(2).count()), (1, 1));
            check(&session, &x);
        }
    }
}

#[test]
fn sizes_are_checked_before_anything_runs() {
    let mut session = Session::new(module()).unwrap();
    let x = values(6);
    session.run(&[&x]).unwrap();
    let error = session.run(&[]).unwrap_err();
    assert_eq!(error.to_string(), "the model takes 1 inputs (x) but 0 are given");
    let error = session.run(&[&x[1..]]).unwrap_err();
    assert_eq!(error.to_string(), "input `x` has sizes [1, 37], that is 37 values, but 36 are given");
    let error = session.run_into(&[&x], &mut [&mut [0.0; N]]).unwrap_err();
    assert_eq!(error.to_string(), "the model has 2 outputs (y, z) but 1 are given");
    let error = session.run_into(&[&x], &mut [&mut [0.0; N], &mut [0.0; 2]]).unwrap_err();
    assert_eq!(error.to_string(), "output `z` has sizes [1], that is 1 values, but 2 are given");
    check(&session, &x);
}

#[test]
fn two_sessions_of_one_module_run_at_once() {
    let module = module();
    let threads: Vec<_> = (0..2)
        .map(|seed| {
            let mut session = Session::new(module.clone()).unwrap();
            std::thread::spawn(move || {
                let x = values(seed);
                for _ in 0..1000 {
                    session.run(&[&x]).unwrap();
                    check(&session, &x);
                }
            })
        })
        .collect();
    drop(module);
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn inconsistent_modules_are_refused() {
    let refused = |change: &dyn Fn(&mut incept_ir::plan::Plan)| {
        let mut plan = plan();
        change(&mut plan);
        match Session::new(module_of(plan)) {
            Err(SessionError::Module { reason }) => reason,
            Err(other) => panic!("another error: {other}"),
            Ok(_) => panic!("accepted"),
        }
    };
    let reasons = [
        refused(&|plan| plan.views[2].offset = 1),
        refused(&|plan| plan.views[2].strides[1] = usize::MAX),
        refused(&|plan| plan.memory.arena_bytes = 64),
        refused(&|plan| plan.buffers[2].place = Place::Arena(usize::MAX)),
        refused(&|plan| plan.buffers[0].place = Place::Input(3)),
        refused(&|plan| plan.buffers[3].bytes += 4),
        refused(&|plan| plan.views[3].buffer = BufferId::new(9)),
        refused(&|plan| plan.inputs[0].view = ViewId::new(2)),
        refused(&|plan| plan.steps[0].outputs[0] = ViewId::new(1)),
        refused(&|plan| plan.steps.truncate(2)),
        refused(&|plan| plan.constants[0].dtype = incept_ir::types::DType::F16),
        refused(&|plan| plan.regions.truncate(2)),
        refused(&|plan| plan.regions[1].begin = StepId::new(2)),
        refused(&|plan| plan.regions[2].end = StepId::new(4)),
    ];
    let wanted = [
        "v2 ends at byte 152 of b2, which has 148",
        "v2 overflows",
        "b2 needs 148 bytes where there are 0",
        "b2 lies nowhere",
        "port `x` is not the whole of the caller's memory",
        "b3 needs 152 bytes where there are 148",
        "port `y` is not the whole of the caller's memory",
        "port `x` is not the whole of the caller's memory",
        "`add` writes v1, which is an input or a constant",
        "3 kernels for 2 steps",
        "b1 is c0 of type f16, which steps cannot read",
        "3 steps, of which 2 are in regions",
        "a region of the steps 2..2 where step 1 is next",
        "a region of the steps 2..4 where step 2 is next",
    ];
    for (reason, wanted) in reasons.iter().zip(wanted) {
        assert!(reason.contains(wanted), "`{reason}` does not say `{wanted}`");
    }

    let mut module = module();
    module.entries[2].operands[2] = Operand::Packed(65);
    let error = Session::new(module).err().unwrap();
    assert!(error.to_string().contains("`total` reads packed weights at 65 of 64 bytes"), "{error}");
}

#[test]
fn an_arena_beyond_memory_is_an_error() {
    let mut plan = plan();
    plan.memory.arena_bytes = isize::MAX as usize;
    let error = Session::new(module_of(plan)).err().unwrap();
    assert_eq!(error, SessionError::Memory { what: "activations", bytes: isize::MAX as usize });
}
