//! The operations that came after the first: a file each, with its cases of the conformance table. To add one, write its
//! file and name it in [`all`].

mod batch_norm;
mod binary_cross_entropy;
mod contrastive;
mod copy;
mod drop_connect;
mod hinge;
mod lab;
mod local;
mod lrn;
mod merge;
mod noise;
mod noisy_relu;
mod norm;
mod prelu;
mod resample;
mod soft_cross_entropy;

use super::operation::Call;
use std::sync::Arc;

/// The cases of all of them.
pub(super) fn all() -> Vec<Arc<dyn Call>> {
    let files = [
        copy::cases(),
        merge::cases(),
        noisy_relu::cases(),
        prelu::cases(),
        soft_cross_entropy::cases(),
        binary_cross_entropy::cases(),
        hinge::cases(),
        contrastive::cases(),
        local::cases(),
        norm::cases(),
        drop_connect::cases(),
        noise::cases(),
        resample::cases(),
        lab::cases(),
        batch_norm::cases(),
        lrn::cases(),
    ];
    files.into_iter().flatten().collect()
}
