//! Names that look like another one, for suggestions.

/// Suggestions beyond this are noise.
const MAX_SUGGESTIONS: usize = 3;

/// Longer names are not compared: the cost is quadratic in the length.
const MAX_LENGTH: usize = 200;

/// Those of `names` that differ from `wanted` in at most a quarter of its letters (and three), the nearest first.
pub(super) fn near<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let limit = (wanted.len() / 4).clamp(1, 3);
    let mut found: Vec<(usize, &str)> = names
        .filter(|name| !name.is_empty() && name.len().max(wanted.len()) <= MAX_LENGTH)
        .filter(|name| name.len().abs_diff(wanted.len()) <= limit)
        .map(|name| (distance(wanted.as_bytes(), name.as_bytes()), name))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(MAX_SUGGESTIONS).map(|(_, name)| name.to_owned()).collect()
}

/// Insertions, deletions, substitutions: Levenshtein's distance; upper and lower case are the same letter.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(!x.eq_ignore_ascii_case(y));
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, near};

    #[test]
    fn distances() {
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"Relu", b"relu"), 0);
    }

    #[test]
    fn the_nearest_come_first_and_the_far_do_not_come() {
        let names = ["conv1_weights", "conv1_weight", "conv2_weight", "bias"];
        assert_eq!(near("conv1_weigth", names.into_iter()), ["conv1_weight", "conv1_weights", "conv2_weight"]);
        assert!(near("x", ["yz"].into_iter()).is_empty());
    }
}
