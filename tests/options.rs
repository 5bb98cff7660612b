//! What the caller may choose when a model is compiled: its outputs, and how the input is normalised.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use incept::error::Kind;
use incept::{CompileOptions, Error, Model};

/// A body with a head and an auxiliary head; the first convolution pads, the second path does not.
fn model() -> Model {
    let text = r#"graph "heads" {
        input %0 "x": f32[N,3,6,6]
        constant %1 "w": f32[4,3,3,3] = seeded(1)
        constant %2 "b": f32[4] = seeded(2)
        constant %3 "aux.w": f32[2,3,1,1] = seeded(3)
        %4 "conv" = conv(%0, %1, %2) {pads=[1,1,1,1]}
        %5 "relu" = relu(%4)
        %6 "aux" = conv(%0, %3)
        output "main" = %5
        output "aux" = %6
    }"#;
    Model::from_graph(incept::ir::text::parse(text).unwrap())
}

fn names(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[test]
fn what_only_other_outputs_need_is_removed() {
    let options = CompileOptions { outputs: names(&["main"]), ..CompileOptions::default() };
    let planned = model().plan(&options).unwrap();
    assert_eq!(planned.plan.outputs.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["main"]);
    // The convolution, and its result in the order that the caller wants.
    assert_eq!(planned.plan.steps.len(), 2, "{:?}", planned.plan.steps_by_kind());
    let rewrites = planned.passes.unwrap().rewrites;
    assert!(
        rewrites.iter().any(|one| one.pass == "dead_code" && one.nodes.contains(&"aux".to_owned())),
        "{rewrites:?}"
    );

    let swapped = CompileOptions { outputs: names(&["aux", "main", "aux"]), ..CompileOptions::default() };
    let planned = model().plan(&swapped).unwrap();
    assert_eq!(planned.plan.outputs.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["aux", "main"]);

    let unknown = CompileOptions { outputs: names(&["maim"]), ..CompileOptions::default() };
    let error = model().plan(&unknown).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.kind()), ("the model has no output `maim`", Kind::Usage));
    assert!(matches!(error, Error::NoOutput { nearest: Some(nearest), .. } if nearest == "main"));
}

#[test]
fn the_input_is_normalised_before_everything() {
    let (mean, std) = ([0.5f32, -1.0, 2.0], [2.0f32, 0.25, 1.5]);
    let raw: Vec<f32> = (0..3 * 36u8).map(|index| f32::from(index * 7 % 31) / 8.0 - 2.0).collect();
    let ready: Vec<f32> = raw.iter().enumerate().map(|(index, x)| (x - mean[index / 36]) / std[index / 36]).collect();
    let run = |options: &CompileOptions, input: &[f32]| {
        let mut session = model().compile(options).unwrap().session().unwrap();
        session.run(&[input]).unwrap();
        [session.output(0).to_vec(), session.output(1).to_vec()]
    };
    let normalised = CompileOptions { mean: mean.to_vec(), std: std.to_vec(), ..CompileOptions::default() };
    let (expected, found) = (run(&CompileOptions::default(), &ready), run(&normalised, &raw));
    for (expected, found) in expected.iter().zip(&found) {
        let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        assert!(expected.iter().zip(found).all(|(a, b)| (a - b).abs() <= 1e-5 * largest), "{expected:?}\n{found:?}");
    }
    // One addition is left, for the sake of the padding of the first convolution; alone, the other takes all of it.
    let steps = |outputs: &[&str]| {
        let options = CompileOptions { outputs: names(outputs), ..normalised.clone() };
        model().plan(&options).unwrap().plan.steps_by_kind()
    };
    assert_eq!(steps(&["main"]).into_iter().collect::<Vec<_>>(), [("conv", 1), ("elementwise", 1), ("layout", 1)]);
    assert_eq!(steps(&["aux"]).into_iter().collect::<Vec<_>>(), [("conv", 1), ("layout", 1)]);
}

#[test]
fn a_normalisation_that_does_not_fit_is_refused() {
    for (mean, std) in [(vec![0.5; 2], Vec::new()), (Vec::new(), vec![1.0, 0.0, 1.0]), (vec![f32::NAN; 3], Vec::new())]
    {
        let error = model().plan(&CompileOptions { mean, std, ..CompileOptions::default() }).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert_eq!(error.to_string(), "--mean or --std does not apply to input `x`, which has 3 channels");
    }
}
