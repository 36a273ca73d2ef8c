//! The operations that came after the first: a file each, with its cases of the conformance table. To add one, write its
//! file and name it in [`all`].

mod copy;
mod merge;

use super::operation::Call;
use std::sync::Arc;

/// The cases of all of them.
pub(super) fn all() -> Vec<Arc<dyn Call>> {
    [copy::cases(), merge::cases()].into_iter().flatten().collect()
}
