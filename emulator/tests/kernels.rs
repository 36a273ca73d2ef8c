//! Kernels as nvcc compiles them, run through cudarc and compared with the host.

mod support;

use cudarc::driver::{LaunchConfig, PushKernelArg};
use half::{bf16, f16};
use support::{context, module};

/// A fixed sequence of numbers in [-1, 1), the same on every machine.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2654435761).wrapping_add(1);
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn config(grid: u32, block: u32, shared: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (grid, 1, 1), block_dim: (block, 1, 1), shared_mem_bytes: shared }
}

fn assert_close(got: &[f32], wanted: &[f64], bound: f64) {
    assert_eq!(got.len(), wanted.len());
    let error = |k: usize| (got[k] as f64 - wanted[k]).abs() / wanted[k].abs().max(1.0);
    let worst = (0..got.len()).max_by(|&a, &b| error(a).total_cmp(&error(b))).expect("elements");
    assert!(error(worst) <= bound, "element {worst}: got {}, wanted {}, bound {bound}", got[worst], wanted[worst]);
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Shape {
    n: i32,
    scale: f32,
    pad: [i32; 4],
}
// SAFETY: plain numbers, laid out as the kernels declare them.
unsafe impl cudarc::driver::DeviceRepr for Shape {}

#[test]
fn a_tiled_matrix_product_with_partial_tiles() {
    let (context, stream) = context();
    let f = module(&context, "kernels").load_function("gemm").expect("gemm");
    let (m, n, k) = (37usize, 45, 51);
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let (da, db) = (stream.clone_htod(&a).unwrap(), stream.clone_htod(&b).unwrap());
    let mut dc = stream.alloc_zeros::<f32>(m * n).unwrap();
    let grid = LaunchConfig { grid_dim: (3, 3, 1), block_dim: (16, 16, 1), shared_mem_bytes: 0 };
    let (mi, ni, ki) = (m as i32, n as i32, k as i32);
    // SAFETY: the arguments are those the kernel declares; so in every launch below.
    unsafe { stream.launch_builder(&f).arg(&da).arg(&db).arg(&mut dc).arg(&mi).arg(&ni).arg(&ki).launch(grid) }.unwrap();
    let wanted: Vec<f64> = (0..m * n).map(|e| (0..k).map(|i| a[e / n * k + i] as f64 * b[i * n + e % n] as f64).sum()).collect();
    assert_close(&stream.clone_dtoh(&dc).unwrap(), &wanted, 1e-5);
}

#[test]
fn the_usual_functions_on_float4() {
    let (context, stream) = context();
    let f = module(&context, "kernels").load_function("functions").expect("functions");
    let n = 200usize;
    let x: Vec<f32> = numbers(4 * n, 3).iter().map(|v| v * 5.0).collect();
    let dx = stream.clone_htod(&x).unwrap();
    let mut dy = stream.alloc_zeros::<f32>(4 * n).unwrap();
    let shape = Shape { n: n as i32, scale: 1.5, pad: [2, 3, 5, 7] };
    // SAFETY: see the first test.
    unsafe { stream.launch_builder(&f).arg(&shape).arg(&dx).arg(&mut dy).launch(config(2, 128, 0)) }.unwrap();
    let wanted: Vec<f64> = (0..4 * n)
        .map(|e| {
            let (v, i) = (x[e] as f64, e / 4);
            match e % 4 {
                0 => v.exp(),
                1 => (v.abs() + 0.1f32 as f64).ln(),
                2 => v.tanh() * 1.5,
                _ => v.abs().powf(1.5) + v.sin() / shape.pad[i & 3] as f64,
            }
        })
        .collect();
    assert_close(&stream.clone_dtoh(&dy).unwrap(), &wanted, 2e-6);
}

#[test]
fn sums_through_shuffles_dynamic_shared_memory_and_atomics() {
    let (context, stream) = context();
    let f = module(&context, "kernels").load_function("sum").expect("sum");
    let (blocks, n) = (7usize, 300);
    let x = numbers(blocks * n, 4);
    let dx = stream.clone_htod(&x).unwrap();
    let mut out = stream.alloc_zeros::<f32>(blocks).unwrap();
    let mut counter = stream.alloc_zeros::<i32>(1).unwrap();
    let ni = n as i32;
    let mut launch = stream.launch_builder(&f);
    // SAFETY: see the first test.
    unsafe { launch.arg(&dx).arg(&mut out).arg(&mut counter).arg(&ni).launch(config(blocks as u32, 128, 16)) }.unwrap();
    let wanted: Vec<f64> = x.chunks(n).map(|c| c.iter().map(|&v| v as f64).sum()).collect();
    assert_close(&stream.clone_dtoh(&out).unwrap(), &wanted, 1e-5);
    assert_eq!(stream.clone_dtoh(&counter).unwrap(), [blocks as i32]);
}

#[test]
fn integer_arithmetic() {
    let (context, stream) = context();
    let f = module(&context, "kernels").load_function("integers").expect("integers");
    let n = 100usize;
    let x: Vec<i32> = (0..n as i32).map(|i| (i * 7919 - 300_000).wrapping_mul(i + 13)).collect();
    let dx = stream.clone_htod(&x).unwrap();
    let mut dy = stream.alloc_zeros::<i32>(n).unwrap();
    let ni = n as i32;
    // SAFETY: see the first test.
    unsafe { stream.launch_builder(&f).arg(&dx).arg(&mut dy).arg(&ni).launch(config(1, 128, 0)) }.unwrap();
    let wanted: Vec<i32> = (0..n)
        .map(|i| {
            let v = x[i];
            let warp = i / 32 * 32;
            let odd = (warp..(warp + 32).min(n)).filter(|&k| x[k] & 1 != 0).count() as i32;
            let wide = (v as i64 * 1000003 / 17) >> 3;
            (v / 7 + v % 13 + odd)
                .wrapping_add(wide as i32)
                .wrapping_add(v.leading_zeros() as i32)
                .wrapping_add(((v as i64 * 123456789) >> 32) as i32)
        })
        .collect();
    assert_eq!(stream.clone_dtoh(&dy).unwrap(), wanted);
}

#[test]
fn calls_a_switch_and_local_memory() {
    let (context, stream) = context();
    let f = module(&context, "kernels").load_function("calls").expect("calls");
    let x = numbers(96, 5);
    let mut dx = stream.clone_htod(&x).unwrap();
    let shape = Shape { n: 6, scale: 2.0, pad: [10, 20, 30, 40] };
    // SAFETY: see the first test.
    unsafe { stream.launch_builder(&f).arg(&shape).arg(&mut dx).launch(config(1, 32, 0)) }.unwrap();
    let wanted: Vec<f64> = (0..32)
        .map(|i| {
            let v = x[i] as f64 * 2.0 + 30.0;
            match i & 7 {
                0 => v + 1.0,
                1 => v * 2.0,
                2 => v - 3.0,
                3 => -v,
                4 => v / 3.0,
                5 => v + x[i + 32] as f64,
                _ => 0.0,
            }
        })
        .collect();
    assert_close(&stream.clone_dtoh(&dx).unwrap()[..32], &wanted, 1e-6);
}

#[test]
fn diverging_loops_early_exits_and_barriers() {
    let (context, stream) = context();
    let f = module(&context, "kernels").load_function("torture").expect("torture");
    let n = 500usize;
    let limits: Vec<i32> = (0..n as i32).map(|i| i * 37 % 41).collect();
    let dl = stream.clone_htod(&limits).unwrap();
    let mut out = stream.alloc_zeros::<i32>(n).unwrap();
    let ni = n as i32;
    // SAFETY: see the first test.
    unsafe { stream.launch_builder(&f).arg(&dl).arg(&mut out).arg(&ni).launch(config(2, 256, 0)) }.unwrap();
    let total = |i: usize| {
        let (t, mut total) = ((i % 256) as i32, 0);
        for a in 0..limits[i] {
            if a % 3 == 1 {
                continue;
            }
            let mut b = 0;
            while b * b <= a + t {
                total += if (a ^ b) % 5 == 4 { 7 } else { b };
                b += 1;
            }
            if total > 1000 {
                break;
            }
        }
        total
    };
    let wanted: Vec<i32> = (0..n).map(|i| total(i) + if i % 256 > 0 { total(i - 1) } else { 0 }).collect();
    assert_eq!(stream.clone_dtoh(&out).unwrap(), wanted);
}

#[test]
fn tensor_cores_fed_by_ldmatrix_and_cp_async() {
    let (context, stream) = context();
    let f = module(&context, "kernels").load_function("tensor").expect("tensor");
    let half = |v: Vec<f32>| v.into_iter().map(f16::from_f32).collect::<Vec<_>>();
    let (a, b) = (half(numbers(256, 6)), half(numbers(128, 7)));
    let (da, db) = (stream.clone_htod(&a).unwrap(), stream.clone_htod(&b).unwrap());
    let mut d = stream.alloc_zeros::<f32>(128).unwrap();
    // SAFETY: see the first test.
    unsafe { stream.launch_builder(&f).arg(&da).arg(&db).arg(&mut d).launch(config(1, 32, 0)) }.unwrap();
    let wanted: Vec<f64> = (0..128)
        .map(|e| {
            let (row, column) = (e / 8, e % 8);
            let c = 1 + column % 2 + 2 * (row / 8);
            c as f64 + (0..16).map(|k| a[row * 16 + k].to_f64() * b[k * 8 + column].to_f64()).sum::<f64>()
        })
        .collect();
    assert_close(&stream.clone_dtoh(&d).unwrap(), &wanted, 1e-6);
}

#[test]
fn halves_alone_and_in_pairs() {
    let (context, stream) = context();
    let f = module(&context, "kernels").load_function("halves").expect("halves");
    let h: Vec<f16> = numbers(64, 8).into_iter().map(f16::from_f32).collect();
    let b: Vec<bf16> = numbers(32, 9).into_iter().map(bf16::from_f32).collect();
    let x = numbers(32, 10);
    let (mut dh, mut db, dx) = (stream.clone_htod(&h).unwrap(), stream.clone_htod(&b).unwrap(), stream.clone_htod(&x).unwrap());
    // SAFETY: see the first test.
    unsafe { stream.launch_builder(&f).arg(&mut dh).arg(&mut db).arg(&dx).launch(config(1, 32, 0)) }.unwrap();
    let wanted_h: Vec<f16> = (0..64)
        .map(|e| {
            let c = f16::from_f32(if e % 2 == 0 { x[e / 2] } else { -x[e / 2] });
            f16::from_f64(h[e].to_f64() * h[e].to_f64() + c.to_f64())
        })
        .collect();
    let product = |i: usize| bf16::from_f32(bf16::from_f32(x[i]).to_f32() * b[i].to_f32());
    let apart: Vec<bf16> = (0..32).map(|i| bf16::from_f32(product(i).to_f32() + 0.5)).collect();
    assert_eq!(stream.clone_dtoh(&dh).unwrap(), wanted_h);
    let got = stream.clone_dtoh(&db).unwrap();
    // nvcc may contract the product and the sum.
    for i in 0..32 {
        let fused = bf16::from_f64(bf16::from_f32(x[i]).to_f64() * b[i].to_f64() + 0.5);
        assert!(got[i] == apart[i] || got[i] == fused, "element {i}: got {}, wanted {} or {fused}", got[i], apart[i]);
    }
}
