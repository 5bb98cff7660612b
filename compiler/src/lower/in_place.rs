//! Elementwise steps that write over an input that nothing reads any more.
//!
//! Decided for one order of the steps, on whole buffers of equal layout. A step that overwrites comes after every other
//! step that touches what it overwrites, and is made to wait for them, so that the decision holds in any order that the
//! steps take later, and no parallel region holds both.

use smallvec::SmallVec;

use super::draft::{Draft, Home};
use super::schedule::Touched;
use super::{LowerReport, layout};

/// The pass's name on the command line and in reports.
pub const NAME: &str = "in_place";

/// Which roots become one.
#[derive(Debug)]
pub(super) struct Merges {
    /// The root that each one became, or itself.
    into: Vec<usize>,
    done: Vec<Merge>,
}

/// One step that overwrites.
#[derive(Debug)]
struct Merge {
    step: usize,
    /// What it overwrites.
    from: usize,
    /// The other steps that touch that, all of them before it.
    waits: SmallVec<[usize; 4]>,
}

impl Merges {
    /// No root becomes another.
    pub fn none(roots: usize) -> Self {
        Self { into: (0..roots).collect(), done: Vec::new() }
    }

    /// What a root became.
    pub fn root(&self, root: usize) -> usize {
        self.into.get(root).copied().unwrap_or(root)
    }
}

/// Finds what may run in place when the steps run in this order: a step that is the first to touch its output, and the
/// last to touch an input of the same size and layout.
pub(super) fn find(draft: &Draft<'_>, touched: &Touched, order: &[usize]) -> Merges {
    let mut users: Vec<SmallVec<[usize; 4]>> = vec![SmallVec::new(); draft.roots.len()];
    for step in order {
        for root in &touched[*step] {
            users[*root].push(*step);
        }
    }
    let mut merges = Merges::none(draft.roots.len());
    for at in order.iter().copied() {
        let step = &draft.steps[at];
        let (true, [output]) = (step.kind.may_run_in_place(), step.outputs.as_slice()) else { continue };
        let to = output.buffer.index();
        let whole = |root: usize| output.elements() == Some(draft.roots[root].elements);
        let writable = matches!(draft.roots[to].home, Home::Arena | Home::Output(_));
        if !writable || users[to].first() != Some(&at) || !whole(to) {
            continue;
        }
        let found = step.inputs.iter().map(|input| (input, input.buffer.index())).find(|(input, from)| {
            let mut moved = (*input).clone();
            moved.buffer = output.buffer;
            *from != to
                && draft.roots[*from].home == Home::Arena
                && users[*from].last() == Some(&at)
                && whole(*from)
                && layout::same(&moved, output)
                // Another input that is another view of the same buffer would be overwritten.
                && step.inputs.iter().all(|other| other.buffer != input.buffer || layout::same(other, input))
        });
        let Some((_, from)) = found else { continue };
        let waits = users[from].iter().copied().filter(|user| *user != at).collect();
        merges.into[from] = to;
        merges.done.push(Merge { step: at, from, waits });
    }
    // Chains end where their last step writes: later merges are resolved before the earlier ones that lead to them.
    for merge in merges.done.iter().rev() {
        merges.into[merge.from] = merges.into[merges.into[merge.from]];
    }
    merges
}

/// Moves the views, and makes the steps that overwrite wait.
pub(super) fn apply(draft: &mut Draft<'_>, merges: &Merges, report: &mut LowerReport) {
    for merge in &merges.done {
        let over = format!("writes over \"{}\"", draft.roots[merge.from].name);
        let step = &mut draft.steps[merge.step];
        report.rewrite(NAME, &[&step.name], over);
        step.after.extend(&merge.waits);
        step.after.sort_unstable();
        step.after.dedup();
    }
    for view in draft.steps.iter_mut().flat_map(|step| step.inputs.iter_mut().chain(&mut step.outputs)) {
        view.buffer = incept_ir::ids::BufferId::from_index(merges.root(view.buffer.index()));
    }
}
