//! Forms of operations: a fused one makes the bits of its parts, and tensors with gaps between their cells those of dense ones.

use super::device;
use convnet::device::cuda::CudaDevice;
use convnet::device::philox::{Purpose, Stream};
use convnet::device::{ConvGeometry, Device, Dtype, PoolGeometry, Precision, Shape, Slot, Tensor};
use convnet::op::{
    Access, BatchNorm, BatchNormApply, BatchNormBackward, BatchNormMoments, BiasBackward, ConvBackwardFilters, ConvBackwardImage,
    ConvForward, Neuron, NeuronBackward, Op, PoolBackward, PoolKind, Target, Write,
};

const WRITES: [Write; 2] = [Write::Set, Write::Add];
/// Columns by four and not; a part of rows and several.
const SHAPES: [Shape; 4] =
    [Shape::new(2, 3, 5, 8), Shape::new(3, 5, 4, 7), Shape::new(24, 20, 20, 20), Shape::new(10, 17, 16, 67)];

/// Tensors one after the other.
#[derive(Default)]
struct Arena {
    end: usize,
}

impl Arena {
    fn place(&mut self, shape: Shape, dtype: Dtype) -> Tensor {
        let t = Tensor::new(Slot(self.end), shape, dtype);
        self.end = (self.end + t.bytes()).next_multiple_of(256);
        t
    }
}

/// What tensors of these shapes hold after an operation, and which of them it writes; those numbered in `gapped` are some channels
/// of larger ones, whose others must stay. In parts, if it is to be run so.
fn bits(
    d: &mut CudaDevice,
    shapes: &[Shape],
    gapped: &[usize],
    in_parts: bool,
    make: &dyn Fn(&[Tensor]) -> Op<Tensor>,
) -> Vec<Vec<u32>> {
    let mut arena = Arena::default();
    let (mut wholes, mut tensors) = (Vec::new(), Vec::new());
    for (i, &shape) in shapes.iter().enumerate() {
        let (before, after) = if gapped.contains(&i) { (4, 8) } else { (0, 0) };
        let c = before + shape.c + if gapped.contains(&i) { after + (4 - shape.c % 4) % 4 } else { 0 };
        let whole = arena.place(Shape { c, ..shape }, Dtype::F32);
        wholes.push(whole);
        tensors.push(whole.channels(before, shape.c));
    }
    let op = make(&tensors);
    assert!(d.supports(&op), "{op} with gaps in {gapped:?}");
    let parts = in_parts.then(|| op.parts(&mut |like| arena.place(like.shape, like.dtype)).expect("a fused form"));
    let steps = parts.unwrap_or_else(|| vec![op]);
    let bytes = steps.iter().map(|op| d.scratch(op)).max().unwrap_or(0);
    let scratch = arena.place(Shape::new(1, 1, 1, bytes), Dtype::U8);
    d.allocate(arena.end).unwrap();

    let cells = |t: &Tensor, whole: &Tensor| {
        let (first, pitch, c) = ((t.slot.0 - whole.slot.0) / 4, t.pitch, t.shape.c);
        (0..t.shape.n * t.shape.h * t.shape.w).map(move |i| first + i * pitch..first + i * pitch + c)
    };
    for (i, (t, whole)) in tensors.iter().zip(&wholes).enumerate() {
        let mut random = Stream::new(11, Purpose::Data, i as u32, 0);
        let mut values = vec![f32::NAN; whole.shape.elements()];
        for cell in cells(t, whole) {
            values[cell].iter_mut().for_each(|v| *v = random.uniform() as f32 * 2.0 - 1.0);
        }
        d.write(*whole, bytemuck::cast_slice(&values)).unwrap();
    }
    for op in &steps {
        d.run(op, scratch).unwrap();
    }
    let mut written = Vec::new();
    op.operands(&mut |access, t| {
        if access != Access::Reads {
            written.push(*t);
        }
    });
    let mut results = Vec::new();
    for (t, whole) in tensors.iter().zip(&wholes).filter(|(t, _)| written.contains(t)) {
        let mut values = vec![0_u32; whole.shape.elements()];
        d.read(*whole, bytemuck::cast_slice_mut(&mut values)).unwrap();
        let held: Vec<u32> = cells(t, whole).flat_map(|cell| values[cell].to_vec()).collect();
        cells(t, whole).for_each(|cell| values[cell].fill(f32::NAN.to_bits()));
        assert!(values.iter().all(|&v| v == f32::NAN.to_bits()), "{op}: a gap was written");
        assert!(held.iter().any(|&v| f32::from_bits(v) != 0.0), "{op}: nothing but zeros");
        results.push(held);
    }
    results
}

/// A fused form makes the bits of its parts.
fn fused(d: &mut CudaDevice, shapes: &[Shape], make: impl Fn(&[Tensor]) -> Op<Tensor>) {
    let [whole, parts] = [false, true].map(|in_parts| bits(d, shapes, &[], in_parts, &make));
    let tensors: Vec<Tensor> = shapes.iter().map(|&shape| Tensor::new(Slot(0), shape, Dtype::F32)).collect();
    same(&whole, &parts, &format!("{} of {:?}", make(&tensors), shapes[0]));
}

/// Gaps change no bit.
fn with_gaps(d: &mut CudaDevice, shapes: &[Shape], gapped: &[usize], make: impl Fn(&[Tensor]) -> Op<Tensor>) {
    let [dense, gaps] = [&[][..], gapped].map(|gapped| bits(d, shapes, gapped, false, &make));
    let tensors: Vec<Tensor> = shapes.iter().map(|&shape| Tensor::new(Slot(0), shape, Dtype::F32)).collect();
    same(&gaps, &dense, &format!("{} of {:?} with gaps in {gapped:?}", make(&tensors), shapes[0]));
}

fn same(got: &[Vec<u32>], expected: &[Vec<u32>], what: &str) {
    assert_eq!(got.len(), expected.len());
    for (t, (got, expected)) in got.iter().zip(expected).enumerate() {
        let differ = got.iter().zip(expected).position(|(a, b)| a != b);
        let values = differ.map(|i| (f32::from_bits(got[i]), f32::from_bits(expected[i])));
        assert_eq!((got.len(), differ), (expected.len(), None), "{what}: result {t}: {values:?}");
    }
}

fn vector(c: usize) -> Shape {
    Shape::new(1, 1, 1, c)
}

fn target(t: Tensor, into: Write) -> Target<Tensor> {
    Target { at: t, into }
}

/// On saved, gamma, beta, x, residual, y.
fn apply(affine: bool, neuron: Neuron, residual: bool) -> impl Fn(&[Tensor]) -> Op<Tensor> {
    move |t| {
        let [gamma, beta, residual] = [(affine, 1), (affine, 2), (residual, 4)].map(|(there, i)| there.then_some(t[i]));
        BatchNormApply { neuron, saved: t[0], gamma, beta, x: t[3], residual, y: t[5] }.into()
    }
}

/// On saved, gamma, beta, x, dy, dx, dgamma, dbeta.
fn backward(affine: bool, neuron: Neuron, into: Write) -> impl Fn(&[Tensor]) -> Op<Tensor> {
    move |t| {
        let [gamma, beta] = [1, 2].map(|i| affine.then_some(t[i]));
        let beta = beta.filter(|_| neuron != Neuron::NONE);
        let [dx, dgamma, dbeta] = [5, 6, 7].map(|i| Some(target(t[i], into)));
        BatchNormBackward { neuron, x: t[3], saved: t[0], gamma, beta, dy: t[4], dgamma, dbeta, dx }.into()
    }
}

#[test]
fn batch_normalisations() {
    let mut d = device();
    for shape in SHAPES {
        let (pairs, c) = (vector(2 * shape.c), vector(shape.c));
        let forward = [pairs, c, c, shape, shape, shape];
        let gradients = [pairs, c, c, shape, shape, shape, c, c];
        for affine in [false, true] {
            for neuron in [Neuron::NONE, Neuron::Relu, Neuron::Leaky { a: 0.25 }, Neuron::Logistic] {
                fused(&mut d, &forward, apply(affine, neuron, true));
            }
            for into in WRITES {
                fused(&mut d, &gradients, backward(affine, Neuron::Relu, into));
                for neuron in [Neuron::NONE, Neuron::Relu] {
                    with_gaps(&mut d, &gradients, &[3, 4, 5], backward(affine, neuron, into));
                }
            }
        }
        for (gapped, residual) in [(&[3, 5][..], false), (&[3, 4, 5], true)] {
            with_gaps(&mut d, &forward, gapped, apply(true, Neuron::Relu, residual));
        }
        let norm = BatchNorm { epsilon: 1e-3, momentum: 0.125 };
        with_gaps(&mut d, &[shape, c, c, pairs], &[0], |t| {
            BatchNormMoments { norm, x: t[0], mean: t[1], variance: t[2], saved: t[3] }.into()
        });
    }
}

#[test]
fn neurons_gradients() {
    let mut d = device();
    let neurons = [
        Neuron::Linear { a: -1.5, b: 0.25 },
        Neuron::Relu,
        Neuron::Tanh { a: 1.75, b: 0.625 },
        Neuron::Logistic,
        Neuron::Square,
        Neuron::Elu { a: 0.75 },
        Neuron::Swish,
    ];
    for shape in SHAPES {
        let untied = Shape { n: 1, ..shape };
        for neuron in neurons {
            for (db, into) in [(vector(shape.c), Write::Set), (vector(shape.c), Write::Add), (untied, Write::Add)] {
                let sums = |t: &[Tensor]| -> Op<Tensor> {
                    let db = Some(target(t[3], into));
                    NeuronBackward { neuron, seen: Some(t[0]), dy: t[1], dx: Target::set(t[2]), db }.into()
                };
                fused(&mut d, &[shape, shape, shape, db], sums);
                if db != untied {
                    with_gaps(&mut d, &[shape, shape, shape, db], &[0, 1, 2], sums);
                }
            }
            for into in WRITES {
                with_gaps(&mut d, &[shape; 3], &[0, 1, 2], |t| {
                    NeuronBackward { neuron, seen: Some(t[0]), dy: t[1], dx: target(t[2], into), db: None }.into()
                });
            }
        }
        with_gaps(&mut d, &[shape, vector(shape.c)], &[0], |t| BiasBackward { dy: t[0], db: Target::add(t[1]) }.into());
    }
}

#[test]
fn pools_gradients() {
    let mut d = device();
    // Where a thread owns several cells of a maximum's input, and where cells lie in too many windows for that.
    for (c, size, stride) in [(8, 3, 2), (7, 3, 2), (12, 3, 1), (5, 2, 1)] {
        let (p, start) = ((9 - size) / stride + 1, 0);
        let g = PoolGeometry {
            n: 2,
            h: 9,
            w: 9,
            c,
            p,
            q: p,
            size_h: size,
            size_w: size,
            stride_h: stride,
            stride_w: stride,
            start_h: start,
            start_w: start,
        };
        for kind in [PoolKind::Max, PoolKind::Avg, PoolKind::L2] {
            for into in WRITES {
                fused(&mut d, &[g.input(), g.output(), g.output(), g.input()], |t| {
                    let y = kind.gradient_reads_output().then_some(t[1]);
                    let neuron = Neuron::Relu;
                    PoolBackward { kind, geometry: g, neuron, x: Some(t[0]), y, dy: t[2], dx: target(t[3], into) }.into()
                });
            }
        }
    }
}

/// In every precision, by the kernels that the device chooses.
pub(super) fn convolutions(d: &mut CudaDevice) {
    let conv = |n: i32, side: i32, [c, k]: [i32; 2], stride: i32| {
        let p = (side - 1) / stride + 1;
        ConvGeometry {
            n,
            h: side,
            w: side,
            c,
            k,
            r: 3,
            s: 3,
            p,
            q: p,
            stride_h: stride,
            stride_w: stride,
            padding_h: 1,
            padding_w: 1,
            dilation_h: 1,
            dilation_w: 1,
            groups: 1,
        }
    };
    // Few rows and a long sum, which is split into parts; many rows; channels that are no multiple of four; a stride.
    let geometries = [
        conv(1, 4, [16, 128], 1),
        conv(8, 16, [40, 24], 1),
        conv(2, 9, [7, 13], 1),
        conv(2, 9, [24, 40], 2),
        conv(2, 9, [5, 8], 1),
    ];
    for g in geometries {
        let (x, w, y) = (g.input(), g.filters(), g.output());
        for into in WRITES {
            let image = |neuron: Neuron| {
                move |t: &[Tensor]| -> Op<Tensor> {
                    let seen = (neuron != Neuron::NONE).then_some(t[2]);
                    ConvBackwardImage { geometry: g, neuron, dy: t[0], w: t[1], seen, dx: target(t[3], into) }.into()
                }
            };
            fused(d, &[y, w, x, x], image(Neuron::Relu));
            with_gaps(d, &[y, w, x, x], &[0], image(Neuron::NONE));
            with_gaps(d, &[x, y, w], &[1], |t| {
                ConvBackwardFilters { geometry: g, x: t[0], dy: t[1], dw: target(t[2], into) }.into()
            });
        }
        let forward = |t: &[Tensor]| -> Op<Tensor> {
            ConvForward { geometry: g, neuron: Neuron::Relu, x: t[0], w: t[1], b: Some(t[2]), y: t[3] }.into()
        };
        // Where the sum is split into parts, they are added up without gaps.
        let gapped = Tensor { pitch: y.c.next_multiple_of(4) + 8, ..Tensor::new(Slot(0), y, Dtype::F32) };
        let [x, w, b] = [x, w, vector(y.c)].map(|shape| Tensor::new(Slot(0), shape, Dtype::F32));
        if d.supports(&forward(&[x, w, b, gapped])) {
            with_gaps(d, &[x.shape, w.shape, b.shape, y], &[3], forward);
        }
    }
}

#[test]
fn convolutions_in_every_precision() {
    let mut d = device();
    for precision in Precision::ALL {
        d.set_precision(Some(precision));
        convolutions(&mut d);
    }
}
