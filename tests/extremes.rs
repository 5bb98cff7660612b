//! Models that are extreme in one way: deep, wide, nested, or of sizes that no machine has. Each compiles, or is refused
//! with the cause; none overflows the stack.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What the program says, and its exit code.
fn incept(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_incept"))
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let words: Vec<String> = String::from_utf8_lossy(&output.stderr)
        .split(|c: char| c.is_whitespace() || "│├╰─▶×".contains(c))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    (output.status.code().unwrap_or(-1), words.join(" "))
}

/// Protobuf, as far as small models need it.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn with(self, field: u64, message: Self) -> Self {
        self.bytes(field, &message.0)
    }
}

fn value(name: &str, dims: &[u64]) -> Message {
    let shape = dims.iter().fold(Message::default(), |shape, dim| shape.with(1, Message::default().number(1, *dim)));
    let tensor = Message::default().number(1, 1).with(2, shape);
    Message::default().text(1, name).with(2, Message::default().with(1, tensor))
}

fn node(op: &str, inputs: &[&str], output: &str) -> Message {
    let node = inputs.iter().fold(Message::default(), |node, input| node.text(1, input));
    node.text(2, output).text(3, output).text(4, op)
}

fn ints(node: Message, name: &str, values: &[i64]) -> Message {
    let attribute = values.iter().fold(Message::default().text(1, name), |a, value| a.number(8, value.cast_unsigned()));
    node.with(5, attribute.number(20, 7))
}

fn constant(name: &str, dims: &[u64], values: &[f32]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensor = dims.iter().fold(Message::default(), |tensor, dim| tensor.number(1, *dim));
    tensor.number(2, 1).text(8, name).bytes(9, &raw)
}

/// A model file of nodes and initializers, from `x` of these sizes to `y`.
fn model(dims: &[u64], nodes: Vec<Message>, constants: Vec<Message>) -> Vec<u8> {
    let graph = nodes.into_iter().fold(Message::default().text(2, "extreme"), |graph, node| graph.with(1, node));
    let graph = constants.into_iter().fold(graph, |graph, constant| graph.with(5, constant));
    let graph = graph.with(11, value("x", dims)).with(12, Message::default().text(1, "y"));
    Message::default().number(1, 8).with(7, graph).with(8, Message::default().text(1, "").number(2, 13)).0
}

/// Runs and expects success within a time that says "not quadratic".
fn compiles(folder: &Path, file: &str, seconds: u64) {
    let start = Instant::now();
    let (code, err) = incept(folder, &["compile", file, "-o", "out.plan"]);
    assert_eq!(code, 0, "{file}: {err}");
    let took = start.elapsed();
    assert!(took < Duration::from_secs(seconds), "{file} took {took:?}");
    let (code, err) = incept(folder, &["inspect", "out.plan"]);
    assert_eq!(code, 0, "{file}: {err}");
}

#[test]
fn chains_of_a_hundred_thousand_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let chain = |count: usize| {
        let name = |index: usize| match index {
            0 => "x".to_owned(),
            index if index == count => "y".to_owned(),
            index => format!("v{index}"),
        };
        // A sum and a Relu in turn, so that no two become one.
        let nodes = (0..count).map(|index| match index % 2 {
            0 => node("Relu", &[&name(index)], &name(index + 1)),
            _ => node("Add", &[&name(index), "c"], &name(index + 1)),
        });
        model(&[1, 2, 2, 2], nodes.collect(), vec![constant("c", &[1], &[1.0])])
    };
    fs::write(at.join("deep.onnx"), chain(100_000)).unwrap();
    let (code, err) = incept(at, &["dump", "deep.onnx", "--stage", "optimized"]);
    assert_eq!(code, 0, "{err}");
    fs::write(at.join("deep.onnx"), chain(8_000)).unwrap();
    compiles(at, "deep.onnx", 60);

    let mut text = String::from("name = \"deep\"\ninputs = [{ name = \"x\", shape = [\"N\", 4] }]\nlayers = [\n");
    for index in 0..20_000 {
        let _ = writeln!(text, "  {{ op = \"relu\", name = \"r{index}\" }},");
        let _ = writeln!(text, "  {{ op = \"softmax\", name = \"s{index}\" }},");
    }
    text.push(']');
    fs::write(at.join("deep.toml"), text).unwrap();
    let (code, err) = incept(at, &["inspect", "deep.toml"]);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn nested_and_wide_concatenations() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let attribute =
        |node: Message, axis: u64| node.with(5, Message::default().text(1, "axis").number(3, axis).number(20, 2));
    // Each concatenation holds the one before it.
    let count = 600;
    let name = |index: usize| if index == count { "y".to_owned() } else { format!("v{index}") };
    let mut nodes = vec![node("Relu", &["x"], "v0")];
    for index in 0..count {
        nodes.push(node("Relu", &["x"], &format!("r{index}")));
        nodes.push(attribute(node("Concat", &[&name(index), &format!("r{index}")], &name(index + 1)), 1));
    }
    fs::write(at.join("nested.onnx"), model(&[1, 1, 2, 2], nodes, Vec::new())).unwrap();
    compiles(at, "nested.onnx", 60);

    let parts: Vec<String> = (0..2000).map(|index| format!("r{index}")).collect();
    let mut nodes: Vec<Message> = parts.iter().map(|part| node("Relu", &["x"], part)).collect();
    let all: Vec<&str> = parts.iter().map(String::as_str).collect();
    nodes.push(attribute(node("Concat", &all, "y"), 1));
    fs::write(at.join("wide.onnx"), model(&[1, 1, 2, 2], nodes, Vec::new())).unwrap();
    compiles(at, "wide.onnx", 60);
}

#[test]
fn sizes_that_no_machine_has() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let ones = |dims: &[u64]| constant("w", dims, &vec![1.0; usize::try_from(dims.iter().product::<u64>()).unwrap()]);
    let conv = || node("Conv", &["x", "w"], "y");
    let small = [1, 1, 8, 8];
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("input", model(&[1, 1 << 31, 1 << 31, 4], vec![node("Relu", &["x"], "y")], vec![]), "x"),
        ("overflow", model(&[1 << 40, 1 << 40, 1, 1], vec![node("Relu", &["x"], "y")], vec![]), "x"),
        ("negative", model(&[1, (-5i64).cast_unsigned(), 1, 1], vec![node("Relu", &["x"], "y")], vec![]), "x"),
        ("pads", model(&small, vec![ints(conv(), "pads", &[1 << 40, 0, 1 << 40, 0])], vec![ones(&[1, 1, 3, 3])]), "y"),
        ("negative_pads", model(&small, vec![ints(conv(), "pads", &[-1, 0, 0, 0])], vec![ones(&[1, 1, 3, 3])]), "y"),
        ("strides", model(&small, vec![ints(conv(), "strides", &[0, 1])], vec![ones(&[1, 1, 3, 3])]), "y"),
        ("dilations", model(&small, vec![ints(conv(), "dilations", &[1 << 62, 1])], vec![ones(&[1, 1, 3, 3])]), "y"),
        ("window", model(&small, vec![ints(node("MaxPool", &["x"], "y"), "kernel_shape", &[1 << 50, 2])], vec![]), "y"),
        ("weights", model(&small, vec![conv()], vec![constant("w", &[1 << 40, 1, 3, 3], &[1.0])]), "w"),
        ("weights_overflow", model(&small, vec![conv()], vec![constant("w", &[1 << 62, 1 << 62], &[1.0])]), "w"),
        (
            "padded",
            model(
                &small,
                vec![ints(node("AveragePool", &["x"], "p"), "kernel_shape", &[1, 1]), {
                    let pad = node("Conv", &["p", "w"], "y");
                    ints(pad, "pads", &[1 << 31, 1 << 31, 1 << 31, 1 << 31])
                }],
                vec![ones(&[1, 1, 1, 1])],
            ),
            "y",
        ),
    ];
    for (name, bytes, word) in cases {
        let file = format!("{name}.onnx");
        fs::write(at.join(&file), bytes).unwrap();
        let (code, err) = incept(at, &["compile", &file, "-o", "out.plan"]);
        assert_eq!(code, 3, "{name}: {err}");
        assert!(err.contains(&format!("`{word}`")) || err.contains(&format!("\"{word}\"")), "{name}: {err}");
        assert!(err.contains(&file) && !err.contains("panicked") && !err.contains("internal"), "{name}: {err}");
        assert!(!at.join("out.plan").exists(), "{name} left a plan");
    }
    // A batch that makes a fine model too large.
    let (code, err) = incept(at, &["compile", "tiny-inception", "-o", "out.plan", "--batch", "1000000000000"]);
    assert!(code == 2 || code == 3, "{code}: {err}");
    assert!(!err.contains("panicked"), "{err}");
    let (code, err) = incept(at, &["compile", "tiny-inception", "-o", "out.plan", "--batch", "18446744073709551615"]);
    assert!(code == 2 || code == 3, "{code}: {err}");
    assert!(!at.join("out.plan").exists() && fs::read_dir(at).unwrap().count() == 11);
}
