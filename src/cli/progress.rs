//! Progress for people: bars on a terminal, plain lines elsewhere. Everything goes to stderr.

use super::table::percent;
use crate::train::{Event, Line, Split, Trainer};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// The progress of training.
pub struct Progress {
    bar: ProgressBar,
    plain: bool,
    /// The last train line's loss and error, shown beside a test's.
    trained: Option<(f64, f64)>,
    steps_per_epoch: f64,
    batch: f64,
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
        Self { bar, plain, trained: None, steps_per_epoch, batch }
    }

    /// Shows an event.
    pub fn show(&mut self, event: Event) {
        match event {
            Event::Step { step, seen } => {
                self.bar.set_position(step);
                if let Some((loss, error)) = seen {
                    let epoch = step as f64 / self.steps_per_epoch;
                    let speed = self.bar.per_sec() * self.batch;
                    self.bar
                        .set_message(format!("epoch {epoch:.1}, loss {loss:.4}, error {}, {speed:.0} images/s", percent(error)));
                }
            }
            Event::Line(line) if line.split == Split::Train => {
                self.trained = Some((line.loss, line.error));
            }
            Event::Line(line) => self.say(&self.test_line(line)),
            Event::Testing(done, all) => self.bar.set_message(format!("testing {done}/{all}")),
            Event::Saved(_) => {}
        }
    }

    fn test_line(&self, line: &Line) -> String {
        let train = self.trained.map_or_else(String::new, |(l, e)| format!("train loss {l:.4} error {:>7}   ", percent(e)));
        format!(
            "epoch {:>5.1}  {train}test loss {:.4} error {:>7}   {:.0} s",
            line.epoch,
            line.loss,
            percent(line.error),
            line.seconds
        )
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
