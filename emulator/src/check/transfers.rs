//! What moves through shared memory beside the warps: boxes that bulk copies bring, and wgmma that reads them.
//!
//! Who may touch a box when is told by clocks. A warp's clock has an entry for each warp and for each mbarrier: how far into
//! the other's work it is known to lie behind. An arrival hands the warp's clock to the barrier, the end of a phase makes it
//! the phase's, and a wait that finds the phase over takes it on. A box may be read by who has seen the phase over that the copy
//! reported to, and overwritten by who has seen that and the end of every read.

use std::collections::{BTreeMap, HashMap};

/// An mbarrier.
#[derive(Debug, Default)]
struct Barrier {
    /// Its entry in a clock.
    entry: usize,
    /// Phases that are over.
    phases: u32,
    /// Of those that have arrived.
    gathered: Vec<u32>,
    /// As it was when the last phase ended.
    released: Vec<u32>,
}

/// A read of a box: the warp, and its own entry when the read was over.
#[derive(Clone, Copy, Debug)]
struct Reader {
    warp: usize,
    done: Option<u32>,
}

/// A box that a copy brought.
#[derive(Debug)]
struct Arrived {
    number: u64,
    end: u64,
    /// The entry of its barrier, and the phases that are over when it is there.
    barrier: usize,
    phases: u32,
    readers: Vec<Reader>,
}

/// What is wrong with an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unordered {
    /// A read of what its mbarrier has not been waited for.
    Early,
    /// A copy onto what its mbarrier has not been waited for.
    Twice,
    /// A copy onto what this warp may still read.
    Read(usize),
}

impl Unordered {
    pub(super) fn detail(self) -> String {
        match self {
            Unordered::Early => "a bulk copy brings it, and this warp has not seen the copy's mbarrier end its phase".into(),
            Unordered::Twice => "a bulk copy brings it already, and nobody has told this warp that it is there".into(),
            Unordered::Read(warp) => format!("warp {warp} reads it, and has not told this warp that it is done"),
        }
    }
}

#[derive(Debug)]
pub(super) struct Transfers {
    clocks: Vec<Vec<u32>>,
    barriers: HashMap<u64, Barrier>,
    entries: usize,
    /// By address.
    boxes: BTreeMap<u64, Arrived>,
    made: u64,
    /// By warp: boxes (address and number) that wgmma reads, not committed, and by group.
    open: Vec<Vec<(u64, u64)>>,
    groups: Vec<std::collections::VecDeque<Vec<(u64, u64)>>>,
}

fn at(clock: &[u32], entry: usize) -> u32 {
    clock.get(entry).copied().unwrap_or(0)
}

fn join(to: &mut Vec<u32>, from: &[u32]) {
    if to.len() < from.len() {
        to.resize(from.len(), 0);
    }
    for (to, &from) in to.iter_mut().zip(from) {
        *to = (*to).max(from);
    }
}

impl Transfers {
    pub(super) fn new(warps: usize) -> Self {
        let clock = |w: usize| (0..warps).map(|k| (k == w) as u32).collect();
        Transfers {
            clocks: (0..warps).map(clock).collect(),
            barriers: HashMap::new(),
            entries: warps,
            boxes: BTreeMap::new(),
            made: 0,
            open: vec![Vec::new(); warps],
            groups: vec![Default::default(); warps],
        }
    }

    pub(super) fn barrier_made(&mut self, address: u64) {
        self.barriers.insert(address, Barrier { entry: self.entries, ..Barrier::default() });
        self.entries += 1;
    }

    pub(super) fn arrived(&mut self, warp: usize, address: u64) {
        let Some(barrier) = self.barriers.get_mut(&address) else { return };
        join(&mut barrier.gathered, &self.clocks[warp]);
        self.clocks[warp][warp] += 1;
    }

    pub(super) fn over(&mut self, address: u64) {
        let Some(barrier) = self.barriers.get_mut(&address) else { return };
        barrier.phases += 1;
        barrier.released.clone_from(&barrier.gathered);
        barrier.released.resize(self.entries.max(barrier.released.len()), 0);
        barrier.released[barrier.entry] = barrier.phases;
    }

    pub(super) fn passed(&mut self, warp: usize, address: u64) {
        let Some(barrier) = self.barriers.get(&address) else { return };
        join(&mut self.clocks[warp], &barrier.released);
    }

    /// A barrier of the whole block.
    pub(super) fn block_barrier(&mut self) {
        let mut all = Vec::new();
        self.clocks.iter().for_each(|clock| join(&mut all, clock));
        for (w, clock) in self.clocks.iter_mut().enumerate() {
            clock.clone_from(&all);
            clock[w] += 1;
        }
    }

    /// The boxes that a range touches, by address.
    fn touched(&self, from: u64, to: u64) -> Vec<u64> {
        let before = self.boxes.range(..to).rev();
        before.take_while(|(_, b)| b.end > from).map(|(&at, _)| at).collect()
    }

    /// A box comes to a range, or a warp writes there: who may still use what was there?
    pub(super) fn replaced(&mut self, warp: usize, from: u64, to: u64) -> Option<Unordered> {
        let mut wrong = None;
        for address in self.touched(from, to) {
            let Some(old) = self.boxes.remove(&address) else { continue };
            let clock = &self.clocks[warp];
            if at(clock, old.barrier) < old.phases {
                wrong = Some(Unordered::Twice);
            }
            let reads = |r: &&Reader| r.warp != warp && r.done.is_none_or(|done| at(clock, r.warp) < done);
            let own = |r: &&Reader| r.warp == warp && r.done.is_none();
            if let Some(reader) = old.readers.iter().find(|r| reads(r) || own(r)) {
                wrong = Some(Unordered::Read(reader.warp));
            }
        }
        wrong
    }

    /// A copy to a range was issued, which reports to the barrier.
    pub(super) fn copied(&mut self, warp: usize, from: u64, bytes: u64, barrier: u64) -> Option<Unordered> {
        let wrong = self.replaced(warp, from, from + bytes);
        let Some(barrier) = self.barriers.get(&barrier) else { return wrong };
        self.made += 1;
        let (barrier, phases) = (barrier.entry, barrier.phases + 1);
        let arrived = Arrived { number: self.made, end: from + bytes, barrier, phases, readers: Vec::new() };
        self.boxes.insert(from, arrived);
        wrong
    }

    /// Whether a range lies in a box.
    pub(super) fn holds(&self, from: u64, bytes: u64) -> bool {
        self.boxes.range(..=from).next_back().is_some_and(|(_, b)| from + bytes <= b.end)
    }

    /// A warp reads a range: at once, or by a wgmma.
    pub(super) fn read(&mut self, warp: usize, from: u64, bytes: u64, later: bool) -> Option<Unordered> {
        let (&address, found) = self.boxes.range_mut(..from + bytes).next_back()?;
        if found.end <= from {
            return None;
        }
        let clock = &self.clocks[warp];
        let done = (!later).then(|| clock[warp]);
        match found.readers.iter_mut().find(|r| r.warp == warp) {
            Some(reader) => reader.done = if reader.done.is_none() || later { None } else { done },
            None => found.readers.push(Reader { warp, done }),
        }
        if later && self.open[warp].last() != Some(&(address, found.number)) {
            self.open[warp].push((address, found.number));
        }
        (at(clock, found.barrier) < found.phases).then_some(Unordered::Early)
    }

    pub(super) fn committed(&mut self, warp: usize) {
        let group = std::mem::take(&mut self.open[warp]);
        self.groups[warp].push_back(group);
    }

    pub(super) fn waited(&mut self, warp: usize, leave: usize) {
        let now = self.clocks[warp][warp];
        while self.groups[warp].len() > leave {
            for (address, number) in self.groups[warp].pop_front().unwrap_or_default() {
                // Another group may read it still.
                let again = |group: &Vec<(u64, u64)>| group.contains(&(address, number));
                if again(&self.open[warp]) || self.groups[warp].iter().any(again) {
                    continue;
                }
                let found = self.boxes.get_mut(&address).filter(|b| b.number == number);
                if let Some(reader) = found.and_then(|b| b.readers.iter_mut().find(|r| r.warp == warp)) {
                    reader.done = Some(now);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Warp 0 copies, warp 1 reads; barrier 8 is full, barrier 16 is empty.
    fn filled() -> Transfers {
        let mut t = Transfers::new(2);
        t.barrier_made(8);
        t.barrier_made(16);
        t.arrived(0, 8);
        assert_eq!(t.copied(0, 1024, 512, 8), None);
        t
    }

    #[test]
    fn a_box_is_read_after_its_phase_was_waited_for() {
        let mut t = filled();
        assert_eq!(t.read(1, 1040, 16, true), Some(Unordered::Early));
        t.over(8);
        assert_eq!(t.read(1, 1040, 16, true), Some(Unordered::Early));
        t.passed(1, 8);
        assert_eq!(t.read(1, 1040, 16, true), None);
        assert_eq!(t.read(1, 1536, 16, true), None, "no box");
    }

    #[test]
    fn a_box_is_replaced_after_its_readers_said_so() {
        for complete in [true, false] {
            let mut t = filled();
            t.over(8);
            t.passed(1, 8);
            t.read(1, 1024, 16, true);
            t.committed(1);
            if complete {
                t.waited(1, 0);
            }
            t.arrived(1, 16);
            t.over(16);
            t.passed(0, 16);
            let expected = if complete { None } else { Some(Unordered::Read(1)) };
            assert_eq!(t.copied(0, 1024, 512, 8), expected);
        }
    }

    #[test]
    fn a_box_is_not_replaced_before_it_is_there() {
        let mut t = filled();
        assert_eq!(t.copied(0, 1280, 512, 8), Some(Unordered::Twice));
    }

    #[test]
    fn a_barrier_of_the_block_tells_all() {
        let mut t = filled();
        t.over(8);
        t.passed(0, 8);
        t.block_barrier();
        assert_eq!(t.read(1, 1024, 16, false), None);
        assert_eq!(t.replaced(0, 1024, 1040), Some(Unordered::Read(1)));
    }
}
