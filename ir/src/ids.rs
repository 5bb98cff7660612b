//! Identifiers. An id's `Display` is its syntax in dumps, so errors, dumps and tests share one language.
//!
//! Ids are dense indices that are never reused within one graph or plan.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(u32);

        impl $name {
            /// The id with this index.
            #[must_use]
            pub const fn new(index: u32) -> Self {
                Self(index)
            }

            /// The id of position `index` of a table.
            ///
            /// Saturates: a table never reaches 2³² entries, because every builder bounds its size first.
            #[must_use]
            pub fn from_index(index: usize) -> Self {
                Self(u32::try_from(index).unwrap_or(u32::MAX))
            }

            /// The position in its table.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// A node of a graph: `n3`.
    NodeId, "n"
);
id!(
    /// A value of a graph, made by one node: `%7`.
    ValueId, "%"
);
id!(
    /// A root buffer of a plan: `b3`.
    BufferId, "b"
);
id!(
    /// A view into a root buffer of a plan: `v5`.
    ViewId, "v"
);
id!(
    /// A step of a plan: `s12`.
    StepId, "s"
);
id!(
    /// A constant of a plan: `c4`.
    ConstId, "c"
);
