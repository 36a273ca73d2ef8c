//! One layer by itself, its input and the gradient of its output random numbers: what a single-layer benchmark times. Unlike
//! the first layer of a net it makes the gradient of its images too.

use crate::config::LayerSpec;
use crate::device::philox::{self, Purpose};
use crate::device::{Device, Dtype, Into, Result, Shape, Slot, Tensor, Update};
use crate::layer::{Io, KINDS, Layer, Misfit, Pass, Phase, Tensors};

/// A layer on a device, with memory of its own.
pub(super) struct Single {
    pub layer: Box<dyn Layer>,
    pub device: Box<dyn Device>,
    pub tensors: Tensors,
    /// Parameter, gradient, momentum.
    learned: Vec<[Tensor; 3]>,
    pub batch: usize,
}

/// Makes the layer for a batch of images.
///
/// # Errors
/// Its keys, or images that do not fit it.
pub(super) fn layer(spec: &LayerSpec, images: Shape) -> Result<Box<dyn Layer>, Misfit> {
    let kind = KINDS.iter().find(|k| k.name == spec.kind).expect("the config's layer types have been checked");
    let mut layer = (kind.build)(spec, &[images])?;
    if let Some(neuron) = spec.neuron.filter(|_| kind.name != "neuron") {
        layer.fuse(neuron);
    }
    Ok(layer)
}

impl Single {
    /// Allocates it.
    ///
    /// # Errors
    /// The device fails, or has not the memory.
    pub(super) fn new(layer: Box<dyn Layer>, images: Shape, mut device: Box<dyn Device>) -> Result<Self> {
        let real = device.real();
        let mut bytes = 0;
        let mut place = |shape: Shape, dtype: Dtype| {
            let t = Tensor { slot: Slot(bytes), shape, dtype };
            bytes += t.bytes().next_multiple_of(256);
            t
        };
        let specs = layer.parameters();
        let (x, dx) = (place(images, real), place(images, real));
        let (y, dy) = (place(layer.output(), real), place(layer.output(), real));
        let parameters: Vec<Tensor> = specs.iter().map(|p| place(p.shape, real)).collect();
        let mut gradients = |p: &crate::layer::ParameterSpec| p.is_learned().then(|| [(); 2].map(|()| place(p.shape, real)));
        let learned: Vec<Option<[Tensor; 2]>> = specs.iter().map(&mut gradients).collect();
        let kept = place(Shape::new(1, 1, 1, layer.kept()), real);
        let scratch = [Pass::Forward, Pass::Backward]
            .map(|pass| place(Shape::new(1, 1, 1, layer.scratch(device.as_ref(), pass)), Dtype::U8));
        device.allocate(bytes)?;
        let tensors = Tensors {
            inputs: vec![x],
            output: Some(y),
            parameters: parameters.clone(),
            input_gradients: vec![Some((dx, Into::Set))],
            output_gradient: Some(dy),
            parameter_gradients: learned.iter().map(|l| l.map(|[g, _]| (g, Into::Set))).collect(),
            kept: Some(kept),
            forward_scratch: Some(scratch[0]),
            backward_scratch: Some(scratch[1]),
            metrics: None,
        };
        for (i, t) in [x, dy].into_iter().chain(parameters.iter().copied()).enumerate() {
            scatter(device.as_mut(), t, i as u32)?;
        }
        let learned = learned.iter().zip(&parameters).filter_map(|(l, &w)| l.map(|[g, v]| [w, g, v])).collect();
        let batch = images.n;
        let mut single = Self { layer, device, tensors, learned, batch };
        single.device.set_step(super::step_values(batch))?;
        Ok(single)
    }

    /// Queues a pass, with these of its tensors.
    pub(super) fn queue(&mut self, pass: Pass, tensors: &Tensors, phase: Phase) -> Result<()> {
        let io = Io { tensors, phase, accumulate: Into::Set, layer: 0 };
        let device = self.device.as_mut();
        match pass {
            Pass::Forward => self.layer.forward(device, &io),
            Pass::Backward => self.layer.backward(device, &io),
        }
    }

    /// Queues forward, backward and update.
    pub(super) fn step(&mut self) -> Result<()> {
        let tensors = self.tensors.clone();
        self.queue(Pass::Forward, &tensors, Phase::Train)?;
        self.queue(Pass::Backward, &tensors, Phase::Train)?;
        self.update()
    }

    /// Queues the update of its parameters.
    pub(super) fn update(&mut self) -> Result<()> {
        let update = Update::new(1.0, super::RULE.weight_decay);
        self.learned.iter().try_for_each(|&[w, g, v]| self.device.sgd_update(&update, w, g, v, None))
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
        let probe = self.tensors.inputs[0].part(0, 1);
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
