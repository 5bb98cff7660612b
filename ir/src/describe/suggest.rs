//! The nearest known word to one that is not known.

/// The word among `known` that is nearest to `word`, if any is near enough to be a slip: at most a third of its letters
/// changed (at least one, at most three), letter case and the choice of `-`, `_` or a space aside.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(word);
    if folded.len() > MAX_LENGTH {
        return None;
    }
    let limit = (folded.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Longer words are not compared: the comparison takes time that grows with the square of the length.
const MAX_LENGTH: usize = 128;

fn fold(word: &str) -> Vec<char> {
    word.chars()
        .take(MAX_LENGTH + 1)
        .flat_map(char::to_lowercase)
        .map(|letter| if matches!(letter, '-' | ' ') { '_' } else { letter })
        .collect()
}

/// How many insertions, removals, replacements and swaps of neighbours make `b` of `a` (the optimal string alignment
/// distance).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, to) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(from != to)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *to && b[j - 1] == *from {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = last;
        last = row;
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_found_and_other_words_are_not() {
        let known = ["kernel", "stride", "pad", "max_pool", "conv_bn_relu"];
        assert_eq!(nearest("kernal", known), Some("kernel"));
        assert_eq!(nearest("sride", known), Some("stride"));
        assert_eq!(nearest("sitrde", known), Some("stride"));
        assert_eq!(nearest("MaxPool", known), Some("max_pool"));
        assert_eq!(nearest("conv-bn-relu", known), Some("conv_bn_relu"));
        assert_eq!(nearest("padding", known), None);
        assert_eq!(nearest("softmax", known), None);
        assert_eq!(nearest(&"k".repeat(100_000), known), None);
    }
}
