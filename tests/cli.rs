//! The command line as users see it.
//!
//! A case is a command and its output in `tests/cli/*.trycmd`; `TRYCMD=overwrite cargo test --test cli` writes the outputs
//! anew. Times and what depends on the machine are elided: `[..]` stands for part of a line, `...` for lines.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn cases() {
    trycmd::TestCases::new().env("NO_COLOR", "1").env("INCEPT_LOG", "warn").case("tests/cli/*.trycmd");
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_incept")).args(arguments).arg("--help").output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The verbs that `incept --help` lists.
fn verbs() -> Vec<String> {
    let text = help(&[]);
    let (_, commands) = text.split_once("Commands:\n").unwrap();
    let lines = commands.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("    "));
    lines.filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).filter(|verb| verb != "help").collect()
}

/// Every command that a case runs.
fn tested() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let cases = files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "trycmd"));
    cases
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().filter_map(|line| Some(line.strip_prefix("$ ")?.to_owned())).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn every_verb_shows_examples_that_a_case_runs() {
    let (verbs, tested) = (verbs(), tested());
    assert!(verbs.len() >= 14 && verbs.contains(&"bench".to_owned()), "{verbs:?}");
    let mut missing = Vec::new();
    for verb in &verbs {
        let text = help(&[verb]);
        let examples: Vec<&str> = text
            .split_once("Examples:\n")
            .map_or("", |(_, examples)| examples)
            .lines()
            .take_while(|line| line.starts_with("  incept "))
            .map(str::trim)
            .collect();
        assert!(!examples.is_empty(), "`incept {verb} --help` shows no example");
        assert!(examples.iter().all(|example| example.starts_with(&format!("incept {verb}"))), "{examples:?}");
        missing.extend(examples.into_iter().filter(|example| !tested.contains(*example)).map(str::to_owned));
    }
    assert!(missing.is_empty(), "examples that no case in tests/cli runs: {missing:#?}");
}

#[test]
fn colours_are_for_terminals_only() {
    let run = |no_colour: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_incept"));
        command.args(["inspect", "gogglenet"]).env_remove("NO_COLOR");
        if let Some(value) = no_colour {
            command.env("NO_COLOR", value);
        }
        command.output().unwrap().stderr
    };
    for no_colour in [None, Some("1")] {
        let text = run(no_colour);
        assert!(!text.is_empty() && !text.contains(&0x1b), "{}", String::from_utf8_lossy(&text));
    }
}
