//! From a parsed document to a [`Description`].

use super::error::{DescribeError, Line, Place, Suggestion};
use super::fields::{
    Fields, flag, float, integer, list, name, names, non_negative, pair, positive, sides, size, text, two,
};
use super::schema::{
    ConvBnLayer, ConvLayer, ConvWindow, Description, InceptionForm, InceptionLayer, InceptionV3Layer,
    InceptionV3Module, InputDescription, Layer, LayerOp, OutputDescription, PoolLayer, Size,
};
use super::tree::{Item, Value};

const POSITIVE: &str = "a whole number, at least 1";
const PAIR: &str = "a whole number of at least 1, or [vertical, horizontal]";
const SIDES: &str = "a whole number, [vertical, horizontal], or [top, left, bottom, right]";
const NUMBER: &str = "a number";
const NAME: &str = "a name";
const FLAG: &str = "true or false";
/// PyTorch's and ONNX's default.
const EPSILON: f32 = 1e-5;

/// The description that a document holds.
pub fn description(document: Item) -> Result<Description, DescribeError> {
    let mut fields = Fields::new(Place::Model, document)?;
    let name = fields.need("name", NAME, name)?;
    let epsilon = fields.read("epsilon", "a number of at least 0", non_negative)?.unwrap_or(EPSILON);
    let inputs = tables(&mut fields, "inputs")?;
    let layers = tables(&mut fields, "layers")?;
    let outputs = fields.take("outputs");
    let training = fields.take("training_outputs");
    let inputs = match inputs {
        Some(inputs) if !inputs.is_empty() => inputs,
        _ => return Err(fields.missing("inputs", "a list of at least one table { name, shape }")),
    };
    let layers = match layers {
        Some(layers) if !layers.is_empty() => layers,
        _ => return Err(fields.missing("layers", "a list of at least one table { op, name, ... }")),
    };
    let outputs = outputs.map_or(Ok(Vec::new()), |item| output_list(&fields, "outputs", item))?;
    let training_outputs = training.map_or(Ok(Vec::new()), |item| output_list(&fields, "training_outputs", item))?;
    fields.finish()?;
    Ok(Description {
        name,
        epsilon,
        inputs: inputs.into_iter().enumerate().map(|(index, item)| input(index, item)).collect::<Result<_, _>>()?,
        layers: layers.into_iter().enumerate().map(|(index, item)| layer(index, item)).collect::<Result<_, _>>()?,
        outputs,
        training_outputs,
    })
}

fn tables(fields: &mut Fields, key: &'static str) -> Result<Option<Vec<Item>>, DescribeError> {
    match fields.take(key) {
        None => Ok(None),
        Some(Item { value: Value::List(items), .. }) => Ok(Some(items)),
        Some(item) => Err(fields.wrong(key, "a list of tables", &item)),
    }
}

fn input(index: usize, item: Item) -> Result<InputDescription, DescribeError> {
    let mut fields = Fields::new(Place::Input { index, name: None }, item)?;
    let name = fields.need("name", NAME, name)?;
    fields.place = Place::Input { index, name: Some(name.clone()) };
    let shape = fields.need("shape", "a list of sizes, each a whole number of at least 1 or \"N\"", |value| {
        list(value, |item| match item {
            Value::Text(text) if text == "N" => Some(Size::Batch),
            other => positive(other).map(Size::Fixed),
        })
    })?;
    fields.finish()?;
    Ok(InputDescription { name, shape })
}

fn output_list(fields: &Fields, key: &str, item: Item) -> Result<Vec<OutputDescription>, DescribeError> {
    match item.value {
        Value::List(items) => items.into_iter().enumerate().map(|(index, item)| output(index, item)).collect(),
        _ => Err(fields.wrong(key, "a list of layers' names or of tables { name, from }", &item)),
    }
}

fn output(index: usize, item: Item) -> Result<OutputDescription, DescribeError> {
    if let Some(name) = name(&item.value) {
        return Ok(OutputDescription { from: name.clone(), name });
    }
    let mut fields = Fields::new(Place::Output { index }, item)?;
    let from = fields.need("from", "the name of a layer", name)?;
    let name = fields.read("name", NAME, name)?.unwrap_or_else(|| from.clone());
    fields.finish()?;
    Ok(OutputDescription { name, from })
}

fn layer(index: usize, item: Item) -> Result<Layer, DescribeError> {
    let mut fields = Fields::new(Place::Layer { index, name: None }, item)?;
    let line = fields.line;
    let name = fields.read("name", NAME, name)?;
    fields.place = Place::Layer { index, name: name.clone() };
    let op_line = fields.take("op").ok_or_else(|| fields.missing("op", "what the layer computes"))?;
    let op = text(&op_line.value).ok_or_else(|| fields.wrong("op", "the name of an op", &op_line))?;
    let name = name.ok_or_else(|| fields.missing("name", NAME))?;
    let from = fields.read("from", "the name of a layer or input, or a list of names", names)?.unwrap_or_default();
    let line_of_op = if op_line.line.0.is_some() { op_line.line } else { line };
    let op = layer_op(&op, line_of_op, &mut fields)?;
    fields.finish()?;
    Ok(Layer { op, name, from, line })
}

fn layer_op(op: &str, line: Line, fields: &mut Fields) -> Result<LayerOp, DescribeError> {
    Ok(match op {
        "conv" => LayerOp::Conv(conv(fields)?),
        "conv_relu" => LayerOp::ConvRelu(conv(fields)?),
        "conv_bn_relu" => LayerOp::ConvBnRelu(ConvBnLayer { window: window(fields)?, epsilon: epsilon(fields)? }),
        "batch_norm" => LayerOp::BatchNorm { epsilon: epsilon(fields)? },
        "relu" => LayerOp::Relu,
        "clip" => {
            let (min, max) = (fields.read("min", NUMBER, float)?, fields.read("max", NUMBER, float)?);
            if let (Some(low), Some(high)) = (min, max)
                && low > high
            {
                let item = Item { line: fields.line, value: Value::Float(f64::from(low)) };
                return Err(fields.wrong("min", "no larger than `max`", &item));
            }
            LayerOp::Clip { min, max }
        }
        "max_pool" => LayerOp::MaxPool(pool(fields)?),
        "avg_pool" => LayerOp::AvgPool {
            pool: pool(fields)?,
            count_include_pad: fields.read("count_include_pad", FLAG, flag)?.unwrap_or(false),
        },
        "global_avg_pool" => LayerOp::GlobalAvgPool,
        "concat" => LayerOp::Concat { axis: axis(fields)?.unwrap_or(1) },
        "add" => LayerOp::Add,
        "mul" => LayerOp::Mul,
        "lrn" => LayerOp::Lrn {
            size: fields.need("size", "an odd whole number", |value| positive(value).filter(|size| size % 2 == 1))?,
            alpha: fields.read("alpha", "a number of at least 0", non_negative)?.unwrap_or(1e-4),
            beta: fields.read("beta", NUMBER, float)?.unwrap_or(0.75),
            bias: fields
                .read("bias", "a number above 0", |value| float(value).filter(|bias| *bias > 0.0))?
                .unwrap_or(1.0),
        },
        "linear" => LayerOp::Linear {
            features: fields.need("features", POSITIVE, positive)?,
            bias: fields.read("bias", FLAG, flag)?.unwrap_or(true),
        },
        "flatten" => LayerOp::Flatten { axis: axis(fields)?.unwrap_or(1) },
        "softmax" => LayerOp::Softmax { axis: axis(fields)? },
        "dropout" => LayerOp::Dropout {
            ratio: fields
                .read("ratio", "a number from 0 to 1", |value| non_negative(value).filter(|ratio| *ratio <= 1.0))?
                .unwrap_or(0.5),
        },
        "reshape" => LayerOp::Reshape { dims: fields.need("dims", "a list of sizes", |value| list(value, integer))? },
        "transpose" => LayerOp::Transpose { perm: fields.need("perm", "a list of axes", |value| list(value, size))? },
        "identity" => LayerOp::Identity,
        "inception" => LayerOp::Inception(inception(fields)?),
        "inception_v3" => LayerOp::InceptionV3(inception_v3(fields)?),
        _ => {
            return Err(DescribeError::UnknownOp {
                place: fields.place.clone(),
                line,
                op: op.to_owned(),
                suggestion: Suggestion::nearest(op, LayerOp::NAMES.iter().copied()),
            });
        }
    })
}

fn conv(fields: &mut Fields) -> Result<ConvLayer, DescribeError> {
    Ok(ConvLayer { window: window(fields)?, bias: fields.read("bias", FLAG, flag)?.unwrap_or(true) })
}

fn window(fields: &mut Fields) -> Result<ConvWindow, DescribeError> {
    Ok(ConvWindow {
        channels: fields.need("channels", POSITIVE, positive)?,
        kernel: fields.need("kernel", PAIR, pair)?,
        stride: fields.read("stride", PAIR, pair)?.unwrap_or([1; 2]),
        pad: fields.read("pad", SIDES, sides)?.unwrap_or([0; 4]),
        dilation: fields.read("dilation", PAIR, pair)?.unwrap_or([1; 2]),
        groups: fields.read("groups", POSITIVE, positive)?.unwrap_or(1),
    })
}

fn pool(fields: &mut Fields) -> Result<PoolLayer, DescribeError> {
    Ok(PoolLayer {
        kernel: fields.need("kernel", PAIR, pair)?,
        stride: fields.need("stride", PAIR, pair)?,
        pad: fields.read("pad", SIDES, sides)?.unwrap_or([0; 4]),
        ceil: fields.read("ceil", FLAG, flag)?.unwrap_or(false),
    })
}

fn epsilon(fields: &mut Fields) -> Result<Option<f32>, DescribeError> {
    fields.read("epsilon", "a number of at least 0", non_negative)
}

fn axis(fields: &mut Fields) -> Result<Option<usize>, DescribeError> {
    fields.read("axis", "an axis, counted from 0", size)
}

fn inception(fields: &mut Fields) -> Result<InceptionLayer, DescribeError> {
    const TWO: &str = "[channels of the reduction, channels of the convolution]";
    let form = fields.read("form", "\"batch_norm\" or \"paper\"", |value| match text(value)?.as_str() {
        "batch_norm" => Some(InceptionForm::BatchNorm),
        "paper" => Some(InceptionForm::Paper),
        _ => None,
    })?;
    let form = form.unwrap_or(InceptionForm::BatchNorm);
    Ok(InceptionLayer {
        form,
        branch1: fields.need("branch1", POSITIVE, positive)?,
        branch2: fields.need("branch2", TWO, two)?,
        branch3: fields.need("branch3", TWO, two)?,
        branch4: fields.need("branch4", POSITIVE, positive)?,
        epsilon: match form {
            InceptionForm::BatchNorm => epsilon(fields)?,
            InceptionForm::Paper => None,
        },
    })
}

fn inception_v3(fields: &mut Fields) -> Result<InceptionV3Layer, DescribeError> {
    let letter = fields.need("module", "\"a\", \"b\", \"c\", \"d\" or \"e\"", |value| {
        text(value).filter(|text| ["a", "b", "c", "d", "e"].contains(&text.as_str()))
    })?;
    let module = match letter.as_str() {
        "a" => InceptionV3Module::A { pool: fields.need("pool", POSITIVE, positive)? },
        "b" => InceptionV3Module::B,
        "c" => InceptionV3Module::C { inner: fields.need("inner", POSITIVE, positive)? },
        "d" => InceptionV3Module::D,
        _ => InceptionV3Module::E,
    };
    Ok(InceptionV3Layer { module, epsilon: epsilon(fields)? })
}
