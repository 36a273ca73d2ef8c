//! The CPU device's threads.

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::marker::PhantomData;
use std::sync::MutexGuard;

/// Work of fewer nanoseconds on one core runs on the calling thread: waking another takes as long.
const WORTH_WAKING: usize = 20_000;

/// What is done to a piece, which is told its number.
type Piece<'a, T> = dyn Fn(usize, &mut [T]) + Send + Sync + 'a;
/// What is done to a pair of pieces.
type Pieces<'a, T> = dyn Fn(usize, &mut [T], &mut [T]) + Send + Sync + 'a;

/// A pool of threads that the device's operations run on. The thread that makes the device is one of them where it is not
/// in another pool already, so that an operation starts without handing itself over.
pub struct Workers {
    pool: ThreadPool,
    /// Not [`Send`]: the thread that makes a pool of one thread *is* that thread, and another one would wait for it forever.
    stays: PhantomData<MutexGuard<'static, ()>>,
}

impl Workers {
    /// A pool of `threads` (0: one for each core).
    pub fn new(threads: usize) -> Self {
        let threads = if threads > 0 { threads } else { std::thread::available_parallelism().map_or(1, |n| n.get()) };
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .use_current_thread()
            .build()
            .or_else(|_| ThreadPoolBuilder::new().num_threads(threads).build())
            .expect("the system starts a few threads");
        // A thread's first look for another's work allocates (crossbeam-epoch's record of it): here, not within a step.
        pool.broadcast(|_| rayon::yield_now());
        Self { pool, stays: PhantomData }
    }

    /// Threads in the pool.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` in the pool: rayon's parallel iterators inside it use these threads. Work must be cut the same way for
    /// any number of threads, and sums put together in a fixed order, so that the bits do not depend on it.
    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    /// Calls `work(i, piece)` for the pieces of `size` elements that `y` is cut into, on all threads; on this one alone where
    /// all of it takes about `nanoseconds` on one core, and that is little.
    pub fn pieces<T: Send>(&self, nanoseconds: usize, size: usize, y: &mut [T], work: impl Fn(usize, &mut [T]) + Send + Sync) {
        self.cut(nanoseconds, size, usize::MAX, y, &work);
    }

    /// As [`pieces`](Self::pieces), of few large ones: a thread takes one at a time.
    pub fn large_pieces<T: Send>(
        &self,
        nanoseconds: usize,
        size: usize,
        y: &mut [T],
        work: impl Fn(usize, &mut [T]) + Send + Sync,
    ) {
        self.cut(nanoseconds, size, 1, y, &work);
    }

    /// Takes `work` as a trait object, so that rayon's code is compiled once and not for every closure.
    fn cut<T: Send>(&self, nanoseconds: usize, size: usize, at_once: usize, y: &mut [T], work: &Piece<'_, T>) {
        let size = size.max(1);
        if nanoseconds < WORTH_WAKING || y.len() <= size || self.threads() == 1 {
            y.chunks_mut(size).enumerate().for_each(|(i, y)| work(i, y));
        } else {
            self.run(|| y.par_chunks_mut(size).enumerate().with_max_len(at_once).for_each(|(i, y)| work(i, y)));
        }
    }

    /// As [`pieces`](Self::pieces), of two slices that are cut alike.
    pub fn pieces2<T: Send>(
        &self,
        nanoseconds: usize,
        size: usize,
        a: &mut [T],
        b: &mut [T],
        work: impl Fn(usize, &mut [T], &mut [T]) + Send + Sync,
    ) {
        self.cut2(nanoseconds, size, a, b, &work);
    }

    fn cut2<T: Send>(&self, nanoseconds: usize, size: usize, a: &mut [T], b: &mut [T], work: &Pieces<'_, T>) {
        let size = size.max(1);
        if nanoseconds < WORTH_WAKING || a.len() <= size || self.threads() == 1 {
            a.chunks_mut(size).zip(b.chunks_mut(size)).enumerate().for_each(|(i, (a, b))| work(i, a, b));
        } else {
            self.run(|| {
                a.par_chunks_mut(size).zip(b.par_chunks_mut(size)).enumerate().for_each(|(i, (a, b))| work(i, a, b));
            });
        }
    }
}
