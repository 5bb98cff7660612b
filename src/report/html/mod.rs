//! A report as one HTML file that works offline: no request, no other file, pictures as vectors.
//!
//! | part | what it shows |
//! |---|---|
//! | graph | before and after all passes, side by side; what was merged, changed or removed is linked by provenance |
//! | memory | the arena, every buffer named ([`arena`]) |
//! | profile, bench | measurements, where there are any: a roofline, a line a step, the times of variants ([`plots`]) |
//! | passes | a line a pass; every rewrite and every refusal |
//! | plan | the steps and their source nodes |
//!
//! The page is made here; `report.js` only moves between its parts. Its data are JSON within the page.

mod arena;
mod plots;

use std::fmt::Write as _;

use incept_compiler::lower::LowerReport;
use incept_compiler::pass::PassReport;
use incept_ir::graph::Graph;
use incept_ir::ids::{NodeId, StepId};
use incept_ir::ops::Op;
use incept_ir::plan::Plan;
use incept_ir::text::svg::{self, SvgOptions};
use serde_json::{Map, Value, json};

use super::diff;
use super::measured::{Bench, Profile};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// What a report tells of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'p> {
    /// The model, for the title.
    pub model: &'p str,
    /// Where it came from.
    pub source: &'p str,
    /// The graph as read.
    pub before: &'p Graph,
    /// The graph after all passes.
    pub after: &'p Graph,
    /// What the passes did.
    pub passes: &'p PassReport,
    /// What lowering did.
    pub lowering: &'p LowerReport,
    /// The plan.
    pub plan: &'p Plan,
    /// What the plan is compiled for, where it is.
    pub target: Option<&'p str>,
    /// Where the time of a run went, where that was measured.
    pub profile: Option<&'p Profile>,
    /// How variants compare, where that was measured.
    pub bench: Option<&'p Bench>,
}

/// The page.
#[must_use]
pub fn page(parts: &Parts<'_>) -> String {
    let mut out = String::with_capacity(1 << 20);
    out.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    // Nothing is fetched, not even an icon.
    out.push_str("<link rel=\"icon\" href=\"data:,\">\n<title>");
    escape(&mut out, parts.model);
    let _ = write!(out, " - incept</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n");
    head(&mut out, parts);
    graphs(&mut out, parts);
    memory(&mut out, parts.plan);
    if let Some(found) = parts.profile {
        profile(&mut out, found);
    }
    if let Some(found) = parts.bench {
        bench(&mut out, found);
    }
    passes(&mut out, parts);
    steps(&mut out, parts.plan);
    out.push_str("<script type=\"application/json\" id=\"data\">");
    // Within a script only `</` could end it.
    out.push_str(&data(parts).to_string().replace("</", "<\\/"));
    let _ = write!(out, "</script>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    out
}

fn head(out: &mut String, parts: &Parts<'_>) {
    let plan = parts.plan;
    out.push_str("<h1>");
    escape(out, parts.model);
    out.push_str("</h1>\n<p class=\"dim\">");
    escape(out, parts.source);
    let _ = write!(out, ", batch {}", plan.batch_text());
    if let Some(target) = parts.target {
        let _ = write!(out, ", compiled for {target}");
    }
    let _ = write!(out, "; incept {}</p>\n<nav>", env!("CARGO_PKG_VERSION"));
    let sections = [
        ("graph", "Graph", true),
        ("memory", "Memory", true),
        ("profile", "Profile", parts.profile.is_some()),
        ("bench", "Bench", parts.bench.is_some()),
        ("passes", "Passes", true),
        ("plan", "Plan", true),
    ];
    for (id, name, _) in sections.into_iter().filter(|(.., there)| *there) {
        let _ = write!(out, "<a href=\"#{id}\">{name}</a>");
    }
    out.push_str("</nav>\n<div class=\"facts\">");
    let proven = if plan.memory.proven_optimal { "proven optimal" } else { "not proven optimal" };
    let refusals = parts.passes.refusals.len() + parts.lowering.refusals.len();
    let facts = [
        ("nodes", format!("{} → {}", computing(parts.before), computing(parts.after))),
        ("rewrites, refusals", format!("{}, {refusals}", parts.passes.rewrites.len() + parts.lowering.rewrites.len())),
        ("steps", plan.steps.len().to_string()),
        ("arena", format!("{} ({proven})", arena::short(plan.memory.arena_bytes))),
        ("lower bound", arena::short(plan.memory.lower_bound_bytes)),
        ("copied between layers", arena::short(plan.copied_bytes())),
        ("weights", arena::short(plan.weight_bytes())),
    ];
    for (name, value) in facts {
        let _ = write!(out, "<div><span class=\"dim\">{name}</span><b>{value}</b></div>");
    }
    out.push_str("</div>\n");
}

/// How many nodes compute something.
fn computing(graph: &Graph) -> usize {
    graph.nodes().filter(|(_, node)| !matches!(node.op, Op::Constant(_) | Op::Input(_))).count()
}

fn graphs(out: &mut String, parts: &Parts<'_>) {
    out.push_str(
        "<h2 id=\"graph\">Graph</h2>\n<p>Left as read, right as compiled. Point at a node to see what it became or came \
         from; click it for its details and why. </p>\n<div class=\"bar\"><input id=\"search\" type=\"search\" \
         placeholder=\"Search nodes: a name, an op, a size\" aria-label=\"Search nodes\"><label><input id=\"fit\" \
         type=\"checkbox\" checked> fit to width</label><div class=\"key\"><span><i class=\"merged\"></i>merged</span>\
         <span><i class=\"changed\"></i>changed or added</span><span><i class=\"removed\"></i>removed</span><span>\
         <i class=\"selected\"></i>selected</span></div></div>\n<div id=\"details\" aria-live=\"polite\"><span \
         class=\"dim\">Nothing is selected.</span></div>\n<div class=\"panes fit\" id=\"panes\">",
    );
    for (title, prefix, graph) in [("Before", "before-", parts.before), ("After", "after-", parts.after)] {
        let _ = write!(
            out,
            "<div class=\"pane\"><h3>{title}: {} nodes ({})</h3><div class=\"scroll\">",
            computing(graph),
            graph.stage()
        );
        out.push_str(&svg::print(graph, &SvgOptions { ids: Some(prefix.to_owned()) }));
        out.push_str("</div></div>\n");
    }
    out.push_str("</div>\n");
}

fn memory(out: &mut String, plan: &Plan) {
    let _ = write!(
        out,
        "<h2 id=\"memory\">Memory</h2>\n<p>The arena of {} bytes, placed by {}: addresses from left to right, steps from \
         top to bottom. A box is a buffer over the steps during which it lives; to the right stand the buffers that begin \
         at a step. The steps of the peak are shaded. The lower bound, {} bytes, is the largest sum of buffers that live \
         at once.</p>\n<div class=\"wide\">",
        plan.memory.arena_bytes,
        escaped(&plan.memory.strategy),
        plan.memory.lower_bound_bytes
    );
    out.push_str(&arena::picture(plan));
    out.push_str("</div>\n");
}

fn profile(out: &mut String, profile: &Profile) {
    let _ = write!(
        out,
        "<h2 id=\"profile\">Profile</h2>\n<p>A run takes {:.3} ms; its steps add up to {:.3} ms. Each step is a disc whose \
         area is its time, under what the machine could do: a slope for the speed at which it reads what lies near or far, \
         and the peak of its arithmetic. {}{}</p>\n<div class=\"wide\">",
        profile.total_ms,
        profile.sum_ms,
        profile.threads.map(|threads| format!("{threads} thread(s). ")).unwrap_or_default(),
        escaped(&profile.machine.cpu)
    );
    out.push_str(&plots::roofline(profile));
    out.push_str(
        "</div>\n<div class=\"tall wide\"><table><thead><tr><th>step</th><th>kind</th><th>algorithm</th><th class=\"number\">\
         ms</th><th class=\"number\">%</th><th class=\"number\">GFLOP/s</th><th class=\"number\">GB/s</th>\
         <th class=\"number\">% of peak</th><th>bound</th><th>source nodes</th></tr></thead><tbody>\n",
    );
    for step in &profile.steps {
        let number = |value: f64, digits: usize| format!("{value:.digits$}");
        row(
            out,
            step.nodes.first().map(String::as_str),
            &[
                ("", &step.step),
                ("", &step.kind),
                ("mono", &step.algorithm),
                ("number", &number(step.ms, 4)),
                ("number", &number(step.ms / profile.sum_ms.max(f64::MIN_POSITIVE) * 100.0, 1)),
                ("number", &number(step.gflops, 1)),
                ("number", &number(step.gbps, 1)),
                ("number", &number(step.percent_of_peak, 0)),
                ("", &step.bound),
                ("mono", &step.nodes.join(", ")),
            ],
        );
    }
    out.push_str("</tbody></table></div>\n");
}

fn bench(out: &mut String, bench: &Bench) {
    out.push_str("<h2 id=\"bench\">Bench</h2>\n<p>From the shortest run to the 99th percentile, thick up to the 90th, a mark at the median. ");
    escape(out, &bench.machine.cpu);
    out.push_str("</p>\n<div class=\"wide\">");
    out.push_str(&plots::variants(bench));
    out.push_str(
        "</div>\n<div class=\"wide\"><table><thead><tr><th>variant</th><th class=\"number\">median ms</th>\
         <th class=\"number\">runs</th><th class=\"number\">arena</th><th class=\"number\">steps</th></tr></thead><tbody>\n",
    );
    for variant in &bench.variants {
        row(
            out,
            None,
            &[
                ("", &variant.name),
                ("number", &format!("{:.4}", variant.median_ms)),
                ("number", &variant.runs.to_string()),
                ("number", &arena::short(variant.arena_bytes)),
                ("number", &variant.steps.to_string()),
            ],
        );
    }
    out.push_str("</tbody></table></div>\n<ul>\n");
    for ratio in &bench.ratios {
        let high = ratio.high.map_or_else(|| "∞".to_owned(), |high| format!("{high:.3}"));
        let verdict = if ratio.significant { "" } else { ": no difference is claimed" };
        let _ = writeln!(
            out,
            "<li>{} takes {:.3} times as long as {} ({:.3} to {high}){verdict}</li>",
            escaped(&ratio.slow),
            ratio.median,
            escaped(&ratio.fast),
            ratio.low
        );
    }
    out.push_str("</ul>\n");
}

fn passes(out: &mut String, parts: &Parts<'_>) {
    out.push_str(
        "<h2 id=\"passes\">Passes</h2>\n<div class=\"wide\"><table><thead><tr><th>pass</th><th class=\"number\">rewrites\
         </th><th class=\"number\">refusals</th><th class=\"number\">nodes before</th><th class=\"number\">after</th>\
         <th class=\"number\">ms</th></tr></thead><tbody>\n",
    );
    for pass in &parts.passes.passes {
        let refusals = parts.passes.refusals.iter().filter(|refusal| refusal.pass == pass.pass).count();
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{refusals}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td><td class=\"number\">{:.2}</td></tr>",
            pass.pass,
            pass.rewrites,
            pass.nodes_before,
            pass.nodes_after,
            pass.time.as_secs_f64() * 1e3
        );
    }
    out.push_str("</tbody></table></div>\n<p class=\"dim\">Nodes are counted with constants and inputs.</p>\n");
    let (rewrites, refusals) = notes(parts);
    for (title, entries, key) in [("Rewrites", rewrites, "result"), ("Refusals", refusals, "reason")] {
        let _ =
            writeln!(out, "<details><summary>{title} ({})</summary><div class=\"tall\"><table><tbody>", entries.len());
        for entry in &entries {
            let names: Vec<&str> = entry["nodes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            row(
                out,
                names.first().copied(),
                &[
                    ("", entry["pass"].as_str().unwrap_or_default()),
                    ("mono", &names.join(", ")),
                    ("", entry[key].as_str().unwrap_or_default()),
                ],
            );
        }
        out.push_str("</tbody></table></div></details>\n");
    }
}

fn steps(out: &mut String, plan: &Plan) {
    out.push_str(
        "<h2 id=\"plan\">Plan</h2>\n<div class=\"tall wide\"><table><thead><tr><th>step</th><th>kind</th><th>name</th>\
         <th>source nodes</th></tr></thead><tbody>\n",
    );
    for (index, step) in plan.steps.iter().enumerate() {
        row(
            out,
            step.nodes.first().map(String::as_str),
            &[
                ("", &StepId::from_index(index).to_string()),
                ("", plan.kind_name(step)),
                ("mono", &step.name),
                ("mono", &step.nodes.join(", ")),
            ],
        );
    }
    out.push_str("</tbody></table></div>\n");
}

/// A row of a table, about a source node; each cell with its class.
fn row(out: &mut String, node: Option<&str>, cells: &[(&str, &str)]) {
    out.push_str("<tr");
    if let Some(node) = node {
        out.push_str(" data-node=\"");
        escape(out, node);
        out.push('"');
    }
    out.push('>');
    for (class, text) in cells {
        let _ = if class.is_empty() { write!(out, "<td>") } else { write!(out, "<td class=\"{class}\">") };
        escape(out, text);
        out.push_str("</td>");
    }
    out.push_str("</tr>\n");
}

/// Every rewrite and every refusal, of passes and of lowering, in the form of `explain --json`.
fn notes(parts: &Parts<'_>) -> (Vec<Value>, Vec<Value>) {
    let done =
        parts.passes.rewrites.iter().map(|one| json!({"pass": one.pass, "nodes": one.nodes, "result": one.result}));
    let not =
        parts.passes.refusals.iter().map(|one| json!({"pass": one.pass, "nodes": one.nodes, "reason": one.reason}));
    let note = |key: &'static str| move |one: &incept_compiler::lower::Note| json!({"pass": one.pass, "nodes": one.nodes, key: one.text});
    (
        done.chain(parts.lowering.rewrites.iter().map(note("result"))).collect(),
        not.chain(parts.lowering.refusals.iter().map(note("reason"))).collect(),
    )
}

/// What the script knows.
fn data(parts: &Parts<'_>) -> Value {
    let (rewrites, refusals) = notes(parts);
    let ids = |ids: &[NodeId]| -> Vec<String> { ids.iter().map(ToString::to_string).collect() };
    let changes: Vec<Value> = diff::diff(parts.before, parts.after)
        .changes
        .iter()
        .map(|change| {
            json!({
                "kind": change.kind.name(),
                "before": ids(&change.before),
                "after": ids(&change.after),
                "details": change.details,
            })
        })
        .collect();
    let sources = |graph: &Graph| -> Map<String, Value> {
        let nodes = graph.nodes().filter(|(_, node)| !matches!(node.op, Op::Constant(_)));
        nodes.map(|(id, node)| (id.to_string(), json!(diff::sources(node).collect::<Vec<_>>()))).collect()
    };
    let steps: Vec<Value> = parts
        .plan
        .steps
        .iter()
        .enumerate()
        .map(|(index, step)| {
            json!({
                "step": StepId::from_index(index).to_string(),
                "kind": parts.plan.kind_name(step),
                "name": step.name,
                "nodes": step.nodes,
            })
        })
        .collect();
    json!({
        "changes": changes,
        "rewrites": rewrites,
        "refusals": refusals,
        "steps": steps,
        "sources": {"before": sources(parts.before), "after": sources(parts.after)},
    })
}

/// Writes text so that HTML and SVG read it back.
fn escape(out: &mut String, text: &str) {
    svg::escape(out, text);
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    escape(&mut out, text);
    out
}
