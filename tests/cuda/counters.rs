//! What the emulator counts of the kernels on tensor cores: bank conflicts, sectors, instructions. Fixed rules, and what
//! benches/kernels.json says they were: a kernel may not become worse unnoticed. `scripts/kernel-report.sh --update` writes the
//! file anew, through CONVNET_COUNTERS.

use super::tiles::{conv_backward_filters, conv_backward_image};
use super::{child, device, on_a_card, said};
use convnet::device::cuda::CudaDevice;
use convnet::device::{ConvGeometry, Device, Precision, Shape, Tensor};
use convnet::op::{ConvForward, Neuron, Op};
use serde_json::{Map, Value, json};

/// A convolution of n images of 16 × 16.
fn conv(n: i32, c: i32, k: i32, size: i32) -> ConvGeometry {
    ConvGeometry {
        n,
        h: 16,
        w: 16,
        c,
        k,
        r: size,
        s: size,
        p: 16,
        q: 16,
        stride_h: 1,
        stride_w: 1,
        padding_h: size / 2,
        padding_w: size / 2,
        dilation_h: 1,
        dilation_w: 1,
        groups: 1,
    }
}

/// Runs one operation of two inputs.
fn run<O: Into<Op<Tensor>>>(d: &mut CudaDevice, shapes: [Shape; 3], op: impl Fn([Tensor; 3]) -> O) {
    let numbers = |shape: Shape| (0..shape.elements()).map(|i| (i % 61) as f32 / 61.0).collect();
    super::tiles::run(d, shapes, &[numbers(shapes[0]), numbers(shapes[1])], op);
}

/// Every kernel on tensor cores once. Called by the test below in a process of its own.
#[test]
#[ignore = "a part of another test"]
fn layers() {
    let mut d = device();
    for precision in [Precision::Tf32, Precision::Bf16] {
        d.set_precision(Some(precision));
        // Each pass in the small tile, and in the large one.
        for g in [conv(4, 32, 32, 3), conv(4, 32, 128, 3)] {
            let op = |[x, w, y]: [Tensor; 3]| ConvForward { geometry: g, neuron: Neuron::Relu, x, w, b: None, y };
            run(&mut d, [g.input(), g.filters(), g.output()], op);
        }
        for g in [conv(4, 32, 32, 3), conv(4, 128, 32, 3)] {
            run(&mut d, [g.output(), g.filters(), g.input()], conv_backward_image(g));
        }
        for g in [conv(4, 32, 32, 3), conv(1, 1024, 128, 1)] {
            run(&mut d, [g.input(), g.output(), g.filters()], conv_backward_filters(g));
        }
    }
}

/// Accesses to shared memory have at most 1.05 times the wavefronts that their bytes need, those to device memory at most 1.05
/// times the sectors, and no kernel takes over 3 % more instructions for its arithmetic than benches/kernels.json says.
#[test]
fn kernels_on_tensor_cores_waste_nothing() {
    if on_a_card() {
        return; // only the emulator counts
    }
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("profile");
    let output = child("counters::layers", &[("CONVNET_EMULATOR_PROFILE", profile.to_str().unwrap())]);
    assert!(output.status.success(), "{}", said(&output));
    let counted: Map<String, Value> = serde_json::from_slice(&std::fs::read(&profile).unwrap()).unwrap();

    let update = std::env::var_os("CONVNET_COUNTERS");
    let committed = std::fs::read_to_string("benches/kernels.json").unwrap_or_else(|_| "{}".into());
    let mut committed: Map<String, Value> = serde_json::from_str(&committed).unwrap();
    let mut wrong = Vec::new();
    let sectors = counted.get("round_bf16").map(|c| c["global"]["sectors"] == c["global"]["ideal_sectors"]);
    if sectors != Some(true) {
        wrong.push(format!("round_bf16: sectors that are not full: {:?}", counted.get("round_bf16")));
    }
    for pass in ["forward", "backward_image", "backward_filters"] {
        for variant in ["large_tf32", "large_bf16", "small_tf32", "small_bf16"] {
            let name = format!("conv_{pass}_{variant}");
            let Some(counts) = counted.get(&name) else {
                wrong.push(format!("{name} did not run"));
                continue;
            };
            let of = |path: &str| counts.pointer(path).unwrap().as_f64().unwrap();
            let wavefronts = of("/shared/wavefronts") / of("/shared/ideal_wavefronts");
            let sectors = of("/global/sectors") / of("/global/ideal_sectors");
            let instructions = of("/lane_instructions") / of("/flops") * 1000.0;
            println!("{name}: {wavefronts:.3} wavefronts, {sectors:.3} sectors, {instructions:.2} instructions a thousand FLOPs");
            if wavefronts > 1.05 || sectors > 1.05 {
                wrong.push(format!(
                    "{name}: {wavefronts:.3} times the wavefronts, {sectors:.3} times the sectors that are needed"
                ));
            }
            if update.is_some() {
                let three = |v: f64| (v * 1e3).round() / 1e3;
                let entry = committed.entry(name).or_insert_with(|| json!({}));
                entry["emulator"] = json!({
                    "wavefronts": three(wavefronts),
                    "sectors": three(sectors),
                    "instructions_per_kflop": three(instructions),
                });
                continue;
            }
            let before = committed.get(&name).and_then(|v| v.pointer("/emulator/instructions_per_kflop")?.as_f64());
            if before.is_none_or(|before| instructions > 1.03 * before) {
                wrong.push(format!("{name}: {instructions:.3} instructions a thousand FLOPs, {before:?} before"));
            }
        }
    }
    if let Some(path) = update {
        std::fs::write(path, serde_json::to_string(&committed).unwrap()).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
