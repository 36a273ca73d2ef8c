//! The next batch on its way to the card while the step runs: copies on a stream of their own, out of two pinned buffers
//! that take turns. Two events keep the order: a copy waits for the loads that read the tensors before, a load for the copy.

use super::driver::{Address, Answer, Context, Event, Pinned, Stream};
use std::rc::Rc;

/// A pinned buffer, and when the copies out of it are done.
struct Staging {
    buffer: Option<Pinned>,
    copied: Event,
}

/// The stream of copies.
pub struct Feed {
    context: Rc<Context>,
    stream: Stream,
    staging: [Staging; 2],
    turn: usize,
    /// The last copies are done.
    fed: Event,
    /// The last loads that were queued are done.
    loaded: Event,
}

impl Feed {
    /// Nothing copied yet.
    pub fn new(context: &Rc<Context>) -> Answer<Self> {
        let staging = || Answer::Ok(Staging { buffer: None, copied: Event::new(context)? });
        Ok(Self {
            context: context.clone(),
            stream: Stream::new(context)?,
            staging: [staging()?, staging()?],
            turn: 0,
            fed: Event::new(context)?,
            loaded: Event::new(context)?,
        })
    }

    /// Copies parts to the card beside the queue.
    pub fn copy(&mut self, parts: &[(Address, &[u8])]) -> Answer {
        let bytes = parts.iter().map(|(_, part)| part.len().next_multiple_of(256)).sum();
        let staging = &mut self.staging[self.turn];
        self.turn = 1 - self.turn;
        staging.copied.wait()?;
        if staging.buffer.as_ref().is_none_or(|buffer| buffer.len() < bytes) {
            staging.buffer = None;
            staging.buffer = Some(Pinned::new(&self.context, bytes)?);
        }
        let Some(buffer) = &mut staging.buffer else { return Ok(()) };
        self.stream.wait_for(&self.loaded)?;
        let mut start = 0;
        for (to, part) in parts {
            let staged = start..start + part.len();
            buffer[staged.clone()].copy_from_slice(part);
            self.stream.copy_in(*to, &buffer[staged])?;
            start += part.len().next_multiple_of(256);
        }
        self.stream.record(&staging.copied)?;
        self.stream.record(&self.fed)
    }

    /// What is queued on the main stream from here on may read what was fed.
    pub fn before_load(&self, main: &Stream) -> Answer {
        main.wait_for(&self.fed)
    }

    /// The copies that follow wait for what the main stream has been given.
    pub fn after_load(&self, main: &Stream) -> Answer {
        main.record(&self.loaded)
    }

    /// Makes the host wait for all copies.
    pub fn wait(&self) -> Answer {
        self.stream.wait()
    }
}
