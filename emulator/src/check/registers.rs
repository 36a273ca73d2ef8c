//! Registers that wgmma works on while the warp goes on: from wgmma.mma_async until its group was waited for, nobody else may
//! touch its sums; and what others wrote is seen by it only after a wgmma.fence.

use std::collections::VecDeque;

use crate::ir::Touch;

const CHANGED: u8 = 1;
const IN_FLIGHT: u8 = 2;

/// What is wrong with a touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Early {
    /// Of a sum before its group was waited for.
    InFlight,
    /// Of a product, whose sums were written since the last fence.
    Unfenced,
}

impl Early {
    pub(super) fn detail(self) -> &'static str {
        match self {
            Early::InFlight => "it touches a sum of wgmma.mma_async, whose group was not waited for",
            Early::Unfenced => "its sums were written by another instruction, and no wgmma.fence came between",
        }
    }
}

/// The rows of one warp.
#[derive(Clone, Debug, Default)]
pub(super) struct Registers {
    flags: Vec<u8>,
    open: Vec<u32>,
    groups: VecDeque<Vec<u32>>,
}

impl Registers {
    pub(super) fn new(rows: u32) -> Self {
        Registers { flags: vec![0; rows as usize], open: Vec::new(), groups: VecDeque::new() }
    }

    pub(super) fn touch(&mut self, touch: &Touch) -> Option<Early> {
        let has = |flags: &[u8], rows: &[u32], flag: u8| rows.iter().any(|&r| flags[r as usize] & flag != 0);
        if touch.product {
            let wrong = has(&self.flags, &touch.writes, CHANGED).then_some(Early::Unfenced);
            touch.writes.iter().for_each(|&r| self.flags[r as usize] = IN_FLIGHT);
            self.open.extend_from_slice(&touch.writes);
            return wrong;
        }
        if let (true, [from], [to]) = (touch.copies, &touch.reads[..], &touch.writes[..]) {
            // ptxas renames; the sum is now called otherwise.
            self.flags[*to as usize] = self.flags[*from as usize];
            for group in self.groups.iter_mut().chain([&mut self.open]).filter(|g| g.contains(from)) {
                group.push(*to);
            }
            return None;
        }
        let wrong = has(&self.flags, &touch.reads, IN_FLIGHT) || has(&self.flags, &touch.writes, IN_FLIGHT);
        touch.writes.iter().for_each(|&r| self.flags[r as usize] |= CHANGED);
        wrong.then_some(Early::InFlight)
    }

    pub(super) fn fenced(&mut self) {
        self.flags.iter_mut().for_each(|f| *f &= !CHANGED);
    }

    pub(super) fn committed(&mut self) {
        self.groups.push_back(std::mem::take(&mut self.open));
    }

    pub(super) fn waited(&mut self, leave: usize) {
        while self.groups.len() > leave {
            for row in self.groups.pop_front().unwrap_or_default() {
                if !self.open.contains(&row) && !self.groups.iter().any(|g| g.contains(&row)) {
                    self.flags[row as usize] &= !IN_FLIGHT;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(reads: &[u32], writes: &[u32], copies: bool, product: bool) -> Touch {
        Touch { reads: reads.into(), writes: writes.into(), copies, product }
    }

    #[test]
    fn sums_are_read_after_their_group() {
        let mut r = Registers::new(4);
        assert_eq!(r.touch(&touch(&[], &[1], false, false)), None);
        assert_eq!(r.touch(&touch(&[1], &[1], false, true)), Some(Early::Unfenced));
        r.fenced();
        assert_eq!(r.touch(&touch(&[1], &[1], false, true)), None);
        r.committed();
        assert_eq!(r.touch(&touch(&[1], &[2], true, false)), None, "a copy is a name");
        assert_eq!(r.touch(&touch(&[2], &[3], false, false)), Some(Early::InFlight));
        assert_eq!(r.touch(&touch(&[2], &[2], false, true)), None);
        r.committed();
        r.waited(1);
        assert_eq!(r.touch(&touch(&[2], &[3], false, false)), Some(Early::InFlight));
        r.waited(0);
        assert_eq!(r.touch(&touch(&[2], &[3], false, false)), None);
    }
}
