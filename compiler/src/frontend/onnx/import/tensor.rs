//! Tensors of the file: initializers and tensor attributes.

use std::mem;

use bytes::Bytes;
use incept_ir::tensor::Tensor;
use incept_ir::types::{DType, MAX_RANK};
use prost::Message;

use super::error::{ImportError, TensorProblem};
use crate::frontend::onnx::proto::TensorProto;
use crate::frontend::onnx::proto::tensor_proto::{DataLocation, DataType};

/// The element type of an ONNX type number.
///
/// # Errors
/// Where there is none; names it.
pub(super) fn dtype(number: i32) -> Result<DType, TensorProblem> {
    Ok(match DataType::try_from(number) {
        Ok(DataType::Float) => DType::F32,
        Ok(DataType::Double) => DType::F64,
        Ok(DataType::Float16) => DType::F16,
        Ok(DataType::Int64) => DType::I64,
        Ok(DataType::Int32) => DType::I32,
        Ok(DataType::Uint8) => DType::U8,
        Ok(DataType::Bool) => DType::Bool,
        Ok(other) => return Err(TensorProblem::DType(other.as_str_name().to_owned())),
        Err(_) => return Err(TensorProblem::DType(format!("number {number}"))),
    })
}

/// A tensor alone, as ONNX test directories hold them (`input_0.pb`): its name, and its value.
///
/// The value shares `bytes` where the file stores raw data.
///
/// # Errors
/// Where the bytes are no tensor, or one that is not supported.
pub fn read_tensor(bytes: Bytes) -> Result<(String, Tensor), ImportError> {
    let mut tensor = TensorProto::decode(bytes)?;
    let name = mem::take(&mut tensor.name).unwrap_or_default();
    match read(tensor) {
        Ok(value) => Ok((name, value)),
        Err(cause) => Err(ImportError::Initializer { name, cause: Box::new(cause) }),
    }
}

/// The tensor's value. Raw data is shared with the file, typed data copied.
pub(super) fn read(mut tensor: TensorProto) -> Result<Tensor, TensorProblem> {
    if tensor.data_location == Some(DataLocation::External as i32) || !tensor.external_data.is_empty() {
        let entry = tensor.external_data.iter().find(|entry| entry.key.as_deref() == Some("location"));
        let location = entry.and_then(|entry| entry.value.clone()).unwrap_or_default();
        return Err(TensorProblem::External { location });
    }
    if tensor.segment.is_some() {
        return Err(TensorProblem::Segment);
    }
    let dtype = dtype(tensor.data_type.unwrap_or(0))?;
    let sizes = sizes(&tensor.dims)?;
    let bytes = match stored(&tensor)? {
        None => Bytes::new(),
        Some("raw_data") => mem::take(&mut tensor.raw_data).unwrap_or_default(),
        Some(field) => typed(dtype, field, &tensor)?,
    };
    Ok(Tensor::from_bytes(dtype, &sizes, bytes)?)
}

fn sizes(dims: &[i64]) -> Result<Vec<usize>, TensorProblem> {
    if dims.len() > MAX_RANK {
        return Err(TensorProblem::Rank(dims.len()));
    }
    let size =
        |(axis, size): (usize, &i64)| usize::try_from(*size).map_err(|_| TensorProblem::Size { axis, size: *size });
    dims.iter().enumerate().map(size).collect()
}

/// The one field that holds data.
fn stored(tensor: &TensorProto) -> Result<Option<&'static str>, TensorProblem> {
    let fields = [
        ("raw_data", tensor.raw_data.as_ref().is_some_and(|data| !data.is_empty())),
        ("float_data", !tensor.float_data.is_empty()),
        ("double_data", !tensor.double_data.is_empty()),
        ("int32_data", !tensor.int32_data.is_empty()),
        ("int64_data", !tensor.int64_data.is_empty()),
        ("uint64_data", !tensor.uint64_data.is_empty()),
        ("string_data", !tensor.string_data.is_empty()),
    ];
    let mut used = fields.into_iter().filter(|(_, used)| *used).map(|(field, _)| field);
    match (used.next(), used.next()) {
        (Some(first), Some(second)) => Err(TensorProblem::TwoData { first, second }),
        (first, _) => Ok(first),
    }
}

/// The bytes of typed data. Bytes, bools and halves are stored as one 32-bit integer each.
fn typed(dtype: DType, field: &'static str, tensor: &TensorProto) -> Result<Bytes, TensorProblem> {
    let narrow = |wanted: &'static str, max: i32| {
        let one = |(index, value): (usize, &i32)| match u16::try_from(*value) {
            Ok(narrow) if *value <= max => Ok(narrow),
            _ => Err(TensorProblem::Value { index, value: *value, dtype: wanted }),
        };
        tensor.int32_data.iter().enumerate().map(one).collect::<Result<Vec<u16>, _>>()
    };
    Ok(match (dtype, field) {
        (DType::F32, "float_data") => collect(&tensor.float_data, |value| value.to_le_bytes()),
        (DType::F64, "double_data") => collect(&tensor.double_data, |value| value.to_le_bytes()),
        (DType::I64, "int64_data") => collect(&tensor.int64_data, |value| value.to_le_bytes()),
        (DType::I32, "int32_data") => collect(&tensor.int32_data, |value| value.to_le_bytes()),
        (DType::F16, "int32_data") => {
            collect(&narrow("16-bit pattern", i32::from(u16::MAX))?, |bits| bits.to_le_bytes())
        }
        (DType::U8, "int32_data") => collect(&narrow("u8", i32::from(u8::MAX))?, |value| [value.to_le_bytes()[0]]),
        (DType::Bool, "int32_data") => collect(&narrow("bool", 1)?, |value| [value.to_le_bytes()[0]]),
        _ => return Err(TensorProblem::WrongField { dtype: dtype.name(), field }),
    })
}

fn collect<T: Copy, const SIZE: usize>(values: &[T], bytes: impl Fn(T) -> [u8; SIZE]) -> Bytes {
    values.iter().flat_map(|value| bytes(*value)).collect::<Vec<u8>>().into()
}
