//! The three transforms of a tile, made once for each size: they depend on nothing else, and a network has few sizes.

use std::sync::{Arc, LazyLock, Mutex};

use rustc_hash::FxHashMap;

use super::bad;
use super::grid::Grid;
use super::program::Program;
use super::transform::{Matrix, Transform};
use crate::codegen::{CodegenError, lock};

/// The transforms of `F(m × m, r × r)`, whose sizes may differ along the axes.
#[derive(Debug)]
pub(super) struct Grids {
    /// Input pixels of a tile.
    pub n: [usize; 2],
    /// What is added to the products of all positions so that each output grows by 1.
    pub ones: Vec<f64>,
    /// That of an input tile.
    pub input: Grid,
    /// That of the products.
    pub output: Grid,
    /// That of the weights.
    pub weights: Grid,
}

type Sizes = ([usize; 2], [usize; 2]);

/// Those that were made; there are no more than the sizes for which [`Transform::new`] has points.
static MADE: LazyLock<Mutex<FxHashMap<Sizes, Arc<Grids>>>> = LazyLock::new(Mutex::default);

impl Grids {
    /// The transforms for tiles of `m` outputs and windows of `taps`, vertical and horizontal.
    pub fn of(m: [usize; 2], taps: [usize; 2]) -> Result<Arc<Self>, CodegenError> {
        let mut made = lock(&MADE);
        if let Some(grids) = made.get(&(m, taps)) {
            return Ok(Arc::clone(grids));
        }
        let grids = Arc::new(Self::new(m, taps)?);
        made.insert((m, taps), Arc::clone(&grids));
        Ok(grids)
    }

    fn new(m: [usize; 2], taps: [usize; 2]) -> Result<Self, CodegenError> {
        let axis = |index: usize| {
            let (m, taps) = (m[index], taps[index]);
            Transform::new(m, taps).ok_or_else(|| bad(format!("there is no transform F({m}, {taps})")))
        };
        let (vertical, horizontal) = (axis(0)?, axis(1)?);
        let program = |matrix: &Matrix| -> Result<Program, CodegenError> {
            Program::new(matrix).ok_or(CodegenError::Internal("a transform has no program"))
        };
        let grid = |pick: fn(&Transform) -> &Matrix| -> Result<Grid, CodegenError> {
            Ok(Grid::new(&program(pick(&vertical))?, &program(pick(&horizontal))?))
        };
        let n = [vertical.n(), horizontal.n()];
        let ones = vertical.ones.iter().flat_map(|y| horizontal.ones.iter().map(|x| y.to_f64() * x.to_f64())).collect();
        Ok(Self { n, ones, input: grid(|t| &t.input)?, output: grid(|t| &t.output)?, weights: grid(|t| &t.weights)? })
    }
}
