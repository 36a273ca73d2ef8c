//! A line chart as a figure of a page: SVG, with the values that the page's script shows under the pointer.

use super::curves::{DECADE, decades, number};
use crate::train::{Line, Split};
use askama::Template;
use serde::Serialize;

/// Points of a series that are drawn; where there are more, each stands for the mean of its neighbours.
const MAX_POINTS: usize = 400;
/// The drawing, and what its axes take of it.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
/// One in so many values may be near 0 without making an axis logarithmic.
const FEW: usize = 4;
/// The largest value of a logarithmic axis over its least, at most.
const DEEPEST: f64 = 1e5;

/// How a chart's values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// As they are.
    Plain,
    /// Fractions, in percent.
    Percent,
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// A CSS colour.
    pub colour: String,
    /// (x, y), by x; what is not finite is left out.
    pub points: Vec<(f64, f64)>,
    /// Each point is marked.
    pub marked: bool,
}

/// A chart of some series over one axis.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Names it for scripts and tests.
    pub id: &'static str,
    /// What the values are.
    pub title: String,
    /// What is along the x axis.
    pub axis: &'static str,
    /// How values are written.
    pub unit: Unit,
    /// The lines.
    pub series: Vec<Series>,
    /// A value that is marked across, and its name.
    pub level: Option<(f64, &'static str)>,
}

/// What the script is told of a series: points in the drawing, and what they say.
#[derive(Serialize)]
struct Hover<'a> {
    name: &'a str,
    colour: &'a str,
    points: Vec<(f64, f64, String, String)>,
}

/// A tick: where, and its label.
struct Tick {
    at: f64,
    label: String,
}

/// A line as drawn.
struct Drawn {
    colour: String,
    path: String,
    marks: Vec<(f64, f64)>,
}

#[derive(Template)]
#[template(path = "chart.html")]
struct Figure<'a> {
    chart: &'a Chart,
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
    drawn: Vec<Drawn>,
    level: Option<Tick>,
    hover: String,
}

impl Chart {
    /// Whether there is anything to draw.
    pub fn is_empty(&self) -> bool {
        self.series.iter().all(|s| finite(s).next().is_none())
    }

    /// The figure as HTML.
    pub fn html(&self) -> String {
        let series: Vec<(&Series, Vec<(f64, f64)>)> = self.series.iter().map(|s| (s, thinned(finite(s).collect()))).collect();
        let all = || series.iter().flat_map(|(_, p)| p);
        let last = all().map(|p| p.0).fold(0.0, f64::max);
        let last = if last > 0.0 { last } else { 1.0 };
        let axis = Axis::of(&all().map(|p| p.1).collect::<Vec<_>>());
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let place = |(x, y): (f64, f64)| (round(LEFT + x / last * (right - LEFT)), round(bottom - axis.at(y) * (bottom - TOP)));
        let value = |y: f64| match self.unit {
            Unit::Percent => format!("{} %", short(100.0 * y)),
            Unit::Plain => short(y),
        };
        let tick = |y: f64| Tick {
            at: place((0.0, y)).1,
            label: if self.unit == Unit::Percent { format!("{} %", mark(100.0 * y)) } else { mark(y) },
        };
        let drawn = series.iter().map(|(s, points)| {
            let places: Vec<(f64, f64)> = points.iter().map(|&p| place(p)).collect();
            let path: Vec<String> = places.iter().map(|(x, y)| format!("{x},{y}")).collect();
            let marks = if s.marked || places.len() == 1 { places } else { Vec::new() };
            Drawn { colour: s.colour.clone(), path: path.join(" "), marks }
        });
        let hover: Vec<Hover> = series
            .iter()
            .map(|(s, points)| {
                let one = |&p: &(f64, f64)| {
                    let (x, y) = place(p);
                    (x, y, short(p.0), value(p.1))
                };
                Hover { name: &s.name, colour: &s.colour, points: points.iter().map(one).collect() }
            })
            .collect();
        let figure = Figure {
            chart: self,
            width: WIDTH,
            height: HEIGHT,
            left: LEFT,
            right,
            top: TOP,
            bottom,
            x_ticks: steps(0.0, last, 7).into_iter().map(|x| Tick { at: place((x, 1.0)).0, label: number(x) }).collect(),
            y_ticks: axis.ticks().into_iter().map(tick).collect(),
            drawn: drawn.collect(),
            level: self.level.filter(|&(y, _)| axis.holds(y)).map(|(y, name)| Tick { at: place((0.0, y)).1, label: name.into() }),
            hover: serde_json::to_string(&hover).expect("points have a form in JSON"),
        };
        super::rendered(&figure)
    }
}

/// A series of what the lines of one part say, over the epoch.
pub fn series(lines: &[Line], split: Split, name: &str, colour: &str, value: impl Fn(&Line) -> Option<f64>) -> Series {
    let points = lines.iter().filter(|l| l.split == split).filter_map(|l| Some((l.epoch, value(l)?))).collect();
    Series { name: name.into(), colour: colour.into(), points, marked: split == Split::Test }
}

/// The colour of number `i` of so many lines: hues from blue over green to red, as light as the page's text allows.
pub fn hue(i: usize, of: usize) -> String {
    let hue = 265.0 - 240.0 * i as f64 / of.saturating_sub(1).max(1) as f64;
    format!("oklch(var(--line-light) 0.15 {:.0})", hue.rem_euclid(360.0))
}

fn finite(s: &Series) -> impl Iterator<Item = (f64, f64)> + '_ {
    s.points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite())
}

/// As many points as are drawn at most, by the means of neighbours.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let each = points.len().div_ceil(MAX_POINTS).max(1);
    let mean = |c: &[(f64, f64)]| {
        let n = c.len() as f64;
        (c.iter().map(|p| p.0).sum::<f64>() / n, c.iter().map(|p| p.1).sum::<f64>() / n)
    };
    points.chunks(each).map(mean).collect()
}

fn round(v: f64) -> f64 {
    (v * 10.0).round() / 10.0
}

/// A tick's number.
fn mark(v: f64) -> String {
    if v != 0.0 && v.abs() < 1e-3 { format!("{v:.0e}") } else { number(v) }
}

/// A value in four digits.
pub fn short(v: f64) -> String {
    let size = v.abs();
    if v == 0.0 || (1e-3..1e6).contains(&size) {
        let digits = 3 - size.max(1e-3).log10().floor() as i32;
        let text = format!("{v:.*}", digits.clamp(0, 6) as usize);
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
    } else {
        format!("{v:.2e}")
    }
}

/// The y axis: linear from 0 or below, or logarithmic where values are far apart.
struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Axis {
    fn of(values: &[f64]) -> Self {
        let most = values.iter().copied().fold(0.0, f64::max);
        let low = values.iter().copied().fold(0.0, f64::min);
        let mut positive: Vec<f64> = values.iter().copied().filter(|&v| v > 0.0).collect();
        positive.sort_by(f64::total_cmp);
        // A few values near 0, such as the last of a rate that falls to it, are at the bottom of either axis.
        let least = positive.get(positive.len() / FEW).copied().unwrap_or(f64::INFINITY);
        if low >= 0.0 && most / least > DECADE {
            return Self { low: (positive[0] / 1.3).max(most / DEEPEST), high: most * 1.2, logarithmic: true };
        }
        let high = if most > low { most } else { low + 1.0 };
        Self { low: low * 1.05, high: high * 1.05, logarithmic: false }
    }

    /// Where a value is between the axis's ends; an error of 0 is at the bottom of a logarithmic one.
    fn at(&self, v: f64) -> f64 {
        let part = if self.logarithmic {
            (v.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (v - self.low) / (self.high - self.low)
        };
        part.clamp(0.0, 1.0)
    }

    fn holds(&self, v: f64) -> bool {
        (self.low..=self.high).contains(&v)
    }

    fn ticks(&self) -> Vec<f64> {
        if !self.logarithmic {
            return steps(self.low, self.high, 6);
        }
        let ticks = decades(self.low, self.high);
        let each = ticks.len().div_ceil(8).max(1);
        ticks.into_iter().step_by(each).collect()
    }
}

/// About `count` round numbers between two.
fn steps(low: f64, high: f64, count: usize) -> Vec<f64> {
    let rough = (high - low) / count as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|v| *v <= high).take(4 * count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_ticks_round() {
        let shown: Vec<String> = [0.0, 1.0, 12.3456, 1234.56, 0.012345, 2e-5].map(short).into();
        assert_eq!(shown, ["0", "1", "12.35", "1235", "0.01235", "2.00e-5"]);
        assert_eq!(steps(0.0, 12.0, 6), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    }

    /// A rate that falls to almost 0 in the end is drawn on a linear axis, one that falls by tenths on a logarithmic one, and no axis
    /// is deeper than it can be read.
    #[test]
    fn axes_fit_most_values() {
        let cosine: Vec<f64> = (1..=200).map(|i| 0.5 + 0.5 * (std::f64::consts::PI * f64::from(i) / 200.1).cos()).collect();
        assert!(!Axis::of(&cosine).logarithmic && cosine[199] < 1e-6);
        let steps: Vec<f64> = (0..200).map(|i| 0.1 * 0.1f64.powi(i / 50)).collect();
        let axis = Axis::of(&steps);
        assert!(axis.logarithmic && (axis.low..axis.high).contains(&1e-4) && axis.at(1e-4) < 0.1 && axis.at(0.1) > 0.9);
        let deep = Axis::of(&[1.0, 1e-9, 1e-9]);
        assert_eq!((deep.logarithmic, deep.low, deep.at(1e-9)), (true, 1e-5, 0.0));
    }

    /// 1,000 points are drawn as means of at most 400, and what is not a number is left out.
    #[test]
    fn many_points_are_thinned() {
        let points: Vec<(f64, f64)> = (0..1000).map(|i| (f64::from(i), if i == 7 { f64::NAN } else { 1.0 })).collect();
        let s = Series { name: "a".into(), colour: "red".into(), points, marked: false };
        let thin = thinned(finite(&s).collect());
        assert!(thin.len() <= MAX_POINTS && thin.iter().all(|p| p.1 == 1.0), "{}", thin.len());
    }
}
