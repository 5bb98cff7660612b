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
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;

/// The bytes of a file.
#[derive(Debug, Clone)]
pub struct FileBytes {
    bytes: Bytes,
    map: Option<Arc<Mmap>>,
}

/// A mapping that a [`FileBytes`] and its bytes share.
struct Shared(Arc<Mmap>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl FileBytes {
    /// The bytes; slices of them keep the mapping alive.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Gives the memory of a mapped file back to the system: what is read again is loaded again. For when most of the
    /// file was read for the last time.
    pub fn let_go(&self) {
        #[cfg(unix)]
        if let Some(map) = &self.map {
            // SAFETY: nobody writes to the mapping, which is read-only: after the advice its pages hold what they held,
            // the file's bytes.
            let advised = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            if let Err(error) = advised {
                tracing::debug!(%error, "the pages of a mapped file stay");
            }
        }
    }
}

/// The bytes of a file: mapped where it is a regular file that is not empty, read otherwise (pipes, devices, empty files).
///
/// # Errors
/// Where the file cannot be opened, mapped or read; a directory is [`io::ErrorKind::IsADirectory`].
pub fn map_file(path: &Path) -> io::Result<FileBytes> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
    }
    if metadata.is_file() && metadata.len() > 0 {
        // SAFETY: the mapping is private and read-only. That the file is not truncated or written to meanwhile is the
        // documented duty of whoever runs the program; see the module's documentation.
        let map = Arc::new(unsafe { Mmap::map(&file)? });
        return Ok(FileBytes { bytes: Bytes::from_owner(Shared(Arc::clone(&map))), map: Some(map) });
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(FileBytes { bytes: bytes.into(), map: None })
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
        assert_eq!(map_file(&path).unwrap().bytes(), &Bytes::new());
        std::fs::write(&path, b"weights").unwrap();
        assert_eq!(map_file(&path).unwrap().bytes(), &Bytes::from_static(b"weights"));
        assert_eq!(map_file(folder.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(map_file(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn bytes_outlive_a_removed_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        std::fs::write(&path, vec![7u8; 100_000]).unwrap();
        let file = map_file(&path).unwrap();
        let bytes = file.bytes().slice(10..);
        std::fs::remove_file(&path).unwrap();
        file.let_go();
        drop(file);
        assert!(bytes.len() == 99_990 && bytes.iter().all(|byte| *byte == 7));
    }
}
