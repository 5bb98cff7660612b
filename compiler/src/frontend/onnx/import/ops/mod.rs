//! Importers: a function for each line of the table, by family.

pub(super) mod combine;
pub(super) mod constant;
pub(super) mod conv;
pub(super) mod elementwise;
pub(super) mod linear;
pub(super) mod normalize;
pub(super) mod pad;
pub(super) mod pool;
pub(super) mod shape;
pub(super) mod shape_math;
mod window;
