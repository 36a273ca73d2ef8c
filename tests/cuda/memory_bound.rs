//! That kernels bound by memory are: what they compute must not take longer than what they move.

use super::{child, device, on_a_card, said};
use convnet::device::cuda::CudaDevice;
use convnet::device::{LrnGeometry, PoolGeometry, Shape, Tensor};
use convnet::op::{
    LrnBackward, LrnForward, Neuron, NeuronBackward, NeuronForward, Op, PoolBackward, PoolForward, PoolKind, Response, Target,
};
use serde_json::Value;

const IMAGES: i32 = 2;
const SIDE: i32 = 27;
const CHANNELS: i32 = 96;

/// Pools of AlexNet's kind.
const POOL: PoolGeometry = PoolGeometry {
    n: IMAGES,
    h: SIDE,
    w: SIDE,
    c: CHANNELS,
    p: 13,
    q: 13,
    size_h: 3,
    size_w: 3,
    stride_h: 2,
    stride_w: 2,
    start_h: 0,
    start_w: 0,
};
const LRN: LrnGeometry = LrnGeometry { n: IMAGES, h: SIDE, w: SIDE, c: CHANNELS, size: 5, within: 0, blocked: 0 };

/// Lane-instructions for a byte of device memory: an H100 issues 29.6 × 10¹² a second (132 multiprocessors, 4 warps a cycle,
/// 1.755 GHz), 10.4 for each byte at 85 % of its 3.35 TB/s. Those counted are PTX's, of which an integer division becomes about
/// twenty of the card's, and a comparison and a selection often one.
const MAX: f64 = 10.4;

/// The kernels, and the tensors that each must read or write at least once, by whether they are as large as a pool's input (or
/// else its output).
const KERNELS: [(&str, &[bool]); 8] = [
    ("neuron_forward", &[true, true]),
    ("neuron_backward", &[true, true, true]),
    ("pool_max_forward", &[true, false]),
    ("pool_max_backward", &[true, false, true]),
    ("pool_avg_forward", &[true, false]),
    ("pool_avg_backward", &[false, true]),
    ("lrn_across_forward", &[true, true]),
    ("lrn_across_backward", &[true, true, true]),
];

/// Runs one operation of two inputs.
fn run<O: Into<Op<Tensor>>>(d: &mut CudaDevice, shapes: [Shape; 3], op: impl Fn([Tensor; 3]) -> O) {
    let numbers = |shape: Shape| (0..shape.elements()).map(|i| (i * 37 % 61) as f32 / 61.0).collect();
    super::tiles::run(d, shapes, &[numbers(shapes[0]), numbers(shapes[1])], op);
}

/// Every kernel once. Called by the test below in a process of its own.
#[test]
#[ignore = "a part of another test"]
fn passes() {
    let mut d = device();
    let (large, small) = (POOL.input(), POOL.output());
    let response = Response { alpha: 1e-4, beta: 0.75, k: 1.0 };
    run(&mut d, [large; 3], |[x, _, y]| NeuronForward { neuron: Neuron::Relu, x, y });
    let backward =
        |[y, dy, dx]: [Tensor; 3]| NeuronBackward { neuron: Neuron::Relu, seen: Some(y), dy, dx: Target::set(dx), db: None };
    run(&mut d, [large; 3], backward);
    for kind in [PoolKind::Max, PoolKind::Avg] {
        run(&mut d, [large, large, small], |[x, _, y]| PoolForward { kind, geometry: POOL, x, y });
        run(&mut d, [large, small, large], |[x, dy, dx]| {
            let x = kind.gradient_reads_input().then_some(x);
            PoolBackward { kind, geometry: POOL, neuron: Neuron::NONE, x, y: None, dy, dx: Target::set(dx) }
        });
    }
    run(&mut d, [large; 3], |[x, _, y]| LrnForward { geometry: LRN, response, x, seen: None, y });
    run(&mut d, [large; 3], |[x, dy, dx]| LrnBackward {
        geometry: LRN,
        response,
        x,
        seen: None,
        dy,
        dx: Target::set(dx),
        dseen: None,
    });
}

#[test]
fn kernels_bound_by_memory_compute_little() {
    if on_a_card() {
        return; // only the emulator counts
    }
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("profile");
    let output = child("memory_bound::passes", &[("CONVNET_EMULATOR_PROFILE", profile.to_str().unwrap())]);
    assert!(output.status.success(), "{}", said(&output));
    let counted: Value = serde_json::from_slice(&std::fs::read(&profile).unwrap()).unwrap();
    for (kernel, tensors) in KERNELS {
        let shape = |&large: &bool| if large { POOL.input() } else { POOL.output() };
        let bytes: usize = tensors.iter().map(|t| shape(t).elements() * size_of::<f32>()).sum();
        let instructions = counted[kernel]["lane_instructions"].as_f64().unwrap_or_else(|| panic!("{kernel} did not run"));
        let each = instructions / bytes as f64;
        println!("{kernel}: {each:.2} lane-instructions a byte");
        assert!(each <= MAX, "{kernel}: {each:.2} lane-instructions for each byte that it must move, at most {MAX} wanted");
    }
}
