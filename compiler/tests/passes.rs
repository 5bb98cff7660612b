//! Each pass on small graphs: `tests/filetests/passes/NAME.txt` holds a graph in the text form, `NAME.snap` what the passes
//! make of it and what they say about it. The first line of a graph names the passes that run: `// passes: a, b`, or
//! `// passes: all`. A new case is a new file; its snapshot is reviewed like any other of insta's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::fmt::Write;
use std::path::Path;

use incept_compiler::pass::PassOptions;
use incept_compiler::pipeline;
use incept_ir::text::{Constants, PrintOptions, parse, print};

fn transformed(text: &str) -> String {
    let first = text.lines().next().unwrap();
    let names: Vec<&str> = first.strip_prefix("// passes: ").expect("// passes: …").split(", ").collect();
    assert!(
        names == ["all"] || names.iter().all(|name| pipeline::PASSES.iter().any(|pass| pass.name == *name)),
        "{first}"
    );
    let disabled: Vec<String> = pipeline::PASSES
        .iter()
        .filter(|pass| names != ["all"] && !names.contains(&pass.name))
        .map(|pass| pass.name.to_owned())
        .collect();
    let graph = parse(text).unwrap_or_else(|error| panic!("{error}"));
    let options = PassOptions { disabled, verify_each: true, stop_after: None };
    let optimized = pipeline::optimize(graph, &options, &mut |_, _| {}).unwrap();
    let tensors = optimized.graph.nodes().filter_map(|(_, node)| optimized.graph.constant(node.outputs[0]));
    let small = tensors.map(|tensor| tensor.elements()).all(|elements| elements <= 64);
    let constants = if small { Constants::Full } else { Constants::Elided };
    let mut out = print(&optimized.graph, &PrintOptions { constants });
    for rewrite in &optimized.report.rewrites {
        writeln!(out, "\nrewrite {} {}\n    {}", rewrite.pass, rewrite.nodes.join(" "), rewrite.result).unwrap();
    }
    for refusal in &optimized.report.refusals {
        writeln!(out, "\nrefusal {} {}\n    {}", refusal.pass, refusal.nodes.join(" "), refusal.reason).unwrap();
    }
    out
}

#[test]
fn filetests() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests/passes");
    let mut paths: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(paths.len() >= 30, "the filetests are gone");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(&directory);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        settings.bind(|| insta::assert_snapshot!(name, transformed(&text)));
    }
}
