//! The plan: what runs, in which order, on which bytes. Data only, portable across CPUs, the artefact that is saved.
//!
//! A plan owns *root buffers*; *views* say which elements of a root an operand is; *steps* read and write views. Layout is
//! nothing but strides: a rank-4 view has sizes in the order N, C, H, W, and strides that place C innermost (NHWC) for
//! arena activations. A concatenation is one root with a view for each part.
//!
//! | module | what lives there |
//! |---|---|
//! | [`verify`] | what every plan must satisfy, as numbered invariants; run after lowering and after loading |
//! | [`file`] | the saved form |
//! | [`text`], [`json`] | the printed forms |
//!
//! Depends on `types`, `ids` and the attributes of `ops`; knows nothing of graphs or of how plans are made.

pub mod file;
pub mod json;
mod step;
pub mod text;
mod tuning;
pub mod verify;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;

use serde::{Deserialize, Serialize};
pub use step::{Binary, CopyKind, PoolKind, Step, StepKind};
pub use tuning::{Algorithm, Tuned, Tuning};

pub use crate::ids::{BufferId, ConstId, StepId, ViewId};
use crate::tensor::Values;
use crate::types::DType;

/// Every arena buffer and every constant starts at a multiple of this many bytes.
pub const ALIGNMENT: usize = 64;

/// An executable plan for one batch size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The model's name.
    pub name: String,
    /// The batch size that symbolic dimensions took.
    pub batch: usize,
    /// A run executes all steps this many times. Everything else here, ports included, is of one *part* of the batch:
    /// part k reads and writes the k-th of as many equal pieces of each input and output, which lie one after the other.
    pub parts: NonZeroUsize,
    /// Whether the model's batch was symbolic, so that another batch size needs only another compilation.
    pub symbolic_batch: bool,
    /// Whether convolutions are summed directly only: no algorithm (Winograd's) that rounds intermediate transforms.
    pub exact: bool,
    /// What measuring found, for the CPU where it was done.
    pub tuning: Option<Tuning>,
    /// Root buffers.
    pub buffers: Vec<Buffer>,
    /// Views into them.
    pub views: Vec<View>,
    /// Weights, raw, as the model gives them (convolutions O,I,H,W); packed for the CPU when code is emitted.
    pub constants: Vec<PlanConstant>,
    /// The steps, in an order in which they may run.
    pub steps: Vec<Step>,
    /// The same steps in groups whose members may run at once, in order; see [`Region`].
    pub regions: Vec<Region>,
    /// What the caller gives, in the model's order.
    pub inputs: Vec<Port>,
    /// What the caller gets, in the model's order.
    pub outputs: Vec<Port>,
    /// The arena's size and how it was found.
    pub memory: Memory,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            name: String::new(),
            batch: 0,
            parts: NonZeroUsize::MIN,
            symbolic_batch: false,
            exact: false,
            tuning: None,
            buffers: Vec::new(),
            views: Vec::new(),
            constants: Vec::new(),
            steps: Vec::new(),
            regions: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            memory: Memory::default(),
        }
    }
}

impl Plan {
    /// A view; `None` where there is none of this id.
    #[must_use]
    pub fn view(&self, id: ViewId) -> Option<&View> {
        self.views.get(id.index())
    }

    /// A root buffer; `None` where there is none of this id.
    #[must_use]
    pub fn buffer(&self, id: BufferId) -> Option<&Buffer> {
        self.buffers.get(id.index())
    }

    /// A constant; `None` where there is none of this id.
    #[must_use]
    pub fn constant(&self, id: ConstId) -> Option<&PlanConstant> {
        self.constants.get(id.index())
    }

    /// The sizes of an input or output for the whole batch: those of all parts. `None` where there is no such view, or a
    /// size overflows.
    #[must_use]
    pub fn port_sizes(&self, port: &Port) -> Option<Vec<usize>> {
        let mut sizes = self.view(port.view)?.sizes.clone();
        if self.parts > NonZeroUsize::MIN {
            let first = sizes.first_mut()?;
            *first = first.checked_mul(self.parts.get())?;
        }
        Some(sizes)
    }

    /// The batch for people: `8`, or `8 in 4 parts`.
    #[must_use]
    pub fn batch_text(&self) -> String {
        match self.parts.get() {
            1 => self.batch.to_string(),
            parts => format!("{} in {parts} parts", self.batch),
        }
    }

    /// The kind's name in `steps_by_kind`, profiles and dumps: [`StepKind::name`], but `depthwise_conv` where each channel
    /// is a group of its own.
    #[must_use]
    pub fn kind_name(&self, step: &Step) -> &'static str {
        let channels = step.inputs.first().and_then(|id| self.view(*id)).and_then(|view| view.sizes.get(1));
        match (&step.kind, channels) {
            (StepKind::Conv { group, .. }, Some(channels)) if *group > 1 && group == channels => "depthwise_conv",
            (kind, _) => kind.name(),
        }
    }

    /// How many steps there are of each kind, by [`Plan::kind_name`].
    #[must_use]
    pub fn steps_by_kind(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for step in &self.steps {
            *counts.entry(self.kind_name(step)).or_default() += 1;
        }
        counts
    }

    /// The bytes that copy steps write in one run: what is not computed in its final place.
    #[must_use]
    pub fn copied_bytes(&self) -> usize {
        let copies = self.steps.iter().filter(|step| matches!(step.kind, StepKind::Copy(_)));
        let views = copies.flat_map(|step| &step.outputs).filter_map(|id| self.view(*id));
        let bytes =
            views.filter_map(View::elements).map(|count| count.saturating_mul(4)).fold(0, usize::saturating_add);
        bytes.saturating_mul(self.parts.get())
    }

    /// The bytes of all constants, as they are saved; also where this plan no longer holds them.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        let bytes = |constant: &PlanConstant| {
            constant.sizes.iter().fold(constant.dtype.bytes(), |bytes, size| bytes.saturating_mul(*size))
        };
        self.constants.iter().map(bytes).fold(0, usize::saturating_add)
    }
}

/// A parallel region: consecutive steps that do not depend on each other and share no bytes that one of them writes, so
/// that all their tasks may run at once, in any order, between two barriers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// The first step.
    pub begin: StepId,
    /// One past the last step.
    pub end: StepId,
}

impl Region {
    /// A region for each of this many steps: nothing runs at once.
    #[must_use]
    pub fn each(steps: usize) -> Vec<Self> {
        (0..steps).map(|step| Self { begin: StepId::from_index(step), end: StepId::from_index(step + 1) }).collect()
    }

    /// The positions of its steps.
    #[must_use]
    pub fn steps(&self) -> Range<usize> {
        self.begin.index()..self.end.index()
    }
}

/// A named input or output of the plan, dense and row-major in the model's own layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The model's name for it.
    pub name: String,
    /// The whole of an input or output buffer, that is of one part; see [`Plan::port_sizes`].
    pub view: ViewId,
}

/// A root buffer: a range of bytes with one lifetime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buffer {
    /// Where its bytes are.
    pub place: Place,
    /// How many bytes it has.
    pub bytes: usize,
    /// What it holds, for people: the name of the value.
    pub name: String,
    /// The first and the last step that touch it; arena buffers only. Its bytes are its own in all of the regions that
    /// these steps and those between them belong to.
    pub live: (StepId, StepId),
}

/// Where a root buffer's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// In the arena, at this byte offset.
    Arena(usize),
    /// The caller's memory for the input of this position.
    Input(usize),
    /// The caller's memory for the output of this position.
    Output(usize),
    /// A constant that steps read as an operand (an addend, say), not as packed weights.
    Constant(ConstId),
}

/// Some elements of a root buffer. Element (i₀, i₁, …) lies at `offset + Σ iₖ · strides[k]`, counted in `f32` elements.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct View {
    /// The root.
    pub buffer: BufferId,
    /// The first element.
    pub offset: usize,
    /// The sizes, in the model's order (N, C, H, W).
    pub sizes: Vec<usize>,
    /// The distance between neighbours along each axis; 0 repeats a broadcast operand, which only reads may do.
    pub strides: Vec<usize>,
}

impl View {
    /// How many elements the view has; `None` where that overflows.
    #[must_use]
    pub fn elements(&self) -> Option<usize> {
        self.sizes.iter().try_fold(1usize, |count, size| count.checked_mul(*size))
    }

    /// One past the highest element that the view touches, `offset` for an empty view; `None` where that overflows.
    #[must_use]
    pub fn end(&self) -> Option<usize> {
        if self.sizes.contains(&0) {
            return Some(self.offset);
        }
        let last = self
            .sizes
            .iter()
            .zip(&self.strides)
            .try_fold(self.offset, |last, (size, stride)| last.checked_add((size - 1).checked_mul(*stride)?))?;
        last.checked_add(1)
    }

    /// Whether the elements lie one after the other in row-major order of the sizes.
    #[must_use]
    pub fn is_row_major(&self) -> bool {
        self.strides == row_major(&self.sizes) || {
            // Strides of axes of size 1 do not matter.
            let dense = row_major(&self.sizes);
            self.sizes
                .iter()
                .zip(self.strides.iter().zip(&dense))
                .all(|(size, (has, wants))| *size == 1 || has == wants)
        }
    }
}

/// The strides of a dense row-major tensor.
#[must_use]
pub fn row_major(sizes: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; sizes.len()];
    for axis in (1..sizes.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(sizes[axis]);
    }
    strides
}

/// The strides of a dense N, C, H, W tensor with its channels innermost (NHWC).
#[must_use]
pub fn channels_last(sizes: &[usize; 4]) -> Vec<usize> {
    let [_, channels, height, width] = *sizes;
    let row = width.saturating_mul(channels);
    vec![height.saturating_mul(row), 1, row, channels]
}

/// A constant: type, sizes and elements. Saved beside the plan's metadata, not within it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanConstant {
    /// The source's name for it.
    pub name: String,
    /// The element type; `f16` constants are widened when packed.
    pub dtype: DType,
    /// The sizes.
    pub sizes: Vec<usize>,
    /// The elements, perhaps in a mapped file, perhaps not computed yet.
    #[serde(skip)]
    pub values: Values,
}

/// How large the arena is, and how far that is from the best.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The arena's size.
    pub arena_bytes: usize,
    /// The largest sum of the sizes of roots that live in one region: no placement for this schedule needs less.
    pub lower_bound_bytes: usize,
    /// Whether no smaller arena exists for this schedule.
    pub proven_optimal: bool,
    /// Which search found it.
    pub strategy: String,
}
