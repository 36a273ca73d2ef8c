//! The loader: a thread that fills batches while a step runs, with others that read images where that takes long. Batches are lent: [`next`](Loader::next) hands out a filled
//! one, [`recycle`](Loader::recycle) gives it back to be filled again, so that nothing is allocated once it has started.
//!
//! Batches pass through two queues under one lock rather than through channels: a lock and a condition variable never
//! allocate, a channel does when it first has to wait. What is in a batch depends on its position alone, never on timing.

use super::faults::read_or_another;
use super::order::{Order, Shuffle};
use super::{Augment, Colours, Draw, Error, Result, Source, augment};
use crate::device::Place;
use rayon::prelude::*;
use std::collections::VecDeque;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Batches in circulation: up to two lent out while two more are filled.
pub const BATCHES: usize = 4;
/// Threads that read images, unless more are asked for.
const MAX_READERS: usize = 16;

/// Images as they are fed to the device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// u8 `[n, h, w, c]`, as they come from their source.
    pub images: Vec<u8>,
    /// Where each image is taken.
    pub places: Vec<Place>,
    /// The class of each image; of one that is mixed with another, its own.
    pub labels: Vec<i32>,
    /// The values of each image, where it has some; where images are mixed, the part of each class in it.
    pub values: Vec<f32>,
    /// Images that count; the rest is padding, which repeats the source's image 0.
    pub count: usize,
    /// The first image's position in the stream of training images; in a test set, its index.
    pub first_position: u64,
}

/// How training images are read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// How each is varied.
    pub augment: Augment,
    /// The colours that `augment` needs: [`Reading::of`] measures them.
    pub colours: Colours,
    /// Classes of labels, which mixed images have some of each of.
    pub classes: usize,
    /// Shuffle within a window of so many images rather than all.
    pub window: Option<u32>,
    /// Threads that read; 0: one for each core, 16 at most.
    pub threads: usize,
}

impl Reading {
    /// With the colours of a source's images, where they are needed.
    ///
    /// # Errors
    /// An image cannot be read.
    pub fn of(source: &dyn Source, augment: Augment) -> Result<Self> {
        augment.check(source.shape())?;
        let needed = augment.pca > 0.0 || augment.cutout > 0;
        let colours = if needed { Colours::of(source)? } else { Colours::default() };
        Ok(Self { augment, colours, ..Self::default() })
    }
}

impl From<Augment> for Reading {
    /// Without colours: what needs them leaves an image as it is.
    fn from(augment: Augment) -> Self {
        Self { augment, ..Self::default() }
    }
}

/// Reads a source into batches, ahead of their use.
pub struct Loader {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    batches: usize,
    waited: Duration,
}

impl Loader {
    /// Loads the endless stream of training images ([`Order`]) from a position on, each at the place that its
    /// position draws.
    ///
    /// # Errors
    /// The images are too many, or a setting does not fit them.
    pub fn train(
        source: Arc<dyn Source>,
        batch: usize,
        seed: u64,
        reading: impl Into<Reading>,
        start_position: u64,
    ) -> Result<Self> {
        let Reading { augment, colours, classes, window, threads } = reading.into();
        augment.check(source.shape())?;
        if augment.cutout > 0 && colours.mean.len() != source.shape().c {
            return Err(Error::Setting("augment: cutout needs the mean colour of the images".to_owned()));
        }
        let mixup = augment.mixup > 0.0;
        let values = if mixup && source.values() == 0 { classes } else { source.values() };
        if mixup && values == 0 {
            return Err(Error::Setting("augment: mixup needs the number of classes".to_owned()));
        }
        let Some(images) = u32::try_from(source.len()).ok().and_then(NonZeroU32::new) else {
            let images = source.len();
            return Err(Error::Setting(format!("cannot train on {images} images; an epoch has 1 to {} images", u32::MAX)));
        };
        let how = match window {
            Some(window) if window < images.get() => {
                let shards = (0..images.get()).filter(|&i| source.starts_shard(i as usize)).collect();
                Shuffle::Window { images: window.max(1), shards }
            }
            _ => Shuffle::All,
        };
        let (mut order, mut position, epoch) = (Order::new(seed, images).shuffled(how), start_position, u64::from(images.get()));
        let readers = Readers::new(&*source, threads)?;
        let (mut chosen, mut behind) = (Vec::new(), Behind::default());
        Self::start(source, (batch, values), move |source, batch, closing| {
            batch.count = batch.labels.len();
            batch.first_position = position;
            chosen.resize(batch.count, 0);
            for (k, image) in chosen.iter_mut().enumerate() {
                *image = order.at(position.wrapping_add(k as u64));
            }
            let (first, shape) = (position, source.shape());
            let draw = |k: usize| {
                let position = first.wrapping_add(k as u64);
                Draw { seed, epoch: position / epoch, position, augment }
            };
            let read = |k: usize, pixels: &mut [u8], image: &mut usize, label: &mut i32| {
                let draw = draw(k);
                *label = read_or_another(source, *image, |other| {
                    *image = other;
                    source.sample(other, &draw, pixels)
                })?;
                if augment.changes() {
                    draw.change(pixels, shape, &colours);
                }
                Ok(())
            };
            readers.fill(batch, &mut chosen, shape.bytes(), closing, &|k, pixels, image, label, place| {
                *place = augment.place(seed, first.wrapping_add(k as u64), [0, 0]);
                read(k, pixels, image, label)
            })?;
            batch.set_values(source, &chosen, values);
            position = position.wrapping_add(chosen.len() as u64);
            if mixup {
                behind.image = order.at(position);
                behind.pixels.resize(shape.bytes(), 0);
                read(chosen.len(), &mut behind.pixels, &mut behind.image, &mut behind.label)?;
                behind.values.resize(values, 0.0);
                set_values(source, behind.image, behind.label, &mut behind.values);
                batch.mix(&behind, |k| draw(k).share());
            }
            Ok(())
        })
    }

    /// Loads a test set in order, over and over: a pass is [`batches`](Self::batches) batches, of which the last is
    /// padded; the next batch is the first again.
    pub fn test(source: Arc<dyn Source>, batch: usize) -> Result<Self> {
        if source.is_empty() {
            return Err(Error::Empty { what: "the test set".to_owned() });
        }
        let (mut first, values) = (0, source.values());
        let readers = Readers::new(&*source, 0)?;
        let mut chosen = Vec::new();
        Self::start(source, (batch, values), move |source, batch, closing| {
            let count = batch.labels.len().min(source.len() - first);
            batch.first_position = first as u64;
            let bytes = source.shape().bytes();
            chosen.clear();
            chosen.extend((0..batch.labels.len()).map(|k| if k < count { first + k } else { 0 }));
            readers.fill(batch, &mut chosen, bytes, closing, &|_, pixels, &mut image, label, place| {
                *place = augment::centred([0, 0]);
                *label = source.label(image);
                match (source.read(image, pixels), source.faults()) {
                    (Err(e), Some(faults)) if e.is_of_one_image() => {
                        faults.note(image, &e);
                        *label = UNREAD;
                        Ok(())
                    }
                    (read, _) => read,
                }
            })?;
            batch.count = count;
            batch.set_values(source, &chosen, values);
            batch.leave_out_unread(bytes);
            first = if first + count < source.len() { first + count } else { 0 };
            Ok(())
        })
    }

    /// Batches of one pass over the source; of the last, only part may count.
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// The next batch. Waits until it is filled; fails if reading it did, if the thread has died, or if every batch is lent
    /// out and none can come.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Batch> {
        let mut state = self.shared.lock();
        let mut since = None;
        let result = loop {
            if let Some(batch) = state.ready.pop_front() {
                state.lent += 1;
                break Ok(batch);
            }
            if let Some(error) = state.failure.take() {
                break Err(error);
            }
            if let Some(how) = state.stopped {
                break Err(Error::Stopped(how));
            }
            if state.lent >= BATCHES {
                break Err(Error::Setting("all batches of the loader are lent out; recycle one first".to_owned()));
            }
            since.get_or_insert_with(Instant::now);
            state = self.shared.wait(state);
        };
        drop(state);
        self.waited += since.map_or(Duration::ZERO, |since| since.elapsed());
        result
    }

    /// Gives a batch back to be filled again.
    pub fn recycle(&mut self, batch: Batch) {
        let mut state = self.shared.lock();
        state.lent = state.lent.saturating_sub(1);
        state.free.push(batch);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// How long [`next`](Self::next) has waited, all in all: what the data cost the training.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Starts the thread that fills batches of so many images, each with so many values.
    fn start(
        source: Arc<dyn Source>,
        (batch, values): (usize, usize),
        mut fill: impl FnMut(&dyn Source, &mut Batch, &AtomicBool) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let bytes = batch.checked_mul(source.shape().bytes()).filter(|&bytes| bytes > 0);
        let Some(bytes) = bytes else {
            return Err(Error::Setting(format!("cannot load batches of {batch} images of {}", source.shape())));
        };
        let mut free = Vec::with_capacity(BATCHES);
        for _ in 0..BATCHES {
            let Some(empty) = Batch::empty(batch, bytes, values) else {
                return Err(Error::Setting(format!(
                    "no memory for {BATCHES} batches of {batch} images of {}; make the batch smaller",
                    source.shape()
                )));
            };
            free.push(empty);
        }
        let state = State { ready: VecDeque::with_capacity(BATCHES), free, lent: 0, failure: None, stopped: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), closing: AtomicBool::new(false) });
        let batches = source.len().div_ceil(batch);
        let thread = thread::Builder::new().name("loader".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                let _stopped = Stopped(&shared);
                while let Some(mut empty) = shared.take() {
                    empty.resize(batch, bytes, values);
                    match fill(&*source, &mut empty, &shared.closing) {
                        Ok(()) => shared.lock().ready.push_back(empty),
                        Err(error) => {
                            shared.lock().failure = Some(error);
                            return;
                        }
                    }
                    shared.changed.notify_all();
                }
            }
        });
        let thread = thread.map_err(|e| Error::Setting(format!("cannot start the thread that loads the data: {e}")))?;
        Ok(Self { shared, thread: Some(thread), batches, waited: Duration::ZERO })
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        // Under the lock, so that the thread either has not looked yet or is waiting already.
        drop(self.shared.lock());
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // If it panicked, `next` has said so, or nobody wanted to know.
            let _ = thread.join();
        }
    }
}

/// The label of an image that could not be read.
const UNREAD: i32 = i32::MIN;

/// The threads that read images.
struct Readers(Option<rayon::ThreadPool>);

impl Readers {
    /// None but the loader's own where reading is quick.
    fn new(source: &dyn Source, threads: usize) -> Result<Self> {
        let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_READERS);
        let threads = if threads == 0 { cores() } else { threads };
        if !source.is_slow() || threads == 1 {
            return Ok(Self(None));
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("reader {i}")).build();
        Ok(Self(Some(pool.map_err(|e| Error::Setting(format!("cannot start the threads that read images: {e}")))?)))
    }

    /// Calls `read` for each image of a batch with the one chosen for it, which it may change, until one fails or `closing` is set.
    fn fill(
        &self,
        batch: &mut Batch,
        chosen: &mut [usize],
        bytes: usize,
        closing: &AtomicBool,
        read: &(impl Fn(usize, &mut [u8], &mut usize, &mut i32, &mut Place) -> Result<()> + Sync),
    ) -> Result<()> {
        let Batch { images, labels, places, .. } = batch;
        type One<'a> = (((&'a mut [u8], &'a mut usize), &'a mut i32), &'a mut Place);
        let one = |(k, (((pixels, image), label), place)): (usize, One)| {
            if closing.load(Ordering::Relaxed) { Ok(()) } else { read(k, pixels, image, label, place) }
        };
        match &self.0 {
            None => images.chunks_exact_mut(bytes).zip(chosen).zip(labels).zip(places).enumerate().try_for_each(one),
            Some(pool) => pool.install(|| {
                let parts = images.par_chunks_exact_mut(bytes).zip(chosen.par_iter_mut());
                let parts = parts.zip(labels.par_iter_mut()).zip(places.par_iter_mut());
                parts.enumerate().with_max_len(1).try_for_each(one)
            }),
        }
    }
}

/// The image behind a batch, which the last one of it is mixed with.
#[derive(Default)]
struct Behind {
    image: usize,
    pixels: Vec<u8>,
    label: i32,
    values: Vec<f32>,
}

/// Writes an image's values, or 1 for its class.
fn set_values(source: &dyn Source, image: usize, label: i32, values: &mut [f32]) {
    if source.values() > 0 {
        return source.read_values(image, values);
    }
    values.fill(0.0);
    if let Some(own) = usize::try_from(label).ok().and_then(|label| values.get_mut(label)) {
        *own = 1.0;
    }
}

/// `share`/2¹⁶ of x and the rest of y.
fn mixed(x: u8, y: u8, share: u32) -> u8 {
    ((u32::from(x) * share + u32::from(y) * (65_536 - share) + 32_768) >> 16) as u8
}

impl Batch {
    /// Sets the values of each image, so many, from those that were read.
    fn set_values(&mut self, source: &dyn Source, read: &[usize], values: usize) {
        if values > 0 {
            for ((own, &image), &label) in self.values.chunks_exact_mut(values).zip(read).zip(&self.labels) {
                set_values(source, image, label, own);
            }
        }
    }

    /// Mixes each image with the next, and the last with the one behind it; `share` tells how much of itself each keeps, in 2⁻¹⁶.
    fn mix(&mut self, behind: &Behind, share: impl Fn(usize) -> u32) {
        let (bytes, values) = (behind.pixels.len(), behind.values.len());
        for k in 0..self.labels.len() {
            let share = share(k);
            let (own, rest) = self.images[k * bytes..].split_at_mut(bytes);
            let next = rest.get(..bytes).unwrap_or(&behind.pixels);
            own.iter_mut().zip(next).for_each(|(x, &y)| *x = mixed(*x, y, share));
            let part = share as f32 / 65_536.0;
            let (own, rest) = self.values[k * values..].split_at_mut(values);
            let next = rest.get(..values).unwrap_or(&behind.values);
            own.iter_mut().zip(next).for_each(|(x, &y)| *x = part * *x + (1.0 - part) * y);
        }
    }

    /// Moves the images that could not be read behind those that count.
    fn leave_out_unread(&mut self, bytes: usize) {
        let values = self.values.len() / self.labels.len().max(1);
        let mut kept = 0;
        for k in 0..self.count {
            if self.labels[k] == UNREAD {
                continue;
            }
            if kept < k {
                self.images.copy_within(k * bytes..(k + 1) * bytes, kept * bytes);
                self.values.copy_within(k * values..(k + 1) * values, kept * values);
                self.labels.swap(kept, k);
            }
            kept += 1;
        }
        self.count = kept;
        self.labels.iter_mut().filter(|label| **label == UNREAD).for_each(|label| *label = 0);
    }

    fn empty(images: usize, bytes: usize, values: usize) -> Option<Self> {
        let mut batch = Self::default();
        batch.values.try_reserve_exact(images.checked_mul(values)?).ok()?;
        batch.images.try_reserve_exact(bytes).ok()?;
        batch.places.try_reserve_exact(images).ok()?;
        batch.labels.try_reserve_exact(images).ok()?;
        batch.resize(images, bytes, values);
        Some(batch)
    }

    /// Nothing to do, unless whoever had the batch took it apart.
    fn resize(&mut self, images: usize, bytes: usize, values: usize) {
        self.images.resize(bytes, 0);
        self.values.resize(images * values, 0.0);
        self.places.resize(images, Place::default());
        self.labels.resize(images, 0);
    }
}

/// What the loader and its thread share.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    closing: AtomicBool,
}

struct State {
    /// Filled, in order.
    ready: VecDeque<Batch>,
    /// To be filled.
    free: Vec<Batch>,
    /// Handed out and not yet given back.
    lent: usize,
    /// Why the thread stopped, until it is told.
    failure: Option<Error>,
    /// The thread has ended, and how.
    stopped: Option<&'static str>,
}

impl Shared {
    /// Nothing panics under the lock, and a state is whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch to fill, or none when the loader is dropped.
    fn take(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            if self.closing.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(batch) = state.free.pop() {
                return Some(batch);
            }
            state = self.wait(state);
        }
    }
}

/// Says that the thread has ended, however it did.
struct Stopped<'a>(&'a Shared);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.stopped = Some(if thread::panicking() { "it panicked" } else { "after an error" });
        drop(state);
        self.0.changed.notify_all();
    }
}
