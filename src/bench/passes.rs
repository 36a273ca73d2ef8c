//! The passes of one layer as a bench times them: forward, image gradient, weight gradient, with the operations and bytes that
//! each cannot do without.
//!
//! Bytes count every tensor that a pass reads or writes once, one that is added to twice: what is read again from a cache or
//! from memory is the kernel's own affair. A layer's backward pass is cut in two by leaving out what it is not asked for: one
//! with multiply-adds makes the gradients of its images and of its weights by operations apart. Others with parameters (a batch
//! normalisation) make both by one, `gradients`.

use crate::device::{Into, Tensor};
use crate::layer::{Layer, Pass, Tensors};

/// One pass of a layer.
#[derive(Clone, Debug)]
pub(super) struct LayerPass {
    /// `forward`, `image gradient`, `weight gradient`, `gradients`.
    pub name: &'static str,
    /// Which of the layer's passes it is, or is a part of.
    pub pass: Pass,
    /// The layer's tensors, without those that the pass is not asked for.
    pub tensors: Tensors,
    /// Floating-point operations, a multiply-add counted as two.
    pub operations: u64,
    /// Bytes read and written.
    pub bytes: u64,
    /// The tensor that the pass overwrites though it reads it.
    pub spoils: Option<Tensor>,
}

/// The forward pass of a layer with a plan's tensors.
pub(super) fn forward(layer: &dyn Layer, batch: usize, t: &Tensors) -> LayerPass {
    let stays = |y: &Tensor| layer.is_view() && t.inputs.iter().any(|x| x.slot == y.slot);
    let bytes = if t.output.as_ref().is_some_and(stays) {
        0
    } else {
        t.inputs.iter().chain(&t.parameters).chain(&t.output).map(|t| t.bytes() as u64).sum()
    };
    let spoils = t.output.filter(|y| t.inputs.iter().any(|x| x.slot == y.slot) && !layer.is_view());
    let operations = 2 * layer.multiply_adds() * batch as u64;
    LayerPass { name: "forward", pass: Pass::Forward, tensors: t.clone(), operations, bytes, spoils }
}

/// The backward pass of a layer with a plan's tensors, in one or two parts.
pub(super) fn backward(layer: &dyn Layer, batch: usize, t: &Tensors) -> Vec<LayerPass> {
    let reads = layer.backward_reads();
    let total = |tensors: &mut dyn Iterator<Item = Tensor>| tensors.map(|t| t.bytes() as u64).sum::<u64>();
    let written = |gradients: &[Option<(Tensor, Into)>]| -> u64 {
        let one = |&(t, into): &(Tensor, Into)| t.bytes() as u64 * if into == Into::Add { 2 } else { 1 };
        gradients.iter().flatten().map(one).sum()
    };
    let inputs = total(&mut t.inputs.iter().copied().filter(|_| reads.inputs));
    let output = total(&mut t.output.iter().copied().filter(|_| reads.output));
    let parameters = total(&mut t.parameters.iter().copied());
    let dy = total(&mut t.output_gradient.into_iter());
    let places = |i: usize| layer.passes_gradient(i) || layer.is_view();
    let moved = |i: usize| !places(i) || t.input_gradients[i].map(|g| g.0.slot) != t.output_gradient.map(|g| g.slot);
    let dx: Vec<_> = (0..t.input_gradients.len()).filter(|&i| moved(i)).map(|i| t.input_gradients[i]).collect();
    let products = 2 * layer.multiply_adds() * batch as u64;
    let part = t.input_gradients.iter().flatten().count() as u64;
    let image_products = products * part / t.input_gradients.len().max(1) as u64;
    let spoiled = |gradients: &[Option<(Tensor, Into)>]| {
        let slot = t.output_gradient.map(|g| g.slot);
        gradients.iter().flatten().map(|g| g.0).find(|g| Some(g.slot) == slot)
    };
    let has = |gradients: &[Option<(Tensor, Into)>]| gradients.iter().any(Option::is_some);
    let (images, weights) = (has(&t.input_gradients), has(&t.parameter_gradients));
    let split = products > 0;
    let mut passes = Vec::new();
    if weights && split {
        let tensors = Tensors { input_gradients: vec![None; t.input_gradients.len()], ..t.clone() };
        let bytes = inputs + dy + written(&t.parameter_gradients);
        passes.push(LayerPass {
            name: "weight gradient",
            pass: Pass::Backward,
            tensors,
            operations: products,
            bytes,
            spoils: None,
        });
    }
    if images && (split || !weights) {
        let tensors = Tensors { parameter_gradients: vec![None; t.parameter_gradients.len()], ..t.clone() };
        let nothing = !split && t.output_gradient.is_some() && dx.is_empty();
        let read = if split { parameters } else { inputs + output + parameters };
        let bytes = if nothing { 0 } else { read + dy + written(&dx) };
        let spoils = spoiled(&dx);
        passes.push(LayerPass {
            name: "image gradient",
            pass: Pass::Backward,
            tensors,
            operations: image_products,
            bytes,
            spoils,
        });
    }
    if weights && !split {
        let bytes = inputs + output + parameters + dy + written(&dx) + written(&t.parameter_gradients);
        let spoils = spoiled(&dx);
        passes.push(LayerPass { name: "gradients", pass: Pass::Backward, tensors: t.clone(), operations: 0, bytes, spoils });
    }
    passes
}
