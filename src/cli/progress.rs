//! Progress for people: bars on a terminal, plain lines elsewhere. Everything goes to stderr.

use super::table::percent;
use crate::train::{Event, Line, Split, Trainer};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The progress of training.
pub struct Progress {
    bar: ProgressBar,
    plain: bool,
    /// The last train line, shown beside a test's.
    trained: Option<Line>,
    /// The costs, in their order, and whether each counts errors.
    costs: Vec<(String, bool)>,
    steps_per_epoch: f64,
    batch: f64,
    /// When the display was last made anew, and how long training had waited for data by then.
    waited: (Instant, Duration),
}

impl Progress {
    /// Progress from where a trainer stands.
    pub fn new(trainer: &Trainer, folder: &str) -> Self {
        let batch = trainer.setup().spec.train.batch as f64;
        let steps_per_epoch = trainer.setup().data.train.len() as f64 / batch;
        let plain = !std::io::stderr().is_terminal();
        let bar = new_bar(trainer.total_steps(), plain, "{bar:24} {pos}/{len} {msg}, {eta} left");
        bar.set_position(trainer.steps_done());
        bar.reset_eta();
        bar.set_message(format!("steps to {folder}"));
        let nodes = &trainer.graph().nodes;
        let costs = trainer.graph().costs().map(|i| (nodes[i].name.clone(), nodes[i].layer.counts().errors)).collect();
        let waited = (Instant::now(), trainer.data_wait());
        Self { bar, plain, trained: None, costs, steps_per_epoch, batch, waited }
    }

    /// Shows an event.
    pub fn show(&mut self, event: Event) {
        match event {
            Event::Step { step, seen, waited } => {
                self.bar.set_position(step);
                if let Some((loss, error)) = seen {
                    let epoch = step as f64 / self.steps_per_epoch;
                    let speed = self.bar.per_sec() * self.batch;
                    let error = if self.errors() { format!(", error {}", percent(error)) } else { String::new() };
                    let wait = percent(self.waiting(waited));
                    self.bar.set_message(format!(
                        "epoch {epoch:.1}, loss {loss:.4}{error}, {speed:.0} images/s, {wait} waiting for data"
                    ));
                }
            }
            Event::Line(line) if line.split == Split::Train => {
                self.trained = Some(line.clone());
            }
            Event::Line(line) => self.test_lines(line).iter().for_each(|text| self.say(text)),
            Event::Testing(done, all) => self.bar.set_message(format!("testing {done}/{all}")),
            Event::Saved(_) => {}
            Event::Warning(text) => self.say(&format!("warning: {text}")),
        }
    }

    /// The share of the time since the last call that was spent waiting for data.
    fn waiting(&mut self, waited: Duration) -> f64 {
        let (since, before) = std::mem::replace(&mut self.waited, (Instant::now(), waited));
        (waited.saturating_sub(before).as_secs_f64() / since.elapsed().as_secs_f64().max(1e-9)).min(1.0)
    }

    /// Whether the first cost counts errors.
    fn errors(&self) -> bool {
        self.costs.first().is_none_or(|(_, errors)| *errors)
    }

    /// A test beside what was trained before it; where there are several costs, a line each below.
    fn test_lines(&self, line: &Line) -> Vec<String> {
        let both = |of: &dyn Fn(&Line) -> Option<(f64, f64)>, errors: bool| {
            let one = |split: &str, line: &Line| {
                let Some((loss, error)) = of(line) else { return String::new() };
                let error = if errors { format!(" error {:>7}", percent(error)) } else { String::new() };
                // What counts no errors leaves their column empty, where others have it.
                let width = if self.costs.iter().any(|(_, errors)| *errors) { 14 } else { 0 };
                format!("{split} loss {loss:.4}{error:width$}   ")
            };
            format!("{}{}", self.trained.as_ref().map_or_else(String::new, |t| one("train", t)), one("test", line))
        };
        let total = both(&|line| Some((line.loss, line.error)), self.errors());
        let mut lines = vec![format!("epoch {:>5.1}  {total}{:.0} s", line.epoch, line.seconds)];
        if self.costs.len() > 1 {
            let each = self.costs.iter().map(|(name, errors)| {
                let cost = both(&|line| line.costs.get(name).map(|c| (c.loss, c.error)), *errors);
                format!("{:13}{cost}{name}", "")
            });
            lines.extend(each);
        }
        lines
    }

    fn say(&self, text: &str) {
        if self.plain { eprintln!("{text}") } else { self.bar.println(text) }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// A bar for one long piece of work.
pub struct Bar {
    bar: ProgressBar,
    plain: bool,
}

/// A bar with a title; hidden where stderr is no terminal.
pub fn bar(title: &'static str) -> Bar {
    let plain = !std::io::stderr().is_terminal();
    let bar = new_bar(0, plain, "{msg} {bar:24} {pos}/{len}, {eta} left");
    bar.set_message(title);
    Bar { bar, plain }
}

impl Bar {
    /// So many parts of so many are done.
    pub fn at(&mut self, done: usize, all: usize) {
        self.bar.set_length(all as u64);
        self.bar.set_position(done as u64);
    }

    /// Says a line that stays.
    pub fn say(&self, text: &str) {
        if self.plain { eprintln!("{text}") } else { self.bar.println(text) }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn new_bar(length: u64, hidden: bool, template: &str) -> ProgressBar {
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    bar.set_style(ProgressStyle::with_template(template).expect("the template is a valid one").progress_chars("━╸─"));
    if !hidden {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}
