//! Charts in text.

use incept::measure::stats::quantile;

use super::bench::{Measured, several};
use super::units::ms;

/// Columns of a distribution.
const COLUMNS: usize = 56;

/// Eighths of a character's height.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The distribution of each variant's times over one axis: a column's height is the share of the runs in it.
pub fn distributions(measured: &[Measured]) -> String {
    let runs: Vec<Vec<f64>> = measured.iter().map(|one| one.samples.runs().collect()).collect();
    let all: Vec<f64> = runs.concat();
    let (low, high) = (quantile(&all, 0.0), quantile(&all, 0.99));
    if all.is_empty() || high <= low {
        return String::new();
    }
    let labels: Vec<String> = measured.iter().map(|one| one.label(several(measured))).collect();
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let mut text = String::from("distribution of the times, ms\n");
    for (label, runs) in labels.iter().zip(&runs) {
        text += &format!("{label:<width$} │{}│\n", columns(runs, low, high));
    }
    let (left, right) = (ms(low), ms(high));
    let gap = COLUMNS.saturating_sub(left.chars().count() + right.chars().count());
    text + &format!("{:<width$}  {left}{}{right} (slower runs: in the last column)\n", "", " ".repeat(gap))
}

/// A histogram, its highest column full.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a picture")]
fn columns(runs: &[f64], low: f64, high: f64) -> String {
    let mut counts = [0usize; COLUMNS];
    for run in runs {
        let at = ((run - low) / (high - low) * COLUMNS as f64) as usize;
        counts[at.min(COLUMNS - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let height = |count: usize| match count {
        0 => ' ',
        count => HEIGHTS[(count * HEIGHTS.len()).div_ceil(most).clamp(1, HEIGHTS.len()) - 1],
    };
    counts.into_iter().map(height).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_column_is_full_and_one_run_is_seen() {
        let picture = columns(&[[1.0; 100].as_slice(), &[2.0, 9.0]].concat(), 1.0, 2.0);
        assert_eq!(picture.chars().count(), COLUMNS);
        assert!(picture.starts_with('█') && picture.ends_with('▁'), "{picture}");
        assert_eq!(picture.chars().filter(|column| *column == ' ').count(), COLUMNS - 2);
    }
}
