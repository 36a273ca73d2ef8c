//! The kernels of capability 9.0, wgmma fed by bulk tensor copies: on the emulator as such a card. On a GPU they are tested where it
//! is one.

use super::common::{LENET, setup};
use super::tiles::{check, conv_backward_image, conv_forward, product};
use super::{child, device, on_a_card, said};
use convnet::device::cuda::{CudaDevice, available};
use convnet::device::{ConvGeometry, Device, Precision, ProductGeometry, Shape};
use convnet::train::Trainer;
use convnet::verify::{Case, cases, random_case, results, run};
use serde_json::{Map, Value};

/// Whether there are such kernels and a card for them. All builds have them but those for architectures that leave 9.0 out.
fn can_run() -> bool {
    let built = option_env!("CONVNET_CUDA_ARCHS").is_none_or(|archs| archs.split([',', ' ']).any(|arch| arch == "90a"));
    built && (!on_a_card() || available().is_ok_and(|cards| cards[0].capability == (9, 0)))
}

/// A device that takes them wherever it can.
fn hopper(precision: Precision) -> CudaDevice {
    let mut device = device();
    assert!(device.has_wgmma(), "{:?}", device.info());
    device.always_wgmma();
    assert_eq!(device.set_precision(Some(precision)), precision);
    device
}

/// Runs a test of this file in a process of its own, on the emulator as a card of capability 9.0, which must find nothing where it
/// checks; answers what it counted of each kernel.
fn run_apart(test: &str, checked: bool) -> Map<String, Value> {
    let folder = tempfile::tempdir().unwrap();
    let [report, profile] = ["findings", "profile"].map(|name| folder.path().join(name));
    let variables = [
        ("CONVNET_EMULATOR_CAPABILITY", "90"),
        ("CONVNET_EMULATOR_CHECK", if checked { "1" } else { "0" }),
        ("CONVNET_EMULATOR_REPORT", report.to_str().unwrap()),
        ("CONVNET_EMULATOR_PROFILE", profile.to_str().unwrap()),
    ];
    let output = child(test, if on_a_card() { &[] } else { &variables });
    assert!(output.status.success(), "{}", said(&output));
    let findings = std::fs::read_to_string(&report).unwrap_or_default();
    assert!(findings.is_empty(), "the emulator found:\n{findings}");
    std::fs::read(&profile).map_or_else(|_| Map::new(), |text| serde_json::from_slice(&text).unwrap())
}

/// The cases of passes that the kernels compute.
fn passes(all: Vec<Case>) -> Vec<Case> {
    let takes = ["conv_forward", "conv_backward_image", "product"];
    all.into_iter().filter(|case| takes.contains(&case.operation())).collect()
}

/// Called by the test below in a process of its own.
#[test]
#[ignore = "a part of another test"]
fn table() {
    [Precision::Tf32, Precision::Bf16].into_iter().for_each(table_in);
}

fn table_in(precision: Precision) {
    let mut device = hopper(precision);
    super::fused::convolutions(&mut device);
    let cases = passes(cases().into_iter().chain((0..150).map(random_case)).collect());
    let outcomes = run(&mut device, &cases).unwrap_or_else(|error| panic!("{error}"));
    let failed: Vec<String> = outcomes.iter().filter(|o| !o.passed).map(ToString::to_string).collect();
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), outcomes.len(), failed.join("\n"));

    let mut other = hopper(precision);
    let some: Vec<Case> = cases.into_iter().step_by(5).collect();
    let [first, second] = [&mut device, &mut other].map(|device| results(device, &some).unwrap());
    for ((case, a), b) in some.iter().zip(first).zip(second) {
        assert_eq!(a, b, "{case}: two devices made different bits");
    }
}

/// Fused convolutions against their parts; the conformance table's convolutions and products, and random ones, against the CPU in
/// f64; two devices make the same bits.
#[test]
fn passes_agree_with_the_reference() {
    if can_run() {
        run_apart("hopper::table", true);
    }
}

/// Called by the test below in a process of its own.
#[test]
#[ignore = "a part of another test"]
fn large() {
    [Precision::Tf32, Precision::Bf16].into_iter().for_each(large_in);
}

fn large_in(precision: Precision) {
    let d = &mut hopper(precision);
    let dense = ConvGeometry {
        n: 8,
        h: 11,
        w: 9,
        c: 48,
        k: 240,
        r: 3,
        s: 3,
        p: 11,
        q: 9,
        stride_h: 1,
        stride_w: 1,
        padding_h: 1,
        padding_w: 1,
        dilation_h: 1,
        dilation_w: 1,
        groups: 1,
    };
    let sparse = ConvGeometry {
        c: 64,
        k: 128,
        p: 6,
        q: 3,
        stride_h: 2,
        stride_w: 3,
        padding_h: 2,
        padding_w: 0,
        dilation_h: 2,
        groups: 2,
        ..dense
    };
    // Few rows and columns, and a long sum, which is split.
    let long = ConvGeometry { n: 1, h: 4, w: 4, c: 256, k: 16, p: 4, q: 4, ..dense };
    let turned = |g: ConvGeometry| ConvGeometry { c: g.k, k: g.c, ..g };
    for g in [dense, sparse, long] {
        let shapes = [g.input(), g.filters(), g.output()];
        check(d, &[precision], shapes, g.filters().image(), conv_forward(g));
        let g = turned(g);
        let (shapes, terms) = ([g.output(), g.filters(), g.input()], (g.k / g.groups * g.r * g.s) as usize);
        check(d, &[precision], shapes, terms, conv_backward_image(g));
    }
    for (m, n, k, transpose_b) in [(130, 304, 80, 1), (7, 16, 2000, 1), (130, 304, 80, 0)] {
        let p = ProductGeometry { m, n, k, transpose_a: 0, transpose_b };
        let b = if transpose_b == 1 { [n, k] } else { [k, n] };
        let shape = |[rows, columns]: [i32; 2]| Shape::new(rows as usize, 1, 1, columns as usize);
        let shapes = [shape([m, k]), shape(b), shape([m, n])];
        check(d, &[precision], shapes, k as usize, product(p));
    }
}

/// Both tiles, partial ones, groups, phases, sums in parts, against numbers that were rounded as bulk copies do: every kernel
/// runs, and reads whole sectors of device memory.
#[test]
fn large_geometries_run_every_kernel() {
    if !can_run() {
        return;
    }
    let counted = run_apart("hopper::large", true);
    if on_a_card() {
        return; // only the emulator counts
    }
    let kernels = ["forward", "backward_image"].map(|pass| ["wide", "narrow"].map(|tile| format!("conv_{pass}_{tile}")));
    let both = |name: &String| ["tf32", "bf16"].map(|precision| format!("{name}_{precision}"));
    for name in kernels.iter().flatten().flat_map(both) {
        let counts = counted.get(&name).unwrap_or_else(|| panic!("{name} did not run"));
        let of = |path: &str| counts.pointer(path).unwrap().as_f64().unwrap();
        let sectors = of("/global/sectors") / of("/global/ideal_sectors");
        println!("{name}: {sectors:.3} sectors");
        assert!(sectors <= 1.05, "{name} moves {sectors:.3} times the sectors that are needed");
    }
}

/// Called by the test below in a process of its own.
#[test]
#[ignore = "a part of another test"]
fn lenet() {
    let train = |device: CudaDevice, precision: Precision| {
        let device = Box::new(device) as Box<dyn Device>;
        let precision = format!("train.precision={precision}");
        let sets = ["data.train_images=64", "train.batch=8", "train.learning_rate=0.001", &precision];
        let mut trainer = Trainer::new(setup(LENET, &sets), device).unwrap();
        (0..4).for_each(|_| trainer.one_step().unwrap());
        trainer.net().metrics().unwrap()[0].1.loss
    };
    let exact = train(device(), Precision::F32);
    for (precision, share) in [(Precision::Tf32, 0.005), (Precision::Bf16, 0.02)] {
        let [first, second] = [(); 2].map(|()| train(hopper(precision), precision));
        println!("{precision} {first}, f32 {exact}");
        assert_eq!(first.to_bits(), second.to_bits(), "the same seed lost {first} and {second}");
        assert!(first != exact && (first - exact).abs() <= share * exact, "{precision} {first}, f32 {exact}");
    }
}

/// LeNet loses over four steps what it does in f32 to within 0.5 % (bf16: 2 %), and the same bits each time.
#[test]
fn lenet_trains() {
    if can_run() {
        let counted = run_apart("hopper::lenet", false);
        assert!(on_a_card() || counted.contains_key("conv_forward_narrow_tf32"), "{counted:?}");
    }
}
