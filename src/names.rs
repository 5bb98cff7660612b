//! "Did you mean": the nearest of the known names.

/// The known name that is nearest to a word, where it is near enough to be meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Bounds the work on absurd words; no name is that long.
    let word: Vec<char> = word.chars().take(64).flat_map(char::to_lowercase).collect();
    known
        .into_iter()
        .map(|name| (distance(&word, &name.chars().collect::<Vec<_>>()), name))
        .filter(|(distance, name)| *distance <= name.len().max(word.len()) / 3)
        .min()
        .map(|(_, name)| name)
}

/// How many characters are to insert, remove or replace.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["fold_batch_norm", "fuse_activation", "merge_siblings"];
        assert_eq!(nearest("fold_batchnorm", known), Some("fold_batch_norm"));
        assert_eq!(nearest("FUSE_ACTIVATIONS", known), Some("fuse_activation"));
        assert_eq!(nearest("xyz", known), None);
        assert_eq!(nearest("", known), None);
    }
}
