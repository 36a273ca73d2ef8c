//! Class numbers as probabilities.

use super::OUTPUTS;
use crate::op::OneHot;
use crate::verify::case::*;

pub(super) fn cases() -> Vec<Case> {
    let case = |shape, smoothing| Case::new(OneHot { smoothing, labels: 1, y: 0 }, [unit(shape), labels_of(shape)], rounded(0));
    OUTPUTS.into_iter().flat_map(|(shape, _)| [0.0, 0.125].map(|smoothing| case(shape, smoothing))).collect()
}
