//! What must be refused: the exit code, a message that names the cause, and nothing left behind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Answer {
    code: i32,
    out: String,
    err: String,
}

fn incept(folder: &Path, arguments: &[&str]) -> Answer {
    let output = Command::new(env!("CARGO_BIN_EXE_incept"))
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Answer { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Without the line breaks and bars of the report, so that a message can be searched for whatever the width.
fn flat(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || "│├╰─▶×".contains(c));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Runs and expects this exit code and all these words on standard error, nothing on standard output, and no panic.
fn refused(folder: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    let before = listing(folder);
    let answer = incept(folder, arguments);
    assert_eq!(answer.code, code, "{arguments:?}: {}", answer.err);
    assert!(answer.out.is_empty(), "{arguments:?} printed {}", answer.out);
    assert!(!answer.err.contains("panicked"), "{arguments:?}: {}", answer.err);
    let said = flat(&answer.err);
    for word in words {
        assert!(said.contains(word), "{arguments:?} does not say `{word}`:\n{}", answer.err);
    }
    assert_eq!(listing(folder), before, "{arguments:?} left something behind");
}

fn listing(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn data_text(name: &str) -> String {
    data(name).to_str().unwrap().to_owned()
}

/// A `.npy` file by hand.
fn npy(dtype: &str, fortran: &str, shape: &str, bytes: usize) -> Vec<u8> {
    let mut header = format!("{{'descr': '{dtype}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
    file.extend(header.as_bytes());
    file.resize(file.len() + bytes, 0);
    file
}

#[test]
fn invalid_models() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let whole = fs::read(data("inception/model.onnx")).unwrap();
    fs::write(at.join("truncated.onnx"), &whole[..whole.len() / 2]).unwrap();
    fs::write(at.join("empty.onnx"), b"").unwrap();
    fs::write(at.join("text.onnx"), b"not a model at all").unwrap();
    fs::write(at.join("model.zip"), b"PK").unwrap();
    let bad = |name: &str| data_text(&format!("bad/{name}.onnx"));
    let cases: Vec<(String, Vec<&str>)> = vec![
        ("truncated.onnx".into(), vec!["truncated.onnx", "not an ONNX model"]),
        ("empty.onnx".into(), vec!["empty.onnx", "not an ONNX model"]),
        ("text.onnx".into(), vec!["text.onnx", "not an ONNX model"]),
        ("model.zip".into(), vec!["model.zip", "no known kind"]),
        (bad("unknown_ops"), vec!["Erf", "Det", "erf_2", "det_4"]),
        (bad("wrong_initializer"), vec!["w_1", "432", "424"]),
        (bad("wrong_channels"), vec!["conv_1", "Conv", "channels"]),
        (bad("cycle"), vec!["cycle", "first", "second", "third"]),
        (bad("missing_input"), vec!["adds", "nowhere"]),
        (bad("dynamic_weights"), vec!["both", "weights"]),
    ];
    for (model, words) in &cases {
        refused(at, &["compile", model, "-o", "out.plan"], 3, words);
        refused(at, &["run", model, "--input", "x=x.npy"], if model.contains("dynamic") { 2 } else { 3 }, &[]);
    }
}

#[test]
fn a_model_cut_at_every_twentieth() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for model in ["inception", "pools"] {
        let whole = fs::read(data(&format!("{model}/model.onnx"))).unwrap();
        for part in 0..20 {
            fs::write(at.join("cut.onnx"), &whole[..whole.len() * part / 20]).unwrap();
            refused(at, &["compile", "cut.onnx", "-o", "out.plan"], 3, &["cut.onnx", "not an ONNX model"]);
        }
    }
}

#[test]
fn models_that_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("folder.onnx")).unwrap();
    refused(at, &["inspect", "none.onnx"], 2, &["none.onnx", "No such file"]);
    refused(at, &["inspect", "folder.onnx"], 2, &["folder.onnx", "directory"]);
    refused(at, &["inspect", "gogglenet"], 2, &["gogglenet", "did you mean `googlenet`?"]);
    refused(at, &["inspect", "xyzzy-plugh"], 2, &["xyzzy-plugh", "built-in models", "googlenet-mnist"]);
    refused(at, &["inspect", "googlenet-mnist", "--weights", "w.safetensors"], 2, &["--weights"]);
}

#[test]
fn a_plan_with_any_byte_changed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let model = data_text("pools/model.onnx");
    let answer = incept(at, &["compile", &model, "-o", "pools.plan"]);
    assert_eq!(answer.code, 0, "{}", answer.err);
    let plan = fs::read(at.join("pools.plan")).unwrap();
    for position in (0..plan.len()).step_by(plan.len() / 40 + 1) {
        let mut changed = plan.clone();
        changed[position] ^= 0x10;
        fs::write(at.join("changed.plan"), &changed).unwrap();
        refused(at, &["inspect", "changed.plan"], 3, &["changed.plan", "cannot be loaded"]);
    }
    fs::write(at.join("changed.plan"), &plan[..plan.len() - 1]).unwrap();
    refused(at, &["run", "changed.plan"], 3, &["changed.plan", "truncated"]);
    refused(at, &["dump", "pools.plan", "--stage", "imported"], 2, &["saved plan"]);
    refused(at, &["compile", "pools.plan", "-o", "again.plan", "--batch", "7"], 2, &["batch size 1"]);
    refused(
        at,
        &["compile", "pools.plan", "-o", "again.plan", "--disable-pass", "fuse_activation"],
        2,
        &["saved plan"],
    );
}

#[test]
fn arrays_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let model = data_text("pools/model.onnx");
    let good = npy("<f4", "False", "(1, 5, 10, 11)", 2200);
    fs::write(at.join("good.npy"), &good).unwrap();
    fs::write(at.join("double.npy"), npy("<f8", "False", "(1, 5, 10, 11)", 4400)).unwrap();
    fs::write(at.join("fortran.npy"), npy("<f4", "True", "(1, 5, 10, 11)", 2200)).unwrap();
    fs::write(at.join("shape.npy"), npy("<f4", "False", "(1, 5, 11, 10)", 2200)).unwrap();
    fs::write(at.join("rank.npy"), npy("<f4", "False", "(550,)", 2200)).unwrap();
    fs::write(at.join("short.npy"), &good[..good.len() - 1]).unwrap();
    fs::write(at.join("huge.npy"), npy("<f4", "False", "(1, 4611686018427387904, 4, 4)", 64)).unwrap();
    fs::write(at.join("text.npy"), b"no array").unwrap();
    let cases: &[(&str, &[&str])] = &[
        ("double", &["<f8", "float32"]),
        ("fortran", &["Fortran order", "ascontiguousarray"]),
        ("shape", &["[1, 5, 11, 10]", "[1,5,10,11]", "axis 2 has size 11, not 10"]),
        ("rank", &["it has 1 axes, not 4"]),
        ("short", &["short.npy", "fewer than 550 values"]),
        ("huge", &["huge.npy"]),
        ("text", &["not a .npy file"]),
        ("none", &["none.npy", "No such file"]),
    ];
    for (name, words) in cases {
        refused(at, &["run", &model, "--input", &format!("x={name}.npy"), "--output-dir", "out"], 2, words);
    }
    let run = |more: &[&str], words: &[&str]| {
        refused(at, &[&["run", model.as_str()], more].concat(), 2, words);
    };
    run(&[], &["no values are given for the input `x`"]);
    run(&["--input", "y=good.npy"], &["no input `y`", "`x`"]);
    run(&["--input", "x=good.npy", "--input", "x=good.npy"], &["given twice"]);
    run(&["--input", "good.npy"], &["NAME=FILE.npy"]);
    run(&["--input", "x=good.npy", "--output", "z=z.npy"], &["no output `z`"]);
    run(&["--input-dir", "."], &["input_0.npy"]);
    run(&["--input", "x=good.npy", "--threads", "0"], &["--threads"]);
    run(&["--input", "x=good.npy", "--batch", "2"], &["fixed batch size 1"]);
    run(&["--input", "x=good.npy", "--top-k", "3"], &["row of scores"]);
    run(&["--input", "x=good.npy", "--target", "avx1024"], &["avx1024", "v128"]);
    run(&["--input", "x=good.npy", "--disable-pass", "fuse_activations"], &["did you mean `fuse_activation`?"]);
    refused(at, &["run", &model, "--input", "x=good.npy", "--output-dir", "good.npy"], 1, &["good.npy"]);
}

#[test]
fn pictures_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("text.png"), b"this is no picture").unwrap();
    fs::write(at.join("cut.png"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").unwrap();
    let model = data_text("inception/model.onnx");
    let one = data_text("pools/model.onnx");
    for picture in ["text.png", "cut.png"] {
        refused(at, &["run", &model, "--image", picture, "--preprocess", "torch"], 2, &[picture, "not a picture"]);
    }
    refused(at, &["run", &model, "--image", "none.png", "--preprocess", "unit"], 2, &["none.png", "No such file"]);
    refused(at, &["run", &model, "--image", "text.png"], 2, &["--preprocess", "torch|caffe"]);
    refused(at, &["run", &model, "--image", "text.png", "--preprocess", "pytorch"], 2, &["pytorch", "torch"]);
    let mut bmp = b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0".to_vec();
    bmp.resize(54 + 4, 0);
    fs::write(at.join("dot.bmp"), bmp).unwrap();
    refused(at, &["run", &one, "--image", "dot.bmp", "--preprocess", "unit"], 2, &["dot.bmp", "[1, 5, 10, 11]"]);
    fs::write(at.join("labels.txt"), "a\nb\n").unwrap();
    let arguments = ["run", &model, "--image", "dot.bmp", "--preprocess", "unit", "--labels", "labels.txt"];
    refused(at, &arguments, 2, &["labels.txt", "2 labels", "10 scores"]);
}

#[test]
fn a_plan_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("taken.plan")).unwrap();
    let model = data_text("pools/model.onnx");
    refused(at, &["compile", &model, "-o", "taken.plan"], 1, &["taken.plan", "directory"]);
    refused(at, &["compile", &model, "-o", "none/out.plan"], 1, &["none/out.plan"]);
    refused(at, &["compile", &model], 2, &["--output"]);
    refused(at, &["compile", &model, "-o", "x.plan", "--batch", "0"], 2, &["--batch"]);
    refused(at, &["compile", &model, "-o", "x.plan", "--disable-pass", "fold"], 2, &["no pass `fold`"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_incept"))
        .args(["dump", "tiny-inception", "--constants"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
