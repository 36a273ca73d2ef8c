//! Device memory: one reserved range of host addresses, cut into allocations.
//!
//! The range is reserved once and takes memory of the machine only where it is touched, so a device address is a host
//! address, and an address outside the range is a stray one. In checked mode each allocation has a shadow (what was written,
//! and by which block of which launch), allocations do not touch, and freed ones are remembered for a while.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

/// Alignment of allocations, as the driver guarantees it.
const ALIGN: u64 = 256;
/// Bytes between allocations in checked mode, so that a small overrun hits none.
const GAP: u64 = 4096;

/// What is known of the bytes of an allocation, in checked mode.
#[derive(Debug)]
pub struct Shadow {
    written: Box<[AtomicU64]>,
    /// For every two bytes: the launch and block that wrote them last.
    writers: Box<[AtomicU64]>,
}

impl Shadow {
    fn new(bytes: u64) -> Self {
        Shadow { written: zeros(bytes.div_ceil(64)), writers: zeros(bytes.div_ceil(2)) }
    }

    /// Whether all of a range was written.
    pub fn is_written(&self, at: u64, bytes: u64) -> bool {
        self.first_unwritten(at, bytes).is_none()
    }

    /// The first byte of a range that nothing wrote.
    pub fn first_unwritten(&self, at: u64, bytes: u64) -> Option<u64> {
        self.pieces(at, bytes).find_map(|(word, mask)| {
            let missing = mask & !self.written[word].load(Ordering::Relaxed);
            (missing != 0).then(|| word as u64 * 64 + missing.trailing_zeros() as u64)
        })
    }

    /// Number of bytes of a range that nothing wrote.
    pub fn unwritten(&self, at: u64, bytes: u64) -> u64 {
        self.pieces(at, bytes).map(|(word, mask)| (mask & !self.written[word].load(Ordering::Relaxed)).count_ones() as u64).sum()
    }

    /// Marks a range as written.
    pub fn mark(&self, at: u64, bytes: u64) {
        for (word, mask) in self.pieces(at, bytes) {
            self.written[word].fetch_or(mask, Ordering::Relaxed);
        }
    }

    /// Marks a range as never written.
    pub fn unmark(&self, at: u64, bytes: u64) {
        for (word, mask) in self.pieces(at, bytes) {
            self.written[word].fetch_and(!mask, Ordering::Relaxed);
        }
    }

    /// Notes the writer of a range, and tells another one of the same launch. `stamp` is the launch above the block.
    pub fn write_by(&self, at: u64, bytes: u64, stamp: u64) -> Option<u64> {
        let mut other = None;
        for cell in at / 2..(at + bytes).div_ceil(2).min(self.writers.len() as u64) {
            let before = self.writers[cell as usize].swap(stamp, Ordering::Relaxed);
            if before >> 32 == stamp >> 32 && before != stamp {
                other = Some(before & 0xffff_ffff);
            }
        }
        other
    }

    /// The words of the bitmap that a range touches, each with the bits it touches.
    fn pieces(&self, at: u64, bytes: u64) -> impl Iterator<Item = (usize, u64)> {
        let end = at + bytes;
        (at / 64..end.div_ceil(64)).map(move |word| {
            let (low, high) = (at.saturating_sub(word * 64).min(64), (end - word * 64).min(64));
            let below = |n: u64| if n == 64 { u64::MAX } else { (1 << n) - 1 };
            (word as usize, below(high) & !below(low))
        })
    }
}

/// Zeros that take memory only where they are touched.
fn zeros(n: u64) -> Box<[AtomicU64]> {
    let plain = Box::into_raw(vec![0u64; n as usize].into_boxed_slice());
    // SAFETY: an AtomicU64 has the size, alignment and bits of a u64, and the box is given up by `into_raw`.
    unsafe { Box::from_raw(plain as *mut [AtomicU64]) }
}

/// An allocation.
#[derive(Clone, Debug)]
pub struct Allocation {
    /// Its address.
    pub address: u64,
    /// Its size as asked for.
    pub bytes: u64,
    /// Whether it was freed.
    pub freed: bool,
    /// Whether it is pinned host memory.
    pub host: bool,
    /// Its shadow, in checked mode.
    pub shadow: Option<Arc<Shadow>>,
}

#[derive(Debug, Default)]
struct Table {
    live: BTreeMap<u64, Allocation>,
    freed: BTreeMap<u64, Allocation>,
    used: u64,
    /// Where checked mode looks for room first: behind what it gave last, so that freed places stay recognisable.
    cursor: u64,
    snapshot: Option<Arc<Vec<Allocation>>>,
}

/// Device memory.
#[derive(Debug)]
pub struct Memory {
    base: u64,
    len: u64,
    /// Bytes the device reports.
    pub total: u64,
    checked: bool,
    table: RwLock<Table>,
}

/// The device's memory, reserved on first use.
pub fn memory() -> &'static Memory {
    static MEMORY: OnceLock<Memory> = OnceLock::new();
    MEMORY.get_or_init(|| {
        let options = crate::options();
        Memory::reserve(options.memory, options.check)
    })
}

impl Memory {
    fn reserve(total: u64, checked: bool) -> Self {
        // Room beyond the total for pinned host memory, module variables and gaps.
        let len = total.saturating_mul(2).max(1 << 36);
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        let (base, len) = if base == libc::MAP_FAILED { (1 << 40, 0) } else { (base as u64, len) };
        Memory { base, len, total, checked, table: RwLock::default() }
    }

    /// First address and length.
    pub fn range(&self) -> (u64, u64) {
        (self.base, self.len)
    }

    /// Bytes free of the total.
    pub fn free_bytes(&self) -> u64 {
        self.total.saturating_sub(self.table.read().unwrap_or_else(|e| e.into_inner()).used)
    }

    /// Allocates; `None` when there is no room.
    pub fn allocate(&self, bytes: u64, host: bool) -> Option<u64> {
        let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
        if bytes == 0 || !host && bytes > self.total.saturating_sub(table.used) {
            return None;
        }
        let gap = if self.checked { GAP } else { 0 };
        let room = bytes.next_multiple_of(ALIGN) + gap;
        // First fit; the first bytes stay unused so that no allocation is at the range's edge.
        let from_front = self.base + GAP;
        let first = if self.checked { table.cursor.max(from_front) } else { from_front };
        let at = self.room(&table, first, room).or_else(|| self.room(&table, from_front, room))?;
        table.cursor = at + room;
        table.freed.retain(|_, f| f.address + f.bytes <= at || f.address >= at + room);
        let shadow = self.checked.then(|| Arc::new(Shadow::new(bytes)));
        table.live.insert(at, Allocation { address: at, bytes, freed: false, host, shadow });
        table.used += if host { 0 } else { bytes };
        table.snapshot = None;
        Some(at)
    }

    /// The first place from `at` on with that much room.
    fn room(&self, table: &Table, mut at: u64, room: u64) -> Option<u64> {
        let gap = if self.checked { GAP } else { 0 };
        for a in table.live.range(at..).map(|(_, a)| a) {
            if a.address - at >= room {
                break;
            }
            at = (a.address + a.bytes).next_multiple_of(ALIGN) + gap;
        }
        (at + room <= self.base + self.len).then_some(at)
    }

    /// Frees what was allocated at an address; false when nothing was.
    pub fn release(&self, address: u64) -> bool {
        let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
        let Some(mut old) = table.live.remove(&address) else { return false };
        table.used -= if old.host { 0 } else { old.bytes };
        // SAFETY: whole pages inside the mapping, of an allocation that is no longer there; they read as zero afterwards.
        unsafe {
            let (from, to) = (address.next_multiple_of(4096), (address + old.bytes) & !4095);
            if to > from {
                libc::madvise(from as *mut libc::c_void, (to - from) as usize, libc::MADV_DONTNEED);
            }
        }
        (old.freed, old.shadow) = (true, None);
        if self.checked {
            table.freed.insert(address, old);
        }
        table.snapshot = None;
        true
    }

    /// The allocation that an address lies in.
    pub fn find(&self, address: u64) -> Option<Allocation> {
        let table = self.table.read().unwrap_or_else(|e| e.into_inner());
        let (_, a) = table.live.range(..=address).next_back()?;
        (address < a.address + a.bytes).then(|| a.clone())
    }

    /// Whether a range lies in one live allocation.
    pub fn holds(&self, address: u64, bytes: u64) -> bool {
        self.find(address).is_some_and(|a| address + bytes <= a.address + a.bytes)
    }

    /// All allocations, live and freed, by address.
    pub fn snapshot(&self) -> Arc<Vec<Allocation>> {
        let mut table = self.table.write().unwrap_or_else(|e| e.into_inner());
        if let Some(snapshot) = &table.snapshot {
            return snapshot.clone();
        }
        let mut all: Vec<Allocation> = table.live.values().chain(table.freed.values()).cloned().collect();
        all.sort_by_key(|a| a.address);
        let snapshot = Arc::new(all);
        table.snapshot = Some(snapshot.clone());
        snapshot
    }

    /// Notes in the shadow that the host wrote a range.
    pub fn host_wrote(&self, address: u64, bytes: u64) {
        if let Some(Allocation { address: start, shadow: Some(shadow), .. }) = self.checked.then(|| self.find(address)).flatten()
        {
            shadow.mark(address - start, bytes);
        }
    }
}
