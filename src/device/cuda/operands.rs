//! Operands of products on tensor cores that cannot be read where they lie: kernels/operands.cu.

use super::CudaDevice;
use super::driver::Address;
use crate::device::Result;

pub(super) const KERNELS: &[&str] = &["round_bf16", "pad_f32"];

/// What a copy has.
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
}

/// A copy of so many rows of channels, with zeros behind them up to a whole chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Copy {
    pub element: Element,
    pub rows: usize,
    pub channels: usize,
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
        // Rows without padding are one.
        let rows = if self.channels == self.padded() { 1 } else { self.rows.max(1) };
        let fours = self.rows * self.padded() / 4;
        let (per_row, channels) = (fours / rows, self.rows * self.channels / rows);
        let vector = i32::from(self.channels.is_multiple_of(4) && from.on_16_bytes());
        d.launch(
            KERNELS[usize::from(self.element == Element::F32)],
            d.over(fours),
            &[&(fours as u32), &(per_row as u32), &(channels as i64), &vector, &from, &to],
        )
    }
}
