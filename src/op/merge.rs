//! Two tensors merged element by element.

use super::Describe;
use std::fmt::Write as _;

/// How two tensors are merged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    /// The first times a, plus the second times b.
    Sum {
        /// Multiplies the first.
        a: f64,
        /// Multiplies the second.
        b: f64,
    },
    /// The first times the second.
    Product,
}

impl Describe for How {
    fn describe(&self, _name: &str, text: &mut String) {
        let _ = match self {
            Self::Sum { a, b } => write!(text, " sum[{a},{b}]"),
            Self::Product => write!(text, " product"),
        };
    }
}

operation! {
    /// y ← a and b merged (or y += …); y may be a or b.
    Merge = "merge" { how: How }
    [ a: reads, b: reads, y: target ]
    shares [ y: target in a: reads, y: target in b: reads ]
}

operation! {
    /// y ← max(a, b), where b is input number `number` of a maximum of several, 1 or more, and a is that of those before: which
    /// ← `number` where b is larger than a, elsewhere what it was, or 0 where it is set: by number 1. y may be a or b. which:
    /// real, as many as y's.
    MaxForward = "max_forward" { number: u32 }
    [ a: reads, b: reads, y: writes, which: target ]
    shares [ y: writes in a: reads, y: writes in b: reads ]
}

operation! {
    /// dx ← dy where which is `number`, 0 elsewhere (or dx += …): the gradient of input number `number`, from 0. dx may be dy.
    MaxBackward = "max_backward" { number: u32 }
    [ which: reads, dy: reads, dx: target ]
    shares [ dx: target in dy: reads ]
}
