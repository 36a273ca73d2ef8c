//! Learning rates over a training run, as cuda-convnet2, Caffe and others define them.

use super::types::{check_non_negative, finite, non_negative, one, positive};
use serde::de::value::{EnumAccessDeserializer, MapAccessDeserializer};
use serde::de::{EnumAccess, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::f64::consts::PI;
use std::fmt;

/// A learning rate as a function of the step, written as a number (constant) or a table:
/// `{ schedule = "cosine", base = 0.02, warmup = 100 }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The rate that the schedule starts from.
    pub base: f64,
    /// How it gets up to speed. The schedule runs on meanwhile.
    pub warmup: Warmup,
    /// How it goes on.
    pub kind: ScheduleKind,
}

/// For so many steps the rate is multiplied by ((step + 1) / steps)^power. Written as the number of steps, or
/// `{ steps = 1000, power = 4 }` (darknet's `burn_in`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmup {
    /// Steps; 0 is none.
    pub steps: u64,
    /// 1 is a straight line.
    pub power: f64,
}

impl Warmup {
    /// The whole rate from the first step.
    pub const NONE: Self = Self { steps: 0, power: 1.0 };

    fn factor(self, step: u64) -> f64 {
        if step < self.steps { ((step + 1) as f64 / self.steps as f64).powf(self.power) } else { 1.0 }
    }
}

impl Default for Warmup {
    fn default() -> Self {
        Self::NONE
    }
}

/// How a learning rate goes on from its base. p is the part of all steps that is done: step / total.
#[derive(Clone, Debug, PartialEq)]
pub enum ScheduleKind {
    /// base
    Const,
    /// base·(1 − p) + target·p (cuda-convnet2, `LinearParameterSchedule`)
    Linear {
        /// The rate at the end; `target_factor` in a config is base / target.
        target: f64,
    },
    /// base·(target/base)^p (cuda-convnet2, `ExpParameterSchedule`)
    Exp {
        /// The rate at the end; `target_factor` in a config is base / target.
        target: f64,
    },
    /// base·(target/base)^(i/(num_steps − 1)) with the least i for which p ≤ (i + 1)/num_steps: `exp` in equal stairs
    /// (cuda-convnet2, `DiscreteExpParameterSchedule`). With one stair the rate is the target, as there.
    Dexp {
        /// The rate at the end; `target_factor` in a config is base / target.
        target: f64,
        /// Stairs.
        num_steps: u64,
    },
    /// base·gamma^⌊step/every⌋ (Caffe, `step`)
    Step {
        /// Steps of training between two falls.
        every: u64,
        /// The factor of a fall.
        gamma: f64,
    },
    /// base·gamma^(how many of `at` are ≤ step) (Caffe, `multistep`), or with a factor for each (darknet, `steps`)
    Multistep {
        /// Steps of training at which the rate falls, ascending.
        at: Vec<u64>,
        /// The factor of a fall: one for all, or one for each.
        gamma: Vec<f64>,
    },
    /// base·(1 − p)^power (Caffe, `poly`)
    Poly {
        /// 1 is a straight line to 0.
        power: f64,
    },
    /// base·(1 + gamma·step)^−power (Caffe, `inv`)
    Inv {
        /// How fast it falls.
        gamma: f64,
        /// How it falls.
        power: f64,
    },
    /// base / (1 + e^(−gamma·(step − at))) (Caffe, `sigmoid`; darknet's has the other sign): it rises with gamma above 0
    Sigmoid {
        /// How steep it is.
        gamma: f64,
        /// The step at which it is base / 2.
        at: u64,
    },
    /// end + (base − end)·(1 + cos πp)/2 (Loshchilov and Hutter 2017, without restarts)
    Cosine {
        /// The rate at the end.
        end: f64,
    },
}

impl Schedule {
    /// The same rate throughout.
    pub const fn constant(base: f64) -> Self {
        Self { base, warmup: Warmup::NONE, kind: ScheduleKind::Const }
    }

    /// The rate of step number `step` (from 0) of a run of `total_steps`.
    pub fn rate(&self, step: u64, total_steps: u64) -> f64 {
        let base = self.base;
        let p = if step >= total_steps { 1.0 } else { step as f64 / total_steps as f64 };
        let rate = match self.kind {
            ScheduleKind::Const => base,
            ScheduleKind::Linear { target } => base * (1.0 - p) + target * p,
            ScheduleKind::Exp { target } => base * (target / base).powf(p),
            ScheduleKind::Dexp { target, num_steps } => {
                let stairs = num_steps as f64;
                let last = num_steps.saturating_sub(1);
                // The least i with p ≤ (i + 1)/n, by that comparison itself: rounding of p·n may miss by one.
                let mut i = ((p * stairs).ceil() as u64).saturating_sub(1).min(last);
                while i > 0 && p <= i as f64 / stairs {
                    i -= 1;
                }
                while i < last && p > (i + 1) as f64 / stairs {
                    i += 1;
                }
                if i == last { target } else { base * (target / base).powf(i as f64 / last as f64) }
            }
            ScheduleKind::Step { every, gamma } => base * gamma.powf((step / every.max(1)) as f64),
            ScheduleKind::Multistep { ref at, ref gamma } => {
                let falls = at.partition_point(|&a| a <= step);
                base * match gamma.as_slice() {
                    [one] => one.powf(falls as f64),
                    each => each[..falls.min(each.len())].iter().product(),
                }
            }
            ScheduleKind::Poly { power } => base * (1.0 - p).powf(power),
            ScheduleKind::Inv { gamma, power } => base * (1.0 + gamma * step as f64).powf(-power),
            ScheduleKind::Sigmoid { gamma, at } => base / (1.0 + (-gamma * (step as f64 - at as f64)).exp()),
            ScheduleKind::Cosine { end } => end + (base - end) * (1.0 + (PI * p).cos()) / 2.0,
        };
        rate * self.warmup.factor(step)
    }
}

/// The table as it is written. The tag is `schedule`; without it, the rate is constant.
#[derive(Deserialize)]
#[serde(rename = "schedule=const", rename_all = "lowercase", deny_unknown_fields)]
enum Written {
    Const {
        #[serde(deserialize_with = "non_negative")]
        base: f64,
        #[serde(default)]
        warmup: Warmup,
    },
    Linear {
        #[serde(deserialize_with = "non_negative")]
        base: f64,
        #[serde(default)]
        warmup: Warmup,
        target: Option<Rate>,
        target_factor: Option<Factor>,
    },
    Exp {
        #[serde(deserialize_with = "positive")]
        base: f64,
        #[serde(default)]
        warmup: Warmup,
        target: Option<Factor>,
        target_factor: Option<Factor>,
    },
    Dexp {
        #[serde(deserialize_with = "positive")]
        base: f64,
        #[serde(default)]
        warmup: Warmup,
        target: Option<Factor>,
        target_factor: Option<Factor>,
        #[serde(deserialize_with = "super::types::at_least_one")]
        num_steps: u64,
    },
    Step {
        #[serde(deserialize_with = "non_negative")]
        base: f64,
        #[serde(default)]
        warmup: Warmup,
        #[serde(deserialize_with = "super::types::at_least_one")]
        every: u64,
        #[serde(default = "tenth", deserialize_with = "non_negative")]
        gamma: f64,
    },
    Multistep {
        #[serde(deserialize_with = "non_negative")]
        base: f64,
        #[serde(default)]
        warmup: Warmup,
        #[serde(deserialize_with = "ascending")]
        at: Vec<u64>,
        #[serde(default)]
        gamma: Gammas,
    },
    Poly {
        #[serde(deserialize_with = "non_negative")]
        base: f64,
        #[serde(default)]
        warmup: Warmup,
        #[serde(default = "one", deserialize_with = "non_negative")]
        power: f64,
    },
    Inv {
        #[serde(deserialize_with = "non_negative")]
        base: f64,
        #[serde(default)]
        warmup: Warmup,
        #[serde(deserialize_with = "non_negative")]
        gamma: f64,
        #[serde(deserialize_with = "non_negative")]
        power: f64,
    },
    Sigmoid {
        #[serde(deserialize_with = "non_negative")]
        base: f64,
        #[serde(default)]
        warmup: Warmup,
        #[serde(deserialize_with = "finite")]
        gamma: f64,
        at: u64,
    },
    Cosine {
        #[serde(deserialize_with = "non_negative")]
        base: f64,
        #[serde(default)]
        warmup: Warmup,
        #[serde(default, deserialize_with = "non_negative")]
        end: f64,
    },
}

#[derive(Deserialize)]
struct Rate(#[serde(deserialize_with = "non_negative")] f64);

#[derive(Deserialize)]
struct Factor(#[serde(deserialize_with = "positive")] f64);

/// One factor or an array of them.
struct Gammas(Vec<f64>);

impl Default for Gammas {
    fn default() -> Self {
        Self(vec![tenth()])
    }
}

impl<'de> Deserialize<'de> for Gammas {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(GammasVisitor)
    }
}

struct GammasVisitor;

impl<'de> Visitor<'de> for GammasVisitor {
    type Value = Gammas;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number or an array of numbers")
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Gammas, E> {
        Ok(Gammas(vec![check_non_negative(v)?]))
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Gammas, E> {
        self.visit_f64(v as f64)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Gammas, A::Error> {
        let mut factors = Vec::new();
        while let Some(Rate(factor)) = seq.next_element()? {
            factors.push(factor);
        }
        Ok(Gammas(factors))
    }
}

fn tenth() -> f64 {
    0.1
}

fn ascending<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u64>, D::Error> {
    let at = Vec::<u64>::deserialize(d)?;
    match at.is_sorted_by(|a, b| a < b) {
        true => Ok(at),
        false => Err(D::Error::custom("must be ascending numbers of steps")),
    }
}

/// The rate at the end, from the one or the other way to say it.
fn target<E: Error>(base: f64, target: Option<f64>, factor: Option<Factor>) -> Result<f64, E> {
    match (target, factor) {
        (Some(target), None) => Ok(target),
        (None, Some(Factor(factor))) => {
            let target = base / factor;
            let reached = target.is_finite() && (target > 0.0 || base == 0.0);
            if reached {
                Ok(target)
            } else {
                Err(E::custom(format!("base / target_factor is not a usable rate: {}", super::error::number(target))))
            }
        }
        _ => Err(E::custom("give either target, the rate at the end, or target_factor, base / that rate")),
    }
}

impl Written {
    fn schedule<E: Error>(self) -> Result<Schedule, E> {
        let (base, warmup, kind) = match self {
            Self::Const { base, warmup } => (base, warmup, ScheduleKind::Const),
            Self::Linear { base, warmup, target: t, target_factor } => {
                (base, warmup, ScheduleKind::Linear { target: target(base, t.map(|r| r.0), target_factor)? })
            }
            Self::Exp { base, warmup, target: t, target_factor } => {
                (base, warmup, ScheduleKind::Exp { target: target(base, t.map(|r| r.0), target_factor)? })
            }
            Self::Dexp { base, warmup, target: t, target_factor, num_steps } => {
                (base, warmup, ScheduleKind::Dexp { target: target(base, t.map(|r| r.0), target_factor)?, num_steps })
            }
            Self::Step { base, warmup, every, gamma } => (base, warmup, ScheduleKind::Step { every, gamma }),
            Self::Multistep { gamma: Gammas(gamma), at, .. } if gamma.len() != 1 && gamma.len() != at.len() => {
                return Err(E::custom(format!("gamma has {} factors for {} steps", gamma.len(), at.len())));
            }
            Self::Multistep { base, warmup, at, gamma } => (base, warmup, ScheduleKind::Multistep { at, gamma: gamma.0 }),
            Self::Poly { base, warmup, power } => (base, warmup, ScheduleKind::Poly { power }),
            Self::Inv { base, warmup, gamma, power } => (base, warmup, ScheduleKind::Inv { gamma, power }),
            Self::Sigmoid { base, warmup, gamma, at } => (base, warmup, ScheduleKind::Sigmoid { gamma, at }),
            Self::Cosine { base, warmup, end } => (base, warmup, ScheduleKind::Cosine { end }),
        };
        Ok(Schedule { base, warmup, kind })
    }
}

const KINDS: [&str; 10] = ["const", "linear", "exp", "dexp", "step", "multistep", "poly", "inv", "sigmoid", "cosine"];

impl<'de> Deserialize<'de> for Warmup {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(WarmupVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WarmupTable {
    steps: u64,
    #[serde(default = "one", deserialize_with = "non_negative")]
    power: f64,
}

struct WarmupVisitor;

impl<'de> Visitor<'de> for WarmupVisitor {
    type Value = Warmup;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a whole number or { steps = …, power = … }")
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Warmup, E> {
        let steps = u64::try_from(v).map_err(|_| E::custom(format!("must be at least 0, not {v}")))?;
        Ok(Warmup { steps, ..Warmup::NONE })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Warmup, A::Error> {
        let WarmupTable { steps, power } = Deserialize::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Warmup { steps, power })
    }
}

impl Serialize for Warmup {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.power == 1.0 {
            return s.serialize_u64(self.steps);
        }
        let mut map = s.serialize_map(Some(2))?;
        map.serialize_entry("steps", &self.steps)?;
        map.serialize_entry("power", &self.power)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_enum("schedule=const", &KINDS, ScheduleVisitor)
    }
}

struct ScheduleVisitor;

impl<'de> Visitor<'de> for ScheduleVisitor {
    type Value = Schedule;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number or { schedule = …, base = … }")
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Schedule, E> {
        check_non_negative(v).map(Schedule::constant)
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Schedule, E> {
        self.visit_f64(v as f64)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Schedule, A::Error> {
        Written::deserialize(EnumAccessDeserializer::new(data))?.schedule()
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.kind == ScheduleKind::Const && self.warmup.steps == 0 {
            return s.serialize_f64(self.base);
        }
        let mut map = s.serialize_map(None)?;
        let name = match self.kind {
            ScheduleKind::Const => "const",
            ScheduleKind::Linear { .. } => "linear",
            ScheduleKind::Exp { .. } => "exp",
            ScheduleKind::Dexp { .. } => "dexp",
            ScheduleKind::Step { .. } => "step",
            ScheduleKind::Multistep { .. } => "multistep",
            ScheduleKind::Poly { .. } => "poly",
            ScheduleKind::Inv { .. } => "inv",
            ScheduleKind::Sigmoid { .. } => "sigmoid",
            ScheduleKind::Cosine { .. } => "cosine",
        };
        map.serialize_entry("schedule", name)?;
        map.serialize_entry("base", &self.base)?;
        map.serialize_entry("warmup", &self.warmup)?;
        match &self.kind {
            ScheduleKind::Const => {}
            ScheduleKind::Linear { target } | ScheduleKind::Exp { target } => map.serialize_entry("target", target)?,
            ScheduleKind::Dexp { target, num_steps } => {
                map.serialize_entry("target", target)?;
                map.serialize_entry("num_steps", num_steps)?;
            }
            ScheduleKind::Step { every, gamma } => {
                map.serialize_entry("every", every)?;
                map.serialize_entry("gamma", gamma)?;
            }
            ScheduleKind::Multistep { at, gamma } => {
                map.serialize_entry("at", at)?;
                match gamma.as_slice() {
                    [one] => map.serialize_entry("gamma", one)?,
                    each => map.serialize_entry("gamma", each)?,
                }
            }
            ScheduleKind::Poly { power } => map.serialize_entry("power", power)?,
            ScheduleKind::Inv { gamma, power } => {
                map.serialize_entry("gamma", gamma)?;
                map.serialize_entry("power", power)?;
            }
            ScheduleKind::Sigmoid { gamma, at } => {
                map.serialize_entry("gamma", gamma)?;
                map.serialize_entry("at", at)?;
            }
            ScheduleKind::Cosine { end } => map.serialize_entry("end", end)?,
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each formula of the docs above, computed by hand at steps of a run of 100, from base 1 and with a bound of 1e-15.
    #[test]
    fn rates_are_the_formulas() {
        let table: &[(ScheduleKind, &[(u64, f64)])] = &[
            (ScheduleKind::Const, &[(0, 1.0), (99, 1.0), (1000, 1.0)]),
            (ScheduleKind::Linear { target: 0.2 }, &[(0, 1.0), (25, 0.8), (100, 0.2), (1000, 0.2)]),
            (ScheduleKind::Exp { target: 0.01 }, &[(0, 1.0), (50, 0.1), (100, 0.01)]),
            // cuda-convnet2's AlexNet: dexp[tgtFactor=250;numSteps=4]; a stair ends with the step that is at its quarter.
            (
                ScheduleKind::Dexp { target: 0.004, num_steps: 4 },
                &[
                    (0, 1.0),
                    (25, 1.0),
                    (26, 0.158_740_105_196_819_94),
                    (50, 0.158_740_105_196_819_94),
                    (51, 0.025_198_420_997_897_46),
                    (76, 0.004),
                    (100, 0.004),
                ],
            ),
            (ScheduleKind::Dexp { target: 0.5, num_steps: 1 }, &[(0, 0.5), (100, 0.5)]),
            (ScheduleKind::Step { every: 30, gamma: 0.5 }, &[(29, 1.0), (30, 0.5), (60, 0.25), (99, 0.125)]),
            (ScheduleKind::Multistep { at: vec![10, 50], gamma: vec![0.1] }, &[(9, 1.0), (10, 0.1), (49, 0.1), (50, 0.01)]),
            (ScheduleKind::Multistep { at: vec![10, 50], gamma: vec![2.5, 0.1] }, &[(9, 1.0), (10, 2.5), (50, 0.25)]),
            (ScheduleKind::Poly { power: 2.0 }, &[(0, 1.0), (50, 0.25), (100, 0.0)]),
            // Caffe's LeNet: gamma 0.0001, power 0.75; here 1, so that the base of the power is exact.
            (ScheduleKind::Inv { gamma: 1.0, power: 0.5 }, &[(0, 1.0), (3, 0.5), (99, 0.1)]),
            // ln 3: a quarter one step below, three quarters one above.
            (ScheduleKind::Sigmoid { gamma: 3f64.ln(), at: 50 }, &[(49, 0.25), (50, 0.5), (51, 0.75), (1050, 1.0)]),
            (ScheduleKind::Sigmoid { gamma: -3f64.ln(), at: 50 }, &[(49, 0.75), (51, 0.25)]),
            (ScheduleKind::Cosine { end: 0.0 }, &[(0, 1.0), (50, 0.5), (100, 0.0)]),
            (ScheduleKind::Cosine { end: 0.2 }, &[(0, 1.0), (50, 0.6), (100, 0.2)]),
        ];
        for (kind, rates) in table {
            let schedule = Schedule { base: 1.0, warmup: Warmup::NONE, kind: kind.clone() };
            for &(step, wanted) in *rates {
                let rate = schedule.rate(step, 100);
                assert!((rate - wanted).abs() <= 1e-15, "{kind:?} at {step}: {rate}, not {wanted}");
            }
        }
    }

    /// ((step + 1) / steps)^power, and the schedule runs on meanwhile.
    #[test]
    fn warmup_multiplies() {
        let kind = ScheduleKind::Step { every: 2, gamma: 0.5 };
        let rates = |power| {
            let schedule = Schedule { base: 2.0, warmup: Warmup { steps: 4, power }, kind: kind.clone() };
            (0..6).map(|step| schedule.rate(step, 100)).collect::<Vec<_>>()
        };
        assert_eq!(rates(1.0), [0.5, 1.0, 0.75, 1.0, 0.5, 0.5]);
        assert_eq!(rates(2.0), [0.125, 0.5, 0.5625, 1.0, 0.5, 0.5]);
    }

    /// A run of no steps asks for no rate, but none may be NaN.
    #[test]
    fn rates_are_numbers_in_a_run_of_no_steps() {
        assert_eq!(Schedule { base: 1.0, warmup: Warmup::NONE, kind: ScheduleKind::Linear { target: 0.5 } }.rate(0, 0), 0.5);
    }

    /// Stairs are where cuda-convnet2's loop over `progress <= double(i + 1) / n` puts them, for every step.
    #[test]
    fn dexp_matches_the_loop_of_cuda_convnet2() {
        for n in 1..=9u64 {
            let (base, target) = (0.1, 0.1 / 250.0);
            let schedule = Schedule { base, warmup: Warmup::NONE, kind: ScheduleKind::Dexp { target, num_steps: n } };
            for total in [1, 7, 49, 90, 1000] {
                for step in 0..=total {
                    let p = step as f64 / total as f64;
                    let i = (0..n).find(|&i| p <= (i + 1) as f64 / n as f64).unwrap_or(n - 1);
                    let wanted = if i + 1 == n { target } else { base * (1.0f64 / 250.0).powf(i as f64 / (n - 1) as f64) };
                    let rate = schedule.rate(step, total);
                    assert!((rate - wanted).abs() <= 1e-15, "{n} stairs, step {step} of {total}: {rate}, not {wanted}");
                }
            }
        }
    }
}
