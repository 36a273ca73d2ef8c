//! GFLOP/s of the CPU device's convolutions and products, a layer shape and pass a line, for the nets that the goals name.
//!
//! `cargo bench --bench conv -- [NET]… [--threads N] [--seconds S] [--best]`; without a net, all of them. Each pass is repeated
//! for S seconds (0.3) and its median taken, or with `--best` its fastest, which a busy machine spoils less. The last line of a
//! net is all of its passes together: the part of a training step that is multiply-adds.

use convnet::device::cpu::CpuDevice;
use convnet::device::{ConvGeometry, Device, Dtype, ProductGeometry, Rounding, Shape, Slot, Tensor, Window, output_size};
use convnet::op::{ConvBackwardFilters, ConvBackwardImage, ConvForward, Neuron, Op, Product, Target};
use std::time::Instant;

/// A layer that multiplies and adds.
#[derive(Clone, Copy)]
enum Layer {
    /// Image size, channels, filters, filter size, stride, padding, groups; whether it needs an image gradient.
    Conv(usize, usize, usize, usize, usize, usize, usize, bool),
    /// Inputs, outputs.
    Fc(usize, usize),
}
use Layer::{Conv, Fc};

/// Name, batch, layers (each with how often the net has it).
type Net = (&'static str, usize, &'static [(usize, Layer)]);

const NETS: &[Net] = &[
    (
        "lenet",
        64,
        &[(1, Conv(28, 1, 20, 5, 1, 0, 1, false)), (1, Conv(12, 20, 50, 5, 1, 0, 1, true)), (1, Fc(800, 500)), (1, Fc(500, 10))],
    ),
    (
        "cifar10-quick",
        128,
        &[
            (1, Conv(32, 3, 32, 5, 1, 2, 1, false)),
            (1, Conv(16, 32, 32, 5, 1, 2, 1, true)),
            (1, Conv(8, 32, 64, 5, 1, 2, 1, true)),
            (1, Fc(1024, 64)),
            (1, Fc(64, 10)),
        ],
    ),
    (
        "alexnet",
        32,
        &[
            (1, Conv(227, 3, 96, 11, 4, 0, 1, false)),
            (1, Conv(27, 96, 256, 5, 1, 2, 2, true)),
            (1, Conv(13, 256, 384, 3, 1, 1, 1, true)),
            (1, Conv(13, 384, 384, 3, 1, 1, 2, true)),
            (1, Conv(13, 384, 256, 3, 1, 1, 2, true)),
            (1, Fc(9216, 4096)),
            (1, Fc(4096, 4096)),
            (1, Fc(4096, 1000)),
        ],
    ),
    (
        "vgg16",
        8,
        &[
            (1, Conv(224, 3, 64, 3, 1, 1, 1, false)),
            (1, Conv(224, 64, 64, 3, 1, 1, 1, true)),
            (1, Conv(112, 64, 128, 3, 1, 1, 1, true)),
            (1, Conv(112, 128, 128, 3, 1, 1, 1, true)),
            (1, Conv(56, 128, 256, 3, 1, 1, 1, true)),
            (2, Conv(56, 256, 256, 3, 1, 1, 1, true)),
            (1, Conv(28, 256, 512, 3, 1, 1, 1, true)),
            (2, Conv(28, 512, 512, 3, 1, 1, 1, true)),
            (3, Conv(14, 512, 512, 3, 1, 1, 1, true)),
            (1, Fc(25088, 4096)),
            (1, Fc(4096, 4096)),
            (1, Fc(4096, 1000)),
        ],
    ),
    (
        "resnet18",
        16,
        &[
            (1, Conv(224, 3, 64, 7, 2, 3, 1, false)),
            (4, Conv(56, 64, 64, 3, 1, 1, 1, true)),
            (1, Conv(56, 64, 128, 3, 2, 1, 1, true)),
            (1, Conv(56, 64, 128, 1, 2, 0, 1, true)),
            (3, Conv(28, 128, 128, 3, 1, 1, 1, true)),
            (1, Conv(28, 128, 256, 3, 2, 1, 1, true)),
            (3, Conv(14, 256, 256, 3, 1, 1, 1, true)),
            (1, Conv(14, 256, 512, 3, 2, 1, 1, true)),
            (3, Conv(7, 512, 512, 3, 1, 1, 1, true)),
            (1, Fc(512, 1000)),
        ],
    ),
    (
        "others",
        16,
        &[
            (1, Conv(56, 64, 256, 1, 1, 0, 1, true)),
            (1, Conv(14, 1024, 256, 1, 1, 0, 1, true)),
            (1, Conv(56, 128, 128, 3, 1, 1, 128, true)),
            (1, Conv(28, 256, 256, 3, 2, 1, 256, true)),
            (1, Fc(3072, 3072)),
        ],
    ),
];

/// How passes are timed.
struct Bench {
    threads: usize,
    seconds: f64,
    best: bool,
}

impl Bench {
    /// Seconds of each of a layer's passes, on a device of its own. The tensors are those of the shapes, filled with numbers.
    fn times(&self, shapes: [Shape; 4], passes: impl Fn([Tensor; 4]) -> [Option<Op<Tensor>>; 3]) -> [Option<f64>; 3] {
        let mut at = 0;
        let mut place = |shape: Shape, dtype: Dtype| {
            let t = Tensor::new(Slot(at), shape, dtype);
            at += t.bytes().next_multiple_of(256);
            t
        };
        let mut device = CpuDevice::<f32>::new(self.threads);
        let tensors = shapes.map(|s| place(s, Dtype::F32));
        let passes = passes(tensors);
        let bytes = passes.iter().flatten().map(|op| device.scratch(op)).max().unwrap_or(0);
        let scratch = place(Shape::new(1, 1, 1, bytes), Dtype::U8);
        device.allocate(at).expect("memory");
        for t in tensors {
            let numbers: Vec<u8> =
                (0..t.shape.elements()).flat_map(|i| ((i * 7919 % 1009) as f32 / 504.5 - 1.0).to_le_bytes()).collect();
            device.write(t, &numbers).expect("write");
        }
        passes.map(|op| op.map(|op| self.time(|| device.run(&op, scratch).expect("the device runs"))))
    }

    /// Median or least seconds of a call.
    fn time(&self, mut call: impl FnMut()) -> f64 {
        call();
        let (start, mut times) = (Instant::now(), Vec::new());
        while times.len() < 3 || start.elapsed().as_secs_f64() < self.seconds {
            let start = Instant::now();
            call();
            times.push(start.elapsed().as_secs_f64());
        }
        times.sort_by(f64::total_cmp);
        times[if self.best { 0 } else { times.len() / 2 }]
    }
}

#[allow(clippy::too_many_arguments)]
fn geometry(n: usize, image: usize, c: usize, k: usize, r: usize, stride: usize, padding: usize, groups: usize) -> ConvGeometry {
    let p = output_size(image, Window { size: r, stride, padding, dilation: 1 }, Rounding::Floor).expect("fits");
    let [n, h, c, k, r, stride, padding, groups, p] = [n, image, c, k, r, stride, padding, groups, p].map(|x| x as i32);
    ConvGeometry {
        n,
        h,
        w: h,
        c,
        k,
        r,
        s: r,
        p,
        q: p,
        stride_h: stride,
        stride_w: stride,
        padding_h: padding,
        padding_w: padding,
        dilation_h: 1,
        dilation_w: 1,
        groups,
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let (mut threads, mut seconds, mut best, mut names) = (0, 0.3, false, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--threads" => threads = arguments.next().and_then(|x| x.parse().ok()).expect("--threads N"),
            "--seconds" => seconds = arguments.next().and_then(|x| x.parse().ok()).expect("--seconds S"),
            "--best" => best = true,
            _ => names.push(argument),
        }
    }
    let bench = Bench { threads, seconds, best };
    println!("{}", CpuDevice::<f32>::new(threads).name());
    for &(name, batch, layers) in NETS.iter().filter(|net| names.is_empty() || names.iter().any(|n| n == net.0)) {
        println!("{name}, batch {batch}, GFLOP/s (ms)      forward        image gradient  filter gradient");
        let (mut flops, mut time) = (0.0, 0.0);
        for &(count, layer) in layers {
            let (what, each, times) = match layer {
                Conv(image, c, k, r, stride, padding, groups, image_gradient) => {
                    let g = geometry(batch, image, c, k, r, stride, padding, groups);
                    let shapes = [g.input(), g.filters(), Shape::new(1, 1, 1, k), g.output()];
                    let times = bench.times(shapes, |[x, w, b, y]| {
                        let forward = ConvForward { geometry: g, neuron: Neuron::Relu, x, w, b: Some(b), y };
                        let image =
                            ConvBackwardImage { geometry: g, neuron: Neuron::NONE, dy: y, w, seen: None, dx: Target::set(x) };
                        let filters = ConvBackwardFilters { geometry: g, x, dy: y, dw: Target::set(w) };
                        [Some(forward.into()), image_gradient.then(|| image.into()), Some(filters.into())]
                    });
                    let what = format!("{image}×{image}×{c} → {k}, {r}×{r}/{stride} pad {padding} groups {groups}");
                    (what, 2.0 * g.multiply_adds() as f64 * batch as f64, times)
                }
                Fc(inputs, outputs) => {
                    let vector = |n, c| Shape::new(n, 1, 1, c);
                    let shapes = [vector(batch, inputs), vector(outputs, inputs), vector(1, outputs), vector(batch, outputs)];
                    let times = bench.times(shapes, |[x, w, bias, y]| {
                        let product = |[m, n, k]: [usize; 3], [transpose_a, transpose_b]: [i32; 2], a, b, bias, c| {
                            let [m, n, k] = [m, n, k].map(|x| x as i32);
                            let geometry = ProductGeometry { m, n, k, transpose_a, transpose_b };
                            Some(Product { geometry, neuron: Neuron::NONE, a, b, bias, c: Target::set(c) }.into())
                        };
                        let forward = product([batch, outputs, inputs], [0, 1], x, w, Some(bias), y);
                        let image = product([batch, inputs, outputs], [0, 0], y, w, None, x);
                        [forward, image, product([outputs, inputs, batch], [1, 0], y, x, None, w)]
                    });
                    (format!("fc {inputs} → {outputs}"), 2.0 * (batch * inputs * outputs) as f64, times)
                }
            };
            let cells = times.map(|t| match t {
                Some(t) => format!("{:6.1} ({:8.3})", each / t / 1e9, t * 1e3),
                None => format!("{:17}", ""),
            });
            println!("{count} × {what:42} {}  {}  {}", cells[0], cells[1], cells[2]);
            for t in times.into_iter().flatten() {
                flops += each * count as f64;
                time += t * count as f64;
            }
        }
        println!("{name}: {:.1} GFLOP/s, {:.2} ms, {:.0} images/s", flops / time / 1e9, time * 1e3, batch as f64 / time);
    }
}
