//! Which nodes are drawn within one frame: those whose source names begin alike, as the parts of a module's do.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

/// A frame holds at most this many nodes where their names would divide them further.
const MANY: usize = 48;

/// How many parts of a name are looked at.
const DEPTH: usize = 6;

/// A drawn node: the source name by which it is grouped.
pub(super) type Name<'n> = &'n str;

/// The frames: for each node the position of its frame in the list of their names, if it has one.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub of: Vec<Option<usize>>,
    pub names: Vec<Arc<str>>,
}

/// Groups nodes. `links` lead from a node to one that comes after it. Seen as one, the nodes of a frame are in no cycle:
/// where what leaves a module comes back to it, the module's name is divided further, or its nodes stand alone.
pub(super) fn group(names: &[Name<'_>], links: &[(usize, usize)]) -> Groups {
    let mut depth: Vec<usize> = vec![1; names.len()];
    // Every round divides at least one frame, or is the last.
    for _ in 0..DEPTH * 4 {
        let groups = at_depths(names, &depth);
        let cyclic = cyclic(&groups, links);
        let mut sizes = vec![0usize; groups.names.len()];
        groups.of.iter().flatten().for_each(|group| sizes[*group] += 1);
        let mut divided = false;
        for (node, group) in groups.of.iter().enumerate() {
            let Some(group) = group else { continue };
            let divisible = sizes[*group] > MANY && prefix(names[node], depth[node] + 1).is_some();
            if cyclic.contains(group) || divisible {
                depth[node] += 1;
                divided = true;
            }
        }
        if !divided {
            return groups;
        }
    }
    Groups { of: vec![None; names.len()], names: Vec::new() }
}

/// The first parts of a name, without a leading `/`; nothing where it has no more parts than that.
fn prefix(name: &str, parts: usize) -> Option<&str> {
    let name = name.trim_start_matches('/');
    let end = name.match_indices(['.', '/']).nth(parts - 1)?.0;
    name.get(..end).filter(|prefix| !prefix.is_empty())
}

/// The frames where each node's name is cut at its depth; a frame of one node, or of all, is none.
fn at_depths(names: &[Name<'_>], depth: &[usize]) -> Groups {
    let key = |node: usize| (depth[node] <= DEPTH).then(|| prefix(names[node], depth[node])).flatten();
    let mut sizes: FxHashMap<&str, usize> = FxHashMap::default();
    for node in 0..names.len() {
        if let Some(prefix) = key(node) {
            *sizes.entry(prefix).or_default() += 1;
        }
    }
    let mut groups = Groups::default();
    let mut places: FxHashMap<&str, usize> = FxHashMap::default();
    for node in 0..names.len() {
        let prefix = key(node).filter(|prefix| {
            let size = sizes.get(prefix).copied().unwrap_or(0);
            size > 1 && size < names.len()
        });
        groups.of.push(prefix.map(|prefix| {
            *places.entry(prefix).or_insert_with(|| {
                groups.names.push(prefix.into());
                groups.names.len() - 1
            })
        }));
    }
    groups
}

/// The frames that lie on a cycle where each is seen as one node: what cannot be taken off from either end.
fn cyclic(groups: &Groups, links: &[(usize, usize)]) -> FxHashSet<usize> {
    let frames = groups.names.len();
    let item = |node: usize| groups.of[node].unwrap_or(frames + node);
    let count = frames + groups.of.len();
    let mut left = vec![true; count];
    for backwards in [false, true] {
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); count];
        let mut missing = vec![0usize; count];
        for (from, to) in links {
            let (mut from, mut to) = (item(*from), item(*to));
            if backwards {
                std::mem::swap(&mut from, &mut to);
            }
            if from != to && left[from] && left[to] {
                readers[from].push(to);
                missing[to] += 1;
            }
        }
        let mut ready: Vec<usize> = (0..count).filter(|item| missing[*item] == 0).collect();
        while let Some(item) = ready.pop() {
            left[item] = false;
            for reader in &readers[item] {
                missing[*reader] -= 1;
                if missing[*reader] == 0 {
                    ready.push(*reader);
                }
            }
        }
    }
    (0..frames).filter(|frame| left[*frame]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(names: &[&str], links: &[(usize, usize)]) -> Vec<String> {
        let groups = group(names, links);
        groups.of.iter().map(|group| group.map_or_else(String::new, |group| groups.names[group].to_string())).collect()
    }

    #[test]
    fn names_that_begin_alike_share_a_frame() {
        let names = ["x", "a.conv", "a.relu", "/b/conv", "/b/relu", "c.only"];
        let links = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)];
        assert_eq!(frames(&names, &links), ["", "a", "a", "b", "b", ""]);
        assert_eq!(frames(&["a.x", "a.y"], &[(0, 1)]), ["", ""], "a frame of all says nothing");
    }

    #[test]
    fn a_frame_that_is_left_and_entered_again_is_divided() {
        let names = ["a.l.x", "a.l.y", "b", "a.r.x", "a.r.y"];
        let links = [(0, 1), (1, 2), (2, 3), (3, 4)];
        assert_eq!(frames(&names, &links), ["a.l", "a.l", "", "a.r", "a.r"]);
        let flat = ["a.x", "b", "a.y"];
        assert_eq!(frames(&flat, &[(0, 1), (1, 2)]), ["", "", ""]);
    }

    #[test]
    fn large_frames_are_divided_where_names_allow() {
        let names: Vec<String> =
            (0..60).map(|index| format!("layer.{}.conv{index}", index / 30)).chain(["y".into()]).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let links: Vec<(usize, usize)> = (1..names.len()).map(|index| (index - 1, index)).collect();
        let found = frames(&names, &links);
        assert_eq!((found[0].as_str(), found[59].as_str(), found[60].as_str()), ("layer.0", "layer.1", ""));
    }
}
