//! Products and convolutions large enough for the kernels' large tiles, in every layout and access width, which the
//! conformance table's small geometries do not reach; and sums that are split into parts.

use super::device;
use convnet::device::cpu::CpuDevice;
use convnet::device::cuda::CudaDevice;
use convnet::device::philox::{Purpose, Stream};
use convnet::device::{ConvGeometry, Device, Dtype, Precision, ProductGeometry, Shape, Slot, Tensor};
use convnet::op::{
    ConvBackwardFilters, ConvBackwardImage, ConvForward, LocalBackwardFilters, LocalBackwardImage, LocalForward, Neuron, Op,
    Product, Target,
};

/// A convolution's forward pass, on images and filters.
pub(super) fn conv_forward(geometry: ConvGeometry) -> impl Fn([Tensor; 3]) -> ConvForward<Tensor> {
    move |[x, w, y]| ConvForward { geometry, neuron: Neuron::NONE, x, w, b: None, y }
}

/// Its image gradient, on the output's gradient and filters.
pub(super) fn conv_backward_image(geometry: ConvGeometry) -> impl Fn([Tensor; 3]) -> ConvBackwardImage<Tensor> {
    move |[dy, w, dx]| ConvBackwardImage { geometry, neuron: Neuron::NONE, dy, w, seen: None, dx: Target::set(dx) }
}

/// Its filter gradient, on images and the output's gradient.
pub(super) fn conv_backward_filters(geometry: ConvGeometry) -> impl Fn([Tensor; 3]) -> ConvBackwardFilters<Tensor> {
    move |[x, dy, dw]| ConvBackwardFilters { geometry, x, dy, dw: Target::set(dw) }
}

/// A product of two matrices.
pub(super) fn product(geometry: ProductGeometry) -> impl Fn([Tensor; 3]) -> Product<Tensor> {
    move |[a, b, c]| Product { geometry, neuron: Neuron::NONE, a, b, bias: None, c: Target::set(c) }
}

/// Runs one operation of two inputs on both devices; `op` makes it from both inputs and the result.
/// Every element must lie within ε·(4 + √terms)·Σ|terms| of the f64 reference, as in `convnet::verify`. The reference multiplies
/// numbers that were rounded here, to one of these precisions, so that only the sum differs: a tensor core may cut off bits once
/// in eight terms, ε·terms/8 more.
pub(super) fn check<O: Into<Op<Tensor>>>(
    device: &mut CudaDevice,
    precisions: &[Precision],
    shapes: [Shape; 3],
    terms: usize,
    op: impl Fn([Tensor; 3]) -> O,
) {
    let what: Op<Tensor> = op(shapes.map(|shape| Tensor::new(Slot(0), shape, Dtype::F32))).into();
    let mut random = Stream::new(7, Purpose::Data, 0, terms as u64);
    // None is halfway between two numbers of a precision: there kernels differ.
    let mut value = |_| f32::from_bits((random.uniform() as f32 * 2.0 - 1.0).to_bits() | 1);
    let values: Vec<Vec<f32>> = shapes[..2].iter().map(|s| (0..s.elements()).map(&mut value).collect()).collect();
    let got = run(device, shapes, &values, &op);
    let mut reference = CpuDevice::<f64>::new(0);
    let mut failure = |precision: Precision| {
        let values: Vec<Vec<f32>> = values.iter().map(|v| v.iter().map(|&x| rounded(x, precision)).collect()).collect();
        let absolute: Vec<Vec<f32>> = values.iter().map(|v| v.iter().map(|x| x.abs()).collect()).collect();
        let expected = run(&mut reference, shapes, &values, &op);
        let magnitudes = run(&mut reference, shapes, &absolute, &op);
        let cut = if precision == Precision::F32 { 0.0 } else { terms as f64 / 8.0 };
        let factor = f64::from(f32::EPSILON) * (4.0 + (terms as f64).sqrt() + cut);
        got.iter().zip(&expected).zip(&magnitudes).enumerate().find_map(|(i, ((got, expected), magnitude))| {
            let (bound, error) = (factor * magnitude, (got - expected).abs());
            (error > bound || error.is_nan()).then(|| {
                format!("{what} in {precision}: at {i} got {got}, expected {expected}: off by {error:e}, bound {bound:e}")
            })
        })
    };
    let failures: Vec<String> = precisions.iter().map_while(|&precision| failure(precision)).collect();
    assert!(failures.len() < precisions.len(), "{}", failures.join("\n"));
}

/// What a device in this precision may multiply in, where so many elements run fastest in the operands: on tensor cores if they
/// are whole chunks of 16 bytes, and if copies with padding `pay`; else as its model of the card has it.
fn multiplied_in(precision: Precision, fastest: &[i32], pay: bool) -> Vec<Precision> {
    let chunk = match precision {
        Precision::F32 => 1,
        Precision::Tf32 => 4,
        Precision::Bf16 => 8,
    };
    if pay || fastest.iter().all(|n| n % chunk == 0) { vec![precision] } else { vec![Precision::F32, precision] }
}

/// The nearest number of the precision's mantissa.
fn rounded(x: f32, precision: Precision) -> f32 {
    let dropped = match precision {
        Precision::F32 => return x,
        Precision::Tf32 => 13,
        Precision::Bf16 => 16,
    };
    let x = f64::from(x);
    let unit = 2_f64.powi(x.abs().log2().floor() as i32 - 23 + dropped);
    ((x / unit).round() * unit) as f32
}

/// The result of one operation of two inputs on a device; `op` makes it as in [`check`].
pub(super) fn run<O: Into<Op<Tensor>>>(
    device: &mut dyn Device,
    shapes: [Shape; 3],
    values: &[Vec<f32>],
    op: impl Fn([Tensor; 3]) -> O,
) -> Vec<f64> {
    let real = device.real();
    let mut end = 0;
    let mut place = |shape: Shape, dtype: Dtype| {
        let t = Tensor::new(Slot(end), shape, dtype);
        end = (end + t.bytes()).next_multiple_of(256);
        t
    };
    let tensors = shapes.map(|shape| place(shape, real));
    let op: Op<Tensor> = op(tensors).into();
    let scratch = place(Shape::new(1, 1, 1, device.scratch(&op)), Dtype::U8);
    device.allocate(end).unwrap();
    for (t, values) in tensors.iter().zip(values) {
        let bytes: Vec<u8> = match real {
            Dtype::F64 => values.iter().flat_map(|&v| f64::from(v).to_ne_bytes()).collect(),
            _ => values.iter().flat_map(|v| v.to_ne_bytes()).collect(),
        };
        device.write(*t, &bytes).unwrap();
    }
    device.run(&op, scratch).unwrap();
    let mut bytes = vec![0; tensors[2].bytes()];
    device.read(tensors[2], &mut bytes).unwrap();
    match real {
        Dtype::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_ne_bytes(b)).collect(),
        _ => bytes.as_chunks().0.iter().map(|&b| f64::from(f32::from_ne_bytes(b))).collect(),
    }
}

fn conv(n: usize, size: i32, c: i32, k: i32) -> ConvGeometry {
    let (r, s) = (2, 2);
    ConvGeometry {
        n: n as i32,
        h: size,
        w: size,
        c,
        k,
        r,
        s,
        p: size,
        q: size + 1,
        stride_h: 1,
        stride_w: 1,
        padding_h: 1,
        padding_w: 1,
        dilation_h: 2,
        dilation_w: 1,
        groups: 1,
    }
}

#[test]
fn convolutions_in_large_tiles() {
    let mut d = device();
    for precision in Precision::ALL {
        d.set_precision(Some(precision));
        convolutions(&mut d);
    }
}

fn convolutions(d: &mut CudaDevice) {
    // Enough rows for a tile of 128 a multiprocessor.
    let n = d.info().multiprocessors / 2 + 1;
    for (few, many, pay) in [(8, 100, false), (5, 98, false), (15, 98, true)] {
        let fastest = multiplied_in(d.precision(), &[few], pay);
        let g = conv(n, 16, few, many);
        let shapes = [g.input(), g.filters(), g.output()];
        check(d, &fastest, shapes, g.filters().image(), conv_forward(g));
        let g = conv(n, 16, many, few);
        let shapes = [g.output(), g.filters(), g.input()];
        let fastest = multiplied_in(d.precision(), &[few, many], pay);
        let terms = (few * g.r * g.s) as usize;
        check(d, &fastest, shapes, terms, conv_backward_image(g));
    }
    for (c, k) in [(28, 100), (27, 101)] {
        let g = conv(40, 8, c, k);
        let shapes = [g.input(), g.output(), g.filters()];
        let terms = (g.n * g.p * g.q) as usize;
        check(d, &[d.precision()], shapes, terms, conv_backward_filters(g));
    }
}

/// Groups whose channels and filters are no multiple of anything, many enough that tensor cores pay for copies with padding; strides
/// that leave places over.
#[test]
fn groups_of_odd_channels() {
    let mut d = device();
    for precision in Precision::ALL {
        d.set_precision(Some(precision));
        let g = ConvGeometry { groups: 2, r: 3, s: 3, p: 4, q: 3, stride_h: 2, stride_w: 3, ..conv(48, 9, 62, 126) };
        let (x, w, y) = (g.input(), g.filters(), g.output());
        let precisions = &[precision];
        let terms = g.filters().image();
        check(&mut d, precisions, [x, w, y], terms, conv_forward(g));
        check(&mut d, precisions, [y, w, x], 567, conv_backward_image(g));
        let terms = (g.n * g.p * g.q) as usize;
        check(&mut d, precisions, [x, y, w], terms, conv_backward_filters(g));
    }
}

#[test]
fn local_layers_in_large_tiles() {
    let mut d = device();
    // More than 96 images and filters, channels or taps, with partial tiles; single floats in the second case.
    for (n, few, many) in [(100, 8, 100), (98, 5, 99)] {
        let g = conv(n, 3, few, many);
        let shapes = [g.input(), g.local_filters(), g.output()];
        let op = |[x, w, y]: [Tensor; 3]| LocalForward { geometry: g, neuron: Neuron::NONE, x, w, b: None, y };
        check(&mut d, &[Precision::F32], shapes, g.filters().image(), op);
        let g = conv(n, 3, many, few);
        let shapes = [g.output(), g.local_filters(), g.input()];
        let terms = (few * g.r * g.s) as usize;
        let op = |[dy, w, dx]: [Tensor; 3]| LocalBackwardImage { geometry: g, dy, w, dx: Target::set(dx) };
        check(&mut d, &[Precision::F32], shapes, terms, op);
        let g = conv(n / 4, 3, 26, many);
        let shapes = [g.input(), g.output(), g.local_filters()];
        let op = |[x, dy, dw]: [Tensor; 3]| LocalBackwardFilters { geometry: g, x, dy, dw: Target::set(dw) };
        check(&mut d, &[Precision::F32], shapes, n / 4, op);
    }
}

#[test]
fn products_in_every_tile_and_layout() {
    let mut d = device();
    for precision in Precision::ALL {
        d.set_precision(Some(precision));
        products(&mut d);
    }
}

fn products(d: &mut CudaDevice) {
    for [m, n, k] in [[104, 132, 20], [101, 133, 19], [100, 100, 1000], [8, 12, 8], [8, 12, 2000], [7, 9, 1001]] {
        for (transpose_a, transpose_b) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let p = ProductGeometry { m, n, k, transpose_a, transpose_b };
            let fastest = [[k, m][transpose_a as usize], [n, k][transpose_b as usize]];
            let tensor_cores = transpose_a + transpose_b < 2;
            let precisions = if tensor_cores { multiplied_in(d.precision(), &fastest, false) } else { vec![Precision::F32] };
            let shape = |rows: i32, columns: i32, transposed: i32| {
                let (rows, columns) = if transposed == 1 { (columns, rows) } else { (rows, columns) };
                Shape::new(rows as usize, 1, 1, columns as usize)
            };
            let shapes = [shape(m, k, transpose_a), shape(k, n, transpose_b), shape(m, n, 0)];
            check(d, &precisions, shapes, k as usize, product(p));
        }
    }
}

/// Rounding hides nothing: a NaN, also the one that arithmetic on a card makes (0x7fffffff), and an infinity show in the sums that
/// they belong to, and in no other.
#[test]
fn what_is_no_number_stays_so_in_every_precision() {
    let mut d = device();
    let p = ProductGeometry { m: 4, n: 4, k: 8, transpose_a: 0, transpose_b: 1 };
    let shapes = [Shape::new(4, 1, 1, 8), Shape::new(4, 1, 1, 8), Shape::new(4, 1, 1, 4)];
    for precision in Precision::ALL {
        d.set_precision(Some(precision));
        for bits in [0x7fff_ffff, 0x7fc0_0000, 0xffc0_0000, 0x7f80_0000_u32] {
            let mut values = vec![vec![1.0; 32], vec![1.0; 32]];
            values[0][8 + 3] = f32::from_bits(bits);
            let got = run(&mut d, shapes, &values, product(p));
            assert!(got[4..8].iter().all(|v| !v.is_finite()), "{bits:x} in {precision}: {got:?}");
            assert!(got[..4].iter().chain(&got[8..]).all(|&v| v == 8.0), "{bits:x} in {precision}: {got:?}");
        }
    }
}
