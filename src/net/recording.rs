//! A walk over the net that is queued again and again: a device that can records it, and then queues it by one call.
//!
//! A training pass is some kernels a layer, each a call of the driver of a few microseconds; on a small net the calls, not the
//! kernels, are what a step waits for. Replayed, all are one call, and give the same bits.

use crate::device::{Device, GraphId, Result};

/// What is known of one walk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Recording {
    /// It was not run yet.
    #[default]
    New,
    /// It ran: the driver has loaded its kernels, so that it may be recorded.
    Ran,
    /// It is replayed.
    Made(GraphId),
}

impl Recording {
    /// Queues the walk: plainly the first time, and on a device that records nothing; else by a recording. The walk must
    /// queue the same operations every time, and nothing that waits.
    pub(super) fn queue(&mut self, device: &mut dyn Device, mut walk: impl FnMut(&mut dyn Device) -> Result<()>) -> Result<()> {
        match *self {
            Self::Made(graph) => return device.replay(graph),
            Self::Ran if device.record()? => {
                let walked = walk(device);
                // Ended in any case: while it is recorded, nothing runs.
                let made = device.finish_recording();
                walked?;
                if let Some(graph) = made? {
                    *self = Self::Made(graph);
                    return device.replay(graph);
                }
            }
            _ => {}
        }
        walk(device)?;
        *self = Self::Ran;
        Ok(())
    }
}
