//! The trained weights that the program carries.

use bytes::Bytes;

/// Bytes at an address that is a multiple of 64, so that tensors in them can be read where they lie.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static GOOGLENET_MNIST: &Aligned<[u8]> = &Aligned(*include_bytes!("../../../assets/googlenet-mnist.safetensors"));

/// The safetensors file of a model; nothing is copied.
pub fn weights(name: &str) -> Option<Bytes> {
    (name == "googlenet-mnist").then(|| Bytes::from_static(&GOOGLENET_MNIST.0))
}
