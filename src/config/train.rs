//! The section `[train]`: how the net learns.

use super::types::{at_least_one, check_below_one, non_negative, positive, some_at_least_one, some_positive};
use super::{Schedule, ScheduleKind};
use crate::device::Precision;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The section `[train]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainSpec {
    /// Images of a step. Default 64.
    #[serde(deserialize_with = "at_least_one")]
    pub batch: usize,
    /// Images that go through the net at once, a divisor of `batch`: gradients of the parts are summed. Default all.
    #[serde(deserialize_with = "some_at_least_one", skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Passes over the training set; may end in the middle of one. Default 10.
    #[serde(deserialize_with = "positive")]
    pub epochs: f64,
    /// Parameter updates of the run, in place of `epochs`.
    #[serde(deserialize_with = "some_at_least_one", skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// The number that everything random follows from. Default 1. Negative ones are those of the upper half of 64 bits.
    #[serde(deserialize_with = "seed", serialize_with = "write_seed")]
    pub seed: u64,
    /// Default 0.9; a number or a schedule, as the learning rate's.
    #[serde(deserialize_with = "momentum")]
    pub momentum: Schedule,
    /// Nesterov's momentum: the gradient's step is taken from where the momentum leads. Default no.
    pub nesterov: bool,
    /// Default 0.0005.
    #[serde(deserialize_with = "non_negative")]
    pub weight_decay: f64,
    /// L1 decay, added to the gradient as l1_decay·sign(w); a layer's `weight_decay` multiplies it too. Default 0.
    #[serde(deserialize_with = "non_negative")]
    pub l1_decay: f64,
    /// The largest L2 norm of all gradients together; larger ones are scaled to it. Default none.
    #[serde(deserialize_with = "some_positive", skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Steps between two tests. Default an epoch.
    #[serde(deserialize_with = "some_at_least_one", skip_serializing_if = "Option::is_none")]
    pub test_every: Option<u64>,
    /// Steps between two lines of metrics. Default 50.
    #[serde(deserialize_with = "at_least_one")]
    pub log_every: u64,
    /// Steps between two checkpoints; the best test has one in any case. Default at each test.
    #[serde(deserialize_with = "some_at_least_one", skip_serializing_if = "Option::is_none")]
    pub checkpoint_every: Option<u64>,
    /// Checkpoints that are kept, beside the best. Default 3.
    #[serde(deserialize_with = "at_least_one")]
    pub keep: usize,
    /// Whether each train line of the metrics has every parameter's mean |w|, mean |update| and their ratio, not only the
    /// one before a test. Default no.
    pub monitor_weights: bool,
    /// Whether wide 3 × 3 and 5 × 5 convolutions may run by Winograd's method, about twice as fast, with rounding errors some 1.5
    /// times as large as the plain sum's (4.5 times in 5 × 5 filters' gradients). Default yes.
    pub winograd: bool,
    /// Whether operations that follow each other may be done in one pass over memory. `false` runs each by itself, to find out
    /// which one is at fault. Default yes.
    #[serde(skip_serializing_if = "is_true")]
    pub fuse: bool,
    /// Whether what the metrics have is written as TensorBoard's events too, in the run's folder `tensorboard`. Default no.
    #[serde(skip_serializing_if = "is_false")]
    pub tensorboard: bool,
    /// What a GPU rounds the operands of convolutions and matrix products to: "tf32", "f32" or "bf16". Default tf32 on GPUs that
    /// have it; the CPU computes in f32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Default 0.01 throughout.
    pub learning_rate: Schedule,
}

impl Default for TrainSpec {
    fn default() -> Self {
        Self {
            batch: 64,
            micro_batch: None,
            epochs: 10.0,
            steps: None,
            seed: 1,
            momentum: Schedule::constant(0.9),
            nesterov: false,
            weight_decay: 0.0005,
            l1_decay: 0.0,
            clip_norm: None,
            test_every: None,
            log_every: 50,
            checkpoint_every: None,
            keep: 3,
            monitor_weights: false,
            winograd: true,
            fuse: true,
            tensorboard: false,
            precision: None,
            learning_rate: Schedule::constant(0.01),
        }
    }
}

fn is_false(v: &bool) -> bool {
    !v
}

fn is_true(v: &bool) -> bool {
    *v
}

/// A schedule whose values are momenta.
fn momentum<'de, D: Deserializer<'de>>(d: D) -> Result<Schedule, D::Error> {
    let schedule = Schedule::deserialize(d)?;
    let end = match schedule.kind {
        ScheduleKind::Linear { target } | ScheduleKind::Exp { target } | ScheduleKind::Dexp { target, .. } => target,
        ScheduleKind::Cosine { end } => end,
        _ => schedule.base,
    };
    check_below_one(schedule.base)?;
    check_below_one(end)?;
    Ok(schedule)
}

fn seed<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    i64::deserialize(d).map(i64::cast_unsigned)
}

fn write_seed<S: Serializer>(seed: &u64, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_i64(seed.cast_signed())
}
