//! The operators, one line each: ONNX's name, the first and the last opset, and who imports it.
//!
//! Only opsets that changed what an operator means for `f32` begin a new line; most versions add element types.

use std::ops::RangeInclusive;

use super::context::{Imported, NodeContext};
use super::error::{NodeError, UnsupportedOp};
use super::near::near;
use super::ops::{combine, constant, conv, elementwise, linear, normalize, pad, pool, shape, shape_math};
use super::{MAX_OPSET, MIN_OPSET};

/// What imports one operator.
pub(super) type Importer = fn(&mut NodeContext<'_>) -> Imported;

/// One line of the table.
pub(super) struct Line {
    pub(super) name: &'static str,
    since: i64,
    until: i64,
    pub(super) import: Importer,
}

const fn op(name: &'static str, since: i64, until: i64, import: Importer) -> Line {
    Line { name, since, until, import }
}

const LAST: i64 = MAX_OPSET;

#[rustfmt::skip]
const TABLE: &[Line] = &[
    op("Add",                 6,    6, elementwise::add_along_axis),
    op("Add",                 7, LAST, elementwise::add),
    op("AveragePool",         1, LAST, pool::average_pool),
    op("BatchNormalization",  6, LAST, normalize::batch_norm),
    op("Cast",                6, LAST, elementwise::cast),
    op("Clip",                6,   10, elementwise::clip_by_attributes),
    op("Clip",               11, LAST, elementwise::clip_by_inputs),
    op("Concat",              4, LAST, combine::concat),
    op("Constant",            1, LAST, constant::constant),
    op("ConstantOfShape",     9, LAST, constant::constant_of_shape),
    op("Conv",                1, LAST, conv::conv),
    op("Div",                 6,    6, elementwise::div_along_axis),
    op("Div",                 7, LAST, elementwise::div),
    op("Dropout",             6,   11, normalize::dropout_by_attribute),
    op("Dropout",            12, LAST, normalize::dropout_by_inputs),
    op("Flatten",             1, LAST, shape::flatten),
    op("Gather",              1, LAST, shape_math::gather),
    op("Gemm",                6, LAST, linear::gemm),
    op("GlobalAveragePool",   1, LAST, pool::global_average_pool),
    op("HardSigmoid",         6, LAST, elementwise::hard_sigmoid),
    op("HardSwish",          14, LAST, elementwise::hard_swish),
    op("Identity",            1, LAST, elementwise::identity),
    op("LRN",                 1, LAST, normalize::lrn),
    op("LeakyRelu",           6, LAST, elementwise::leaky_relu),
    op("MatMul",              1, LAST, linear::matmul),
    op("MaxPool",             1, LAST, pool::max_pool),
    op("Mul",                 6,    6, elementwise::mul_along_axis),
    op("Mul",                 7, LAST, elementwise::mul),
    op("Pad",                 2,   10, pad::by_attributes),
    op("Pad",                11, LAST, pad::by_inputs),
    op("Relu",                6, LAST, elementwise::relu),
    op("Reshape",             5, LAST, shape::reshape),
    op("Shape",               1, LAST, shape_math::shape),
    op("Sigmoid",             6, LAST, elementwise::sigmoid),
    op("Slice",               1,    9, shape_math::slice_by_attributes),
    op("Slice",              10, LAST, shape_math::slice_by_inputs),
    op("Softmax",             1,   12, normalize::softmax_flattened),
    op("Softmax",            13, LAST, normalize::softmax),
    op("Squeeze",             1,   12, shape::squeeze_by_attribute),
    op("Squeeze",            13, LAST, shape::squeeze_by_input),
    op("Sub",                 6,    6, elementwise::sub_along_axis),
    op("Sub",                 7, LAST, elementwise::sub),
    op("Sum",                 6, LAST, elementwise::sum),
    op("Transpose",           1, LAST, shape::transpose),
    op("Unsqueeze",           1,   12, shape::unsqueeze_by_attribute),
    op("Unsqueeze",          13, LAST, shape::unsqueeze_by_input),
];

/// The operators that are supported, by name, with the opsets in which they are.
pub fn operators() -> impl Iterator<Item = (&'static str, RangeInclusive<i64>)> {
    TABLE.chunk_by(|a, b| a.name == b.name).filter_map(|lines| {
        let (first, last) = (lines.first()?, lines.last()?);
        Some((first.name, first.since.max(MIN_OPSET)..=last.until))
    })
}

/// The line of an operator of ONNX's own domain.
pub(super) fn find(name: &str, opset: i64) -> Option<&'static Line> {
    TABLE.iter().find(|line| line.name == name && (line.since..=line.until).contains(&opset))
}

const CONTROL_FLOW: [&str; 4] = ["If", "Loop", "Scan", "SequenceMap"];

/// Why an operator is not supported, and what would help: counts and nodes are for the caller to fill.
pub(super) fn unsupported(domain: &str, name: &str, opset: i64, is_function: bool) -> UnsupportedOp {
    let op = if is_own_domain(domain) { name.to_owned() } else { format!("{domain}.{name}") };
    let (why, help) = if is_function {
        let help = "inline it first: onnx.inliner.inline_local_functions(model)";
        ("it is a function that the model defines".to_owned(), help.to_owned())
    } else if !is_own_domain(domain) {
        let why = format!("it belongs to the domain `{domain}`, not to ai.onnx");
        (why, "export the model again without the optimisations of another engine".to_owned())
    } else if let Some((_, range)) = operators().find(|(known, _)| *known == name) {
        let why = format!("it is supported in opsets {} to {}, not in {opset}", range.start(), range.end());
        (why, format!("convert it: onnx.version_converter.convert_version(model, {})", range.start().max(&13)))
    } else if CONTROL_FLOW.contains(&name) {
        let why = "it holds subgraphs, and control flow is not supported".to_owned();
        (why, "export the model with fixed shapes and without data-dependent control flow".to_owned())
    } else if name.starts_with("QLinear") || name.contains("Integer") || name.contains("QuantizeLinear") {
        ("quantised models are not supported".to_owned(), "use the f32 model that it was made from".to_owned())
    } else {
        let names = near(name, operators().map(|(name, _)| name));
        let help = match names.first() {
            Some(near) => format!("did you mean `{near}`?"),
            None => "express it with supported operators, or cut the model before it".to_owned(),
        };
        ("there is no such operator here".to_owned(), help)
    };
    UnsupportedOp { op, count: 0, nodes: Vec::new(), why, help }
}

/// Whether a domain is ONNX's own, whose name may be left out.
pub(super) fn is_own_domain(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// A use that is valid but not supported.
pub(super) fn refuse(what: impl Into<String>, help: impl Into<String>) -> NodeError {
    NodeError::Unsupported { what: what.into(), help: help.into() }
}

#[cfg(test)]
mod tests {
    use super::{TABLE, operators};

    #[test]
    fn lines_are_sorted_and_their_opsets_do_not_overlap() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].name <= pair[1].name, "{} after {}", pair[1].name, pair[0].name);
            assert!(pair[0].name != pair[1].name || pair[0].until + 1 == pair[1].since, "{}", pair[0].name);
        }
        assert_eq!(
            operators().filter(|(name, _)| *name == "Clip").map(|(_, range)| range).collect::<Vec<_>>(),
            [6..=25]
        );
    }
}
