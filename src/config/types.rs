//! The small types that config keys have, and the ranges that numbers are held to. Every check happens as the value is
//! read, so that its error points at the value.

use super::Schedule;
use super::error::number;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The largest size along an axis: far beyond any image, and small enough that products of a few do not overflow.
const LARGEST: i64 = 1 << 20;

/// A size of at least 1 along each axis, written as one number or `[height, width]`: filters, pools, strides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// A number of cells, 0 or more, along each axis, written as one number or `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Padding {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// A place along each axis, which may be negative (outside the image), written as one number or `[row, column]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Offset {
    /// Along the rows.
    pub row: i32,
    /// Along the columns.
    pub column: i32,
}

impl Extent {
    /// The same along both axes.
    pub const fn square(size: usize) -> Self {
        Self { height: size, width: size }
    }

    /// Along axis 0 (rows) or 1 (columns).
    pub const fn axis(&self, axis: usize) -> usize {
        if axis == 0 { self.height } else { self.width }
    }
}

/// One cell.
impl Default for Extent {
    fn default() -> Self {
        Self::square(1)
    }
}

impl Padding {
    /// The same along both axes.
    pub const fn square(cells: usize) -> Self {
        Self { height: cells, width: cells }
    }

    /// Along axis 0 (rows) or 1 (columns).
    pub const fn axis(&self, axis: usize) -> usize {
        if axis == 0 { self.height } else { self.width }
    }
}

impl Offset {
    /// Along axis 0 (rows) or 1 (columns).
    pub const fn axis(&self, axis: usize) -> i32 {
        if axis == 0 { self.row } else { self.column }
    }
}

impl<'de> Deserialize<'de> for Extent {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Axes::<1>).map(|[h, w]| Self { height: h as usize, width: w as usize })
    }
}

impl<'de> Deserialize<'de> for Padding {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Axes::<0>).map(|[h, w]| Self { height: h as usize, width: w as usize })
    }
}

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Axes::<{ -LARGEST }>).map(|[h, w]| Self { row: h as i32, column: w as i32 })
    }
}

impl Serialize for Extent {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        serialize_axes(self.height, self.width, s)
    }
}

impl Serialize for Padding {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        serialize_axes(self.height, self.width, s)
    }
}

impl Serialize for Offset {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        serialize_axes(self.row, self.column, s)
    }
}

fn serialize_axes<T: Serialize + PartialEq, S: Serializer>(h: T, w: T, s: S) -> Result<S::Ok, S::Error> {
    if h == w { h.serialize(s) } else { [h, w].serialize(s) }
}

/// One number or two, each from `LEAST` to [`LARGEST`].
struct Axes<const LEAST: i64>;

impl<'de, const LEAST: i64> Visitor<'de> for Axes<LEAST> {
    type Value = [i64; 2];

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a whole number or [height, width]")
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<[i64; 2], E> {
        let v = Cells::<LEAST>::check(v)?;
        Ok([v, v])
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<[i64; 2], E> {
        self.visit_i64(i64::try_from(v).unwrap_or(i64::MAX))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<[i64; 2], A::Error> {
        let mut axes = [0; 2];
        for (i, axis) in axes.iter_mut().enumerate() {
            let Cells(v) = seq.next_element::<Cells<LEAST>>()?.ok_or_else(|| A::Error::invalid_length(i, &self))?;
            *axis = v;
        }
        let mut more = 0;
        while seq.next_element::<IgnoredAny>()?.is_some() {
            more += 1;
        }
        if more > 0 { Err(A::Error::invalid_length(2 + more, &self)) } else { Ok(axes) }
    }
}

struct Cells<const LEAST: i64>(i64);

impl<const LEAST: i64> Cells<LEAST> {
    fn check<E: Error>(v: i64) -> Result<i64, E> {
        match v {
            v if v < LEAST => Err(E::custom(format!("must be at least {LEAST}, not {v}"))),
            v if v > LARGEST => Err(E::custom(format!("must be at most {LARGEST}, not {v}"))),
            v => Ok(v),
        }
    }
}

impl<'de, const LEAST: i64> Deserialize<'de> for Cells<LEAST> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::check(i64::deserialize(d)?).map(Self)
    }
}

/// What a layer's weight decay is multiplied by, for its weights and its biases: `{ weights = 1, bias = 0 }` or one number
/// for both.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Multipliers {
    /// Of weights.
    pub weights: f64,
    /// Of biases.
    pub bias: f64,
}

impl Default for Multipliers {
    fn default() -> Self {
        Self { weights: 1.0, bias: 1.0 }
    }
}

impl<'de> Deserialize<'de> for Multipliers {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(MultipliersVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MultipliersTable {
    #[serde(default = "one", deserialize_with = "non_negative")]
    weights: f64,
    #[serde(default = "one", deserialize_with = "non_negative")]
    bias: f64,
}

pub(super) fn one() -> f64 {
    1.0
}

struct MultipliersVisitor;

impl<'de> Visitor<'de> for MultipliersVisitor {
    type Value = Multipliers;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number or { weights = …, bias = … }")
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Multipliers, E> {
        let v = check_non_negative(v)?;
        Ok(Multipliers { weights: v, bias: v })
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Multipliers, E> {
        self.visit_f64(v as f64)
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Multipliers, E> {
        self.visit_f64(v as f64)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Multipliers, A::Error> {
        let MultipliersTable { weights, bias } = Deserialize::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Multipliers { weights, bias })
    }
}

/// What a layer's learning rate is multiplied by, for its weights and its biases: each a number, or a schedule of its own
/// (cuda-convnet2's `epsW=dexp[…]`). Written `{ weights = 1, bias = 2 }`, or one number or schedule for both. 0 is frozen.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// Of weights.
    pub weights: Schedule,
    /// Of biases.
    pub bias: Schedule,
}

impl Default for Rates {
    fn default() -> Self {
        Self { weights: Schedule::constant(1.0), bias: Schedule::constant(1.0) }
    }
}

impl<'de> Deserialize<'de> for Rates {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(RatesVisitor)
    }
}

struct RatesVisitor;

impl<'de> Visitor<'de> for RatesVisitor {
    type Value = Rates;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number, a schedule or { weights = …, bias = … }")
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Rates, E> {
        let rate = Schedule::constant(check_non_negative(v)?);
        Ok(Rates { weights: rate.clone(), bias: rate })
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Rates, E> {
        self.visit_f64(v as f64)
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Rates, E> {
        self.visit_f64(v as f64)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Rates, A::Error> {
        let RatesTable { weights, bias } = Deserialize::deserialize(MapAccessDeserializer::new(map))?;
        let one = || Schedule::constant(1.0);
        Ok(Rates { weights: weights.unwrap_or_else(one), bias: bias.unwrap_or_else(one) })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RatesTable {
    weights: Option<Schedule>,
    bias: Option<Schedule>,
}

/// A layer's own momenta in place of `train.momentum`, for its weights and its biases: `{ weights = 0.9 }`, or one number
/// for both.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Momenta {
    /// Of weights.
    pub weights: Option<f64>,
    /// Of biases.
    pub bias: Option<f64>,
}

impl<'de> Deserialize<'de> for Momenta {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(MomentaVisitor)
    }
}

struct MomentaVisitor;

impl<'de> Visitor<'de> for MomentaVisitor {
    type Value = Momenta;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number or { weights = …, bias = … }")
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Momenta, E> {
        let v = below_one(serde::de::value::F64Deserializer::new(v))?;
        Ok(Momenta { weights: Some(v), bias: Some(v) })
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<Momenta, E> {
        self.visit_f64(v as f64)
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<Momenta, E> {
        self.visit_f64(v as f64)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Momenta, A::Error> {
        let MomentaTable { weights, bias } = Deserialize::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Momenta { weights: weights.map(|Momentum(m)| m), bias: bias.map(|Momentum(m)| m) })
    }
}

#[derive(Deserialize)]
struct Momentum(#[serde(deserialize_with = "below_one")] f64);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MomentaTable {
    weights: Option<Momentum>,
    bias: Option<Momentum>,
}

/// For `deserialize_with`: any finite number.
///
/// # Errors
/// The value is no number, or not finite.
pub fn finite<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    check(f64::deserialize(d)?, |_| true, "be a finite number")
}

/// For `deserialize_with`: a number of at least 0.
///
/// # Errors
/// The value is no number, not finite, or below 0.
pub fn non_negative<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    check_non_negative(f64::deserialize(d)?)
}

/// For `deserialize_with`: a number above 0.
///
/// # Errors
/// The value is no number, not finite, or not above 0.
pub fn positive<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    check(f64::deserialize(d)?, |v| v > 0.0, "be above 0")
}

/// For `deserialize_with`: a number from 0 up to, but without, 1.
///
/// # Errors
/// The value is no number, or outside.
pub fn below_one<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    check_below_one(f64::deserialize(d)?)
}

/// For `deserialize_with`: a whole number of at least 1.
///
/// # Errors
/// The value is no whole number, or below 1.
pub fn at_least_one<'de, D: Deserializer<'de>, T: TryFrom<i64>>(d: D) -> Result<T, D::Error> {
    let v = i64::deserialize(d)?;
    let too_large = |_| D::Error::custom(format!("is too large a number: {v}"));
    if v < 1 { Err(D::Error::custom(format!("must be at least 1, not {v}"))) } else { T::try_from(v).map_err(too_large) }
}

/// For `deserialize_with`, with `default`: a whole number of at least 1, where there is one.
///
/// # Errors
/// The value is no whole number, or below 1.
pub fn some_at_least_one<'de, D: Deserializer<'de>, T: TryFrom<i64>>(d: D) -> Result<Option<T>, D::Error> {
    at_least_one(d).map(Some)
}

/// For `deserialize_with`, with `default`: a number above 0, where there is one.
///
/// # Errors
/// The value is no number, not finite, or not above 0.
pub fn some_positive<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
    positive(d).map(Some)
}

/// For `deserialize_with`, with `default`: a number of at least 0, where there is one.
///
/// # Errors
/// The value is no number, not finite, or below 0.
pub fn some_non_negative<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
    non_negative(d).map(Some)
}

pub(super) fn check_below_one<E: Error>(v: f64) -> Result<f64, E> {
    check(v, |v| (0.0..1.0).contains(&v), "be at least 0 and below 1")
}

pub(super) fn check_non_negative<E: Error>(v: f64) -> Result<f64, E> {
    check(v, |v| v >= 0.0, "be at least 0")
}

fn check<E: Error>(v: f64, holds: impl Fn(f64) -> bool, must: &str) -> Result<f64, E> {
    if v.is_finite() && holds(v) { Ok(v) } else { Err(E::custom(format!("must {must}, not {}", number(v)))) }
}
