//! The step loop allocates nothing: counted by an allocator that this test has to itself.

mod common;

use common::{setup, trainer};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};

/// The system's allocator, which counts what any thread asks of it.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);
/// Ends the process at the next allocation, to show in a debugger who makes it.
static ABORT: AtomicBool = AtomicBool::new(false);

fn count(bytes: i64) {
    LIVE_BYTES.fetch_add(bytes, SeqCst);
    if bytes > 0 {
        ALLOCATIONS.fetch_add(1, SeqCst);
        if ABORT.load(SeqCst) {
            std::process::abort();
        }
    }
}

// SAFETY: every call is passed to the system's allocator as it came; counting touches atomics alone.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller keeps `alloc`'s contract, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(-(layout.size() as i64));
        count(size as i64);
        // SAFETY: as in `alloc`; `pointer` came from the system's allocator by way of this one.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// 100 steps of LeNet with dropout and shifts on two threads, across the end of an epoch, allocate nothing on any thread.
/// (With `STEP_ALLOCATIONS=abort` the first allocation ends the process, for a debugger.)
#[test]
fn a_hundred_steps_allocate_nothing() {
    let sets = ["data.train_images=640", "train.batch=16", "train.epochs=100", "data.augment.translate=2"];
    let mut trainer = trainer(setup(include_str!("../configs/lenet.toml"), &sets), 2);
    let abort = std::env::var_os("STEP_ALLOCATIONS").is_some();
    for _ in 0..10 {
        trainer.one_step().unwrap();
    }
    let before = (ALLOCATIONS.load(SeqCst), LIVE_BYTES.load(SeqCst));
    ABORT.store(abort, SeqCst);
    for _ in 0..100 {
        trainer.one_step().unwrap();
    }
    ABORT.store(false, SeqCst);
    let after = (ALLOCATIONS.load(SeqCst), LIVE_BYTES.load(SeqCst));
    assert!(before.0 > 0 && before.1 > 0, "the allocator counts");
    assert_eq!((after.0 - before.0, after.1 - before.1), (0, 0), "allocations and growth of 100 steps");
}
