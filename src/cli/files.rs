//! Files that appear whole or not at all.

use std::fs::File;
use std::io;
use std::path::Path;

use tempfile::NamedTempFile;

use super::failure::Failure;
use super::interrupt;

/// Writes to a temporary file beside `path` and renames it to `path` once all is written: a failure leaves nothing
/// behind and does not touch what was there.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let attempt = || -> io::Result<()> {
        if path.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
        }
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // What the user's umask leaves of an ordinary file's permissions, not a private temporary file's.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        builder.prefix(".incept-").suffix(".tmp");
        let mut file = interrupt::remember(|| builder.tempfile_in(folder), NamedTempFile::path)?;
        let temporary = file.path().to_owned();
        let done = write(file.as_file_mut()).and_then(|()| file.persist(path).map_err(|error| error.error));
        interrupt::forget(&temporary);
        done.map(drop)
    };
    attempt().map_err(|error| Failure::write(path, error))
}
