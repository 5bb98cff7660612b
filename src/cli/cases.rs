//! Inputs with the outputs that belong to them: ONNX test data, folders of arrays, `.npz` archives.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use incept::compiler::frontend::onnx::read_tensor;
use incept::ir::tensor::Tensor;
use npyz::{DType, NpyFile, Order, TypeChar};
use zip::ZipArchive;
use zip::result::ZipError;

use super::failure::Failure;
use super::feed::{self, Port};

/// Inputs, and what should come of them.
#[derive(Debug)]
pub struct Case {
    /// Where it was found, for people.
    pub name: String,
    /// One for each input of the model.
    pub inputs: Vec<Tensor>,
    /// One for each output of the model; nothing where the case does not say.
    pub outputs: Vec<Option<Tensor>>,
}

/// A tensor and the name that its file gives it, which may be empty.
type Named = (String, Tensor);

/// What the arrays of a case are matched with.
pub struct Ports<'a> {
    /// The model's inputs.
    pub inputs: &'a [Port],
    /// The model's outputs.
    pub outputs: &'a [Port],
}

/// The cases of a folder: each `test_data_set_*` in it, or itself.
pub fn of_folder(folder: &Path, ports: &Ports<'_>) -> Result<Vec<Case>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(|error| Failure::read(folder, error))?;
    let mut sets: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("test_data_set_")))
        .collect();
    sets.sort();
    if sets.is_empty() {
        return Ok(vec![case(folder, ports)?]);
    }
    sets.iter().map(|set| case(set, ports)).collect()
}

fn case(folder: &Path, ports: &Ports<'_>) -> Result<Case, Failure> {
    let inputs = numbered(folder, "input", ports.inputs.len())?;
    let outputs = numbered(folder, "output", ports.outputs.len())?;
    let inputs = in_order(inputs, ports.inputs).into_iter().zip(ports.inputs);
    let inputs = inputs.map(|(tensor, port)| {
        let missing = || {
            let message = format!("`{}` has no values for the input `{}`", folder.display(), port.name);
            Failure::usage(message, "inputs are input_0.pb, input_1.pb... or input_0.npy, input_1.npy...")
        };
        tensor.ok_or_else(missing)
    });
    let name = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let case = Case { name, inputs: inputs.collect::<Result<_, _>>()?, outputs: in_order(outputs, ports.outputs) };
    expecting(case, folder)
}

/// A case that expects something: a check without an expectation would always pass.
fn expecting(case: Case, from: &Path) -> Result<Case, Failure> {
    if case.outputs.iter().any(Option::is_some) {
        return Ok(case);
    }
    let message = format!("`{}` holds no expected outputs", from.display());
    Err(Failure::usage(message, "outputs are output_0.pb or output_0.npy..., or arrays named like the model's outputs"))
}

/// `input_0.pb` or `input_0.npy`, and so on, as far as they go.
fn numbered(folder: &Path, what: &str, most: usize) -> Result<Vec<Named>, Failure> {
    let mut found = Vec::new();
    for index in 0..most {
        let [tensor, array] = ["pb", "npy"].map(|extension| folder.join(format!("{what}_{index}.{extension}")));
        if tensor.exists() {
            found.push(read_pb(&tensor)?);
        } else if array.exists() {
            let bytes = std::fs::read(&array).map_err(|error| Failure::read(&array, error))?;
            let file = NpyFile::new(&bytes[..]).map_err(|error| not_an_array(&array, error))?;
            found.push((String::new(), npy(&array, file, bytes.len())?));
        } else {
            break;
        }
    }
    Ok(found)
}

fn read_pb(path: &Path) -> Result<Named, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::read(path, error))?;
    read_tensor(bytes.into()).map_err(|error| Failure::array(path, error, "test data are tensors (TensorProto)"))
}

fn not_an_array(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::array(path, format_args!("this is not an array: {error}"), "save it with numpy.save(path, array)")
}

/// Tensors in the order of the ports: by name where all names are those of ports, by position otherwise.
fn in_order(tensors: Vec<Named>, ports: &[Port]) -> Vec<Option<Tensor>> {
    let position = |name: &str| ports.iter().position(|port| port.name == name);
    let mut places: Vec<usize> = tensors.iter().filter_map(|(name, _)| position(name)).collect();
    places.sort_unstable();
    places.dedup();
    let by_name = places.len() == tensors.len();
    let mut ordered: Vec<Option<Tensor>> = vec![None; ports.len()];
    for (index, (name, tensor)) in tensors.into_iter().enumerate() {
        let place = if by_name { position(&name) } else { Some(index) };
        if let Some(slot) = place.and_then(|place| ordered.get_mut(place)) {
            *slot = Some(tensor);
        }
    }
    ordered
}

/// The case of an archive, whose arrays are named like the model's inputs and outputs, or `input_0`, `output_0` and so on.
/// Inputs that it does not hold are left to `otherwise`.
pub fn of_archive(
    path: &Path,
    ports: &Ports<'_>,
    otherwise: &mut dyn FnMut(usize) -> Result<Tensor, Failure>,
) -> Result<Case, Failure> {
    let failed = |error| Failure::read(path, error);
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| not_an_archive(path, &error))?;
    let mut inputs = Vec::with_capacity(ports.inputs.len());
    for (index, port) in ports.inputs.iter().enumerate() {
        inputs.push(match entry(path, size, &mut archive, &port.name, &format!("input_{index}"))? {
            Some(tensor) => tensor,
            None => otherwise(index)?,
        });
    }
    let mut outputs = Vec::with_capacity(ports.outputs.len());
    for (index, port) in ports.outputs.iter().enumerate() {
        outputs.push(entry(path, size, &mut archive, &port.name, &format!("output_{index}"))?);
    }
    expecting(Case { name: path.display().to_string(), inputs, outputs }, path)
}

fn not_an_archive(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::array(
        path,
        format_args!("this is not an .npz archive: {error}"),
        "save it with numpy.savez(path, x=x, y=y)",
    )
}

fn entry<R: Read + Seek>(
    path: &Path,
    size: u64,
    archive: &mut ZipArchive<R>,
    name: &str,
    other: &str,
) -> Result<Option<Tensor>, Failure> {
    for name in [name, other] {
        let file = match archive.by_name(&format!("{name}.npy")) {
            Err(ZipError::FileNotFound) => continue,
            found => found.map_err(|error| not_an_archive(path, &error))?,
        };
        let array = NpyFile::new(file).map_err(|error| not_an_archive(path, &error))?;
        // Compressed values take less room than they have, but not a thousandth.
        let most = usize::try_from(size.saturating_mul(1000)).unwrap_or(usize::MAX);
        return npy(path, array, most).map(Some);
    }
    Ok(None)
}

/// An array as a tensor: floats of 32 or 64 bits, which are rounded.
fn npy<R: Read>(path: &Path, file: NpyFile<R>, most: usize) -> Result<Tensor, Failure> {
    let help = "save it with numpy.ascontiguousarray(array, numpy.float32)";
    let sizes = file.shape().iter().map(|size| usize::try_from(*size).ok()).collect::<Option<Vec<usize>>>();
    let count = sizes.as_ref().and_then(|sizes| sizes.iter().try_fold(1usize, |all, size| all.checked_mul(*size)));
    let (Some(sizes), Some(_)) = (sizes, count.filter(|count| count.checked_mul(4).is_some_and(|needs| needs <= most)))
    else {
        return Err(Failure::array(path, "it says more values than the file can hold", "save it again"));
    };
    if file.order() == Order::Fortran && sizes.iter().filter(|size| **size > 1).count() > 1 {
        return Err(Failure::array(path, "it is stored in Fortran order, not in C order", help));
    }
    let dtype = file.dtype();
    let values: std::io::Result<Vec<f32>> = match &dtype {
        DType::Plain(ty) if ty.type_char() == TypeChar::Float && ty.size_field() == 4 => file.into_vec(),
        #[allow(clippy::cast_possible_truncation, reason = "documented: rounded")]
        DType::Plain(ty) if ty.type_char() == TypeChar::Float && ty.size_field() == 8 => {
            file.into_vec::<f64>().map(|values| values.into_iter().map(|value| value as f32).collect())
        }
        _ => {
            let cause = format!("its elements are {}, not float32 ('<f4')", dtype.descr());
            return Err(Failure::array(path, cause, help));
        }
    };
    let values = values.map_err(|error| Failure::array(path, error, "the file is truncated: save it again"))?;
    Tensor::from_f32(&sizes, values).map_err(|error| Failure::array(path, error, "save it again"))
}

/// The batch size that these inputs have; an error where they do not fit the model.
pub fn batch_of(inputs: &[Tensor], ports: &[Port]) -> Result<Option<usize>, String> {
    let mut batch = None;
    for (tensor, port) in inputs.iter().zip(ports) {
        let fits = feed::fit(&port.shape, tensor.sizes(), batch);
        let refused =
            |cause| format!("sizes {:?} do not fit the input `{}` {}: {cause}", tensor.sizes(), port.name, port.shape);
        batch = fits.map_err(refused)?.or(batch);
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use incept::ir::types::{DType, Shape};

    use super::*;

    fn ports(names: &[&str]) -> Vec<Port> {
        let port = |name: &&str| Port { name: (*name).into(), dtype: DType::F32, shape: Shape::fixed(&[]) };
        names.iter().map(port).collect()
    }

    fn order(tensors: &[(&str, f32)], names: &[&str]) -> Vec<Option<f64>> {
        let tensors = tensors.iter().map(|(name, value)| ((*name).to_owned(), Tensor::scalar(*value))).collect();
        in_order(tensors, &ports(names)).into_iter().map(|tensor| Some(tensor?.to_f64()[0])).collect()
    }

    #[test]
    fn names_decide_where_all_are_known() {
        assert_eq!(order(&[("b", 2.0), ("a", 1.0)], &["a", "b"]), [Some(1.0), Some(2.0)]);
        assert_eq!(order(&[("b", 2.0)], &["a", "b"]), [None, Some(2.0)]);
        assert_eq!(order(&[("x", 1.0), ("a", 2.0)], &["a", "b"]), [Some(1.0), Some(2.0)]);
        assert_eq!(order(&[("a", 1.0), ("a", 2.0)], &["a", "b"]), [Some(1.0), Some(2.0)]);
        assert_eq!(order(&[("", 1.0)], &["a", "b"]), [Some(1.0), None]);
    }
}
