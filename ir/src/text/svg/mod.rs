//! A graph as a picture: SVG, for any browser, without any other program.
//!
//! | module | what lives there |
//! |---|---|
//! | `groups` | which nodes share a frame |
//! | `arrange` | each frame as a drawing of its own, then the whole with a box for each |
//! | `layers` | a drawing of boxes and links in ranks |
//! | `label` | what is written on a node |
//!
//! Data flows from top to bottom. Constants are not drawn, except those that are graph outputs; a node's tooltip lists
//! what it reads. Nodes whose source names share their first parts (`inception3a.branch1…`) lie in one frame. A link that
//! enters a frame forks behind its border, so each value enters once.
//!
//! The text is a whole document that refers to nothing outside of it. Each node is a `<g class="node">`, with an id where
//! [`SvgOptions::ids`] gives a prefix, and its details are its `<title>`.

mod arrange;
mod groups;
mod label;
mod layers;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use rustc_hash::FxHashMap;

use self::arrange::Route;
use self::groups::Groups;
use self::layers::{Pin, Point, Size};
use crate::graph::{Graph, Node};
use crate::ids::NodeId;
use crate::ops::Op;

/// How a picture is made.
#[derive(Debug, Clone, Default)]
pub struct SvgOptions {
    /// The id of each node's element is this and the node's id (`before-n3`), so that scripts and style sheets find it.
    /// Without it elements have no ids.
    pub ids: Option<String>,
}

/// The height of a line of text.
const LINE: f64 = 14.0;

/// The width of a character: that of wide fonts, in bold.
const LETTER: f64 = 6.8;

/// Around the whole, and around what lies in a frame.
const MARGIN: f64 = 12.0;

/// The height of a frame's title.
const TITLE: f64 = 16.0;

const STYLE: &str = "\
.incept text{font:11px system-ui,'Segoe UI','DejaVu Sans',sans-serif;fill:#1b1f24;text-anchor:middle}\
.incept text.op{font-weight:600}.incept text.frame{text-anchor:start;font-weight:600;fill:#57606a;\
paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round}.incept rect{fill:#f6f8fa;stroke:#8c959f;stroke-width:1}.incept rect.frame{fill:#fff;stroke:#d0d7de;stroke-dasharray:4 3}\
.incept path{fill:none;stroke:#6e7781;stroke-width:1.1}.incept path.head{fill:#6e7781;stroke:none}\
.incept .conv rect{fill:#dbeafe;stroke:#3b82c4}.incept .gemm rect{fill:#ede4fb;stroke:#8250df}\
.incept .pool rect{fill:#dcf5e3;stroke:#2da44e}.incept .norm rect{fill:#fff3cd;stroke:#bf8700}\
.incept .act rect{fill:#fde2dd;stroke:#cf5c48}.incept .join rect{fill:#e6e9ed;stroke:#57606a}\
.incept .port rect{fill:#fff;stroke:#57606a}";

/// What is drawn as a box: a node, or the end of the graph where the caller gets an output.
enum Drawn<'g> {
    Node(NodeId, &'g Node),
    Output(&'g str),
}

/// A picture that is laid out.
struct Scene<'g> {
    drawn: Vec<Drawn<'g>>,
    labels: Vec<Vec<String>>,
    sizes: Vec<Size>,
    links: Vec<(usize, usize)>,
    groups: Groups,
}

/// The graph as an SVG document.
#[must_use]
pub fn print(graph: &Graph, options: &SvgOptions) -> String {
    let scene = Scene::new(graph);
    let arranged = arrange::arrange(&scene.sizes, &scene.links, &scene.groups);
    let (width, height) = (arranged.size.x + 2.0 * MARGIN, arranged.size.y + 2.0 * MARGIN);
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"incept\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\">\n<title>"
    );
    escape(&mut out, graph.name());
    let _ = write!(out, " ({})</title>\n<style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" ", graph.stage());
    let _ = writeln!(out, "style=\"fill:#fff;stroke:none\"/>\n<g transform=\"translate({MARGIN} {MARGIN})\">");
    for frame in &arranged.frames {
        put_rect(&mut out, " class=\"frame\"", frame.corner, frame.size, 6);
        out.push('\n');
    }
    for route in &arranged.routes {
        put_route(&mut out, route);
    }
    for (frame, name) in arranged.frames.iter().zip(&scene.groups.names) {
        let _ =
            write!(out, "<text class=\"frame\" x=\"{:.1}\" y=\"{:.1}\">", frame.corner.x + 8.0, frame.corner.y + 13.0);
        escape(&mut out, name);
        out.push_str("</text>\n");
    }
    for (index, corner) in arranged.corners.iter().enumerate() {
        scene.put_node(&mut out, graph, options, index, *corner);
    }
    out.push_str("</g>\n</svg>\n");
    out
}

impl<'g> Scene<'g> {
    fn new(graph: &'g Graph) -> Self {
        let order = graph.order().unwrap_or_else(|_| graph.nodes().map(|(id, _)| id).collect());
        let mut drawn: Vec<Drawn<'_>> = order
            .into_iter()
            .filter_map(|id| Some((id, graph.node(id).ok()?)))
            .filter(|(_, node)| {
                !matches!(node.op, Op::Constant(_)) || node.outputs.iter().any(|value| graph.is_output(*value))
            })
            .map(|(id, node)| Drawn::Node(id, node))
            .collect();
        let mut places: FxHashMap<NodeId, usize> = FxHashMap::default();
        let mut links = Vec::new();
        for (index, node) in drawn.iter().enumerate() {
            if let Drawn::Node(id, _) = node {
                places.insert(*id, index);
                let makers = graph.node_inputs(*id).into_iter().filter_map(|value| graph.value(value).ok());
                links.extend(makers.filter_map(|value| Some((*places.get(&value.producer)?, index))));
            }
        }
        for output in graph.outputs() {
            let maker = graph.value(output.value).ok().and_then(|value| places.get(&value.producer));
            links.extend(maker.map(|maker| (*maker, drawn.len())));
            drawn.push(Drawn::Output(&output.name));
        }
        let names: Vec<&str> = drawn
            .iter()
            .map(|drawn| match drawn {
                Drawn::Node(_, Node { op: Op::Input(_), .. }) | Drawn::Output(_) => "",
                Drawn::Node(_, node) => node.provenance.first().unwrap_or(&node.name),
            })
            .collect();
        let groups = groups::group(&names, &links);
        let labels: Vec<Vec<String>> = drawn
            .iter()
            .zip(&groups.of)
            .map(|(drawn, group)| match drawn {
                Drawn::Node(id, node) => label::lines(graph, *id, node, group.map(|group| &*groups.names[group])),
                Drawn::Output(name) => vec!["output".to_owned(), (*name).to_owned()],
            })
            .collect();
        let sizes = labels.iter().map(|lines| size_of(lines)).collect();
        Self { drawn, labels, sizes, links, groups }
    }

    /// One node with its label, and its details for whoever points at it.
    fn put_node(&self, out: &mut String, graph: &Graph, options: &SvgOptions, index: usize, corner: Point) {
        let size = self.sizes[index];
        let (class, rounding) = match &self.drawn[index] {
            Drawn::Node(_, node) if matches!(node.op, Op::Input(_)) => ("port", 12),
            Drawn::Node(_, node) => (label::class(&node.op), 4),
            Drawn::Output(_) => ("port", 12),
        };
        let _ = write!(out, "<g class=\"node {class}\"");
        if let (Some(prefix), Drawn::Node(id, _)) = (&options.ids, &self.drawn[index]) {
            out.push_str(" id=\"");
            escape(out, prefix);
            let _ = write!(out, "{id}\"");
        }
        out.push_str("><title>");
        match &self.drawn[index] {
            Drawn::Node(id, node) => escape(out, &label::details(graph, *id, node)),
            Drawn::Output(name) => escape(out, &format!("output {name}")),
        }
        out.push_str("</title>");
        put_rect(out, "", corner, Point { x: size.width, y: size.height }, rounding);
        let mut y = corner.y + LINE;
        for (row, line) in self.labels[index].iter().enumerate() {
            let class = if row == 0 { " class=\"op\"" } else { "" };
            let _ = write!(out, "<text{class} x=\"{:.1}\" y=\"{y:.1}\">", corner.x + size.width / 2.0);
            escape(out, line);
            out.push_str("</text>");
            y += LINE;
        }
        out.push_str("</g>\n");
    }
}

/// A node that has room for its label.
fn size_of(lines: &[String]) -> Size {
    let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    #[allow(clippy::cast_precision_loss, reason = "labels have few lines of few characters")]
    let (longest, count) = (longest as f64, lines.len() as f64);
    Size { width: (longest * LETTER + 14.0).max(48.0), height: count * LINE + 8.0, pin: Pin::Free }
}

fn put_rect(out: &mut String, attributes: &str, corner: Point, size: Point, rounding: u32) {
    let _ = write!(
        out,
        "<rect{attributes} x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{rounding}\"/>",
        corner.x, corner.y, size.x, size.y
    );
}

/// A link: straight where it runs down, a curve with upright ends where it goes to the side; with a head where it ends
/// at a node.
fn put_route(out: &mut String, route: &Route) {
    let Some((first, rest)) = route.points.split_first() else { return };
    let _ = write!(out, "<path d=\"M{:.1} {:.1}", first.x, first.y);
    let mut at = *first;
    for point in rest {
        let _ = if (point.x - at.x).abs() < 0.05 {
            write!(out, "V{:.1}", point.y)
        } else {
            let half = f64::midpoint(at.y, point.y);
            write!(out, "C{:.1} {half:.1} {:.1} {half:.1} {:.1} {:.1}", at.x, point.x, point.x, point.y)
        };
        at = *point;
    }
    out.push_str("\"/>\n");
    if route.head {
        let _ = writeln!(out, "<path class=\"head\" d=\"M{:.1} {:.1}l-3 -5h6z\"/>", at.x, at.y);
    }
}

/// Writes text so that XML and HTML read it back; what XML cannot hold becomes U+FFFD.
pub fn escape(out: &mut String, text: &str) {
    for found in text.chars() {
        match found {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(found),
            found if found.is_control() || matches!(found, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            found => out.push(found),
        }
    }
}
