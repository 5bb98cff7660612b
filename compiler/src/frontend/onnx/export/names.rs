//! Names that are given once only.

use rustc_hash::FxHashMap;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Every name that was given, and the number to try next where it is wanted again.
    given: FxHashMap<String, usize>,
}

impl Names {
    /// The wanted name, or it with the lowest number that makes it new.
    pub(super) fn unique(&mut self, wanted: &str) -> String {
        let Some(mut number) = self.given.get(wanted).copied() else {
            self.given.insert(wanted.to_owned(), 1);
            return wanted.to_owned();
        };
        loop {
            let name = format!("{wanted}_{number}");
            number += 1;
            if !self.given.contains_key(&name) {
                self.given.insert(wanted.to_owned(), number);
                self.given.insert(name.clone(), 1);
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn a_name_is_given_once() {
        let mut names = Names::default();
        let given: Vec<String> = ["a", "a_1", "a", "a", "a_1"].into_iter().map(|name| names.unique(name)).collect();
        assert_eq!(given, ["a", "a_1", "a_2", "a_3", "a_1_1"]);
    }
}
