//! The document: well-formed, complete, and without references to anything outside.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;
use crate::models::{self, ModelOptions};
use crate::testing::random_graph;

/// Checks that tags close in the order in which they open, and gives the names of all that opened.
fn tags(document: &str) -> Vec<String> {
    let (mut open, mut all) = (Vec::new(), Vec::new());
    let mut rest = document;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a stray `>` in {:?}", &rest[..start]);
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        let name: String = tag.trim_start_matches('/').chars().take_while(|letter| letter.is_alphanumeric()).collect();
        if tag.starts_with('/') {
            assert_eq!(open.pop().as_ref(), Some(&name));
        } else {
            if !tag.ends_with('/') {
                open.push(name.clone());
            }
            all.push(name);
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?} stay open");
    all
}

#[test]
fn every_node_is_drawn_once_with_its_id() {
    for seed in 0..60 {
        let graph = random_graph(seed, 12).unwrap();
        let document = print(&graph, &SvgOptions { ids: Some("g-".into()) });
        tags(&document);
        for (id, node) in graph.nodes() {
            let drawn = !matches!(node.op, Op::Constant(_)) || node.outputs.iter().any(|value| graph.is_output(*value));
            let count = document.matches(&format!("id=\"g-{id}\"")).count();
            assert_eq!(count, usize::from(drawn), "seed {seed}: {id}");
        }
    }
}

#[test]
fn names_cannot_break_out_of_the_document() {
    let text =
        r#"graph "a<b>&\"c" { input %0 "</title><script>\u{7}" : f32[2] %1 "x]]>" = relu(%0) output "<y>" = %1 }"#;
    let graph = crate::text::parse(text).unwrap();
    let document = print(&graph, &SvgOptions::default());
    assert!(!tags(&document).iter().any(|name| name == "script"), "{document}");
    assert!(document.contains("&lt;y&gt;") && !document.contains('\u{7}'));
}

#[test]
fn googlenet_has_a_frame_for_each_module() {
    let graph = models::build("googlenet", &ModelOptions { seed: 0, training_heads: false }).unwrap();
    let document = print(&graph, &SvgOptions::default());
    tags(&document);
    for module in ["3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"] {
        assert!(document.contains(&format!(">inception{module}</text>")), "{module}");
    }
    // Only the name of the language refers to anything.
    assert_eq!(document.matches("http").count(), 1);
    assert!(document.len() < 1_000_000, "{} bytes", document.len());
}

#[test]
fn an_empty_graph_is_a_picture_too() {
    tags(&print(&Graph::new("empty"), &SvgOptions::default()));
}
