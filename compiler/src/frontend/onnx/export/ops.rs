//! The form of each op in ONNX.
//!
//! Every op and every attribute is taken apart whole, so that the compiler names what a new one lacks here.

use incept_ir::graph::Node;
use incept_ir::ids::NodeId;
use incept_ir::ops::{
    Activation, AvgPool, BatchNorm, Cast, Clip, Concat, Conv, Dropout, Flatten, Gemm, HardSigmoid, LeakyRelu, Lrn,
    MaxPool, Op, Pad, Pool, Reshape, Slice, Softmax, Squeeze, Transpose, Unsqueeze,
};
use incept_ir::tensor::Tensor;
use incept_ir::types::Dim;

use super::{ExportError, Exporter, Form, data_type, int};
use crate::frontend::onnx::proto::AttributeProto;
use crate::frontend::onnx::proto::attribute_proto::AttributeType;

/// Writes one node of the graph as one or more of ONNX. The outputs are the names of what it makes.
pub(super) fn write(
    exporter: &mut Exporter<'_>,
    id: NodeId,
    node: &Node,
    name: &str,
    outputs: Vec<String>,
) -> Result<(), ExportError> {
    if let Op::Conv(conv) = &node.op {
        return convolution(exporter, id, conv, name, outputs);
    }
    let inputs = exporter.inputs(id)?;
    let plain = |op, inputs| Form { op, inputs, attributes: Vec::new() };
    let form = match &node.op {
        // They are written elsewhere.
        Op::Input(_) | Op::Constant(_) | Op::Conv(_) => return Ok(()),
        Op::Gemm(gemm) => return product(exporter, gemm, name, inputs, outputs),
        Op::Softmax(softmax) => return normalised(exporter, id, softmax, name, inputs, outputs),
        Op::BatchNorm(BatchNorm { epsilon }) => {
            Form { op: "BatchNormalization", inputs, attributes: vec![float("epsilon", *epsilon)] }
        }
        Op::Relu(_) => plain("Relu", inputs),
        Op::Clip(Clip { min, max }) => {
            activation_of(exporter, Activation::Clip { min: *min, max: *max }, name, inputs.concat())
        }
        Op::LeakyRelu(LeakyRelu { alpha }) => {
            activation_of(exporter, Activation::LeakyRelu { alpha: *alpha }, name, inputs.concat())
        }
        Op::Sigmoid(_) => activation_of(exporter, Activation::Sigmoid, name, inputs.concat()),
        Op::HardSigmoid(HardSigmoid { alpha, beta }) => {
            activation_of(exporter, Activation::HardSigmoid { alpha: *alpha, beta: *beta }, name, inputs.concat())
        }
        Op::HardSwish(_) => activation_of(exporter, Activation::HardSwish, name, inputs.concat()),
        Op::MaxPool(MaxPool { pool }) => {
            let image = image(exporter, id)?;
            Form { op: "MaxPool", inputs, attributes: windows(pool, image) }
        }
        Op::AvgPool(AvgPool { pool, count_include_pad }) => {
            let mut attributes = windows(pool, image(exporter, id)?);
            if *count_include_pad {
                attributes.push(integer("count_include_pad", 1));
            }
            // Dilations came with 19, which also settled what rounding up does to the divisor.
            if pool.dilations != [1, 1] || attributes.iter().any(|found| found.name.as_deref() == Some("ceil_mode")) {
                exporter.needs(19);
            }
            Form { op: "AveragePool", inputs, attributes }
        }
        Op::GlobalAvgPool(_) => plain("GlobalAveragePool", inputs),
        Op::Concat(Concat { axis }) => Form { op: "Concat", inputs, attributes: vec![integer("axis", int(*axis))] },
        Op::Slice(Slice { axis, start, length }) => {
            let end = start.saturating_add(*length);
            let mut inputs = inputs;
            for (kind, value) in [("starts", *start), ("ends", end), ("axes", *axis)] {
                inputs.push(exporter.integers(&format!("{name}_{kind}"), &[int(value)]));
            }
            plain("Slice", inputs)
        }
        Op::Add(_) => plain("Add", inputs),
        Op::Sub(_) => plain("Sub", inputs),
        Op::Div(_) => plain("Div", inputs),
        Op::Mul(_) => plain("Mul", inputs),
        Op::MatMul(_) => plain("MatMul", inputs),
        Op::Reshape(Reshape { dims, allow_zero }) => {
            let shape = exporter.integers(&format!("{name}_shape"), dims);
            let mut attributes = Vec::new();
            if *allow_zero && dims.contains(&0) {
                exporter.needs(14);
                attributes.push(integer("allowzero", 1));
            }
            Form { op: "Reshape", inputs: with(inputs, shape), attributes }
        }
        Op::Flatten(Flatten { axis }) => Form { op: "Flatten", inputs, attributes: vec![integer("axis", int(*axis))] },
        Op::Lrn(Lrn { size, alpha, beta, bias }) => {
            let attributes =
                vec![integer("size", int(*size)), float("alpha", *alpha), float("beta", *beta), float("bias", *bias)];
            Form { op: "LRN", inputs, attributes }
        }
        Op::Dropout(Dropout { ratio }) => {
            let ratio = exporter.initializer(&format!("{name}_ratio"), &Tensor::scalar(*ratio));
            plain("Dropout", with(inputs, ratio))
        }
        Op::Identity(_) => plain("Identity", inputs),
        // Without axes ONNX would squeeze all that it can.
        Op::Squeeze(Squeeze { axes }) | Op::Unsqueeze(Unsqueeze { axes }) if axes.is_empty() => {
            plain("Identity", inputs)
        }
        Op::Unsqueeze(Unsqueeze { axes }) => {
            let axes = exporter.integers(&format!("{name}_axes"), &ints(axes));
            plain("Unsqueeze", with(inputs, axes))
        }
        Op::Squeeze(Squeeze { axes }) => {
            let axes = exporter.integers(&format!("{name}_axes"), &ints(axes));
            plain("Squeeze", with(inputs, axes))
        }
        Op::Transpose(Transpose { perm }) if perm.is_empty() => plain("Identity", inputs),
        Op::Transpose(Transpose { perm }) => {
            Form { op: "Transpose", inputs, attributes: vec![list("perm", ints(perm))] }
        }
        Op::Pad(Pad { pads, value }) => {
            let amounts: Vec<usize> =
                pads.iter().map(|[begin, _]| *begin).chain(pads.iter().map(|[_, end]| *end)).collect();
            let amounts = exporter.integers(&format!("{name}_pads"), &ints(&amounts));
            let value = exporter.initializer(&format!("{name}_value"), &Tensor::scalar(*value));
            plain("Pad", with(with(inputs, amounts), value))
        }
        Op::Cast(Cast { to }) => {
            Form { op: "Cast", inputs, attributes: vec![integer("to", i64::from(data_type(*to) as i32))] }
        }
    };
    exporter.push(name, form, outputs);
    Ok(())
}

fn convolution(
    exporter: &mut Exporter<'_>,
    id: NodeId,
    conv: &Conv,
    name: &str,
    outputs: Vec<String>,
) -> Result<(), ExportError> {
    let Conv { strides, pads, dilations, group, residual, activation, ranges } = conv;
    let read = exporter.graph.node_inputs(id);
    let mut attributes = vec![
        list("strides", ints(strides)),
        list("pads", ints(pads)),
        list("dilations", ints(dilations)),
        integer("group", int(*group)),
    ];
    if let Some(weights) = read.get(1) {
        let sizes = exporter.graph.ty(*weights)?.shape.sizes().unwrap_or_default();
        attributes.insert(0, list("kernel_shape", sizes.iter().skip(2).map(|size| int(*size)).collect()));
    }
    let parameters: Vec<Option<&Tensor>> = read.iter().skip(1).map(|value| exporter.graph.constant(*value)).collect();
    if ranges.is_empty() {
        let mut inputs = exporter.inputs(id)?;
        let added = if *residual { inputs.pop() } else { None };
        finished(exporter, name, Form { op: "Conv", inputs, attributes }, added, *activation, outputs);
    } else if let (1, Some(parameters)) = (*group, parameters.into_iter().collect::<Option<Vec<_>>>()) {
        // Ranges of output channels are convolutions with ranges of the weights, which share the bytes of the whole.
        let x = read.first().map(|x| exporter.value(*x)).transpose()?.unwrap_or_default();
        let mut first = 0;
        for (range, output) in ranges.iter().zip(outputs) {
            let mut inputs = vec![x.clone()];
            for (tensor, kind) in parameters.iter().zip(["weight", "bias"]) {
                let part = rows(tensor, first, range.channels)?;
                inputs.push(exporter.initializer(&format!("{output}.{kind}"), &part));
            }
            first += range.channels;
            let form = Form { op: "Conv", inputs, attributes: attributes.clone() };
            finished(exporter, name, form, None, range.activation, vec![output]);
        }
    } else {
        let inputs = exporter.inputs(id)?;
        let whole = exporter.value_names.unique(&format!("{name}_whole"));
        exporter.push(name, Form { op: "Conv", inputs, attributes }, vec![whole.clone()]);
        let channels: Vec<usize> = ranges.iter().map(|range| range.channels).collect();
        let sizes = exporter.integers(&format!("{name}_channels"), &ints(&channels));
        let parts: Vec<String> = ranges.iter().map(|_| exporter.value_names.unique(&format!("{name}_part"))).collect();
        let form = Form { op: "Split", inputs: vec![whole, sizes], attributes: vec![integer("axis", 1)] };
        exporter.push(&format!("{name}_split"), form, parts.clone());
        for ((part, range), output) in parts.into_iter().zip(ranges).zip(outputs) {
            let form = match range.activation {
                Some(applied) => activation_of(exporter, applied, name, part),
                None => Form { op: "Identity", inputs: vec![part], attributes: Vec::new() },
            };
            exporter.push(&format!("{name}_{}", form.op.to_lowercase()), form, vec![output]);
        }
    }
    Ok(())
}

/// Some rows of a tensor, along its first axis.
fn rows(tensor: &Tensor, first: usize, count: usize) -> Result<Tensor, ExportError> {
    let mut sizes = tensor.sizes().to_vec();
    let row = tensor.bytes().len().checked_div(sizes.first().copied().unwrap_or(0)).unwrap_or(0);
    let all = tensor.bytes().len();
    let (begin, end) = (first.saturating_mul(row).min(all), (first + count).saturating_mul(row).min(all));
    if let Some(size) = sizes.first_mut() {
        *size = count;
    }
    Ok(Tensor::from_bytes(tensor.dtype(), &sizes, tensor.bytes().slice(begin..end))?)
}

fn product(
    exporter: &mut Exporter<'_>,
    gemm: &Gemm,
    name: &str,
    inputs: Vec<String>,
    outputs: Vec<String>,
) -> Result<(), ExportError> {
    let Gemm { alpha, beta, trans_a, trans_b, activation } = gemm;
    let attributes = vec![
        float("alpha", *alpha),
        float("beta", *beta),
        integer("transA", i64::from(*trans_a)),
        integer("transB", i64::from(*trans_b)),
    ];
    finished(exporter, name, Form { op: "Gemm", inputs, attributes }, None, *activation, outputs);
    Ok(())
}

/// A Softmax over several axes is one over the columns of a matrix.
fn normalised(
    exporter: &mut Exporter<'_>,
    id: NodeId,
    softmax: &Softmax,
    name: &str,
    inputs: Vec<String>,
    outputs: Vec<String>,
) -> Result<(), ExportError> {
    let Softmax { axis, flatten } = softmax;
    let ty = exporter.graph.ty(exporter.graph.output(id, 0)?)?.clone();
    if !*flatten || axis + 1 == ty.shape.rank() {
        let attributes = vec![integer("axis", int(*axis))];
        exporter.push(name, Form { op: "Softmax", inputs, attributes }, outputs);
        return Ok(());
    }
    let matrix = exporter.value_names.unique(&format!("{name}_matrix"));
    let form = Form { op: "Flatten", inputs, attributes: vec![integer("axis", int(*axis))] };
    exporter.push(&format!("{name}_flatten"), form, vec![matrix.clone()]);
    let rows = exporter.value_names.unique(&format!("{name}_rows"));
    let form = Form { op: "Softmax", inputs: vec![matrix], attributes: vec![integer("axis", 1)] };
    exporter.push(name, form, vec![rows.clone()]);
    // At most one dimension is open.
    let dims: Vec<i64> = ty.shape.dims().iter().map(|dim| dim.fixed().map_or(-1, int)).collect();
    let shape = exporter.integers(&format!("{name}_shape"), &dims);
    let mut attributes = Vec::new();
    if ty.shape.dims().contains(&Dim::Fixed(0)) {
        exporter.needs(14);
        attributes.push(integer("allowzero", 1));
    }
    let form = Form { op: "Reshape", inputs: vec![rows, shape], attributes };
    exporter.push(&format!("{name}_reshape"), form, outputs);
    Ok(())
}

/// Writes a node, and after it the addition and the activation that it ends with.
fn finished(
    exporter: &mut Exporter<'_>,
    name: &str,
    form: Form,
    added: Option<String>,
    applied: Option<Activation>,
    outputs: Vec<String>,
) {
    let (mut form, mut node_name) = (form, name.to_owned());
    if let Some(added) = added {
        let raw = exporter.value_names.unique(&format!("{name}_linear"));
        exporter.push(&node_name, form, vec![raw.clone()]);
        (form, node_name) =
            (Form { op: "Add", inputs: vec![raw, added], attributes: Vec::new() }, format!("{name}_add"));
    }
    if let Some(applied) = applied {
        let raw = exporter.value_names.unique(&format!("{name}_linear"));
        exporter.push(&node_name, form, vec![raw.clone()]);
        form = activation_of(exporter, applied, name, raw);
        node_name = format!("{name}_{}", form.op.to_lowercase());
    }
    exporter.push(&node_name, form, outputs);
}

fn activation_of(exporter: &mut Exporter<'_>, applied: Activation, name: &str, input: String) -> Form {
    let plain = |op, input| Form { op, inputs: vec![input], attributes: Vec::new() };
    match applied {
        Activation::Relu => plain("Relu", input),
        Activation::Sigmoid => plain("Sigmoid", input),
        Activation::LeakyRelu { alpha } => {
            Form { op: "LeakyRelu", inputs: vec![input], attributes: vec![float("alpha", alpha)] }
        }
        Activation::HardSigmoid { alpha, beta } => {
            let attributes = vec![float("alpha", alpha), float("beta", beta)];
            Form { op: "HardSigmoid", inputs: vec![input], attributes }
        }
        Activation::HardSwish => {
            exporter.needs(14);
            plain("HardSwish", input)
        }
        // ONNX has no op for it before 24: the product with a gate.
        Activation::Silu => {
            let gate = exporter.value_names.unique(&format!("{name}_gate"));
            exporter.push(&format!("{name}_sigmoid"), plain("Sigmoid", input.clone()), vec![gate.clone()]);
            Form { op: "Mul", inputs: vec![input, gate], attributes: Vec::new() }
        }
        Activation::Clip { min, max } => {
            // Where the bounds cross, everything becomes the upper one.
            let low = bound(exporter, &format!("{name}_min"), min.min(max), f32::NEG_INFINITY);
            let high = bound(exporter, &format!("{name}_max"), max, f32::INFINITY);
            Form { op: "Clip", inputs: vec![input, low, high], attributes: Vec::new() }
        }
    }
}

/// A bound of a clip; left out where it is open.
fn bound(exporter: &mut Exporter<'_>, name: &str, bound: f32, open: f32) -> String {
    if bound == open { String::new() } else { exporter.initializer(name, &Tensor::scalar(bound)) }
}

/// Height and width of the image that a pool reads.
fn image(exporter: &Exporter<'_>, id: NodeId) -> Result<[usize; 2], ExportError> {
    let inputs = exporter.graph.node_inputs(id);
    let Some(x) = inputs.first() else { return Ok([0; 2]) };
    let dims = exporter.graph.ty(*x)?.shape.dims();
    Ok([2, 3].map(|axis| dims.get(axis).and_then(|dim| dim.fixed()).unwrap_or(0)))
}

fn windows(pool: &Pool, image: [usize; 2]) -> Vec<AttributeProto> {
    let Pool { kernel, strides, pads, dilations, ceil_mode } = pool;
    let mut attributes =
        vec![list("kernel_shape", ints(kernel)), list("strides", ints(strides)), list("pads", ints(pads))];
    if *dilations != [1, 1] {
        attributes.push(list("dilations", ints(dilations)));
    }
    // Engines differ in when rounding up adds a window: it is asked for only where it does.
    let more = |window: incept_ir::ops::window::Window| window.outputs(true).ok() != window.outputs(false).ok();
    if *ceil_mode && pool.windows(image).into_iter().any(more) {
        attributes.push(integer("ceil_mode", 1));
    }
    attributes
}

fn with(mut inputs: Vec<String>, more: String) -> Vec<String> {
    inputs.push(more);
    inputs
}

fn ints(values: &[usize]) -> Vec<i64> {
    values.iter().map(|value| int(*value)).collect()
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind as i32), ..AttributeProto::default() }
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

fn list(name: &str, values: Vec<i64>) -> AttributeProto {
    AttributeProto { ints: values, ..attribute(name, AttributeType::Ints) }
}
