//! The page of a run, and that which compares several.

use super::chart::{Chart, Series, Unit, hue, series, short};
use super::filters::Filters;
use super::signs::{self, Level, Sign};
use super::study::{Mistake, Study};
use super::units::{Found, Kind};
use super::{Error, data_uri, diagram, rendered};
use crate::net::Graph;
use crate::train::{Line, Split};
use askama::Template;
use serde::Serialize;
use std::collections::BTreeSet;

/// Classes of the confusion matrix; of more, those with the most errors are shown.
const MAX_CLASSES: usize = 20;
/// Pairs of classes that are listed.
const PAIRS: usize = 8;

/// What a page is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The run's folder.
    pub folder: &'a str,
    /// The data's name.
    pub data: &'a str,
    /// Steps of the checkpoint.
    pub step: u64,
    /// The net.
    pub graph: &'a Graph,
    /// Whether its first cost counts errors.
    pub errors: bool,
    /// The metrics.
    pub lines: &'a [Line],
    /// The filters that it learned.
    pub filters: &'a [Filters<'a>],
    /// The classes' names.
    pub classes: &'a [String],
    /// What it does with the test images, or why that is not known.
    pub study: Result<&'a Study, &'a str>,
    /// The page is served while the net trains, and looks for a newer one.
    pub live: bool,
}

/// A number with its name.
struct Tile {
    name: &'static str,
    value: String,
    note: String,
}

/// A picture and what is to be said of it.
struct Picture {
    title: String,
    text: String,
    uri: String,
    /// Its width on the page, in pixels.
    width: usize,
    good: Option<Level>,
}

/// A row of the confusion matrix.
struct Row {
    name: String,
    cells: Vec<Cell>,
    error: String,
}

/// How many of one class were taken for another.
struct Cell {
    count: String,
    /// Of the row, in percent.
    share: u64,
    right: bool,
    title: String,
}

/// An error with its picture.
struct Wrong {
    uri: String,
    class: String,
    predicted: String,
    /// Its probability.
    confidence: String,
    detail: String,
}

/// What the script shows of an error.
#[derive(Serialize)]
struct Detail<'a> {
    origin: &'a str,
    class: &'a str,
    of_class: f64,
    top: Vec<(&'a str, f64, bool)>,
}

#[derive(Template)]
#[template(path = "report.html")]
struct Report {
    title: String,
    folder: String,
    about: String,
    live: bool,
    tiles: Vec<Tile>,
    signs: Vec<Sign>,
    curves: Vec<String>,
    weights: Vec<String>,
    filters: Vec<Picture>,
    units: Vec<Picture>,
    unknown: Option<String>,
    columns: Vec<String>,
    rows: Vec<Row>,
    all_classes: usize,
    pairs: Vec<String>,
    wrong: Vec<Wrong>,
    wrongs: String,
    net: Option<String>,
}

/// The page of a run.
///
/// # Errors
/// A picture cannot be written.
pub fn of_run(s: &Subject) -> Result<String, Error> {
    let study = s.study.ok();
    let mut filters = Vec::new();
    for f in s.filters {
        let Some(mosaic) = f.mosaic() else { continue };
        let [k, r, w, c] = f.shape;
        let reading = if f.colours || c == 1 { "one a filter" } else { "a row a filter, a column a channel" };
        let shown = if f.is_shown_whole() { "" } else { ", the first of them" };
        let (title, text) = (f.name.to_owned(), format!("{k} of {r}×{w}×{c}: {reading}{shown}"));
        let width = (mosaic.width() as usize * if mosaic.width() < 240 { 3 } else { 2 }).min(1040);
        filters.push(Picture { title, text, uri: data_uri(&mosaic)?, width, good: None });
    }
    let mut units = Vec::new();
    for u in study.map_or(&[][..], |s| &s.units) {
        let sign = signs::of_units(u);
        let (width, uri) = ((u.picture.width() as usize * 4).clamp(160, 512), data_uri(&u.picture)?);
        let text = format!("{}. {}", numbers(u), sentence(&sign.says));
        units.push(Picture { title: u.name.clone(), text, uri, width, good: Some(sign.level) });
    }
    let mut wrong = Vec::new();
    for m in study.map_or(&[][..], |s| &s.worst) {
        wrong.push(mistake(m, s.classes)?);
    }
    let (columns, rows) = study.map_or_else(Default::default, |study| matrix(study, s.classes));
    let wrongs = match study.map(|s| (s.wrong, s.images)) {
        Some((Some(wrong), images)) => format!("{wrong} of {images} test images are taken for another class"),
        _ => String::new(),
    };
    Ok(rendered(&Report {
        title: s.graph.name.clone(),
        folder: s.folder.into(),
        about: format!("on {}, after step {}", s.data, s.step),
        live: s.live,
        tiles: tiles(s),
        signs: signs::all(s.lines, s.filters, study, s.classes),
        curves: drawn(curves(s.lines, s.errors)),
        weights: drawn(weights(s.lines)),
        filters,
        units,
        unknown: s.study.err().map(str::to_owned),
        columns,
        rows,
        all_classes: s.classes.len(),
        pairs: study.map_or_else(Vec::new, |study| pairs(study, s.classes)),
        wrong,
        wrongs,
        net: diagram::svg(s.graph),
    }))
}

fn drawn(charts: Vec<Chart>) -> Vec<String> {
    charts.iter().filter(|c| !c.is_empty()).map(Chart::html).collect()
}

/// Loss, error, learning rate and speed.
fn curves(lines: &[Line], errors: bool) -> Vec<Chart> {
    let both = |of: fn(&Line) -> f64| {
        let of = |l: &Line| Some(of(l));
        vec![series(lines, Split::Train, "training", "var(--train)", of), series(lines, Split::Test, "test", "var(--test)", of)]
    };
    let chart = |id, title: &str, unit, series| Chart { id, title: title.into(), axis: "epoch", unit, series, level: None };
    let mut charts = vec![chart("loss", "Loss", Unit::Plain, both(|l| l.loss))];
    if errors {
        charts.push(chart("error", "Error", Unit::Percent, both(|l| l.error)));
    }
    let rate = series(lines, Split::Train, "learning rate", "var(--train)", |l| Some(l.learning_rate));
    charts.push(chart("learning-rate", "Learning rate", Unit::Plain, vec![rate]));
    charts.push(chart("speed", "Images a second", Unit::Plain, both(|l| l.images_per_second)));
    charts
}

/// Mean |w|, mean |update| and their ratio of each layer's weights.
fn weights(lines: &[Line]) -> Vec<Chart> {
    let names: BTreeSet<&String> = lines.iter().flat_map(|l| l.weights.keys()).filter(|n| signs::is_weights(n)).collect();
    let names: Vec<&String> = names.into_iter().collect();
    let each = |of: fn(&crate::train::WeightLine) -> f64| -> Vec<Series> {
        let one = |(i, name): (usize, &&String)| {
            let text = name.strip_suffix(".weights").unwrap_or(name);
            series(lines, Split::Train, text, &hue(i, names.len()), |l| l.weights.get(*name).map(of))
        };
        names.iter().enumerate().map(one).collect()
    };
    let chart =
        |id, title: &str, series, level| Chart { id, title: title.into(), axis: "epoch", unit: Unit::Plain, series, level };
    vec![
        chart("weights", "Mean |w|", each(|w| w.weight), None),
        chart("updates", "Mean |update|", each(|w| w.update), None),
        chart("ratios", "|update| / |w|", each(|w| w.ratio), Some((1e-3, "healthy"))),
    ]
}

fn percent(v: f64) -> String {
    format!("{:.2} %", 100.0 * v)
}

fn tiles(s: &Subject) -> Vec<Tile> {
    let mut tiles = Vec::new();
    let mut tile = |name, value: String, note: String| tiles.push(Tile { name, value, note });
    let tests = || s.lines.iter().filter(|l| l.split == Split::Test);
    if let Some(last) = tests().next_back() {
        if s.errors
            && let Some(best) = tests().min_by(|a, b| a.error.total_cmp(&b.error))
        {
            let note = format!("best {} in epoch {:.1}", percent(best.error), best.epoch);
            tile("test error", percent(last.error), note);
        }
        let best = tests().map(|l| l.loss).fold(f64::INFINITY, f64::min);
        tile("test loss", short(last.loss), format!("best {}", short(best)));
    }
    if let Some(last) = s.lines.iter().rfind(|l| l.split == Split::Train) {
        tile("training loss", short(last.loss), if s.errors { format!("error {}", percent(last.error)) } else { String::new() });
        tile("epochs", short(last.epoch), format!("{} steps", last.step));
        tile("time", time(last.seconds), format!("{} images/s", last.images_per_second.round()));
    }
    let parameters = s.graph.parameter_count() as f64;
    tile("parameters", count(parameters), format!("{} multiply-adds an image", count(s.graph.multiply_adds() as f64)));
    tiles
}

/// 431080 → `431 k`.
fn count(v: f64) -> String {
    let (v, unit) = if v >= 1e9 {
        (v / 1e9, " G")
    } else if v >= 1e6 {
        (v / 1e6, " M")
    } else if v >= 1e3 {
        (v / 1e3, " k")
    } else {
        (v, "")
    };
    format!("{}{unit}", short((v * 100.0).round() / 100.0))
}

/// Seconds as people say them.
fn time(seconds: f64) -> String {
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

fn numbers(u: &Found) -> String {
    let shape = if u.shape.h * u.shape.w > 1 { format!(" of {}×{}", u.shape.h, u.shape.w) } else { String::new() };
    let dead = if u.kind == Kind::Rectified { format!(", {} never on, {} always", u.dead, u.always_on) } else { String::new() };
    format!("{} units{shape} over {} images{dead}", u.units, u.images)
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

fn name(classes: &[String], class: usize) -> String {
    classes.get(class).cloned().unwrap_or_else(|| class.to_string())
}

fn mistake(m: &Mistake, classes: &[String]) -> Result<Wrong, Error> {
    let (class, names): (String, Vec<String>) = (name(classes, m.label), m.top.iter().map(|(c, _)| name(classes, *c)).collect());
    let top = names.iter().zip(&m.top).map(|(n, (c, p))| (n.as_str(), *p, *c == m.label)).collect();
    let detail = Detail { origin: &m.origin, class: &class, of_class: m.of_label, top };
    Ok(Wrong {
        uri: data_uri(&m.image)?,
        predicted: names.first().cloned().unwrap_or_default(),
        confidence: m.top.first().map_or_else(String::new, |(_, p)| format!("{:.0} %", 100.0 * p)),
        detail: serde_json::to_string(&detail).expect("a detail has a form in JSON"),
        class,
    })
}

/// The confusion matrix: the names of its columns, and its rows.
fn matrix(study: &Study, classes: &[String]) -> (Vec<String>, Vec<Row>) {
    if study.confusion.counts.is_empty() {
        return Default::default();
    }
    let mut shown: Vec<usize> = (0..classes.len()).collect();
    if shown.len() > MAX_CLASSES {
        shown.sort_by_cached_key(|&c| std::cmp::Reverse(study.confusion.of_class(c).1));
        shown.truncate(MAX_CLASSES);
        shown.sort_unstable();
    }
    let row = |&class: &usize| {
        let (all, wrong) = study.confusion.of_class(class);
        let cell = |&predicted: &usize| {
            let n = study.confusion.counts.get(&(class, predicted)).copied().unwrap_or(0);
            Cell {
                count: if n > 0 { n.to_string() } else { String::new() },
                share: 100 * n / all.max(1),
                right: class == predicted,
                title: format!("{n} of {all} images of {} taken for {}", name(classes, class), name(classes, predicted)),
            }
        };
        let error = format!("{:.1} %", 100.0 * wrong as f64 / all.max(1) as f64);
        Row { name: name(classes, class), cells: shown.iter().map(cell).collect(), error }
    };
    (shown.iter().map(|c| name(classes, *c)).collect(), shown.iter().map(row).collect())
}

/// The classes that are taken for another most often.
fn pairs(study: &Study, classes: &[String]) -> Vec<String> {
    let mut wrong: Vec<(u64, usize, usize)> =
        study.confusion.counts.iter().filter(|((a, b), _)| a != b).map(|((a, b), n)| (*n, *a, *b)).collect();
    wrong.sort_by_key(|&(n, a, b)| (std::cmp::Reverse(n), a, b));
    wrong.iter().take(PAIRS).map(|&(n, a, b)| format!("{n}× {} taken for {}", name(classes, a), name(classes, b))).collect()
}

/// A run, to be compared with others.
#[derive(Clone, Debug)]
pub struct Compared {
    /// Its folder.
    pub run: String,
    /// Its net's name.
    pub net: String,
    /// Its metrics.
    pub lines: Vec<Line>,
}

#[derive(Template)]
#[template(path = "compare.html")]
struct Comparison {
    runs: Vec<[String; 7]>,
    charts: Vec<String>,
}

/// The curves of several runs, one over the other, and a table of what they came to.
pub fn of_runs(runs: &[Compared]) -> String {
    let colour = |i| hue(i, runs.len());
    let each = |split, of: fn(&Line) -> f64| -> Vec<Series> {
        let one = |(i, r): (usize, &Compared)| series(&r.lines, split, &r.run, &colour(i), |l| Some(of(l)));
        runs.iter().enumerate().map(one).collect()
    };
    let chart = |id, title: &str, unit, series| Chart { id, title: title.into(), axis: "epoch", unit, series, level: None };
    let errors = runs.iter().flat_map(|r| &r.lines).any(|l| l.error > 0.0);
    let mut charts = vec![
        chart("test-loss", "Test loss", Unit::Plain, each(Split::Test, |l| l.loss)),
        chart("train-loss", "Training loss", Unit::Plain, each(Split::Train, |l| l.loss)),
    ];
    if errors {
        charts.push(chart("test-error", "Test error", Unit::Percent, each(Split::Test, |l| l.error)));
        charts.push(chart("train-error", "Training error", Unit::Percent, each(Split::Train, |l| l.error)));
        let over_time = |(i, r): (usize, &Compared)| {
            let points = r.lines.iter().filter(|l| l.split == Split::Test).map(|l| (l.seconds, l.error)).collect();
            Series { name: r.run.clone(), colour: colour(i), points, marked: true }
        };
        let mut timed =
            chart("error-time", "Test error by time", Unit::Percent, runs.iter().enumerate().map(over_time).collect());
        timed.axis = "seconds";
        charts.push(timed);
    }
    charts.push(chart("learning-rate", "Learning rate", Unit::Plain, each(Split::Train, |l| l.learning_rate)));
    charts.push(chart("speed", "Images a second in training", Unit::Plain, each(Split::Train, |l| l.images_per_second)));
    let row = |r: &Compared| {
        let tests = || r.lines.iter().filter(|l| l.split == Split::Test);
        let text = |v: Option<f64>, write: fn(f64) -> String| v.map_or_else(String::new, write);
        let last = r.lines.last();
        [
            r.run.clone(),
            r.net.clone(),
            text(last.map(|l| l.epoch), short),
            text(r.lines.iter().rfind(|l| l.split == Split::Train).map(|l| l.loss), short),
            text(tests().next_back().map(|l| l.loss), short),
            if errors { text(tests().map(|l| l.error).reduce(f64::min), percent) } else { String::new() },
            text(last.map(|l| l.seconds), time),
        ]
    };
    rendered(&Comparison { runs: runs.iter().map(row).collect(), charts: drawn(charts) })
}

#[derive(Template)]
#[template(path = "failure.html")]
struct Failed<'a> {
    message: &'a str,
}

/// A page that says why there is none yet, and looks for a better one.
pub fn of_failure(message: &str) -> String {
    rendered(&Failed { message })
}
