//! Loss and error against the epoch, of training and of the tests.

use super::{Error, FONT, INK, picture};
use crate::train::{Line, Split};
use image::RgbImage;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

const SIZE: (u32, u32) = (1200, 1000);
const TRAIN: RGBColor = RGBColor(31, 119, 180);
const TEST: RGBColor = RGBColor(217, 83, 25);
/// Values that are further apart than this are drawn on a logarithmic axis.
pub(super) const DECADE: f64 = 10.0;

type Area<'a, 'b> = DrawingArea<BitMapBackend<'b>, Shift>;
type Drawn<T = ()> = Result<T, DrawingAreaErrorKind<<BitMapBackend<'static> as DrawingBackend>::ErrorType>>;

/// One panel's points: (epoch, value).
struct Panel {
    label: &'static str,
    train: Vec<(f64, f64)>,
    test: Vec<(f64, f64)>,
    /// Values are fractions, shown in percent.
    percent: bool,
}

/// Draws the lines of a run's metrics.
///
/// # Errors
/// The drawing library fails.
pub fn draw(lines: &[Line], title: &str) -> Result<RgbImage, Error> {
    let points = |split: Split, value: fn(&Line) -> f64| -> Vec<(f64, f64)> {
        let finite = |&(epoch, v): &(f64, f64)| f64::is_finite(epoch) && f64::is_finite(v);
        lines.iter().filter(|l| l.split == split).map(|l| (l.epoch, value(l))).filter(finite).collect()
    };
    let panel = |label, value: fn(&Line) -> f64, percent| Panel {
        label,
        train: points(Split::Train, value),
        test: points(Split::Test, value),
        percent,
    };
    let panels = [panel("loss", |l| l.loss, false), panel("error", |l| l.error, true)];
    let epochs = lines.iter().map(|l| l.epoch).filter(|e| e.is_finite()).fold(0.0, f64::max);
    let epochs = if epochs > 0.0 { epochs } else { 1.0 };
    picture("the curves", SIZE, |area| {
        let area = area.margin(14, 0, 0, 0).titled(title, (FONT, 26).into_font().color(&INK))?;
        let areas = area.split_evenly((2, 1));
        panels.iter().zip(&areas).try_for_each(|(panel, area)| panel.draw(area, epochs))
    })
}

impl Panel {
    fn draw(&self, area: &Area, epochs: f64) -> Drawn {
        let values = || self.train.iter().chain(&self.test).map(|p| p.1);
        let positive = || values().filter(|&v| v > 0.0);
        let (least, most) = (positive().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
        if most / least > DECADE && values().all(|v| v >= 0.0) {
            // An error of 0 is drawn at the bottom.
            let low = least / 1.3;
            let high = most * 1.2;
            self.chart(area, epochs, (low..high).log_scale().with_key_points(decades(low, high)), low)
        } else {
            let low = values().fold(0.0, f64::min);
            let high = if most > low { most } else { low + 1.0 };
            self.chart(area, epochs, low * 1.05..high * 1.05, low)
        }
    }

    fn chart<Y>(&self, area: &Area, epochs: f64, range: Y, low: f64) -> Drawn
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .margin_right(28)
            .x_label_area_size(48)
            .y_label_area_size(84)
            .build_cartesian_2d(0.0..epochs, range)?;
        let text = (FONT, 17).into_font().color(&INK);
        let value = |v: &f64| if self.percent { format!("{} %", number(v * 100.0)) } else { number(*v) };
        chart
            .configure_mesh()
            .x_desc("epoch")
            .y_desc(self.label)
            .axis_desc_style((FONT, 19).into_font().color(&INK))
            .label_style(text.clone())
            .x_label_formatter(&|e| number(*e))
            .y_label_formatter(&value)
            .x_labels(14)
            .y_labels(9)
            .x_max_light_lines(1)
            .y_max_light_lines(1)
            .bold_line_style(RGBColor(222, 222, 222))
            .light_line_style(WHITE)
            .axis_style(RGBColor(130, 130, 130))
            .draw()?;
        for (name, points, color) in [("training", &self.train, TRAIN), ("test", &self.test, TEST)] {
            let points: Vec<(f64, f64)> = points.iter().map(|&(e, v)| (e, v.max(low))).collect();
            if points.is_empty() {
                continue;
            }
            let line = color.stroke_width(2);
            chart
                .draw_series(LineSeries::new(points.iter().copied(), line))?
                .label(name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 24, y)], color.stroke_width(3)));
            if name == "test" || points.len() == 1 {
                chart.draw_series(points.iter().map(|&p| Circle::new(p, 4, color.filled())))?;
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .margin(14)
            .legend_area_size(34)
            .background_style(WHITE.mix(0.9))
            .border_style(RGBColor(200, 200, 200))
            .label_font(text)
            .draw()
    }
}

/// The ticks of a logarithmic axis: 1, 2 and 5 times the powers of ten, or where those are many the powers alone.
pub(super) fn decades(low: f64, high: f64) -> Vec<f64> {
    let powers = || low.log10().floor() as i32..=high.log10().ceil() as i32;
    let steps: &[f64] = if powers().count() > 5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let ticks = powers().flat_map(|p| steps.iter().map(move |s| s * 10f64.powi(p)));
    ticks.filter(|t| (low..=high).contains(t)).collect()
}

/// A tick's number, without zeros that say nothing.
pub(super) fn number(v: f64) -> String {
    let text = format!("{v:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "0" && v.abs() > 1e-9 { format!("{v:.0e}") } else { text.into() }
}
