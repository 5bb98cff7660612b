//! Model files as bytes: the one place that maps files.
//!
//! A mapped file is read lazily and its pages are shared between processes, so a model of many megabytes opens at once
//! and its weights are never copied. The price is a hazard that no program can rule out: **if another process truncates
//! the file while it is mapped, touching the lost pages kills this process** (`SIGBUS`), and if another process writes to
//! it, the bytes change under us. The parsers tolerate any bytes, and saved plans are checked against a checksum when they
//! are opened; still, replace a model that is in use by renaming a new file over it (as `incept compile` does), never by
//! writing into it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;

/// The bytes of a file: mapped where it is a regular file that is not empty, read otherwise (pipes, devices, empty files).
///
/// # Errors
/// Where the file cannot be opened, mapped or read; a directory is [`io::ErrorKind::IsADirectory`].
pub fn map_file(path: &Path) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
    }
    if metadata.is_file() && metadata.len() > 0 {
        // SAFETY: the mapping is private and read-only. That the file is not truncated or written to meanwhile is the
        // documented duty of whoever runs the program; see the module's documentation.
        let map = unsafe { Mmap::map(&file)? };
        return Ok(Bytes::from_owner(map));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn maps_files_reads_empty_ones_and_refuses_directories() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        std::fs::write(&path, b"").unwrap();
        assert_eq!(map_file(&path).unwrap(), Bytes::new());
        std::fs::write(&path, b"weights").unwrap();
        assert_eq!(map_file(&path).unwrap(), Bytes::from_static(b"weights"));
        assert_eq!(map_file(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(map_file(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn bytes_outlive_a_removed_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        std::fs::write(&path, vec![7u8; 100_000]).unwrap();
        let bytes = map_file(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 7));
    }
}
