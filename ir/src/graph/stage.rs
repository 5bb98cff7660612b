//! How far a graph has come, and which ops may remain there.

use std::fmt;

use crate::ops::Op;

/// A stage of compilation. Each allows what the one before allows, less what its passes remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// As read: every op is legal, every value is typed.
    Imported,
    /// As lowered: what the enabled passes promise to remove is gone.
    Optimized,
}

impl Stage {
    /// The stage's name on the command line and in dumps.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Optimized => "optimized",
        }
    }

    /// The stage of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Imported, Self::Optimized].into_iter().find(|stage| stage.name() == name)
    }

    /// Whether an op may remain at this stage whatever surrounds it. Inference needs no Dropout, Identity or Cast of
    /// floats; what depends on neighbours (a BatchNorm that could be folded) is for the pass pipeline to assert.
    #[must_use]
    pub fn allows(self, op: &Op) -> bool {
        self == Self::Imported || !matches!(op.name(), "dropout" | "identity")
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
