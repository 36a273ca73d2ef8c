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
const BATCHES: usize = 4;
/// Threads that read images, unless more are asked for.
const MOST_READERS: usize = 16;

/// Images as they are fed to the device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// u8 `[n, h, w, c]`, as they come from their source.
    pub images: Vec<u8>,
    /// Where each image is taken.
    pub places: Vec<Place>,
    /// The class of each image.
    pub labels: Vec<i32>,
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
        let Reading { augment, colours, window, threads } = reading.into();
        augment.check(source.shape())?;
        if augment.cutout > 0 && colours.mean.len() != source.shape().c {
            return Err(Error::Setting("augment: cutout needs the mean colour of the images".to_owned()));
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
        let mut chosen = Vec::new();
        Self::start(source, batch, move |source, batch, closing| {
            batch.count = batch.labels.len();
            batch.first_position = position;
            chosen.resize(batch.count, 0);
            for (k, image) in chosen.iter_mut().enumerate() {
                *image = order.at(position.wrapping_add(k as u64));
            }
            let (first, shape) = (position, source.shape());
            let read = |k: usize, pixels: &mut [u8], label: &mut i32, place: &mut Place| {
                let position = first.wrapping_add(k as u64);
                let draw = Draw { seed, epoch: position / epoch, position, augment };
                *label = read_or_another(source, chosen[k], |image| source.sample(image, &draw, pixels))?;
                if augment.changes() {
                    draw.change(pixels, shape, &colours);
                }
                *place = augment.place(seed, position, [0, 0]);
                Ok(())
            };
            readers.fill(batch, shape.bytes(), closing, &read)?;
            position = position.wrapping_add(chosen.len() as u64);
            Ok(())
        })
    }

    /// Loads a test set in order, over and over: a pass is [`batches`](Self::batches) batches, of which the last is
    /// padded; the next batch is the first again.
    pub fn test(source: Arc<dyn Source>, batch: usize) -> Result<Self> {
        if source.is_empty() {
            return Err(Error::Empty { what: "the test set".to_owned() });
        }
        let mut first = 0;
        let readers = Readers::new(&*source, 0)?;
        Self::start(source, batch, move |source, batch, closing| {
            let count = batch.labels.len().min(source.len() - first);
            batch.first_position = first as u64;
            let bytes = source.shape().bytes();
            let read = |k: usize, pixels: &mut [u8], label: &mut i32, place: &mut Place| {
                *place = augment::centred([0, 0]);
                let image = if k < count { first + k } else { 0 };
                *label = source.label(image);
                match (source.read(image, pixels), source.faults()) {
                    (Err(e), Some(faults)) if e.is_of_one_image() => {
                        faults.note(image, &e);
                        *label = UNREAD;
                        Ok(())
                    }
                    (read, _) => read,
                }
            };
            readers.fill(batch, bytes, closing, &read)?;
            batch.count = count;
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

    fn start(
        source: Arc<dyn Source>,
        batch: usize,
        mut fill: impl FnMut(&dyn Source, &mut Batch, &AtomicBool) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let bytes = batch.checked_mul(source.shape().bytes()).filter(|&bytes| bytes > 0);
        let Some(bytes) = bytes else {
            return Err(Error::Setting(format!("cannot load batches of {batch} images of {}", source.shape())));
        };
        let mut free = Vec::with_capacity(BATCHES);
        for _ in 0..BATCHES {
            let Some(empty) = Batch::empty(batch, bytes) else {
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
                    empty.resize(batch, bytes);
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
        let cores = || thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MOST_READERS);
        let threads = if threads == 0 { cores() } else { threads };
        if !source.is_slow() || threads == 1 {
            return Ok(Self(None));
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("reader {i}")).build();
        Ok(Self(Some(pool.map_err(|e| Error::Setting(format!("cannot start the threads that read images: {e}")))?)))
    }

    /// Calls `read` for each image of a batch, until one fails or `closing` is set.
    fn fill(
        &self,
        batch: &mut Batch,
        bytes: usize,
        closing: &AtomicBool,
        read: &(impl Fn(usize, &mut [u8], &mut i32, &mut Place) -> Result<()> + Sync),
    ) -> Result<()> {
        let Batch { images, labels, places, .. } = batch;
        let one = |(k, ((pixels, label), place)): (usize, ((&mut [u8], &mut i32), &mut Place))| {
            if closing.load(Ordering::Relaxed) { Ok(()) } else { read(k, pixels, label, place) }
        };
        match &self.0 {
            None => images.chunks_exact_mut(bytes).zip(labels).zip(places).enumerate().try_for_each(one),
            Some(pool) => pool.install(|| {
                let parts = images.par_chunks_exact_mut(bytes).zip(labels.par_iter_mut()).zip(places.par_iter_mut());
                parts.enumerate().with_max_len(1).try_for_each(one)
            }),
        }
    }
}

impl Batch {
    /// Moves the images that could not be read behind those that count.
    fn leave_out_unread(&mut self, bytes: usize) {
        let mut kept = 0;
        for k in 0..self.count {
            if self.labels[k] == UNREAD {
                continue;
            }
            if kept < k {
                self.images.copy_within(k * bytes..(k + 1) * bytes, kept * bytes);
                self.labels.swap(kept, k);
            }
            kept += 1;
        }
        self.count = kept;
        self.labels.iter_mut().filter(|label| **label == UNREAD).for_each(|label| *label = 0);
    }

    fn empty(images: usize, bytes: usize) -> Option<Self> {
        let mut batch = Self::default();
        batch.images.try_reserve_exact(bytes).ok()?;
        batch.places.try_reserve_exact(images).ok()?;
        batch.labels.try_reserve_exact(images).ok()?;
        batch.resize(images, bytes);
        Some(batch)
    }

    /// Nothing to do, unless whoever had the batch took it apart.
    fn resize(&mut self, images: usize, bytes: usize) {
        self.images.resize(bytes, 0);
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
