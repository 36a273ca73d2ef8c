//! The step's values on the card. Kernels read them from there, so that a recorded step can be replayed with new ones.
//! They travel by a queued copy from a ring of pinned memory: setting them waits for nothing that was queued.

use super::driver::{Address, Answer, Context, Event, Memory, Pinned, Stream};
use crate::device::StepValues;
use bytemuck::{Pod, Zeroable};
use std::rc::Rc;

/// As the kernels see them: `StepValues` in kernels/common.cuh.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Values {
    seed: u64,
    step: u64,
    first_image: u32,
    images: u32,
    gradient_scale: f32,
    learning_rate: f32,
    momentum: f32,
    unused: u32,
}
const BYTES: usize = size_of::<Values>();
const _: () = assert!(BYTES == 40);

/// Values that may be on their way at once.
const SLOTS: usize = 16;

/// The values on the card, and the ring that they come from.
pub struct Step {
    on_card: Memory,
    ring: Pinned,
    copied: Vec<Event>,
    next: usize,
}

impl Step {
    /// Zeros.
    pub fn new(context: &Rc<Context>, stream: &Stream) -> Answer<Self> {
        let on_card = Memory::new(context, BYTES)?;
        stream.clear(&on_card)?;
        let copied = (0..SLOTS).map(|_| Event::new(context)).collect::<Answer<_>>()?;
        Ok(Self { on_card, ring: Pinned::new(context, SLOTS * BYTES)?, copied, next: 0 })
    }

    /// Where the kernels find them.
    pub fn at(&self) -> Address {
        self.on_card.start()
    }

    /// Queues new values.
    pub fn set(&mut self, values: &StepValues, stream: &Stream) -> Answer {
        let values = Values {
            seed: values.seed,
            step: values.step,
            first_image: values.first_image,
            images: values.images,
            gradient_scale: values.gradient_scale as f32,
            learning_rate: values.learning_rate as f32,
            momentum: values.momentum as f32,
            unused: 0,
        };
        let (slot, copied) = (self.next * BYTES..(self.next + 1) * BYTES, &self.copied[self.next]);
        copied.wait()?; // of sixteen settings ago: done, as a rule
        self.ring[slot.clone()].copy_from_slice(bytemuck::bytes_of(&values));
        stream.copy_in(self.on_card.start(), &self.ring[slot])?;
        stream.record(copied)?;
        self.next = (self.next + 1) % SLOTS;
        Ok(())
    }
}
