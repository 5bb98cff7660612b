//! The matrix product that Gemm and MatMul share.

use std::borrow::Cow;

use super::{OpError, check};

/// The transpose of a row-major `rows` × `columns` matrix.
pub fn transposed(values: &[f32], rows: usize, columns: usize) -> Result<Vec<f32>, OpError> {
    let mut result = check::room(values.len())?;
    for column in 0..columns {
        result.extend((0..rows).map(|row| values[row * columns + column]));
    }
    Ok(result)
}

/// A matrix as `rows` × `columns`, out of one that is stored as its transpose where `is_transposed`.
pub fn oriented(values: &[f32], rows: usize, columns: usize, is_transposed: bool) -> Result<Cow<'_, [f32]>, OpError> {
    Ok(if is_transposed { transposed(values, columns, rows)?.into() } else { values.into() })
}

/// Calls `store(i, j, Σₖ a[i,k] · b[j,k])` for each of the `rows` rows of `a` and `columns` rows of `b`, row by row.
pub fn each_dot(a: &[f32], b: &[f32], [rows, columns, inner]: [usize; 3], mut store: impl FnMut(usize, usize, f64)) {
    for i in 0..rows {
        let a = &a[i * inner..(i + 1) * inner];
        for j in 0..columns {
            let b = &b[j * inner..(j + 1) * inner];
            store(i, j, a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum());
        }
    }
}
