//! The f64 device, which the table takes for the reference, against the operations' definitions, written as they are read.

use super::{Machine, assert_near, pool_backward, step};
use convnet::device::philox::{self, Purpose, Stream};
use convnet::device::{ConvGeometry, CopyGeometry, Device, PoolGeometry, ProductGeometry, Shape, StepValues};
use convnet::op::{
    BiasBackward, ConvBackwardFilters, ConvBackwardImage, ConvForward, CopyBox, CrossEntropyBackward, CrossEntropyForward,
    DropConnect, DropConnectBackwardInput, DropConnectBackwardWeights, DropConnectForward, Dropout, LocalBackwardFilters,
    LocalBackwardImage, LocalForward, LogregBackward, LogregForward, MaxBackward, MaxForward, MeanAbs, Merge, Merging, Neuron,
    NeuronBackward, NeuronForward, Noise, NoisyReluForward, PoolForward, PoolKind, Product, SgdUpdate, SoftmaxBackward,
    SoftmaxForward, SquaresBackward, SquaresForward, Target, Update, Write,
};

const BOUND: f64 = 1e-12;

fn random(seed: u64, elements: usize) -> Vec<f64> {
    let mut stream = Stream::new(seed, Purpose::Data, 0, 0);
    (0..elements).map(|_| stream.uniform() * 2.0 - 1.0).collect()
}

fn geometries() -> Vec<ConvGeometry> {
    let base = ConvGeometry {
        n: 2,
        h: 7,
        w: 6,
        c: 4,
        k: 6,
        r: 3,
        s: 2,
        p: 5,
        q: 5,
        stride_h: 1,
        stride_w: 1,
        padding_h: 0,
        padding_w: 0,
        dilation_h: 1,
        dilation_w: 1,
        groups: 1,
    };
    vec![
        base,
        ConvGeometry { p: 4, q: 3, stride_h: 2, stride_w: 3, padding_h: 1, padding_w: 1, ..base },
        ConvGeometry { groups: 2, ..base },
        ConvGeometry { p: 3, q: 4, dilation_h: 2, dilation_w: 2, ..base },
        // Rounded up: the last row of windows hangs over the edge.
        ConvGeometry { p: 4, stride_h: 2, padding_h: 0, ..base },
        ConvGeometry { groups: 4, k: 4, p: 7, padding_h: 1, ..base },
    ]
}

/// Calls `tap(y, x, w)` with the indices of every product that the convolution sums up.
fn taps(g: &ConvGeometry, mut tap: impl FnMut(usize, usize, usize)) {
    let (cg, kg) = (g.c / g.groups, g.k / g.groups);
    for n in 0..g.n {
        for p in 0..g.p {
            for q in 0..g.q {
                for o in 0..g.k {
                    for i in 0..g.r {
                        for j in 0..g.s {
                            let y = p * g.stride_h - g.padding_h + i * g.dilation_h;
                            let x = q * g.stride_w - g.padding_w + j * g.dilation_w;
                            if y < 0 || y >= g.h || x < 0 || x >= g.w {
                                continue;
                            }
                            for c in 0..cg {
                                let out = ((n * g.p + p) * g.q + q) * g.k + o;
                                let input = ((n * g.h + y) * g.w + x) * g.c + o / kg * cg + c;
                                tap(out as usize, input as usize, (((o * g.r + i) * g.s + j) * cg + c) as usize);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn convolutions() {
    for g in geometries() {
        let (xs, ws, ys) = (g.input(), g.filters(), g.output());
        let (x, w, dy) = (random(1, xs.elements()), random(2, ws.elements()), random(3, ys.elements()));
        let b = random(4, ys.image());
        let mut m = Machine::<f64>::new();
        let (tx, tw, tdy) = (m.put(xs, &x), m.put(ws, &w), m.put(ys, &dy));
        for untied in [false, true] {
            let shape = if untied { Shape { n: 1, ..ys } } else { Shape::new(1, 1, 1, ys.c) };
            let (tb, ty) = (m.put(shape, &b[..shape.elements()]), m.room(ys));
            let mut y: Vec<f64> = (0..ys.elements()).map(|i| b[i % shape.elements()]).collect();
            taps(&g, |o, i, f| y[o] += x[i] * w[f]);
            y.iter_mut().for_each(|y| *y = y.max(0.0));
            m.run(ConvForward { geometry: g, neuron: Neuron::Relu, x: tx, w: tw, b: Some(tb), y: ty });
            assert_near(&format!("forward {g:?}"), &m.get(ty), &y, BOUND);
        }
        for into in [Write::Set, Write::Add] {
            let (mut dx, mut dw) = (random(5, xs.elements()), random(6, ws.elements()));
            let (tdx, tdw) = (m.put(xs, &dx), m.put(ws, &dw));
            if into == Write::Set {
                dx.fill(0.0);
                dw.fill(0.0);
            }
            taps(&g, |o, i, f| {
                dx[i] += dy[o] * w[f];
                dw[f] += dy[o] * x[i];
            });
            m.run(ConvBackwardImage {
                geometry: g,
                neuron: Neuron::NONE,
                dy: tdy,
                w: tw,
                seen: None,
                dx: Target { at: tdx, into },
            });
            assert_near(&format!("image gradient {g:?} {into:?}"), &m.get(tdx), &dx, BOUND);
            m.run(ConvBackwardFilters { geometry: g, x: tx, dy: tdy, dw: Target { at: tdw, into } });
            assert_near(&format!("filter gradient {g:?} {into:?}"), &m.get(tdw), &dw, BOUND);
        }
    }
}

/// The definition of [`convolutions`], with the weights of each place behind those of the places before.
#[test]
fn local_layers() {
    for g in geometries() {
        let (xs, ws, ys) = (g.input(), g.local_filters(), g.output());
        let (x, w, dy, b) = (random(1, xs.elements()), random(2, ws.elements()), random(3, ys.elements()), random(4, ys.image()));
        let of_place = |o: usize, f: usize| o % ys.image() / ys.c * g.filters().elements() + f;
        let mut m = Machine::<f64>::new();
        let (tx, tw, tdy) = (m.put(xs, &x), m.put(ws, &w), m.put(ys, &dy));
        let (tb, ty) = (m.put(Shape { n: 1, ..ys }, &b), m.room(ys));
        let mut y: Vec<f64> = (0..ys.elements()).map(|i| b[i % ys.image()]).collect();
        taps(&g, |o, i, f| y[o] += x[i] * w[of_place(o, f)]);
        y.iter_mut().for_each(|y| *y = y.max(0.0));
        m.run(LocalForward { geometry: g, neuron: Neuron::Relu, x: tx, w: tw, b: Some(tb), y: ty });
        assert_near(&format!("forward {g:?}"), &m.get(ty), &y, BOUND);
        for into in [Write::Set, Write::Add] {
            let (mut dx, mut dw) = (random(5, xs.elements()), random(6, ws.elements()));
            let (tdx, tdw) = (m.put(xs, &dx), m.put(ws, &dw));
            if into == Write::Set {
                dx.fill(0.0);
                dw.fill(0.0);
            }
            taps(&g, |o, i, f| {
                dx[i] += dy[o] * w[of_place(o, f)];
                dw[of_place(o, f)] += dy[o] * x[i];
            });
            m.run(LocalBackwardImage { geometry: g, dy: tdy, w: tw, dx: Target { at: tdx, into } });
            assert_near(&format!("image gradient {g:?} {into:?}"), &m.get(tdx), &dx, BOUND);
            m.run(LocalBackwardFilters { geometry: g, x: tx, dy: tdy, dw: Target { at: tdw, into } });
            assert_near(&format!("filter gradient {g:?} {into:?}"), &m.get(tdw), &dw, BOUND);
        }
    }
}

/// y, dx and dw of a fully connected layer whose weight e has, for image j, the factor 1/keep or 0 that number e mod 4 of the
/// Philox block (seed, stream, step, image first_image + j, e/4) decides.
#[test]
fn drop_connect() {
    let (n, out, inputs) = (3, 5, 7);
    let masks = DropConnect { stream: 9, keep: 0.6 };
    let (x, w, b, dy) = (random(1, n * inputs), random(2, out * inputs), random(3, out), random(4, n * out));
    let mut m = Machine::<f64>::new();
    m.device.set_step(StepValues { seed: 77, step: 5, first_image: 2, ..step() }).unwrap();
    let factor = |image: usize, e: usize| {
        let block = philox::block(77, Purpose::Dropout, 9, 5, ((image as u64 + 2) << 32) | (e as u64 / 4));
        if f64::from(philox::uniform(block[e % 4])) < 0.6 { 1.0 / 0.6 } else { 0.0 }
    };
    let (mut y, mut dx, mut dw) = (random(5, n * out), random(6, n * inputs), random(7, out * inputs));
    let vectors = |n: usize, c: usize| Shape::new(n, 1, 1, c);
    let (tx, tw, tb) = (m.put(vectors(n, inputs), &x), m.put(vectors(out, inputs), &w), m.put(vectors(1, out), &b));
    let tdy = m.put(vectors(n, out), &dy);
    let (ty, tdx, tdw) = (m.put(vectors(n, out), &y), m.put(vectors(n, inputs), &dx), m.put(vectors(out, inputs), &dw));
    let mut kept = 0;
    for (image, o, i) in (0..n * out * inputs).map(|k| (k / inputs / out, k / inputs % out, k % inputs)) {
        let f = factor(image, o * inputs + i);
        kept += usize::from(f > 0.0);
        y[image * out + o] += f * w[o * inputs + i] * x[image * inputs + i];
        dx[image * inputs + i] += f * w[o * inputs + i] * dy[image * out + o];
        dw[o * inputs + i] += f * x[image * inputs + i] * dy[image * out + o];
    }
    assert!((40..90).contains(&kept), "{kept} of 105 kept");
    m.run(DropConnectForward { masks, x: tx, w: tw, b: None, y: Target::add(ty) });
    m.run(DropConnectBackwardInput { masks, dy: tdy, w: tw, dx: Target::add(tdx) });
    m.run(DropConnectBackwardWeights { masks, x: tx, dy: tdy, dw: Target::add(tdw) });
    for (what, t, expected) in [("y", ty, &y), ("dx", tdx, &dx), ("dw", tdw, &dw)] {
        assert_near(what, &m.get(t), expected, BOUND);
    }
    let (start, biased) = (random(5, n * out), m.room(vectors(n, out)));
    m.run(DropConnectForward { masks, x: tx, w: tw, b: Some(tb), y: Target::set(biased) });
    let expected: Vec<f64> = (0..n * out).map(|i| y[i] - start[i] + b[i % out]).collect();
    assert_near("with biases", &m.get(biased), &expected, BOUND);
}

/// y = x + std·g, of the gaussians of the block that an element's place names; each image by its number alone.
#[test]
fn noise() {
    let shape = Shape::new(3, 2, 5, 7);
    let x = random(1, shape.elements());
    let mut m = Machine::<f64>::new();
    m.device.set_step(StepValues { seed: 77, step: 5, first_image: 2, ..step() }).unwrap();
    let (tx, ty) = (m.put(shape, &x), m.room(shape));
    m.run(Noise { layer: 4, std: 0.5, x: tx, y: ty });
    let number = |i: usize| {
        let (image, element) = (i / 70, i % 70);
        let block = philox::block(77, Purpose::Noise, 4, 5, ((image as u64 + 2) << 32) | (element as u64 / 4));
        philox::gaussians(block)[element % 4]
    };
    let expected: Vec<f64> = x.iter().enumerate().map(|(i, x)| x + 0.5 * number(i)).collect();
    assert_near("noise", &m.get(ty), &expected, BOUND);
    m.run(Noise { layer: 4, std: 0.5, x: tx, y: tx });
    assert_eq!(m.get(tx), m.get(ty), "in place");
}

#[test]
fn products() {
    let (m, n, k) = (5, 7, 11);
    for t in 0..4 {
        let p = ProductGeometry { m: 5, n: 7, k: 11, transpose_a: t & 1, transpose_b: t >> 1 };
        let (a, b, bias, before) = (random(1, m * k), random(2, k * n), random(3, n), random(4, m * n));
        let sum = |i: usize, j: usize| -> f64 {
            let a = |l: usize| if t & 1 == 1 { a[l * m + i] } else { a[i * k + l] };
            let b = |l: usize| if t >> 1 == 1 { b[j * k + l] } else { b[l * n + j] };
            (0..k).map(|l| a(l) * b(l)).sum()
        };
        let mut machine = Machine::<f64>::new();
        let put = |machine: &mut Machine<f64>, v: &[f64]| machine.put(Shape::new(1, 1, 1, v.len()), v);
        let (ta, tb, tbias) = (put(&mut machine, &a), put(&mut machine, &b), put(&mut machine, &bias));
        let tc = put(&mut machine, &before);
        machine.run(Product { geometry: p, neuron: Neuron::NONE, a: ta, b: tb, bias: None, c: Target::add(tc) });
        let added: Vec<f64> = (0..m * n).map(|i| before[i] + sum(i / n, i % n)).collect();
        assert_near(&format!("{p:?} added"), &machine.get(tc), &added, BOUND);
        machine.run(Product { geometry: p, neuron: Neuron::Logistic, a: ta, b: tb, bias: Some(tbias), c: Target::set(tc) });
        let set: Vec<f64> = (0..m * n).map(|i| 1.0 / (1.0 + (-sum(i / n, i % n) - bias[i % n]).exp())).collect();
        assert_near(&format!("{p:?}"), &machine.get(tc), &set, BOUND);
    }
}

#[test]
fn pools() {
    let base = PoolGeometry {
        n: 2,
        h: 7,
        w: 6,
        c: 5,
        p: 3,
        q: 3,
        size_h: 2,
        size_w: 2,
        stride_h: 2,
        stride_w: 2,
        start_h: 0,
        start_w: 0,
    };
    let geometries = [
        base,
        PoolGeometry { size_h: 3, size_w: 3, ..base },
        PoolGeometry { size_h: 3, size_w: 2, stride_w: 1, p: 4, q: 6, start_h: -1, ..base },
        PoolGeometry { size_h: 9, size_w: 9, p: 2, q: 2, start_h: -4, start_w: -4, ..base },
        // cuda-convnet's outputs = 5: the last windows lie behind the image.
        PoolGeometry { p: 5, q: 4, ..base },
        // Windows that divide the image evenly.
        PoolGeometry { p: 4, q: 5, stride_h: 0, stride_w: 0, ..base },
        PoolGeometry { p: 9, q: 1, stride_h: 0, stride_w: 0, ..base },
    ];
    for g in geometries {
        let (xs, ys) = (g.input(), g.output());
        // Quarters: windows have equal maxima.
        let x: Vec<f64> = random(1, xs.elements()).into_iter().map(|x| (x * 4.0).round() / 4.0).collect();
        let dy = random(2, ys.elements());
        for kind in [PoolKind::Max, PoolKind::Avg, PoolKind::L2] {
            let (mut y, mut dx) = (vec![0.0; ys.elements()], vec![0.0; xs.elements()]);
            for out in 0..ys.elements() {
                let (c, q) = (out % ys.c, out / ys.c % ys.w);
                let (p, n) = (out / ys.c / ys.w % ys.h, out / ys.image());
                // The cells of a window along an axis; where the stride is 0, those that its share of the axis touches.
                let along = |at: usize, windows: usize, cells: i32, size: i32, stride: i32, start: i32| {
                    let share = move |i: &i32| {
                        let (from, to) = (at as i32 * cells, (at as i32 + 1) * cells);
                        (i + 1) * windows as i32 > from && i * (windows as i32) < to
                    };
                    let window = move |i: &i32| (0..size).contains(&(i - start - at as i32 * stride));
                    (0..cells).filter(move |i| if stride == 0 { share(i) } else { window(i) })
                };
                let rows = along(p, ys.h, g.h, g.size_h, g.stride_h, g.start_h);
                let cells: Vec<usize> = rows
                    .flat_map(|i| along(q, ys.w, g.w, g.size_w, g.stride_w, g.start_w).map(move |j| (i, j)))
                    .map(|(i, j)| ((n * xs.h + i as usize) * xs.w + j as usize) * xs.c + c)
                    .collect();
                let Some(&first) = cells.first() else { continue };
                match kind {
                    PoolKind::Max => {
                        let most = cells.iter().fold(first, |most, &i| if x[i] > x[most] { i } else { most });
                        y[out] = x[most];
                        dx[most] += dy[out];
                    }
                    PoolKind::Avg => {
                        let cell = 1.0 / cells.len() as f64;
                        y[out] = cells.iter().map(|&i| x[i]).sum::<f64>() * cell;
                        cells.iter().for_each(|&i| dx[i] += dy[out] * cell);
                    }
                    PoolKind::L2 => {
                        y[out] = cells.iter().map(|&i| x[i] * x[i]).sum::<f64>().sqrt();
                        let share = if y[out] > 0.0 { dy[out] / y[out] } else { 0.0 };
                        cells.iter().for_each(|&i| dx[i] += x[i] * share);
                    }
                }
            }
            let mut m = Machine::<f64>::new();
            let (tx, ty, tdy, tdx) = (m.put(xs, &x), m.room(ys), m.put(ys, &dy), m.room(xs));
            m.run(PoolForward { kind, geometry: g, x: tx, y: ty });
            assert_near(&format!("{kind:?} {g:?}"), &m.get(ty), &y, BOUND);
            m.run(pool_backward(kind, g, [tx, ty, tdy], Target::set(tdx)));
            assert_near(&format!("{kind:?} gradient {g:?}"), &m.get(tdx), &dx, BOUND);
            m.run(pool_backward(kind, g, [tx, ty, tdy], Target::add(tdx)));
            let twice: Vec<f64> = dx.iter().map(|dx| dx * 2.0).collect();
            assert_near(&format!("{kind:?} gradient added {g:?}"), &m.get(tdx), &twice, BOUND);
        }
    }
}

/// f as it is written in `Neuron`'s documentation, and f′ by a central difference of it.
#[test]
fn neurons() {
    type F = fn(f64) -> f64;
    let neurons: [(Neuron, F); 14] = [
        (Neuron::Linear { a: -1.5, b: 0.25 }, |x| -1.5 * x + 0.25),
        (Neuron::Relu, |x| x.max(0.0)),
        (Neuron::Brelu { a: 1.5 }, |x| x.clamp(0.0, 1.5)),
        (Neuron::Softrelu, |x| (1.0 + x.exp()).ln()),
        (Neuron::Tanh { a: 1.75, b: 0.625 }, |x| 1.75 * (0.625 * x).tanh()),
        (Neuron::Logistic, |x| 1.0 / (1.0 + (-x).exp())),
        (Neuron::Abs, f64::abs),
        (Neuron::Square, |x| x * x),
        (Neuron::Sqrt, f64::sqrt),
        (Neuron::Log { a: 0.5 }, |x| (0.5 + x).ln()),
        (Neuron::Drelu { a: 1.25 }, |x| x - 1.25 * (x / 1.25).tanh()),
        (Neuron::Leaky { a: 0.125 }, |x| if x < 0.0 { 0.125 * x } else { x }),
        (Neuron::Elu { a: 0.75 }, |x| if x < 0.0 { 0.75 * x.exp_m1() } else { x }),
        (Neuron::Swish, |x| x / (1.0 + (-x).exp())),
    ];
    let shape = Shape::new(2, 3, 4, 5);
    let dy = random(2, 120);
    for (neuron, f) in neurons {
        let positive = matches!(neuron, Neuron::Sqrt | Neuron::Log { .. });
        let x: Vec<f64> = random(1, 120).iter().map(|x| if positive { 0.1 + x.abs() } else { x * 3.0 }).collect();
        let y: Vec<f64> = x.iter().map(|&x| f(x)).collect();
        let slope = |x: f64| (f(x + 1e-6) - f(x - 1e-6)) / 2e-6;
        let dx: Vec<f64> = x.iter().zip(&dy).map(|(&x, dy)| dy * slope(x)).collect();
        let mut m = Machine::<f64>::new();
        let (tx, ty, tdy, tdx) = (m.put(shape, &x), m.room(shape), m.put(shape, &dy), m.room(shape));
        m.run(NeuronForward { neuron, x: tx, y: ty });
        assert_near(&format!("{neuron:?}"), &m.get(ty), &y, BOUND);
        let linear = matches!(neuron, Neuron::Linear { .. });
        let seen = (!linear).then_some(if neuron.derivative_reads_input() { tx } else { ty });
        m.run(NeuronBackward { neuron, seen, dy: tdy, dx: Target::set(tdx), db: None });
        assert_near(&format!("{neuron:?} gradient"), &m.get(tdx), &dx, 1e-8);
        m.run(NeuronBackward { neuron, seen, dy: tdy, dx: Target::set(tdy), db: None });
        assert_eq!(m.get(tdy), m.get(tdx), "{neuron:?} gradient in place");
        if !neuron.derivative_reads_input() {
            m.run(NeuronForward { neuron, x: tx, y: tx });
            assert_eq!(m.get(tx), m.get(ty), "{neuron:?} in place");
        }
    }
}

/// Softmax and the costs: gradients against central differences of the losses, which are written out.
#[test]
fn costs() {
    let shape = Shape::new(4, 1, 1, 6);
    let x: Vec<f64> = random(1, 24).iter().map(|x| x * 3.0).collect();
    let positive: Vec<f64> = x.iter().map(|x| x.abs() + 0.01).collect();
    let (labels, target) = ([2, 0, 5, 3], random(2, 24));
    // Three of four images count; gradients are divided by 7 images.
    let counted = 3;
    let logreg = |x: &[f64]| -> f64 {
        let image = |i: usize| {
            let x = &x[i * 6..][..6];
            x.iter().map(|x| x.exp()).sum::<f64>().ln() - x[labels[i] as usize]
        };
        (0..counted).map(image).sum()
    };
    let entropy = |x: &[f64]| -> f64 { (0..counted).map(|i| -x[i * 6 + labels[i] as usize].ln()).sum() };
    let squares = |x: &[f64]| -> f64 { (0..counted * 6).map(|i| (x[i] - target[i]).powi(2)).sum() };
    let gradient = |f: &dyn Fn(&[f64]) -> f64, x: &[f64]| -> Vec<f64> {
        let moved = |i: usize, by: f64| {
            let mut x = x.to_vec();
            x[i] += by;
            f(&x)
        };
        (0..x.len()).map(|i| 2.0 / 7.0 * (moved(i, 1e-6) - moved(i, -1e-6)) / 2e-6).collect()
    };

    let mut m = Machine::<f64>::new();
    let mut values = step();
    (values.images, values.gradient_scale) = (counted as u32, 1.0 / 7.0);
    m.device.set_step(values).unwrap();
    let (tx, tp, tt) = (m.put(shape, &x), m.put(shape, &positive), m.put(shape, &target));
    let (tl, dx) = (m.integers(&labels), m.room(shape));
    let metrics = |m: &mut Machine<f64>| m.put(Shape::new(1, 1, 1, 4), &[1.0; 4]);

    let t = metrics(&mut m);
    m.run(LogregForward { smoothing: 0.0, x: tx, labels: tl, metrics: t });
    let errors = (0..counted)
        .filter(|&i| {
            let x = &x[i * 6..][..6];
            x.iter().any(|&other| other > x[labels[i] as usize])
        })
        .count() as f64;
    let top5 = (0..counted)
        .filter(|&i| x[i * 6..][..6].iter().filter(|&&other| other > x[i * 6 + labels[i] as usize]).count() >= 5)
        .count() as f64;
    assert_near("logreg", &m.get(t), &[1.0 + logreg(&x), 1.0 + errors, 1.0 + top5, 4.0], BOUND);
    m.run(LogregBackward { smoothing: 0.0, coefficient: 2.0, x: tx, labels: tl, dx: Target::set(dx) });
    assert_near("logreg gradient", &m.get(dx), &gradient(&logreg, &x), 1e-8);

    let t = metrics(&mut m);
    m.run(CrossEntropyForward { smoothing: 0.0, x: tp, labels: tl, metrics: t });
    assert_near("cross entropy", &m.get(t)[..1], &[1.0 + entropy(&positive)], BOUND);
    m.run(CrossEntropyBackward { smoothing: 0.0, coefficient: 2.0, x: tp, labels: tl, dx: Target::set(dx) });
    assert_near("cross entropy gradient", &m.get(dx), &gradient(&entropy, &positive), 1e-7);

    let t = metrics(&mut m);
    m.run(SquaresForward { x: tx, target: Some(tt), metrics: t });
    assert_near("squares", &m.get(t), &[1.0 + squares(&x), 1.0, 1.0, 4.0], BOUND);
    m.run(SquaresBackward { coefficient: 2.0, x: tx, target: Some(tt), dx: Target::set(dx) });
    assert_near("squares gradient", &m.get(dx), &gradient(&squares, &x), 1e-8);

    // Softmax, and its gradient of Σ target·y.
    let softmax = |x: &[f64]| -> Vec<f64> {
        x.chunks(6).flat_map(|x| x.iter().map(|v| v.exp() / x.iter().map(|v| v.exp()).sum::<f64>())).collect()
    };
    let y = m.room(shape);
    m.run(SoftmaxForward { x: tx, y });
    assert_near("softmax", &m.get(y), &softmax(&x), BOUND);
    m.run(SoftmaxBackward { y, dy: tt, dx: Target::set(dx) });
    let weighted = |x: &[f64]| softmax(x).iter().zip(&target).map(|(y, t)| y * t).sum::<f64>();
    let expected: Vec<f64> = gradient(&weighted, &x).iter().map(|g| g * 3.5).collect();
    assert_near("softmax gradient", &m.get(dx), &expected, 1e-8);
}

#[test]
fn sums_and_updates() {
    let shape = Shape::new(3, 4, 5, 7);
    let (dy, w, v) = (random(1, 420), random(2, 420), random(3, 420));
    let mut m = Machine::<f64>::new();
    m.device.set_step(step()).unwrap();
    let t = m.put(shape, &dy);
    for biases in [7, 140] {
        let db = m.room(Shape::new(1, 1, 1, biases));
        m.run(BiasBackward { dy: t, db: Target::set(db) });
        let sums: Vec<f64> = (0..biases).map(|b| dy.iter().skip(b).step_by(biases).sum()).collect();
        assert_near("bias gradient", &m.get(db), &sums, BOUND);
    }
    let mean = m.room(Shape::new(1, 1, 1, 1));
    m.run(MeanAbs { x: t, mean });
    assert_near("mean |x|", &m.get(mean), &[dy.iter().map(|v| v.abs()).sum::<f64>() / 420.0], BOUND);

    let (tw, tv) = (m.put(shape, &w), m.put(shape, &v));
    m.run(SgdUpdate { update: Update::new(2.0, 0.01), w: tw, g: t, v: tv, factor: None });
    let new: Vec<f64> = (0..420).map(|i| 0.9 * v[i] - 0.1 * 2.0 * (dy[i] + 0.01 * w[i])).collect();
    assert_near("momentum", &m.get(tv), &new, BOUND);
    let moved: Vec<f64> = (0..420).map(|i| w[i] + new[i]).collect();
    assert_near("weights", &m.get(tw), &moved, BOUND);
}

/// The mask is the Philox number of (seed, step, layer, image, element), element i of image j in lane i % 4 of block
/// (j << 32) | i / 4.
#[test]
fn dropout() {
    let (shape, keep) = (Shape::new(3, 2, 3, 7), 0.6);
    let x = random(1, 126);
    let mut values = step();
    (values.seed, values.step, values.first_image) = (0xfeed_0000_beef, 1 << 33 | 77, 10);
    let mut m = Machine::<f64>::new();
    m.device.set_step(values).unwrap();
    let (tx, ty) = (m.put(shape, &x), m.room(shape));
    m.run(Dropout { layer: 9, keep, factor: 1.0 / keep, x: tx, y: Target::set(ty) });
    let kept = |i: usize| {
        let (image, element) = (10 + i / 42, i % 42);
        let block = (image as u64) << 32 | (element / 4) as u64;
        let bits = philox::block(values.seed, Purpose::Dropout, 9, values.step, block)[element % 4];
        f64::from(philox::uniform(bits)) < keep
    };
    let y: Vec<f64> = (0..126).map(|i| if kept(i) { x[i] / keep } else { 0.0 }).collect();
    assert_near("dropout", &m.get(ty), &y, BOUND);
}

/// Every cell of the box in a loop: mirrored or not, out of x or not, channels joined into runs or not, set and added; and the
/// way back of boxes that are all of y.
#[test]
fn copies() {
    let boxes = [
        // Shapes [rows, columns, channels] of x, y and the box, where it starts in both.
        ([4, 5, 6], [5, 6, 9], [3, 4, 5], [0, 1, 1], [2, 1, 3]),
        ([4, 5, 6], [3, 4, 6], [3, 4, 6], [1, 1, 0], [0, 0, 0]),
        ([4, 5, 6], [6, 9, 6], [6, 9, 6], [-1, -2, 0], [0, 0, 0]),
        ([4, 5, 6], [4, 5, 6], [4, 5, 6], [0, 0, 0], [0, 0, 0]),
        ([4, 5, 6], [2, 5, 6], [2, 5, 6], [2, 0, 0], [0, 0, 0]),
        ([4, 5, 6], [4, 5, 2], [4, 5, 2], [0, 0, 3], [0, 0, 0]),
        ([4, 5, 2], [4, 5, 6], [4, 5, 2], [0, 0, 0], [0, 0, 3]),
    ];
    for (shape, [x_shape, y_shape, size, from, to]) in boxes.map(|(x, y, size, from, to)| ((x, y), [x, y, size, from, to])) {
        for mirror in [0, 1] {
            let ([h, w, c], [p, q, k]) = shape;
            let ([rows, columns, channels], [from_h, from_w, from_c], [to_h, to_w, to_c]) = (size, from, to);
            let g = CopyGeometry {
                n: 2,
                h,
                w,
                c,
                p,
                q,
                k,
                rows,
                columns,
                channels,
                from_h,
                from_w,
                from_c,
                to_h,
                to_w,
                to_c,
                mirror,
            };
            let (x, y) = (random(1, g.input().elements()), random(2, g.output().elements()));
            // Calls with the index in y of every cell of the box, and that in x where there is one.
            let each = |call: &mut dyn FnMut(usize, Option<usize>)| {
                for n in 0..2 {
                    for i in 0..rows {
                        for j in 0..columns {
                            for o in 0..channels {
                                let column = if mirror == 1 { columns - 1 - j } else { j };
                                let at = [from_h + i, from_w + column, from_c + o];
                                let inside = at.iter().zip(x_shape).all(|(&at, cells)| (0..cells).contains(&at));
                                let source = ((n * h + at[0]) * w + at[1]) * c + at[2];
                                let target = ((n * p + to_h + i) * q + to_w + j) * k + to_c + o;
                                call(target as usize, inside.then_some(source as usize));
                            }
                        }
                    }
                }
            };
            let mut m = Machine::<f64>::new();
            let (tx, ty) = (m.put(g.input(), &x), m.put(g.output(), &y));
            m.run(CopyBox { geometry: g, x: tx, y: Target::set(ty) });
            let mut expected = y.clone();
            each(&mut |to, from| expected[to] = from.map_or(0.0, |from| x[from]));
            assert_eq!(m.get(ty), expected, "{g:?}");
            m.run(CopyBox { geometry: g, x: tx, y: Target::add(ty) });
            each(&mut |to, from| expected[to] += from.map_or(0.0, |from| x[from]));
            assert_eq!(m.get(ty), expected, "{g:?} added");
            if size == y_shape || size == x_shape {
                let (tdy, tdx) = (m.put(g.output(), &y), m.room(g.input()));
                m.run(CopyBox { geometry: g.back(), x: tdy, y: Target::set(tdx) });
                let mut dx = vec![0.0; x.len()];
                each(&mut |to, from| from.into_iter().for_each(|from| dx[from] += y[to]));
                assert_eq!(m.get(tdx), dx, "{g:?} back");
            }
        }
    }
}

#[test]
fn merged_tensors() {
    let shape = Shape::new(2, 3, 4, 5);
    let quarters = |seed: u64| -> Vec<f64> { random(seed, 120).iter().map(|x| (x * 4.0).round() / 4.0).collect() };
    let (a, b, c, y) = (quarters(1), quarters(2), quarters(3), random(4, 120));
    let mut m = Machine::<f64>::new();
    let [ta, tb, tc] = [&a, &b, &c].map(|x| m.put(shape, x));
    for (how, f) in
        [(Merging::Sum { a: 0.5, b: -2.0 }, (|a, b| 0.5 * a - 2.0 * b) as fn(f64, f64) -> f64), (Merging::Product, |a, b| a * b)]
    {
        let set: Vec<f64> = (0..120).map(|i| f(a[i], b[i])).collect();
        let sum: Vec<f64> = (0..120).map(|i| y[i] + set[i]).collect();
        let (ty, over_a, over_b) = (m.put(shape, &y), m.put(shape, &a), m.put(shape, &b));
        m.run(Merge { how, a: ta, b: tb, y: Target::add(ty) });
        assert_near(&format!("{how:?} added"), &m.get(ty), &sum, BOUND);
        m.run(Merge { how, a: ta, b: tb, y: Target::set(ty) });
        m.run(Merge { how, a: over_a, b: tb, y: Target::set(over_a) });
        m.run(Merge { how, a: ta, b: over_b, y: Target::set(over_b) });
        for (place, t) in [("apart", ty), ("over a", over_a), ("over b", over_b)] {
            assert_near(&format!("{how:?} {place}"), &m.get(t), &set, BOUND);
        }
    }
    // The first of the largest takes all of the gradient; a third of the values are equal to another's.
    let (ty, which, tdy) = (m.room(shape), m.room(shape), m.put(shape, &y));
    m.run(MaxForward { number: 1, a: ta, b: tb, y: ty, which: Target::set(which) });
    m.run(MaxForward { number: 2, a: ty, b: tc, y: ty, which: Target::add(which) });
    let inputs = [&a, &b, &c];
    let first_largest = |i: usize| (0..3).rev().max_by(|&j, &k| inputs[j][i].partial_cmp(&inputs[k][i]).unwrap()).unwrap();
    let largest: Vec<f64> = (0..120).map(|i| inputs[first_largest(i)][i]).collect();
    assert_eq!(m.get(ty), largest);
    for input in 0..3 {
        let dx: Vec<f64> = (0..120).map(|i| if first_largest(i) == input { y[i] } else { 0.0 }).collect();
        let tdx = m.room(shape);
        m.run(MaxBackward { number: input as u32, which, dy: tdy, dx: Target::set(tdx) });
        assert_eq!(m.get(tdx), dx, "gradient of input {input}");
        m.run(MaxBackward { number: input as u32, which, dy: tdy, dx: Target::add(tdx) });
        assert_eq!(m.get(tdx), dx.iter().map(|d| 2.0 * d).collect::<Vec<_>>(), "gradient of input {input} added");
    }
}

/// max(0, x + √σ(x)·g) with g the normal number of (seed, step, layer, image, element), in lane i % 4 of block (j << 32) | i / 4.
#[test]
fn noisy_relu() {
    let shape = Shape::new(3, 2, 3, 7);
    let x = random(1, 126);
    let mut values = step();
    (values.seed, values.step, values.first_image) = (0xfeed_0000_beef, 1 << 33 | 77, 10);
    let mut m = Machine::<f64>::new();
    m.device.set_step(values).unwrap();
    let (tx, ty) = (m.put(shape, &x), m.room(shape));
    m.run(NoisyReluForward { layer: 9, x: tx, y: ty });
    let noisy = |i: usize| {
        let (image, element) = (10 + i / 42, i % 42);
        let block = philox::block(values.seed, Purpose::Noise, 9, values.step, (image as u64) << 32 | (element / 4) as u64);
        (x[i] + (1.0 / (1.0 + (-x[i]).exp())).sqrt() * philox::gaussians(block)[element % 4]).max(0.0)
    };
    assert_near("noisy relu", &m.get(ty), &(0..126).map(noisy).collect::<Vec<f64>>(), BOUND);
}
