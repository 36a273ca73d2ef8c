//! The lines of metrics.jsonl.

use super::{Error, Result};
use crate::net::CostMetrics;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Which images a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Those of the steps since the last line.
    Train,
    /// The test set.
    Test,
}

/// One cost of several, or one that counts more than errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostLine {
    /// Mean loss, before the cost's coefficient.
    pub loss: f64,
    /// Fraction of images wrong; 0 where the cost counts none.
    pub error: f64,
    /// Fraction of images whose label is not among the best five; 0 where the cost does not count that.
    pub error_top5: f64,
    /// What it counts of its own: a number for each class, over all images.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, Vec<f64>>,
}

/// Each cost apart, by name: nothing where there is but one, and that counts nothing of its own.
pub fn cost_lines(metrics: &[(String, CostMetrics)]) -> BTreeMap<String, CostLine> {
    let line = |m: &CostMetrics| CostLine {
        loss: m.loss,
        error: m.error,
        error_top5: m.error_top5,
        counts: m.counts.iter().map(|(name, values)| ((*name).to_owned(), values.clone())).collect(),
    };
    let told = metrics.len() > 1 || metrics.iter().any(|(_, m)| !m.counts.is_empty());
    metrics.iter().filter(|_| told).map(|(name, m)| (name.clone(), line(m))).collect()
}

/// What cuda-convnet prints of a layer's weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightLine {
    /// Mean |w|.
    pub weight: f64,
    /// Mean |last update|.
    pub update: f64,
    /// Mean |last update| / mean |w|: about 0.001 is healthy.
    pub ratio: f64,
}

/// One line. `images_per_second`, `seconds` and `data_wait` are times; everything else is the same in every run of the same
/// config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Parameter updates done.
    pub step: u64,
    /// Passes over the training set done.
    pub epoch: f64,
    /// The images.
    pub split: Split,
    /// The sum of the costs' mean losses, each times its coefficient.
    pub loss: f64,
    /// The first cost's fraction of images wrong.
    pub error: f64,
    /// The first cost's top-5 error.
    pub error_top5: f64,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// Images a second since the last line, tests not counted.
    pub images_per_second: f64,
    /// Seconds of the run so far.
    pub seconds: f64,
    /// The share of the time since the last line (of a test's own time) that was spent waiting for images.
    #[serde(default)]
    pub data_wait: f64,
    /// Each cost apart, where there are several, or one that counts more than errors.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub costs: BTreeMap<String, CostLine>,
    /// Each parameter's means, in the train line before each test; with `train.monitor_weights` in every train line.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, WeightLine>,
}

/// Reads a metrics.jsonl.
///
/// # Errors
/// The file cannot be read, or a line is none; the error says which.
pub fn read_lines(path: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
    let line = |(i, l)| {
        serde_json::from_str(l).map_err(|e| {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidData, format!("line {}: {e}", i + 1));
            Error::File { action: "read", path: path.to_owned(), source }
        })
    };
    text.lines().enumerate().map(line).collect()
}
