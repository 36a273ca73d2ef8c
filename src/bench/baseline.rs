//! A run of `bench` compared with an earlier one: what took longer than a threshold allows.

use super::NetTime;
use serde::Serialize;

/// One time then and now.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// The net.
    pub net: String,
    /// The layer; `all` for the whole step and the forward pass.
    pub name: String,
    /// The pass, `step` or `forward`.
    pub pass: String,
    /// Milliseconds then.
    pub before_ms: f64,
    /// Milliseconds now.
    pub now_ms: f64,
    /// Now over then: above 1 is slower.
    pub ratio: f64,
    /// The ratio is above the threshold.
    pub slower: bool,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// What both have: whole steps and forward passes, and the passes that count.
    pub changes: Vec<Change>,
    /// What cannot be compared, in words.
    pub notes: Vec<String>,
}

/// Passes that take less of their step than this are not compared: they are noise.
const LEAST_PART: f64 = 0.05;

impl Comparison {
    /// Whether anything is slower than the threshold allows.
    pub fn is_slower(&self) -> bool {
        self.changes.iter().any(|c| c.slower)
    }
}

/// Compares nets by their names. A time is slower where it is more than `threshold` times the earlier one.
pub fn compare(before: &[NetTime], now: &[NetTime], threshold: f64) -> Comparison {
    let mut found = Comparison::default();
    for new in now {
        let Some(old) = before.iter().find(|old| old.name == new.name) else {
            found.notes.push(format!("{}: not in the baseline", new.name));
            continue;
        };
        if old.batch != new.batch {
            found.notes.push(format!("{}: the baseline's batch is {}, this one {}", new.name, old.batch, new.batch));
            continue;
        }
        if old.device != new.device {
            found.notes.push(format!("{}: the baseline ran on {}, this on {}", new.name, old.device, new.device));
        }
        let mut add = |name: &str, pass: &str, before_ms: f64, now_ms: f64| {
            let ratio = now_ms / before_ms;
            let (net, name, pass) = (new.name.clone(), name.into(), pass.into());
            found.changes.push(Change { net, name, pass, before_ms, now_ms, ratio, slower: ratio > threshold });
        };
        add("all", "step", old.step_ms, new.step_ms);
        add("all", "forward", old.forward_ms, new.forward_ms);
        for row in new.layers.iter().filter(|r| r.pass != "rest") {
            let same = old.layers.iter().find(|o| (&o.name, &o.pass) == (&row.name, &row.pass));
            if let Some(o) = same.filter(|o| o.times.ms.max(row.times.ms) >= LEAST_PART * old.step_ms) {
                add(&row.name, &row.pass, o.times.ms, row.times.ms);
            }
        }
    }
    found
}
