//! The roofline of a bench (Williams et al. 2009): each pass with multiply-adds as a circle, how many operations it does for each
//! byte that it must move against how many it does a second, under the roof of the device's measured peaks; and beside it where
//! the step's time goes, pass by pass, with the part of each that the peaks account for.

use super::{Error, INK, load_font};
use crate::bench::{NetTime, PassTime, Peaks};
use crate::train::files;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

const SIZE: (u32, u32) = (1640, 860);
/// Pixels of the roofline's width; the rest is the bars'.
const CHART: i32 = 1020;
const TITLE: i32 = 50;
/// Passes that have a bar.
const BARS: usize = 18;
/// Circles that have a name, at most.
const NAMES: usize = 14;
/// A family that browsers have too; in PNG files it is the embedded font.
const FONT: &str = super::SANS;
const GREY: RGBColor = RGBColor(120, 120, 120);
const GRID: RGBColor = RGBColor(228, 228, 228);

/// Colours of the passes.
const PASSES: [(&str, RGBColor); 3] =
    [("forward", RGBColor(31, 119, 180)), ("image gradient", RGBColor(217, 83, 25)), ("weight gradient", RGBColor(44, 140, 60))];
/// What makes no part of those.
const OTHER: RGBColor = RGBColor(140, 130, 160);

type Area<DB> = DrawingArea<DB, Shift>;
type Drawn<DB, T = ()> = Result<T, DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// Whether a file of this name can be drawn: it ends in .png or .svg.
pub fn knows(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "png" || e == "svg")
}

/// Draws a bench's roofline to a PNG or, where the file's name ends in .svg, an SVG file, which is whole or not there.
///
/// # Errors
/// The peaks or the layers were not measured, the drawing library fails, or the file cannot be written.
pub fn save(path: &Path, nets: &[NetTime]) -> Result<(), crate::train::Error> {
    let what = "the roofline";
    let failed = |e: Error| crate::train::Error::file("draw", path)(std::io::Error::other(e));
    let bytes = if path.extension().is_some_and(|e| e == "svg") {
        load_font();
        let mut text = String::new();
        {
            let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            let done = area.fill(&WHITE).and_then(|()| draw(&area, nets)).and_then(|()| area.present());
            done.map_err(Error::of(what)).map_err(failed)?;
        }
        text.into_bytes()
    } else {
        let picture = super::picture(what, SIZE, |area| draw(area, nets)).map_err(failed)?;
        super::png(&picture).map_err(failed)?
    };
    files::replace(path, &bytes)
}

/// A pass of one of the nets, with its part of all their time.
struct Point<'a> {
    label: String,
    pass: &'a PassTime,
    part: f64,
}

impl<'a> Point<'a> {
    fn new(nets: &[NetTime], net: &NetTime, pass: &'a PassTime, total: f64) -> Self {
        let alone = nets.len() == 1 || pass.name == net.name;
        let label = if alone { pass.name.clone() } else { format!("{} {}", net.name, pass.name) };
        Self { label, pass, part: pass.times.ms / total }
    }
}

fn colour(pass: &str) -> RGBColor {
    PASSES.iter().find(|(name, _)| *name == pass).map_or(OTHER, |(_, colour)| *colour)
}

fn draw<DB: DrawingBackend>(area: &Area<DB>, nets: &[NetTime]) -> Drawn<DB> {
    let total: f64 = nets.iter().map(|n| n.step_ms).sum();
    let mut points: Vec<Point> = nets.iter().flat_map(|n| n.layers.iter().map(|p| Point::new(nets, n, p, total))).collect();
    points.retain(|p| p.pass.times.ms > 0.0);
    points.sort_by(|a, b| b.pass.times.ms.total_cmp(&a.pass.times.ms));
    let text = |size: i32| (FONT, size).into_font().color(&INK);
    let title = match nets {
        [one] => format!("{}, {} images a step, on {}", one.name, one.batch, one.device),
        _ => nets.first().map_or(String::new(), |n| format!("{} nets and layers on {}", nets.len(), n.device)),
    };
    area.draw(&Text::new(title, (26, 16), text(24)))?;
    let peaks = nets.iter().find_map(|n| n.peaks);
    let (left, right) = area.margin(TITLE, 0, 0, 0).split_horizontally(CHART);
    if let Some(peaks) = peaks {
        roof(&left, &points, peaks)?;
    }
    bars(&right, &points)
}

/// The chart of operations a byte against operations a second.
fn roof<DB: DrawingBackend>(area: &Area<DB>, points: &[Point], peaks: Peaks) -> Drawn<DB> {
    let at = |p: &PassTime| (p.operations as f64 / p.bytes.max(1) as f64, p.gflops);
    let shown: Vec<&Point> = points.iter().filter(|p| p.pass.operations > 0).collect();
    let ridge = peaks.gflops / peaks.gigabytes_per_second;
    let (xs, ys) = (|| shown.iter().map(|p| at(p.pass).0), || shown.iter().map(|p| at(p.pass).1));
    let low_x = xs().fold(ridge / 4.0, f64::min) / 1.6;
    let high_x = xs().fold(ridge * 4.0, f64::max) * 1.6;
    let low_y = ys().fold(peaks.gflops / 8.0, f64::min) / 1.6;
    let high_y = ys().fold(peaks.gflops, f64::max) * 1.7;
    let text = |size: i32| (FONT, size).into_font().color(&INK);
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .x_label_area_size(52)
        .y_label_area_size(76)
        .build_cartesian_2d((low_x..high_x).log_scale(), (low_y..high_y).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("operations a byte")
        .y_desc("GFLOP/s")
        .axis_desc_style(text(18))
        .label_style(text(15))
        .x_label_formatter(&|v| number(*v))
        .y_label_formatter(&|v| number(*v))
        .bold_line_style(GRID)
        .light_line_style(WHITE)
        .axis_style(GREY)
        .draw()?;
    let under = |x: f64| (x * peaks.gigabytes_per_second).min(peaks.gflops);
    let corner = [low_x.max(low_y / peaks.gigabytes_per_second), ridge.clamp(low_x, high_x), high_x];
    chart.draw_series(LineSeries::new(corner.map(|x| (x, under(x))), INK.stroke_width(3)))?;
    for p in shown.iter().rev() {
        let colour = colour(&p.pass.pass);
        let radius = (4.0 + 46.0 * p.part.sqrt()).min(30.0) as i32;
        chart.draw_series([Circle::new(at(p.pass), radius, colour.mix(0.45).filled())])?;
        chart.draw_series([Circle::new(at(p.pass), radius, colour.stroke_width(1))])?;
    }
    let (x, y) = area.get_base_pixel();
    let place = |p: (f64, f64)| {
        let (px, py) = chart.backend_coord(&p);
        (px - x, py - y)
    };
    // The names of what takes longest, where they fall on no other.
    let mut taken: Vec<[i32; 4]> = Vec::new();
    let width = |name: &str| name.chars().count() as i32 * 8;
    let mut write = |name: &str, (px, py): (i32, i32), ink: &RGBColor, must: bool| -> Drawn<DB> {
        let spot = [px - 2, py - 1, px + width(name), py + 15];
        let clear = |t: &[i32; 4]| spot[0] > t[2] || t[0] > spot[2] || spot[1] > t[3] || t[1] > spot[3];
        if must || taken.len() < NAMES && taken.iter().all(clear) && spot[2] < CHART - 20 {
            taken.push(spot);
            area.draw(&Text::new(name.to_owned(), (px, py), (FONT, 14).into_font().color(ink)))?;
        }
        Ok(())
    };
    let product = format!("product: {} GFLOP/s", number(peaks.gflops));
    let (px, py) = place((high_x, peaks.gflops));
    write(&product, (px - width(&product) - 8, py - 20), &INK, true)?;
    let slope = format!("copy: {} GB/s", number(peaks.gigabytes_per_second));
    let (px, py) = place((corner[0], under(corner[0])));
    write(&slope, (px + 26, py - 24), &INK, true)?;
    for p in &shown {
        let (px, py) = place(at(p.pass));
        write(&p.label, (px + 8, py - 18), &INK, false)?;
    }
    Ok(())
}

/// The passes that take longest: a bar each, dark as far as the device's peaks account for it.
fn bars<DB: DrawingBackend>(area: &Area<DB>, points: &[Point]) -> Drawn<DB> {
    const ROW: i32 = 37;
    const LENGTH: f64 = 470.0;
    let text = |size: i32, colour: RGBColor| (FONT, size).into_font().color(&colour);
    area.draw(&Text::new("where the time goes; dark: what the peaks allow", (10, 8), text(17, INK)))?;
    let mut x = 10;
    for (name, colour) in PASSES.into_iter().chain([("other", OTHER)]) {
        area.draw(&Rectangle::new([(x, 40), (x + 12, 52)], colour.filled()))?;
        area.draw(&Text::new(name, (x + 17, 39), text(14, INK)))?;
        x += 40 + name.len() as i32 * 8;
    }
    let longest = points.first().map_or(1.0, |p| p.pass.times.ms);
    for (i, p) in points.iter().take(BARS).enumerate() {
        let (top, ms) = (70 + i as i32 * ROW, p.pass.times.ms);
        let end = |ms: f64| 10 + (LENGTH * ms / longest).max(1.0) as i32;
        let colour = colour(&p.pass.pass);
        area.draw(&Rectangle::new([(10, top + 16), (end(ms), top + 28)], colour.mix(0.3).filled()))?;
        if p.pass.floor_ms > 0.0 {
            area.draw(&Rectangle::new([(10, top + 16), (end(p.pass.floor_ms.min(ms)), top + 28)], colour.filled()))?;
        }
        let share =
            if p.pass.floor_ms > 0.0 { format!(", {:.0} % of peak", 100.0 * p.pass.share_of_peak) } else { String::new() };
        area.draw(&Text::new(format!("{} {}", p.label, p.pass.pass), (10, top), text(14, INK)))?;
        let figures = format!("{} ms, {:.1} %{share}", number(ms), 100.0 * p.part);
        area.draw(&Text::new(figures, (300, top), text(14, GREY)))?;
    }
    Ok(())
}

/// Three digits that say something.
fn number(v: f64) -> String {
    let digits = (2 - v.abs().max(1e-9).log10().floor() as i32).clamp(0, 4) as usize;
    let text = format!("{v:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}
