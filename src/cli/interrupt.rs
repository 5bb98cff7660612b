//! Ctrl-C: no half-written file stays, and no bar.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{out, progress};

/// Temporary files that are being written.
static FILES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// What shells report for a program that was interrupted: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// From here on, an interrupted program removes its temporary files and its progress bar.
pub fn install() {
    let handler = || {
        progress::clear();
        // Held until the end, so that no file is made meanwhile.
        let files = files();
        for file in files.iter() {
            let _ = std::fs::remove_file(file);
        }
        std::process::exit(INTERRUPTED);
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        out::note(format_args!("note: an interruption may leave a temporary file behind ({error})"));
    }
}

/// Makes a temporary file, which an interruption removes until [`forget`].
pub fn remember<T, E>(make: impl FnOnce() -> Result<T, E>, path: impl FnOnce(&T) -> &Path) -> Result<T, E> {
    let mut files = files();
    let file = make()?;
    files.push(path(&file).to_owned());
    Ok(file)
}

/// Leaves a file alone that was remembered.
pub fn forget(path: &Path) {
    files().retain(|file| file != path);
}

fn files() -> MutexGuard<'static, Vec<PathBuf>> {
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}
