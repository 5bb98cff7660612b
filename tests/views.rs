//! What people look at: the report and the comparison of the built-in networks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use incept::report::{self, Measurements, diff, measured};
use incept::{CompileOptions, Model};
use serde_json::Value;

fn page(model: &str, measurements: &Measurements) -> String {
    report::html(&Model::load(model).unwrap(), &CompileOptions::default(), measurements).unwrap()
}

/// The JSON that the page's script reads.
fn data(page: &str) -> Value {
    let (_, rest) = page.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_page_is_one_file_that_asks_for_nothing() {
    let page = page("googlenet", &Measurements::default());
    assert!(page.len() <= 3_000_000, "{} bytes", page.len());
    for reference in ["src=", "@import", "url(", "href=\"http", "href=\"/", "fetch(", "XMLHttpRequest"] {
        assert!(!page.contains(reference), "the page has {reference}");
    }
    // The language of pictures is named by an address that nobody visits.
    assert_eq!(page.matches("http").count(), page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
}

#[test]
fn what_a_page_links_is_there() {
    for model in ["googlenet", "tiny-inception"] {
        let page = page(model, &Measurements::default());
        let data = data(&page);
        let mut merged = 0;
        for change in data["changes"].as_array().unwrap() {
            for side in ["before", "after"] {
                for id in change[side].as_array().unwrap() {
                    let id = format!("id=\"{side}-{}\"", id.as_str().unwrap());
                    assert_eq!(page.matches(&id).count(), 1, "{model}: {id}");
                }
            }
            merged += usize::from(change["kind"] == "merged");
        }
        assert!(merged > 3, "{model}: {merged} merges");
        let plan = Model::load(model).unwrap().plan(&CompileOptions::default()).unwrap().plan;
        assert_eq!(data["steps"].as_array().unwrap().len(), plan.steps.len());
        for block in report::memory::blocks(&plan) {
            assert!(
                page.contains(&format!("<title>{} {}\n", block.id, block.name)),
                "{model}: {} is not drawn",
                block.id
            );
        }
    }
}

#[test]
fn measurements_are_drawn_where_there_are_any() {
    let step = |step: &str, kind: &str, gflops: f64| {
        format!(
            r#"{{"step":"{step}","kind":"{kind}","algorithm":"<direct>","nodes":["conv1"],"ms":0.5,"gflops":{gflops},
               "gbps":4.0,"percent_of_peak":80.0,"bound":"compute"}}"#
        )
    };
    let profile = format!(
        r#"{{"schema":1,"steps":[{},{}],"total_ms":1.0,"sum_ms":1.0,
            "peak":{{"gflops":100.0,"reading":[{{"working_set_bytes":1024,"gbps":50.0}}]}}}}"#,
        step("s0", "conv", 90.0),
        step("s1", "copy", 0.0)
    );
    let bench = r#"{"schema":1,"variants":[{"name":"fused","threads":1,"batch":1,"min_ms":1,"median_ms":2,"p90_ms":3,
        "p99_ms":4,"runs":9,"arena_bytes":64,"steps":3}],
        "ratios":[{"slow":"unfused","fast":"fused","median":1.5,"low":1.4,"high":null,"significant":true}]}"#;
    let without = page("tiny-inception", &Measurements::default());
    assert!(!without.contains("id=\"profile\"") && !without.contains("id=\"bench\""));
    let measurements = Measurements {
        profile: Some(measured::profile(&profile).unwrap()),
        bench: Some(measured::bench(bench).unwrap()),
    };
    let with = page("tiny-inception", &measurements);
    assert!(
        with.contains("id=\"profile\"") && with.contains("unfused takes 1.500 times as long as fused (1.400 to ∞)")
    );
    assert_eq!(with.matches("class=\"roof\"").count(), 1);
    // One disc for the step that computes, one in the key; the copy has no place in the plot, but a row in the table.
    assert_eq!(with.matches("<circle").count(), 2);
    assert!(with.contains("<td>copy</td>") && with.contains("&lt;direct&gt;") && !with.contains("<direct>"));
}

#[test]
fn stages_of_one_model_are_told_apart_by_its_own_names() {
    let model = Model::load("googlenet").unwrap();
    let before = model.graph().unwrap();
    let after = model.optimize(&CompileOptions::default(), &mut |_, _| {}).unwrap().graph;
    let found = diff::diff(before, &after);
    // Every convolution swallowed its BatchNorm and its Relu, the dropout went, and nothing came from nowhere.
    let merged: usize =
        found.changes.iter().filter(|change| change.kind == diff::Kind::Merged).map(|change| change.before.len()).sum();
    assert_eq!(merged, 57 * 3);
    assert_eq!(found.count(diff::Kind::Added), 0);
    assert!(diff::text(&found, before, &after).contains("removed (1)\n  dropout"));
    assert!(diff::diff(before, before).is_empty());
}
