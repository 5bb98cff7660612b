//! What the caller changes in a graph before it is compiled: which outputs it wants, and how the input is normalised.

use incept_ir::graph::{Graph, GraphError, NewValue, Patch};
use incept_ir::ids::ValueId;
use incept_ir::ops::{Div, OpError, Sub};
use incept_ir::tensor::Tensor;
use incept_ir::types::Dim;

use crate::compile::CompileOptions;
use crate::error::Error;
use crate::names::nearest;

/// Makes the changes that the options ask for. What the chosen outputs do not need is left to the passes.
pub(crate) fn apply(graph: &mut Graph, options: &CompileOptions, model: &str) -> Result<(), Error> {
    if !options.outputs.is_empty() {
        choose_outputs(graph, &options.outputs, model)?;
    }
    if options.mean.is_empty() && options.std.is_empty() {
        return Ok(());
    }
    normalise(graph, options, model)
}

/// Keeps the outputs of these names, in this order.
fn choose_outputs(graph: &mut Graph, names: &[String], model: &str) -> Result<(), Error> {
    let mut chosen = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let found = graph.outputs().iter().find(|output| *output.name == **name);
        match found {
            Some(output) if !names[..index].contains(name) => chosen.push(output.clone()),
            Some(_) => {}
            None => {
                let known: Vec<String> = graph.outputs().iter().map(|output| output.name.to_string()).collect();
                let nearest = nearest(name, known.iter().map(String::as_str)).map(Into::into);
                return Err(Error::NoOutput { name: name.clone(), nearest, known });
            }
        }
    }
    graph.set_outputs(chosen).map_err(|source| failed(model, source))
}

fn failed(model: &str, source: GraphError) -> Error {
    Error::Graph { model: model.into(), source: Box::new(source) }
}

/// Lets every reader of the first input read `(x - mean) / std` instead.
fn normalise(graph: &mut Graph, options: &CompileOptions, model: &str) -> Result<(), Error> {
    let refused = |to: String| Error::NotApplicable {
        option: "--mean or --std",
        to,
        help: "they are one number for each channel of the first input, which is an image N,C,H,W, and no std is 0",
    };
    let Some(input) = graph.inputs().first().copied() else { return Err(refused("a model without inputs".into())) };
    let x: ValueId = graph.output(input, 0).map_err(|source| failed(model, source))?;
    let ty = graph.ty(x).map_err(|source| failed(model, source))?.clone();
    let name = graph.node(input).map_err(|source| failed(model, source))?.name.to_string();
    let (4, Some(Dim::Fixed(channels))) = (ty.shape.rank(), ty.shape.dims().get(1).copied()) else {
        return Err(refused(format!("input `{name}`, which is {ty}")));
    };
    let given = [&options.mean, &options.std];
    let fits = given.iter().all(|values| values.is_empty() || values.len() == channels);
    if !fits || options.std.contains(&0.0) || given.iter().any(|values| values.iter().any(|value| !value.is_finite())) {
        return Err(refused(format!("input `{name}`, which has {channels} channels")));
    }
    let mut patch = Patch::new("input", "the input is normalised as the caller asks");
    let mut value = NewValue::Old(x);
    let constant = |patch: &mut Patch, name: &str, values: &[f32]| -> Result<NewValue, Error> {
        let tensor = Tensor::from_f32(&[1, channels, 1, 1], values.to_vec()).map_err(|error| {
            let source = Box::new(OpError::from(error));
            failed(model, GraphError::Op { node: name.into(), op: "constant", source })
        })?;
        Ok(patch.constant(name, tensor, [name.into()].into()))
    };
    let (mean, std) = (format!("{name}.mean"), format!("{name}.std"));
    if !options.mean.is_empty() {
        let values = constant(&mut patch, &mean, &options.mean)?;
        value = patch.node(Sub, &format!("{mean}.sub"), vec![value, values], [mean.as_str().into()].into());
    }
    if !options.std.is_empty() {
        let values = constant(&mut patch, &std, &options.std)?;
        value = patch.node(Div, &format!("{std}.div"), vec![value, values], [std.as_str().into()].into());
    }
    patch.replace(x, value);
    graph.apply(patch).map(|_| ()).map_err(|source| failed(model, source))
}
