//! One layer by itself, its input and the gradient of its output random numbers: what a single-layer benchmark times. Unlike
//! the first layer of a net it makes the gradient of its images too.

use crate::device::philox::{self, Purpose};
use crate::device::{Device, Dtype, Result, Tensor};
use crate::net::alone::{Alone, group};
use crate::net::{Graph, NO_SCRATCH};
use crate::op::{Pass, SgdUpdate, Update, Write};

/// A layer on a device, with memory of its own.
pub(super) struct Single {
    pub alone: Alone,
    pub device: Box<dyn Device>,
    /// Parameter, gradient, momentum.
    learned: Vec<[Tensor; 3]>,
    pub batch: usize,
}

impl Single {
    /// Allocates the only layer of a graph.
    ///
    /// # Errors
    /// The device fails, or is out of memory.
    pub(super) fn new(graph: &Graph, mut device: Box<dyn Device>) -> Result<Self> {
        let alone = Alone::new(graph, &group(graph, 0), device.as_ref());
        let mut bytes = alone.bytes.next_multiple_of(256);
        let mut learned = Vec::new();
        for v in alone.variables.iter().filter(|v| v.parameter.is_some()) {
            let Some(gradient) = v.gradient else { continue };
            let mut momentum = v.tensor;
            momentum.slot.0 = bytes;
            bytes += momentum.bytes().next_multiple_of(256);
            learned.push([v.tensor, gradient, momentum]);
        }
        device.allocate(bytes)?;
        let gradient = alone.output.map(|[_, gradient]| gradient);
        for (i, t) in alone.variables.iter().map(|v| v.tensor).chain(gradient).enumerate() {
            scatter(device.as_mut(), t, i as u32)?;
        }
        let batch = graph.images.n;
        device.set_step(super::step_values(batch))?;
        Ok(Self { alone, device, learned, batch })
    }

    /// Queues forward, backward and update.
    pub(super) fn step(&mut self) -> Result<()> {
        self.alone.run(self.device.as_mut(), Pass::Forward, Write::Set)?;
        self.alone.run(self.device.as_mut(), Pass::Backward, Write::Set)?;
        self.update()
    }

    /// Queues the forward pass of a test.
    pub(super) fn forward(&mut self) -> Result<()> {
        let Self { alone, device, .. } = self;
        alone.test.pass(Pass::Forward).try_for_each(|(step, scratch)| device.run(&step.op, *scratch))
    }

    /// Queues the update of its parameters.
    pub(super) fn update(&mut self) -> Result<()> {
        let update = Update::new(1.0, super::RULE.weight_decay);
        let op = |&[w, g, v]: &[Tensor; 3]| SgdUpdate { update, w, g, v, factor: None }.into();
        self.learned.iter().try_for_each(|tensors| self.device.run(&op(tensors), NO_SCRATCH))
    }

    /// Whether a tensor is a parameter's gradient.
    pub(super) fn is_gradient(&self, t: &Tensor) -> bool {
        self.learned.iter().any(|[_, g, _]| g.slot == t.slot)
    }

    /// Bytes that an update reads and writes.
    pub(super) fn update_bytes(&self) -> u64 {
        self.learned.iter().map(|[w, ..]| 5 * w.bytes() as u64).sum()
    }

    /// Parameters that are learned.
    pub(super) fn parameter_count(&self) -> usize {
        self.learned.iter().map(|[w, ..]| w.shape.elements()).sum()
    }

    /// Waits for everything queued.
    pub(super) fn wait(&mut self) -> Result<()> {
        let probe = self.alone.variables[0].tensor.part(0, 1);
        self.device.read(probe, &mut vec![0; probe.bytes()])
    }
}

/// Writes random numbers between 0 and 1, the same for the same key, into a tensor of reals: a block of them over and over, a
/// number of elements that is no power of two, so that rows differ.
pub(super) fn scatter(device: &mut dyn Device, to: Tensor, key: u32) -> Result<()> {
    const PERIOD: usize = 9973;
    let block = |i: usize| philox::block(1, Purpose::Data, key, 0, i as u64);
    let some: Vec<f32> = (0..PERIOD.div_ceil(4)).flat_map(block).map(philox::uniform).take(PERIOD).collect();
    let values = || some.iter().copied().cycle().take(to.shape.elements());
    match to.dtype {
        Dtype::F64 => device.write(to, bytemuck::cast_slice(&values().map(f64::from).collect::<Vec<_>>())),
        _ => device.write(to, bytemuck::cast_slice(&values().collect::<Vec<_>>())),
    }
}
