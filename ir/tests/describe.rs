//! Descriptions: what they accept, what they refuse and in which words, and weights by name.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use bytes::Bytes;
use half::f16;
use incept_ir::describe::{
    BuildOptions, DescribeError, Description, LayerOp, WeightProblem, Weights, WeightsError, parse_json, parse_toml,
};
use incept_ir::graph::Graph;
use incept_ir::interp;
use incept_ir::models::MODELS;
use incept_ir::ops::Op;
use incept_ir::tensor::Tensor;
use safetensors::tensor::{Dtype, TensorView};

/// The fenced blocks of one language in the documentation.
fn examples(language: &str) -> Vec<&'static str> {
    let text = include_str!("../../docs/describe.md");
    let fence = format!("```{language}\n");
    text.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn the_documented_examples_build_and_the_two_formats_agree() {
    let (toml, json) = (examples("toml"), examples("json"));
    let model = parse_toml(toml[0]).unwrap();
    assert_eq!(model, parse_json(json[0]).unwrap());
    let graph = model.build(Weights::Seeded(1)).unwrap();
    let input = Tensor::from_f32(&[2, 1, 28, 28], vec![0.5; 2 * 28 * 28]).unwrap();
    let outputs = interp::run(&graph, &[input]).unwrap();
    assert_eq!(outputs[0].sizes(), [2, 10]);
    let sum: f32 = outputs[0].as_f32().unwrap()[..10].iter().sum();
    assert!((sum - 1.0).abs() < 1e-5);
}

#[test]
fn every_op_is_documented() {
    let text = include_str!("../../docs/describe.md");
    for op in LayerOp::NAMES {
        assert!(text.contains(&format!("| `{op}` |")), "docs/describe.md has no row for `{op}`");
    }
}

#[test]
fn built_in_descriptions_survive_both_formats() {
    for model in MODELS {
        let description = parse_toml(model.toml).unwrap();
        assert_eq!(description.name, model.name);
        let toml = toml::to_string(&description).unwrap();
        assert_eq!(parse_toml(&toml).unwrap(), description, "{toml}");
        let json = serde_json::to_string(&description).unwrap();
        assert_eq!(parse_json(&json).unwrap(), description);
        assert_eq!(serde_json::from_str::<Description>(&json).unwrap(), description);
        assert_eq!(toml::from_str::<Description>(&toml).unwrap(), description);
    }
}

/// A description around these layers.
fn around(layers: &str) -> String {
    format!("name = \"m\"\ninputs = [{{ name = \"x\", shape = [\"N\", 4, 8, 8] }}]\nlayers = [\n{layers}\n]\n")
}

fn message(text: &str) -> String {
    match parse_toml(text).and_then(|model| model.build(Weights::Seeded(0))) {
        Ok(graph) => panic!("built {graph:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn errors_name_the_line_the_layer_and_the_likely_word() {
    let cases: &[(&str, &str)] = &[
        (
            "{ op = \"conv\", name = \"a\", channels = 2, kernal = 3 }",
            "layer `a` (line 4): there is no key `kernal` here; did you mean `kernel`?",
        ),
        (
            "{ op = \"relu\", name = \"r\" },\n{ op = \"max_pool\", name = \"p\", kernel = 3, stride = 1, chanels = 3 }",
            "layer `p` (line 5): there is no key `chanels` here (its keys: ",
        ),
        (
            "{ op = \"MaxPool\", name = \"p\" }",
            "layer `p` (line 4): there is no op `MaxPool`; did you mean `max_pool`?",
        ),
        ("{ op = \"relu\" }", "layer 1 (line 4): the key `name` is missing"),
        ("{ op = \"conv\", name = \"a\", kernel = 3 }", "layer `a` (line 4): the key `channels` is missing"),
        (
            "{ op = \"conv\", name = \"a\", channels = 0, kernel = 3 }",
            "layer `a` (line 4): `channels` should be a whole number, at least 1, not 0",
        ),
        (
            "{ op = \"conv\", name = \"a\", channels = 2, kernel = [1, 2, 3] }",
            "layer `a` (line 4): `kernel` should be a whole number of at least 1, or [vertical, horizontal], not a list of 3 items",
        ),
        (
            "{ op = \"clip\", name = \"a\", min = 2, max = 1 }",
            "layer `a` (line 4): `min` should be no larger than `max`",
        ),
        (
            "{ op = \"relu\", name = \"stem\" },\n{ op = \"relu\", name = \"b\", from = \"stemm\" }",
            "layer `b` (line 5): nothing before it is called `stemm`; did you mean `stem`?",
        ),
        ("{ op = \"relu\", name = \"a\", from = \"a\" }", "layer `a` (line 4): nothing before it is called `a`"),
        (
            "{ op = \"relu\", name = \"a\" },\n{ op = \"relu\", name = \"a\" }",
            "layer `a` (line 5): the name `a` is already taken",
        ),
        (
            "{ op = \"conv\", name = \"a.conv\", channels = 2, kernel = 1 },\n{ op = \"conv_relu\", name = \"a\", channels = 2, kernel = 1 }",
            "layer `a` (line 5): the name `a.conv.weight` is already taken",
        ),
        (
            "{ op = \"relu\", name = \"lost\" },\n{ op = \"relu\", name = \"b\", from = \"x\" }",
            "layer `lost` (line 4): no output of the model needs it",
        ),
        ("{ op = \"add\", name = \"s\" }", "layer `s` (line 4): it takes two values but reads 1"),
        (
            "{ op = \"relu\", name = \"s\", from = [\"x\", \"x\"] }",
            "layer `s` (line 4): it takes one value but reads 2",
        ),
        (
            "{ op = \"linear\", name = \"fc\", features = 3 }",
            "layer `fc` (line 4): it needs a matrix [N, features] (put a `flatten` before it) but reads [N,4,8,8]",
        ),
        (
            "{ op = \"conv\", name = \"a\", channels = 3, kernel = 1, groups = 2 }",
            "layer `a` (line 4): 2 groups do not divide 4 channels into 3",
        ),
        ("{ op = \"conv\", name = \"a\", channels = 3, kernel = 9 }", "layer `a` (line 4): node `a` (conv): "),
        (
            "{ op = \"conv\", name = \"a\", channels = 9000000000, kernel = 1 }",
            "layer `a` (line 4): the model needs more than 1073741824 seeded weights",
        ),
    ];
    for (layers, wanted) in cases {
        let message = message(&around(layers));
        assert!(message.starts_with(wanted), "\n   found: {message}\n  wanted: {wanted}");
    }
}

#[test]
fn errors_outside_layers_are_as_clear() {
    let layers = "layers = [{ op = \"relu\", name = \"r\" }]";
    let input = "inputs = [{ name = \"x\", shape = [\"N\", 4] }]";
    let cases: Vec<(String, &str)> = vec![
        ("name = \"m\"\nlayers = [".into(), "this is not TOML: "),
        (format!("name = \"m\"\n{layers}"), "model: the key `inputs` is missing"),
        (
            format!("name = \"m\"\n{layers}\ninput = []"),
            "model (line 3): there is no key `input` here; did you mean `inputs`?",
        ),
        (format!("name = \"m\"\n{input}\n{layers}\noutputs = [\"q\"]"), "output 1: nothing before it is called `q`"),
        (
            format!("name = \"m\"\n{input}\n{layers}\noutputs = [\"r\", {{ name = \"r\", from = \"x\" }}]"),
            "output 2: the name `r` is already taken",
        ),
        (
            format!("name = \"m\"\ninputs = [{{ name = \"x\", shape = [\"M\"] }}]\n{layers}"),
            "input `x` (line 2): `shape` should be a list of sizes",
        ),
        (
            format!("name = \"m\"\ninputs = [{{ name = \"x\", shape = [\"N\", 1099511627776, 2] }}]\n{layers}"),
            "input `x`: the shape [N,1099511627776,2] is too large",
        ),
        (
            format!(
                "name = \"m\"\ninputs = [{{ name = \"x\", shape = [1] }}, {{ name = \"y\", shape = [1] }}]\n{layers}"
            ),
            "layer `r` (line 3): there is no layer before it and more than one input",
        ),
    ];
    for (text, wanted) in cases {
        let message = message(&text);
        assert!(message.starts_with(wanted), "\n   found: {message}\n  wanted: {wanted}");
    }
    let syntax = parse_json("{\n  \"name\": \"m\",,\n}").unwrap_err();
    assert!(
        matches!(syntax, DescribeError::Syntax { format: "JSON", line: Some(2), column: Some(15), .. }),
        "{syntax:?}"
    );
    let twice = parse_json("{ \"name\": \"m\", \"name\": \"n\" }").unwrap_err();
    assert!(twice.to_string().contains("the key `name` is given twice"), "{twice}");
    let deep = "[".repeat(100_000);
    assert!(matches!(parse_json(&deep), Err(DescribeError::Syntax { .. })));
    assert!(matches!(parse_toml(&format!("a = {deep}")), Err(DescribeError::Syntax { .. })));
}

const LINEAR: &str = "name = \"m\"\ninputs = [{ name = \"x\", shape = [\"N\", 2] }]\n\
                      layers = [{ op = \"linear\", name = \"fc\", features = 2 }]";

fn file(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Bytes {
    let views = tensors
        .iter()
        .map(|(name, dtype, sizes, data)| ((*name).to_owned(), TensorView::new(*dtype, sizes.to_vec(), data).unwrap()));
    safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap().into()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn constant(graph: &Graph, name: &str) -> Tensor {
    let tensor = graph.nodes().find_map(|(_, node)| match &node.op {
        Op::Constant(constant) if *node.name == *name => Some(constant.tensor.clone()),
        _ => None,
    });
    tensor.unwrap()
}

#[test]
fn weights_of_all_widths_are_loaded_and_f32_is_not_copied() {
    let weights = [1.0f32, -2.0, 0.5, 3.25];
    let wide = |dtype: Dtype| -> Vec<u8> {
        match dtype {
            Dtype::F16 => weights.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
            Dtype::BF16 => weights.iter().flat_map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect(),
            Dtype::F64 => weights.iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect(),
            _ => f32s(&weights),
        }
    };
    let model = parse_toml(LINEAR).unwrap();
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::F64] {
        let bytes = file(&[
            ("fc.weight", dtype, &[2, 2], wide(dtype)),
            ("fc.bias", Dtype::F32, &[2], f32s(&[10.0, 20.0])),
            ("fc.num_batches_tracked", Dtype::I64, &[], vec![0; 8]),
        ]);
        let graph = model.build(Weights::Safetensors(bytes.clone())).unwrap();
        let output = interp::run(&graph, &[Tensor::from_f32(&[1, 2], vec![1.0, 2.0]).unwrap()]).unwrap();
        assert_eq!(*output[0].as_f32().unwrap(), [7.0, 27.0], "{dtype:?}");
        let range = bytes.as_ptr_range();
        assert!(range.contains(&constant(&graph, "fc.bias").bytes().as_ptr()), "an f32 tensor was copied");
    }
}

#[test]
fn all_that_is_wrong_with_weights_is_listed_at_once() {
    let model = parse_toml(
        "name = \"m\"\ninputs = [{ name = \"x\", shape = [\"N\", 4, 8, 8] }]\nlayers = [\n\
         { op = \"conv_bn_relu\", name = \"conv1\", channels = 2, kernel = 3 },\n\
         { op = \"conv\", name = \"conv2\", channels = 3, kernel = 1 },\n]",
    )
    .unwrap();
    let two = || f32s(&[1.0, 1.0]);
    let bytes = file(&[
        ("conv1.conv.weight", Dtype::F32, &[2, 4, 1, 1], f32s(&[0.0; 8])),
        ("conv1.bn.weight", Dtype::F32, &[2], two()),
        ("conv1.bn.bias", Dtype::I32, &[2], two()),
        ("conv1.bn.running_mean", Dtype::F32, &[2], two()),
        ("conv1.bn.running_vars", Dtype::F32, &[2], two()),
        ("conv2.weight", Dtype::F32, &[3, 4, 1, 1], f32s(&[0.0; 12])),
        ("other", Dtype::F32, &[2], two()),
    ]);
    let error = model.build(Weights::Safetensors(bytes)).unwrap_err();
    let DescribeError::Weights(WeightsError::Mismatch(problems)) = &error else { panic!("{error}") };
    assert_eq!(problems.iter().filter(|problem| matches!(problem, WeightProblem::Missing { .. })).count(), 2);
    let wanted = "the weights do not fit the model: 7 problems\n  \
        `conv1.conv.weight` has sizes [2, 4, 1, 1] but the model needs [2, 4, 3, 3]\n  \
        `conv1.bn.bias` holds I32; weights are F32, F64, F16 or BF16\n  \
        `conv1.bn.running_var` is missing (the model needs f32[2]); did you mean `conv1.bn.running_vars`?\n  \
        `conv2.weight` has sizes [3, 4, 1, 1] but the model needs [3, 2, 1, 1]\n  \
        `conv2.bias` is missing (the model needs f32[3])\n  \
        `conv1.bn.running_vars` F32 [2] is not used by the model\n  \
        `other` F32 [2] is not used by the model";
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn damaged_weight_files_are_refused() {
    let model = parse_toml(LINEAR).unwrap();
    let sound =
        file(&[("fc.weight", Dtype::F32, &[2, 2], f32s(&[0.0; 4])), ("fc.bias", Dtype::F32, &[2], f32s(&[0.0; 2]))]);
    assert!(model.build(Weights::Safetensors(sound.clone())).is_ok());
    for length in 0..sound.len() {
        let cut = sound.slice(..length);
        let error = model.build(Weights::Safetensors(cut)).unwrap_err();
        assert!(matches!(error, DescribeError::Weights(WeightsError::Malformed(_))), "cut at {length}: {error}");
    }
    // Whatever one byte of the header becomes, there is an answer and no panic.
    let header = sound.len() - 24;
    for at in 0..header {
        for value in [0, b'9', b'"', 0xFF] {
            let mut bytes = sound.to_vec();
            bytes[at] = value;
            let _ = model.build(Weights::Safetensors(bytes.into()));
        }
    }
}

#[test]
fn weights_of_training_heads_may_be_left_over_in_inference() {
    let model = parse_toml(
        "name = \"m\"\ninputs = [{ name = \"x\", shape = [\"N\", 2] }]\noutputs = [\"y\"]\ntraining_outputs = [\"aux.fc\"]\n\
         layers = [{ op = \"relu\", name = \"y\" }, { op = \"linear\", name = \"aux.fc\", features = 1 }]",
    )
    .unwrap();
    let tensors = |name: &'static str| {
        file(&[(name, Dtype::F32, &[1, 2], f32s(&[1.0, 2.0])), ("aux.fc.bias", Dtype::F32, &[1], f32s(&[0.0]))])
    };
    let graph = model.build(Weights::Safetensors(tensors("aux.fc.weight"))).unwrap();
    assert_eq!(graph.outputs().len(), 1);
    assert_eq!(graph.len(), 2, "the head is not built");
    let training = BuildOptions { training: true };
    let graph = model.build_with(Weights::Safetensors(tensors("aux.fc.weight")), &training).unwrap();
    assert_eq!(graph.outputs().iter().map(|output| &*output.name).collect::<Vec<_>>(), ["y", "aux.fc"]);
    assert!(model.build(Weights::Safetensors(tensors("aux.fcx.weight"))).is_err());
}
