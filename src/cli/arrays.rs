//! NumPy files: `.npy` arrays of 32-bit floats in row-major order, read and written.
//!
//! Nothing is converted silently: another element type or order is refused with the line of Python that converts it.

use std::io::Write as _;
use std::path::Path;

use npyz::{DType, NpyFile, Order, TypeChar, WriterBuilder as _};

use super::failure::Failure;

/// An array as read.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Its sizes, outermost first.
    pub sizes: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

/// Reads an array.
pub fn read(path: &Path) -> Result<Array, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::read(path, error))?;
    let file = NpyFile::new(&bytes[..]).map_err(|error| {
        Failure::array(path, format_args!("this is not a .npy file: {error}"), "save it with numpy.save(path, array)")
    })?;
    let dtype = file.dtype();
    let is_f32 = matches!(&dtype, DType::Plain(ty) if ty.type_char() == TypeChar::Float && ty.size_field() == 4);
    if !is_f32 {
        let help = "save it with numpy.save(path, array.astype(numpy.float32))";
        return Err(Failure::array(
            path,
            format_args!("its elements are {}, not float32 ('<f4')", dtype.descr()),
            help,
        ));
    }
    let sizes = file.shape().iter().map(|size| usize::try_from(*size)).collect::<Result<Vec<_>, _>>();
    let count = sizes.as_ref().ok().and_then(|sizes| sizes.iter().try_fold(1usize, |all, size| all.checked_mul(*size)));
    let (Ok(sizes), Some(count)) = (sizes, count) else {
        return Err(Failure::array(path, "its sizes are beyond this machine", "save it again"));
    };
    if file.order() == Order::Fortran && sizes.iter().filter(|size| **size > 1).count() > 1 {
        let help = "save it with numpy.save(path, numpy.ascontiguousarray(array))";
        return Err(Failure::array(path, "it is stored in Fortran order, not in C order", help));
    }
    // The header is not to be trusted with an allocation: the values must be there.
    let truncated = || {
        let cause = format!("it says sizes {sizes:?} but holds fewer than {count} values");
        Failure::array(path, cause, "the file is truncated: save it again")
    };
    if count.checked_mul(4).is_none_or(|needed| needed > bytes.len()) {
        return Err(truncated());
    }
    let values = file.into_vec::<f32>().map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => truncated(),
        _ => Failure::array(path, error, "save the file again"),
    })?;
    Ok(Array { sizes, values })
}

/// Writes an array; the file appears whole or not at all.
pub fn write(path: &Path, sizes: &[usize], values: &[f32]) -> Result<(), Failure> {
    let sizes: Vec<u64> = sizes.iter().map(|size| *size as u64).collect();
    super::files::write_whole(path, |file| {
        let mut buffered = std::io::BufWriter::new(file);
        let mut writer = npyz::WriteOptions::new().default_dtype().shape(&sizes).writer(&mut buffered).begin_nd()?;
        writer.extend(values.iter().copied())?;
        writer.finish()?;
        buffered.flush()
    })
}
