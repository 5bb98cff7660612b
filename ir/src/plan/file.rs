//! The saved form of a plan: data, no machine code.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | magic `INCEPTPL` |
//! | 8..12 | format version, u32; stays here in every version |
//! | 12..16 | zero |
//! | 16..24 | length of the whole file, u64 |
//! | 24..32 | xxh3-64 of everything but these eight bytes |
//! | 32..48 | hash of the model it was made from, u128 (see [`model_hash`]) |
//! | 48..56 | length of the metadata, u64 |
//! | 56..64 | zero |
//! | 64.. | the plan without its constants' bytes, in postcard's format |
//! | | each constant, in the order of the table, at a multiple of 64 bytes; zeros between |
//!
//! All integers are little-endian. Constants are not copied by [`decode`]: they stay slices of the file's bytes, which may
//! be mapped. Any change of one byte, anywhere, is detected; what is loaded is verified again.

use std::io::{self, Write};

use bytes::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::verify::PlanError;
use super::{ALIGNMENT, Plan};
use crate::tensor::{TensorError, byte_length};

/// The first bytes of every plan file.
pub const MAGIC: [u8; 8] = *b"INCEPTPL";

/// The version that this program writes, and the only one that it reads.
pub const VERSION: u32 = 4;

/// The bytes before the metadata.
pub const HEADER_BYTES: usize = 64;

/// Where the checksum lies in the header.
const CHECKSUM: std::ops::Range<usize> = 24..32;

/// Why a plan file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// The file does not start as a plan file does.
    #[error("this is no plan file: it does not start with `INCEPTPL`")]
    Magic,
    /// The file is of another version.
    #[error("the plan file has format version {found}, this program reads version {VERSION}: compile the model again")]
    Version {
        /// The file's version.
        found: u32,
    },
    /// The file is shorter or longer than it says.
    #[error("the plan file has {found} bytes but should have {stated}: it is truncated or was appended to")]
    Length {
        /// What its header says, or the size of a header.
        stated: u64,
        /// What there is.
        found: u64,
    },
    /// Bytes changed since the file was written.
    #[error("the plan file is corrupt: its checksum is {found:016x}, its header says {stated:016x}")]
    Checksum {
        /// What the header says.
        stated: u64,
        /// What the bytes give.
        found: u64,
    },
    /// The metadata does not parse, though its checksum holds.
    #[error("the plan file's metadata is malformed: {0}")]
    Metadata(String),
    /// A constant's sizes do not fit.
    #[error("the plan file's constant {name}: {source}")]
    Constant {
        /// The constant.
        name: String,
        /// Why.
        source: TensorError,
    },
    /// The plan breaks an invariant.
    #[error("the plan does not hold together: {0}")]
    Invalid(#[from] PlanError),
    /// Writing failed.
    #[error("cannot write the plan: {0}")]
    Io(#[from] io::Error),
}

/// What the header of a plan file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The format version.
    pub version: u32,
    /// The length of the whole file in bytes.
    pub length: u64,
    /// xxh3-64 of the file.
    pub checksum: u64,
    /// The hash of the model that the plan was made from; see [`model_hash`].
    pub model_hash: u128,
    /// The length of the metadata in bytes.
    pub metadata: u64,
}

impl Header {
    /// Reads a header without looking at what follows it.
    ///
    /// # Errors
    /// Where the bytes are too few, do not start with [`MAGIC`], or are of another version.
    pub fn read(bytes: &[u8]) -> Result<Self, PlanFileError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(PlanFileError::Magic);
        }
        let short = PlanFileError::Length { stated: HEADER_BYTES as u64, found: bytes.len() as u64 };
        let version = field(bytes, 8).map(u32::from_le_bytes);
        match version {
            Some(VERSION) => {}
            Some(found) => return Err(PlanFileError::Version { found }),
            None => return Err(short),
        }
        let number = |at| field(bytes, at).map(u64::from_le_bytes);
        match (number(16), number(CHECKSUM.start), field(bytes, 32), number(48), bytes.len() >= HEADER_BYTES) {
            (Some(length), Some(checksum), Some(hash), Some(metadata), true) => {
                Ok(Self { version: VERSION, length, checksum, model_hash: u128::from_le_bytes(hash), metadata })
            }
            _ => Err(short),
        }
    }

    fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.length.to_le_bytes());
        bytes[CHECKSUM].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.model_hash.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.metadata.to_le_bytes());
        bytes
    }
}

/// Whether bytes start as a plan file does.
#[must_use]
pub fn is_plan(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The hash by which a plan remembers the model file that it was made from (xxh3-128 of its bytes).
#[must_use]
pub fn model_hash(model: &[u8]) -> u128 {
    xxh3_128(model)
}

/// Writes a plan. Its constants are written from where they lie, or computed one after the other.
///
/// # Errors
/// Where the plan breaks an invariant, or the writer fails.
pub fn encode(plan: &Plan, model_hash: u128, out: &mut impl Write) -> Result<(), PlanFileError> {
    plan.verify()?;
    let metadata = postcard::to_stdvec(plan).map_err(|error| PlanFileError::Metadata(error.to_string()))?;
    let mut length = HEADER_BYTES + metadata.len();
    for constant in &plan.constants {
        length += gap(length) + constant.values.len();
    }
    let mut header =
        Header { version: VERSION, length: length as u64, checksum: 0, model_hash, metadata: metadata.len() as u64 };
    let head = header.bytes();
    let mut hash = Xxh3::new();
    hash.update(&head[..CHECKSUM.start]);
    hash.update(&head[CHECKSUM.end..]);
    body(plan, &metadata, |part| {
        hash.update(part);
        Ok(())
    })?;
    header.checksum = hash.digest();
    out.write_all(&header.bytes())?;
    body(plan, &metadata, |part| out.write_all(part))?;
    Ok(())
}

/// Everything after the header, part by part.
fn body(plan: &Plan, metadata: &[u8], mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    take(metadata)?;
    let mut at = HEADER_BYTES + metadata.len();
    for constant in &plan.constants {
        take(&[0; ALIGNMENT][..gap(at)])?;
        take(&constant.values.compute())?;
        at += gap(at) + constant.values.len();
    }
    Ok(())
}

/// How many zeros bring `at` to the next multiple of [`ALIGNMENT`].
fn gap(at: usize) -> usize {
    (ALIGNMENT - at % ALIGNMENT) % ALIGNMENT
}

/// Reads and verifies a plan. Its constants are slices of `bytes`.
///
/// # Errors
/// Where the file is of another kind or version, truncated or changed, or the plan breaks an invariant.
pub fn decode(bytes: &Bytes) -> Result<Plan, PlanFileError> {
    let header = Header::read(bytes)?;
    let found = bytes.len() as u64;
    if header.length != found {
        return Err(PlanFileError::Length { stated: header.length, found });
    }
    let mut hash = Xxh3::new();
    hash.update(&bytes[..CHECKSUM.start]);
    hash.update(&bytes[CHECKSUM.end..]);
    if hash.digest() != header.checksum {
        return Err(PlanFileError::Checksum { stated: header.checksum, found: hash.digest() });
    }
    let malformed = |reason: &str| PlanFileError::Metadata(reason.into());
    if bytes[..HEADER_BYTES] != header.bytes() {
        return Err(malformed("reserved bytes of the header are not zero"));
    }
    let end = usize::try_from(header.metadata).ok().and_then(|len| len.checked_add(HEADER_BYTES));
    let end = end.filter(|end| *end <= bytes.len()).ok_or_else(|| malformed("it is longer than the file"))?;
    let (mut plan, rest): (Plan, &[u8]) =
        postcard::take_from_bytes(&bytes[HEADER_BYTES..end]).map_err(|error| malformed(&error.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed("bytes follow it"));
    }
    let mut at = end;
    for constant in &mut plan.constants {
        let needed = byte_length(constant.dtype, &constant.sizes)
            .map_err(|source| PlanFileError::Constant { name: constant.name.clone(), source })?;
        let start = at.saturating_add(gap(at));
        let stop = start.saturating_add(needed);
        if stop > bytes.len() {
            return Err(malformed(&format!("constant `{}` lies beyond the file", constant.name)));
        }
        constant.values = bytes.slice(start..stop).into();
        at = stop;
    }
    if at != bytes.len() {
        return Err(malformed("bytes follow the last constant"));
    }
    plan.verify()?;
    Ok(plan)
}

fn field<const SIZE: usize>(bytes: &[u8], at: usize) -> Option<[u8; SIZE]> {
    bytes.get(at..at.checked_add(SIZE)?)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use super::super::verify::example;
    use super::*;

    fn saved() -> (Plan, Bytes) {
        let plan = example::plan();
        let mut bytes = Vec::new();
        encode(&plan, 7, &mut bytes).unwrap();
        (plan, bytes.into())
    }

    #[test]
    fn a_plan_comes_back_without_copying_its_constants() {
        let (plan, bytes) = saved();
        let read = decode(&bytes).unwrap();
        assert_eq!(read, plan);
        assert_eq!(Header::read(&bytes).unwrap().model_hash, 7);
        let range = bytes.as_ptr_range();
        for constant in &read.constants {
            assert!(range.contains(&constant.values.bytes().as_ptr()));
            assert_eq!((constant.values.bytes().as_ptr() as usize - bytes.as_ptr() as usize) % ALIGNMENT, 0);
        }
    }

    #[test]
    fn every_flipped_byte_is_detected() {
        let (_, bytes) = saved();
        for at in 0..bytes.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut broken = bytes.to_vec();
                broken[at] ^= mask;
                assert!(decode(&broken.into()).is_err(), "byte {at} of {}", bytes.len());
            }
        }
    }

    #[test]
    fn every_truncation_is_detected() {
        let (_, bytes) = saved();
        for len in 0..bytes.len() {
            assert!(decode(&bytes.slice(..len)).is_err(), "{len} bytes of {}", bytes.len());
        }
        let longer: Bytes = [&bytes[..], &[0]].concat().into();
        assert!(matches!(decode(&longer), Err(PlanFileError::Length { .. })));
    }

    #[test]
    fn another_version_is_named() {
        let (_, bytes) = saved();
        let mut newer = bytes.to_vec();
        newer[8] = 9;
        let error = decode(&newer.into()).unwrap_err().to_string();
        let wanted = format!(
            "the plan file has format version 9, this program reads version {VERSION}: compile the model again"
        );
        assert_eq!(error, wanted);
        assert!(matches!(decode(&Bytes::from_static(b"ONNX")), Err(PlanFileError::Magic)));
    }

    #[test]
    fn a_broken_plan_is_not_written_nor_loaded() {
        let (mut plan, _) = saved();
        plan.memory.lower_bound_bytes += 64;
        assert!(matches!(encode(&plan, 0, &mut Vec::new()), Err(PlanFileError::Invalid(_))));
        // The same plan with a checksum that holds.
        let metadata = postcard::to_stdvec(&plan).unwrap();
        let mut parts = Vec::new();
        body(&plan, &metadata, |part| parts.write_all(part)).unwrap();
        let length = (HEADER_BYTES + parts.len()) as u64;
        let mut header =
            Header { version: VERSION, length, checksum: 0, model_hash: 0, metadata: metadata.len() as u64 };
        let head = header.bytes();
        let mut hash = Xxh3::new();
        hash.update(&head[..CHECKSUM.start]);
        hash.update(&head[CHECKSUM.end..]);
        hash.update(&parts);
        header.checksum = hash.digest();
        let bytes: Bytes = [&header.bytes()[..], &parts].concat().into();
        let error = decode(&bytes).unwrap_err();
        assert!(matches!(error, PlanFileError::Invalid(PlanError { number: 16, .. })), "{error}");
    }
}
