//! What goes into a model: arrays and pictures, matched to its inputs.

use std::path::{Path, PathBuf};

use clap::Args;
use image::{ImageReader, RgbImage};
use incept::Model;
use incept::ir::types::{DType, Dim, Shape};
use incept::model::Body;
use incept::preprocess::Preprocess;

use super::arrays::{self, Array};
use super::failure::Failure;

/// The larger side that a picture may have: bounds the memory that a small file can ask for.
const MAX_PICTURE_SIDE: u32 = 1 << 15;

/// The inputs.
#[derive(Debug, Args)]
pub struct FeedArgs {
    /// An array for the input of this name; may be repeated. A symbolic batch takes the array's size
    #[arg(long = "input", value_name = "NAME=x.npy")]
    inputs: Vec<String>,
    /// A folder with input_0.npy, input_1.npy... in the order of the model's inputs
    #[arg(long, value_name = "DIR", conflicts_with_all = ["inputs", "image"])]
    input_dir: Option<PathBuf>,
    /// A picture (PNG, JPEG, WebP, BMP, PNM), prepared as --preprocess says
    #[arg(long, value_name = "FILE", conflicts_with = "inputs")]
    pub image: Option<PathBuf>,
    /// How the model's pictures were prepared: torch, caffe, tf, lite, unit or mnist [default: the model's own]
    #[arg(long, value_name = "WAY", requires = "image", value_parser = parse_way)]
    preprocess: Option<Preprocess>,
}

fn parse_way(name: &str) -> Result<Preprocess, String> {
    Preprocess::parse(name)
        .ok_or_else(|| format!("expected one of {}", Preprocess::ALL.map(Preprocess::name).join(", ")))
}

/// An input or output of a model before it is compiled.
#[derive(Debug, Clone)]
pub struct Port {
    /// The model's name for it.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The shape, perhaps with a symbolic batch.
    pub shape: Shape,
}

/// A model's inputs.
pub fn inputs_of(model: &Model) -> Vec<Port> {
    match model.body() {
        Body::Graph(graph) => graph
            .inputs()
            .iter()
            .filter_map(|id| {
                let ty = graph.ty(graph.output(*id, 0).ok()?).ok()?;
                Some(Port { name: graph.node(*id).ok()?.name.to_string(), dtype: ty.dtype, shape: ty.shape.clone() })
            })
            .collect(),
        Body::Plan(plan) => plan_ports(plan, &plan.inputs),
    }
}

/// A model's outputs.
pub fn outputs_of(model: &Model) -> Vec<Port> {
    match model.body() {
        Body::Graph(graph) => graph
            .outputs()
            .iter()
            .filter_map(|output| {
                let ty = graph.ty(output.value).ok()?;
                Some(Port { name: output.name.to_string(), dtype: ty.dtype, shape: ty.shape.clone() })
            })
            .collect(),
        Body::Plan(plan) => plan_ports(plan, &plan.outputs),
    }
}

fn plan_ports(plan: &incept::ir::plan::Plan, ports: &[incept::ir::plan::Port]) -> Vec<Port> {
    ports
        .iter()
        .filter_map(|port| {
            let sizes = plan.port_sizes(port)?;
            Some(Port { name: port.name.clone(), dtype: DType::F32, shape: Shape::fixed(&sizes) })
        })
        .collect()
}

/// Arrays for all inputs of a model.
#[derive(Debug)]
pub struct Feed {
    /// One for each input, in the model's order.
    pub arrays: Vec<Array>,
    /// The batch size that they have, where the model's is symbolic.
    pub batch: Option<usize>,
}

impl FeedArgs {
    /// Reads all inputs and checks them against the model.
    pub fn read(&self, model: &Model, batch: Option<usize>) -> Result<Feed, Failure> {
        let ports = inputs_of(model);
        let sources = self.sources(model, &ports)?;
        let mut found = batch;
        let mut arrays = Vec::with_capacity(ports.len());
        for (port, (path, array)) in ports.iter().zip(sources) {
            match fit(&port.shape, &array.sizes, found) {
                Ok(batch) => found = batch.or(found),
                Err(cause) => {
                    let cause = format!(
                        "its sizes {:?} do not fit the input `{}` {}: {cause}",
                        array.sizes, port.name, port.shape
                    );
                    return Err(Failure::array(
                        &path,
                        cause,
                        "`incept inspect MODEL` shows the inputs and their sizes",
                    ));
                }
            }
            arrays.push(array);
        }
        Ok(Feed { arrays, batch: found })
    }

    fn sources(&self, model: &Model, ports: &[Port]) -> Result<Vec<(PathBuf, Array)>, Failure> {
        if let Some(path) = &self.image {
            return Ok(vec![(path.clone(), self.picture(path, model, ports)?)]);
        }
        let paths: Vec<PathBuf> = match &self.input_dir {
            Some(folder) => (0..ports.len()).map(|index| folder.join(format!("input_{index}.npy"))).collect(),
            None => self.named(ports)?,
        };
        paths.into_iter().map(|path| arrays::read(&path).map(|array| (path, array))).collect()
    }

    /// The path for each input, from NAME=PATH arguments.
    fn named(&self, ports: &[Port]) -> Result<Vec<PathBuf>, Failure> {
        let names = || ports.iter().map(|port| format!("`{}`", port.name)).collect::<Vec<_>>().join(", ");
        let mut paths: Vec<Option<PathBuf>> = vec![None; ports.len()];
        for argument in &self.inputs {
            let (name, path) = split(argument, "--input")?;
            let Some(index) = ports.iter().position(|port| port.name == name) else {
                return Err(Failure::usage(
                    format!("the model has no input `{name}`"),
                    format!("its inputs are {}", names()),
                ));
            };
            if paths[index].replace(path).is_some() {
                return Err(Failure::usage(format!("the input `{name}` is given twice"), "give each input once"));
            }
        }
        let missing: Vec<&str> =
            paths.iter().zip(ports).filter(|(path, _)| path.is_none()).map(|(_, port)| port.name.as_str()).collect();
        match missing.first() {
            None => Ok(paths.into_iter().flatten().collect()),
            Some(first) => Err(Failure::usage(
                format!(
                    "no values are given for the input {}",
                    missing.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
                ),
                format!("give them with --input {first}=FILE.npy, --input-dir DIR or --image FILE"),
            )),
        }
    }

    fn picture(&self, path: &Path, model: &Model, ports: &[Port]) -> Result<Array, Failure> {
        let Some(way) = self.preprocess.or(model.preprocess()) else {
            let help = "--preprocess torch|caffe|tf|lite|unit|mnist says how: it must be the way the model was trained";
            return Err(Failure::usage("the model does not say how pictures are prepared for it", help));
        };
        let [port] = ports else {
            let message = format!("a picture is one input, but the model has {}", ports.len());
            return Err(Failure::usage(message, "give all inputs with --input NAME=x.npy"));
        };
        let sizes: Option<Vec<usize>> = port.shape.with_batch(1).and_then(|shape| shape.sizes());
        let sizes = sizes.unwrap_or_default();
        let picture = decode(path)?;
        let values = way.apply(&picture, &sizes).map_err(|source| Failure::Prepare { path: path.into(), source })?;
        Ok(Array { sizes, values })
    }
}

fn decode(path: &Path) -> Result<RgbImage, Failure> {
    let failed = |source| Failure::Picture { path: path.into(), source };
    let mut reader = ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(|error| Failure::read(path, error))?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_PICTURE_SIDE);
    limits.max_image_height = Some(MAX_PICTURE_SIDE);
    reader.limits(limits);
    Ok(reader.decode().map_err(failed)?.into_rgb8())
}

/// The two sides of NAME=PATH; the name may hold `=` where the path does not.
pub fn split(argument: &str, option: &str) -> Result<(String, PathBuf), Failure> {
    match argument.rsplit_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok((name.into(), path.into())),
        _ => Err(Failure::usage(format!("{option} `{argument}` is not of the form NAME=FILE.npy"), "name the input")),
    }
}

/// The batch size with which a shape has these sizes; `None` where the shape holds no batch.
pub fn fit(shape: &Shape, sizes: &[usize], batch: Option<usize>) -> Result<Option<usize>, String> {
    if shape.rank() != sizes.len() {
        return Err(format!("it has {} axes, not {}", sizes.len(), shape.rank()));
    }
    let mut found = None;
    for (axis, (dim, size)) in shape.dims().iter().zip(sizes).enumerate() {
        match *dim {
            Dim::Fixed(wanted) if wanted == *size => {}
            Dim::Fixed(wanted) => return Err(format!("axis {axis} has size {size}, not {wanted}")),
            Dim::Batch(factor) if *size == 0 || size % factor != 0 => {
                return Err(format!("axis {axis} has size {size}, which is no positive multiple of {factor}"));
            }
            Dim::Batch(factor) => found = Some(size / factor),
        }
    }
    match (found, batch) {
        (Some(found), Some(batch)) if found != batch => Err(format!("its batch size is {found}, not {batch}")),
        _ => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbolic_batch_takes_the_arrays_size() {
        let shape = Shape::new(&[Dim::Batch(2), Dim::Fixed(3)]);
        assert_eq!(fit(&shape, &[8, 3], None), Ok(Some(4)));
        assert_eq!(fit(&shape, &[8, 3], Some(4)), Ok(Some(4)));
        assert_eq!(fit(&shape, &[8, 3], Some(2)), Err("its batch size is 4, not 2".into()));
        assert_eq!(fit(&shape, &[7, 3], None), Err("axis 0 has size 7, which is no positive multiple of 2".into()));
        assert_eq!(fit(&shape, &[8, 4], None), Err("axis 1 has size 4, not 3".into()));
        assert_eq!(fit(&shape, &[8], None), Err("it has 1 axes, not 2".into()));
        assert_eq!(fit(&Shape::fixed(&[3]), &[3], Some(9)), Ok(None));
    }
}
