//! Operands of products on tensor cores that cannot be read where they lie: kernels/operands.cu.

use super::CudaDevice;
use super::driver::{Address, Argument};
use crate::device::Result;

/// What a copy consists of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Element {
    F32,
    Bf16,
}

impl Element {
    /// How many are the 16 bytes that tensor cores' kernels read at once.
    pub(super) fn chunk(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 8,
        }
    }

    /// What it is multiplied as, in the names of tensor cores' kernels.
    pub(super) fn rounding(self) -> &'static str {
        match self {
            Self::F32 => "tf32",
            Self::Bf16 => "bf16",
        }
    }
}

/// A copy of rows of channels, with zeros after them up to a whole chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Copy {
    pub element: Element,
    pub rows: usize,
    pub channels: usize,
    /// Elements from one row to the next, of what is copied.
    pub pitch: usize,
}

impl Copy {
    fn padded(&self) -> usize {
        self.channels.next_multiple_of(self.element.chunk())
    }

    /// Its bytes, a multiple of 256.
    pub(super) fn bytes(&self) -> usize {
        (self.rows * self.padded() / self.element.chunk() * 16).next_multiple_of(256)
    }

    /// Whether it takes more than twice the memory of what it copies.
    pub(super) fn is_bloated(&self) -> bool {
        16 * self.padded() / self.element.chunk() > 2 * size_of::<f32>() * self.channels
    }

    /// Bytes that are moved to make it.
    pub(super) fn moved(&self) -> usize {
        self.rows * self.channels * size_of::<f32>() + self.bytes()
    }

    /// Queues the copying.
    pub(super) fn queue(&self, d: &CudaDevice, from: Address, to: Address) -> Result<()> {
        // Rows without padding or gaps are one.
        let rows = if self.channels == self.padded() && self.pitch == self.channels { 1 } else { self.rows.max(1) };
        let fours = self.rows * self.padded() / 4;
        let (per_row, channels) = (fours / rows, self.rows * self.channels / rows);
        let pitch = self.pitch as i64;
        let vector = i32::from(self.channels.is_multiple_of(4) && self.pitch.is_multiple_of(4) && from.on_16_bytes());
        let kernel = match self.element {
            Element::F32 => "pad_f32",
            Element::Bf16 => "round_bf16",
        };
        let sizes: [&dyn Argument; 4] = [&(fours as u32), &(per_row as u32), &(channels as i64), &pitch];
        d.launch(kernel, d.over(fours), &[&sizes[..], &[&vector, &from, &to]].concat())
    }
}
