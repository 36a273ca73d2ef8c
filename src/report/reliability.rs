//! A reliability diagram (Guo et al. 2017): how often predictions of each confidence are right, beside what they say, and how many
//! there are of each.

use super::{Error, FONT, INK, picture};
use crate::testing::measures::Calibration;
use image::RgbImage;
use plotters::prelude::*;

const SIZE: (u32, u32) = (760, 900);
const RIGHT: RGBColor = RGBColor(31, 119, 180);
const GAP: RGBColor = RGBColor(217, 83, 25);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// Draws a calibration.
///
/// # Errors
/// The drawing library fails.
pub fn draw(c: &Calibration, title: &str) -> Result<RgbImage, Error> {
    let text = |size: i32| (FONT, size).into_font().color(&INK);
    let percent = |v: &f64| format!("{:.0} %", 100.0 * v);
    picture("the reliability diagram", SIZE, |area| {
        let area = area.margin(12, 0, 0, 0).titled(title, text(22))?;
        let (upper, lower) = area.split_vertically(610);
        let mut chart = ChartBuilder::on(&upper)
            .margin(14)
            .margin_right(28)
            .x_label_area_size(20)
            .y_label_area_size(74)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        let mut mesh = chart.configure_mesh();
        mesh.y_desc("right").axis_desc_style(text(17)).label_style(text(14)).bold_line_style(GRID).light_line_style(WHITE);
        mesh.x_label_formatter(&|_| String::new()).y_label_formatter(&percent).draw()?;
        for b in &c.bins {
            let (low, high) = (b.accuracy.min(b.confidence), b.accuracy.max(b.confidence));
            chart.draw_series([Rectangle::new([(b.from, 0.0), (b.to, b.accuracy)], RIGHT.mix(0.75).filled())])?;
            chart.draw_series([Rectangle::new([(b.from, low), (b.to, high)], GAP.mix(0.45).filled())])?;
        }
        chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], INK.stroke_width(2)))?;
        let note = format!("expected calibration error {:.2} %; red: how far what is said is from what is", 100.0 * c.ece);
        upper.draw(&Text::new(note, (104, 24), text(15)))?;
        let most = c.bins.iter().map(|b| b.images).max().unwrap_or(1) as f64;
        let mut chart = ChartBuilder::on(&lower)
            .margin(14)
            .margin_right(28)
            .x_label_area_size(50)
            .y_label_area_size(74)
            .build_cartesian_2d(0.0..1.0, 0.0..most * 1.05)?;
        let mut mesh = chart.configure_mesh();
        mesh.y_desc("images").x_desc("the predicted class's probability").axis_desc_style(text(17)).label_style(text(14));
        mesh.bold_line_style(GRID).light_line_style(WHITE).x_label_formatter(&percent).y_labels(5).draw()?;
        let bar = |b: &crate::testing::measures::Bin| {
            Rectangle::new([(b.from, 0.0), (b.to, b.images as f64)], RGBColor(130, 130, 130).filled())
        };
        chart.draw_series(c.bins.iter().map(bar))?;
        Ok::<_, DrawingAreaErrorKind<_>>(())
    })
}
