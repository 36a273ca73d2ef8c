//! The passes of one layer as a bench times them: forward, image gradient, weight gradient, each the operations of the layer's
//! program that make it, with their floating-point operations and bytes.
//!
//! Bytes count every tensor that an operation reads or writes once, one that is added to twice: what is read again from a cache
//! or from memory is the kernel's own affair. A backward pass with multiply-adds is cut in two, by what its operations make;
//! others with parameters (a batch normalisation) make all gradients by one operation, `gradients`.

use crate::device::Tensor;
use crate::net::Planned;
use crate::op::{Access, Pass, Step};

/// One pass of a layer.
#[derive(Clone, Debug)]
pub(super) struct LayerPass {
    /// `forward`, `image gradient`, `weight gradient`, `gradients`.
    pub name: &'static str,
    /// Its operations, each with its scratch.
    pub steps: Vec<(Step<Tensor>, Tensor)>,
    /// Floating-point operations, a multiply-add counted as two.
    pub operations: u64,
    /// Bytes read and written.
    pub bytes: u64,
    /// The tensor that the pass overwrites though it reads it.
    pub spoils: Option<Tensor>,
}

impl LayerPass {
    fn new(name: &'static str, steps: Vec<(Step<Tensor>, Tensor)>) -> Self {
        let operations = steps.iter().map(|(s, _)| 2 * s.op.multiply_adds()).sum();
        let bytes = steps.iter().map(|(s, _)| s.op.bytes()).sum();
        let mut read: Vec<Tensor> = Vec::new();
        let mut spoils = None;
        for (step, _) in &steps {
            step.op.operands(&mut |access, t| {
                if access == Access::Reads {
                    read.push(*t);
                }
            });
            step.op.operands(&mut |access, t| {
                if access == Access::Writes && spoils.is_none() {
                    spoils = read.iter().find(|r| r.slot == t.slot).copied();
                }
            });
        }
        Self { name, steps, operations, bytes, spoils }
    }
}

/// The passes of layer `node` in a training program; `is_gradient` tells the tensors of parameters' gradients.
pub(super) fn of_layer(program: &Planned, nodes: &[usize], is_gradient: &dyn Fn(&Tensor) -> bool) -> Vec<LayerPass> {
    let of = |pass| program.pass(pass).filter(|(s, _)| nodes.contains(&s.node)).copied().collect::<Vec<_>>();
    let written = |step: &Step<Tensor>, of_parameter: bool| {
        let mut any = false;
        step.op.operands(&mut |access, t| any |= access != Access::Reads && is_gradient(t) == of_parameter);
        any
    };
    let backward = of(Pass::Backward);
    let products = backward.iter().any(|(s, _)| s.op.multiply_adds() > 0);
    let (weights, images): (Vec<_>, Vec<_>) = backward.into_iter().partition(|(s, _)| written(s, true));
    let together = weights.iter().any(|(s, _)| written(s, false)) || !products && !weights.is_empty();
    let passes = if together {
        vec![("gradients", weights.into_iter().chain(images).collect())]
    } else {
        vec![("weight gradient", weights), ("image gradient", images)]
    };
    let all = std::iter::once(("forward", of(Pass::Forward))).chain(passes);
    all.filter(|(_, steps)| !steps.is_empty()).map(|(name, steps)| LayerPass::new(name, steps)).collect()
}
