//! Scores to probabilities, and the best of them.

use std::path::Path;

use super::failure::Failure;

/// One of the best classes of an item.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    /// Its position among the scores.
    pub index: usize,
    /// What the model gave.
    pub score: f32,
    /// Its share.
    pub probability: f64,
}

/// Whether values are probabilities already: none outside 0 to 1, and together 1.
pub fn are_probabilities(values: &[f32]) -> bool {
    let sum: f64 = values.iter().copied().map(f64::from).sum();
    values.iter().all(|value| (0.0..=1.0).contains(value)) && (sum - 1.0).abs() < 1e-3
}

/// The `count` best classes, best first; equal scores in the order of their indices. `softmax` says whether the scores are
/// to be made probabilities.
pub fn best(values: &[f32], softmax: bool, count: usize) -> Vec<Class> {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let raised: Vec<f64> = values
        .iter()
        .map(|value| if softmax { (f64::from(*value) - f64::from(largest)).exp() } else { f64::from(*value) })
        .collect();
    let sum: f64 = if softmax { raised.iter().sum() } else { 1.0 };
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
    order
        .into_iter()
        .take(count)
        .map(|index| Class { index, score: values[index], probability: raised[index] / sum })
        .collect()
}

/// The labels of a file, a line each.
pub fn labels(path: &Path, classes: usize) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::read(path, error))?;
    let labels: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    if labels.len() != classes {
        let message = format!("`{}` has {} labels but the model has {classes} scores", path.display(), labels.len());
        return Err(Failure::usage(message, "a label file has one line for each class, in the model's order"));
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_shares_sum_to_one() {
        let classes = best(&[1.0, 3.0, 3.0, -1000.0], true, 4);
        assert_eq!(classes.iter().map(|class| class.index).collect::<Vec<_>>(), [1, 2, 0, 3]);
        assert!((classes.iter().map(|class| class.probability).sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(classes[0].probability, classes[1].probability);
        assert_eq!(best(&[0.25, 0.75], false, 1)[0].probability, 0.75);
    }

    #[test]
    fn probabilities_are_told_from_scores() {
        assert!(are_probabilities(&[0.25, 0.75]));
        assert!(!are_probabilities(&[0.25, 0.25]));
        assert!(!are_probabilities(&[1.5, -0.5]));
        assert!(!are_probabilities(&[f32::NAN, 1.0]));
    }
}
