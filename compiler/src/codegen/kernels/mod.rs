//! The kernels, a file (or folder) a family. Each is written once against [`super::vector::Asm`] for its inner tiles and
//! against [`super::nest::Nest`] for the loops around them, and is described by a plain spec.

pub mod conv_direct;
pub mod depthwise;
pub mod window;

use super::link::KernelId;

/// An emitted kernel, before linking.
#[derive(Debug, Clone)]
pub struct Emitted {
    /// The function; [`super::link::Linked::kernel`] gives its entry point.
    pub kernel: KernelId,
    /// How many tasks it is cut into; does not depend on the thread count.
    pub tasks: u64,
    /// Scratch memory for each calling thread.
    pub scratch_bytes: usize,
    /// The algorithm and its tiles, for people.
    pub name: String,
}
