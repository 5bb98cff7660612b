//! Progress of long work: a bar on a terminal, nothing elsewhere.

use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

/// The bar on the screen, for whoever interrupts the program.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Steps of a bar.
const STEPS: u64 = 1000;

/// A bar that disappears when this is dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar for this work, at its beginning.
    pub fn new(what: impl Into<String>) -> Self {
        let bar = if stderr().is_terminal() { ProgressBar::new(STEPS) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:30}] {percent:>3} % {eta} left") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what.into());
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        Self(bar)
    }

    /// Moves the bar to a share from 0 to 1.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a bar")]
    pub fn set(&self, share: f64) {
        self.0.set_position((share.clamp(0.0, 1.0) * STEPS as f64) as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Takes the bar off the screen.
pub fn clear() {
    if let Some(bar) = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).take() {
        bar.finish_and_clear();
    }
}
