//! What a card of capability 9.0 has beside the warps, from hand-written PTX: mbarriers, bulk tensor copies, wgmma. In checked
//! mode: right programs are clean, and each planted fault is found.
//!
//! One process of capability 9.0 in checked mode, so the tests here are one test.

mod support;

use std::ffi::c_void;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUtensorMap};
use cudarc::driver::{CudaFunction, CudaSlice, CudaStream, DevicePtr, LaunchConfig, PushKernelArg};
use half::bf16;

/// Registers and addresses that the kernels share: %box is on 1024 bytes, %full and %empty behind it, %out is the result.
fn kernel(name: &str, body: &str) -> String {
    format!(
        ".version 8.0
.target sm_90a
.address_size 64
.extern .shared .align 1024 .b8 dynamic[];
.visible .entry {name}(.param .u64 map_a, .param .u64 map_b, .param .u64 out) {{
    .reg .pred %p, %one, %yes; .reg .b16 %h<4>; .reg .b32 %t, %w, %box, %full, %empty, %r<9>; .reg .b64 %a, %b, %out, %d<9>;
    .reg .f32 %f<64>;
    mov.u32 %t, %tid.x;
    shr.u32 %w, %t, 5;
    setp.eq.u32 %one, %t, 0;
    mov.u32 %box, dynamic;
    add.u32 %full, %box, 65536;
    add.u32 %empty, %box, 65544;
    ld.param.u64 %a, [map_a];
    ld.param.u64 %b, [map_b];
    ld.param.u64 %out, [out];
    @%one mbarrier.init.shared::cta.b64 [%full], 1;
    @%one mbarrier.init.shared::cta.b64 [%empty], 4;
    @%one fence.mbarrier_init.release.cluster;
    bar.sync 0;
{body}
    ret;
}}"
    )
}

/// Waits for a barrier's phase of a parity.
fn wait(barrier: &str, parity: u32) -> String {
    format!(
        "{{ .reg .pred %over;
    AGAIN: mbarrier.try_wait.parity.shared::cta.b64 %over, [{barrier}], {parity};
    @!%over bra AGAIN; }}\n"
    )
}

/// Copies a box of `bytes` from the map in %a or %b to %box plus `at`.
fn copy(map: &str, at: u32, bytes: u32) -> String {
    format!(
        "    add.u32 %r0, %box, {at};
    @%one mbarrier.arrive.expect_tx.shared::cta.b64 _, [%full], {bytes};
    @%one cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r0], [{map}, {{0, 0}}], [%full];\n"
    )
}

/// Writes a box of `words` words to the result, as it lies.
fn dump(words: u32) -> String {
    format!(
        "    mov.u32 %r1, %t;
NEXT:
    mad.lo.u32 %r2, %r1, 4, %box;
    ld.shared.b32 %r3, [%r2];
    mul.wide.u32 %d0, %r1, 4;
    add.u64 %d0, %d0, %out;
    st.global.b32 [%d0], %r3;
    add.u32 %r1, %r1, 128;
    setp.lt.u32 %p, %r1, {words};
    @%p bra NEXT;\n"
    )
}

/// The sums of 64 × 32 in registers from `first` on.
fn sums(first: usize) -> String {
    (first..first + 16).map(|i| format!("%f{i}")).collect::<Vec<_>>().join(", ")
}

/// Fills the sums with zeros.
fn zeros(first: usize) -> String {
    (first..first + 16).map(|i| format!("    mov.f32 %f{i}, 0f00000000;\n")).collect()
}

/// Descriptors of the operands at %box and %box + 8192 in %d1 and %d2: K-major, 128-byte swizzle.
const DESCRIBE: &str =
    "    cvt.u64.u32 %d1, %box; shr.u64 %d1, %d1, 4; or.b64 %d1, %d1, 0x4000004000010000; add.u64 %d2, %d1, 512;\n";

/// Four products of k = 8 of the operands.
fn multiply(first: usize) -> String {
    let one = format!(
        "    wgmma.mma_async.sync.aligned.m64n32k8.f32.tf32.tf32 {{{}}}, %d1, %d2, %yes, 1, 1;
    add.u64 %d1, %d1, 2; add.u64 %d2, %d2, 2;\n",
        sums(first)
    );
    format!("    setp.eq.u32 %yes, 0, 0;\n{}", one.repeat(4))
}

/// Writes the sums, as the ISA's figure has them, to the result of 64 × 32.
fn write(first: usize) -> String {
    let mut text = "    and.b32 %r1, %t, 31; shr.u32 %r2, %r1, 2; and.b32 %r3, %r1, 3; mad.lo.u32 %r2, %w, 16, %r2;
    mul.lo.u32 %r2, %r2, 128; mad.lo.u32 %r2, %r3, 8, %r2; cvt.u64.u32 %d0, %r2; add.u64 %d0, %d0, %out;\n"
        .to_string();
    for i in 0..16 {
        let at = i / 4 * 32 + i % 4 / 2 * 8 * 128 + i % 2 * 4;
        text += &format!("    st.global.f32 [%d0+{at}], %f{};\n", first + i);
    }
    text
}

const COMMIT: &str = "    wgmma.commit_group.sync.aligned;\n";
const FENCE: &str = "    wgmma.fence.sync.aligned;\n";
const DONE: &str = "    wgmma.wait_group.sync.aligned 0;\n";

struct Card {
    stream: Arc<CudaStream>,
    context: Arc<cudarc::driver::CudaContext>,
}

impl Card {
    fn function(&self, name: &str, body: &str) -> CudaFunction {
        let f = support::ptx(&self.context, &kernel(name, body)).load_function(name).expect(name);
        f.set_attribute(sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 66560).unwrap();
        f
    }

    /// Puts a map where a kernel can read it.
    fn upload(&self, map: CUtensorMap) -> CudaSlice<u64> {
        self.stream.clone_htod(&map.opaque).unwrap()
    }

    /// Runs a kernel of one block of 128 threads; the result's words, or the launch's error.
    fn run(&self, name: &str, body: &str, maps: [&CudaSlice<u64>; 2], words: usize) -> Result<Vec<f32>, u32> {
        let f = self.function(name, body);
        let mut out = self.stream.alloc_zeros::<f32>(words).unwrap();
        let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (128, 1, 1), shared_mem_bytes: 66560 };
        // SAFETY: the arguments are those the kernel declares.
        let result = unsafe { self.stream.launch_builder(&f).arg(maps[0]).arg(maps[1]).arg(&mut out).launch(config) };
        result.map_err(|e| e.0 as u32)?;
        Ok(self.stream.clone_dtoh(&out).unwrap())
    }
}

/// A map of a matrix of 32-bit elements (11: to be rounded to tf32; 9: of bf16), its box at the corner.
fn tiled(kind: u32, at: u64, rows: u64, columns: u64, shape: [u32; 2], swizzle: u32) -> CUtensorMap {
    let mut map = CUtensorMap { opaque: [0; 16] };
    let bytes = if kind == 9 { 2 } else { 4 };
    let (sizes, strides, steps) = ([columns, rows], [columns * bytes], [1u32; 2]);
    // SAFETY: arrays of two dimensions; the numbers are values of their enums.
    let result = unsafe {
        sys::cuTensorMapEncodeTiled(
            &mut map,
            std::mem::transmute::<u32, sys::CUtensorMapDataType>(kind),
            2,
            at as *mut c_void,
            sizes.as_ptr(),
            strides.as_ptr(),
            shape.as_ptr(),
            steps.as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            std::mem::transmute::<u32, sys::CUtensorMapSwizzle>(swizzle),
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_NONE,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    };
    assert_eq!(result, sys::CUresult::CUDA_SUCCESS);
    map
}

/// Numbers with few bits, exact in tf32 and bf16.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    (0..n as u32).map(|i| ((i.wrapping_mul(2654435761).wrapping_add(seed) >> 20) % 17) as f32 - 8.0).collect()
}

fn product(a: &[f32], b: &[f32], k: usize) -> Vec<f32> {
    let (m, n) = (a.len() / k, b.len() / k);
    (0..m * n).map(|i| (0..k).map(|j| a[i / n * k + j] * b[i % n * k + j]).sum()).collect()
}

#[test]
fn copies_barriers_and_products() {
    let report = std::env::temp_dir().join(format!("emulator-hopper-{}.jsonl", std::process::id()));
    // SAFETY: this process has one test, and nothing has read the environment yet.
    unsafe {
        std::env::set_var("CONVNET_EMULATOR_CAPABILITY", "90");
        std::env::set_var("CONVNET_EMULATOR_CHECK", "1");
        std::env::set_var("CONVNET_EMULATOR_REPORT", &report);
    }
    let (context, stream) = support::context();
    assert_eq!(context.compute_capability().unwrap(), (9, 0));
    let card = Card { stream: stream.clone(), context };
    let found = || {
        let text = std::fs::read_to_string(&report).unwrap_or_default();
        let _ = std::fs::remove_file(&report);
        text
    };

    // A box with its swizzle, rounded to tf32, zeros outside.
    let uneven: Vec<f32> = (0..30 * 36).map(|i| 1.0 + i as f32 * 1.2345e-4).collect();
    let x = stream.clone_htod(&uneven).unwrap();
    let map = card.upload(tiled(11, x.device_ptr(&stream).0, 30, 36, [32, 64], 3));
    let body = [copy("%a", 0, 8192), wait("%full", 0), dump(2048)].concat();
    let got = card.run("dump_box", &body, [&map, &map], 2048).unwrap();
    for (i, got) in got.iter().enumerate() {
        let (row, chunk) = (i / 32, (i % 32 / 4) ^ (i / 32 % 8));
        let column = chunk * 4 + i % 4;
        let exact = if row < 30 { uneven[row * 36 + column] } else { 0.0 };
        let unit = 2f32.powi(-10);
        let expected = (exact / unit).round_ties_even() * unit;
        assert_eq!(*got, expected, "row {row}, column {column}: {exact}");
    }
    assert_eq!(found(), "", "a copy that is waited for is clean");

    // 64 × 32 over k = 32 in tf32.
    let (a, b) = (numbers(64 * 32, 1), numbers(32 * 32, 2));
    let (da, db) = (stream.clone_htod(&a).unwrap(), stream.clone_htod(&b).unwrap());
    let map_a = card.upload(tiled(11, da.device_ptr(&stream).0, 64, 32, [32, 64], 3));
    let map_b = card.upload(tiled(11, db.device_ptr(&stream).0, 32, 32, [32, 32], 3));
    let maps = [&map_a, &map_b];
    let bring = "    @%one mbarrier.arrive.expect_tx.shared::cta.b64 _, [%full], 12288;
    @%one cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%box], [%a, {0, 0}], [%full];
    add.u32 %r0, %box, 8192;
    @%one cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r0], [%b, {0, 0}], [%full];\n";
    let full = wait("%full", 0);
    let (none, products, written) = (zeros(0), multiply(0), write(0));
    let right = [bring, &full, DESCRIBE, &none, FENCE, &products, COMMIT, DONE, &written].concat();
    let expected = product(&a, &b, 32);
    assert_eq!(card.run("product", &right, maps, 64 * 32).unwrap(), expected);
    assert_eq!(found(), "", "a product that is waited for is clean");

    // bf16 with m and n fastest: A is 16 × 64 and B 16 × 64 (of which 32 columns), by k.
    let (a, b) = (numbers(16 * 64, 3), numbers(16 * 64, 4));
    let halves = |v: &[f32]| v.iter().map(|&x| bf16::from_f32(x).to_bits()).collect::<Vec<u16>>();
    let (ha, hb) = (stream.clone_htod(&halves(&a)).unwrap(), stream.clone_htod(&halves(&b)).unwrap());
    let halves_a = card.upload(tiled(9, ha.device_ptr(&stream).0, 16, 64, [64, 16], 3));
    let halves_b = card.upload(tiled(9, hb.device_ptr(&stream).0, 16, 64, [64, 16], 3));
    let bring_halves = bring.replace("12288", "4096");
    let once = format!(
        "    setp.eq.u32 %yes, 0, 0;
    wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {{{}}}, %d1, %d2, %yes, 1, 1, 1, 1;\n",
        sums(0)
    );

    let body = [&bring_halves, &full, DESCRIBE, &none, FENCE, &once, COMMIT, DONE, &written].concat();
    let turned = |v: &[f32], rows: usize| -> Vec<f32> { (0..rows * 16).map(|i| v[i % 16 * 64 + i / 16]).collect() };
    let got = card.run("product_of_halves", &body, [&halves_a, &halves_b], 64 * 32).unwrap();
    assert_eq!(got, product(&turned(&a, 64), &turned(&b, 32), 16));
    assert_eq!(found(), "");

    // Planted faults: the body, what is found, and the launch's CUresult.
    let release = "    and.b32 %r4, %t, 31; setp.eq.u32 %p, %r4, 0;
    @%p mbarrier.arrive.shared::cta.b64 _, [%empty];\n";
    let empty = wait("%empty", 0);
    let stores: String = (0..24).map(|i| format!("    st.shared.b32 [%r1+{}], %t;\n", i * 4)).collect();
    let stores = format!("    mad.lo.u32 %r1, %t, 96, %box;\n{stores}");
    let uneven_box = copy("%a", 16, 8192);
    let once_more = "    @%one mbarrier.arrive.shared::cta.b64 _, [%full];\n";
    let expect = "    @%one mbarrier.arrive.expect_tx.shared::cta.b64 _, [%full], 16;\n";
    let faults: [(&str, Vec<&str>, &str, u32); 9] = [
        ("read_before_the_wait", vec![bring, DESCRIBE, &none, FENCE, &products, COMMIT, DONE, &written], "async-race", 0),
        ("sums_before_the_wait", vec![bring, &full, DESCRIBE, &none, FENCE, &products, COMMIT, &written, DONE], "in-flight", 0),
        ("no_fence", vec![bring, &full, DESCRIBE, &none, &products, COMMIT, DONE, &written], "in-flight", 0),
        // The stage is filled again after an arrival that came before the products were done.
        (
            "released_early",
            vec![bring, &full, DESCRIBE, &none, FENCE, &products, COMMIT, release, &empty, bring, DONE, &written],
            "async-race",
            0,
        ),
        ("never_brought", vec![expect, &full], "mbarrier", 719),
        ("too_many_arrive", vec![expect, once_more], "mbarrier", 719),
        ("not_initialised", vec!["    @%one mbarrier.arrive.shared::cta.b64 _, [%box];\n"], "mbarrier", 719),
        (
            "written_without_a_fence",
            vec![&stores, "    bar.sync 0;\n", DESCRIBE, &none, FENCE, &products, COMMIT, DONE, &written],
            "missing-fence",
            0,
        ),
        ("box_on_16_bytes", vec![&uneven_box, &full], "bulk-copy", 719),
    ];
    for (name, body, kind, code) in &faults {
        let result = card.run(name, &body.concat(), maps, 64 * 32);
        assert_eq!(result.err().unwrap_or(0), *code, "{name}");
        let text = found();
        assert!(text.lines().any(|l| l.contains(&format!("\"kind\":\"{kind}\""))), "{name}: no {kind} among: {text}");
    }
    // Their repaired twins.
    let fenced = "    fence.proxy.async.shared::cta;\n    bar.sync 0;\n";

    let twins: [(&str, Vec<&str>); 2] = [
        (
            "released_in_time",
            vec![bring, &full, DESCRIBE, &none, FENCE, &products, COMMIT, DONE, release, &empty, bring, &written],
        ),
        ("written_with_a_fence", vec![&stores, fenced, DESCRIBE, &none, FENCE, &products, COMMIT, DONE, &written]),
    ];
    for (name, body) in &twins {
        assert!(card.run(name, &body.concat(), maps, 64 * 32).is_ok(), "{name}");
        assert_eq!(found(), "", "{name} is clean");
    }
}
