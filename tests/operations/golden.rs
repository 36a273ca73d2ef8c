//! The CPU device against PyTorch's numbers: tests/golden/operations.json, made in double by make_operations.py beside it.

use super::{Machine, assert_near, pool_backward, step};
use convnet::device::cpu::Real;
use convnet::device::{ConvGeometry, Device, ImageGeometry, PoolGeometry, Shape, StepValues, Tensor};
use convnet::op::{
    BiasBackward, Binary, BinaryCrossEntropyBackward, BinaryCrossEntropyForward, ContrastiveBackward, ContrastiveForward,
    ConvBackwardFilters, ConvBackwardImage, ConvForward, CrossEntropyBackward, CrossEntropyForward, HingeBackward, HingeForward,
    HingeLoss, LocalBackwardFilters, LocalBackwardImage, LocalForward, LogregBackward, LogregForward, Neuron, NeuronBackward,
    NeuronForward, OneHot, PoolForward, PoolKind, PreluBackward, PreluBackwardSlope, PreluForward, ResampleBackward,
    ResampleForward, SgdUpdate, SoftCrossEntropyBackward, SoftCrossEntropyForward, SoftmaxBackward, SoftmaxForward, Target,
    Update,
};
use serde_json::Value;

/// f64 agrees to rounding; f32 to its own.
pub fn bound<T: Real>() -> f64 {
    if size_of::<T>() == 8 { 1e-10 } else { 1e-4 }
}

fn golden(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../golden/operations.json")).unwrap();
    all[kind].as_array().unwrap().clone()
}

pub fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// The geometry's fields in their order in the struct.
pub fn geometry<G: bytemuck::Pod>(v: &Value) -> G {
    let fields: Vec<i32> = numbers(v).into_iter().map(|v| v as i32).collect();
    bytemuck::pod_read_unaligned(bytemuck::cast_slice(&fields))
}

fn vector(c: usize) -> Shape {
    Shape::new(1, 1, 1, c)
}

#[test]
fn convolutions() {
    fn check<T: Real>() {
        for v in golden("conv") {
            let g: ConvGeometry = geometry(&v["geometry"]);
            let (xs, ws, ys, bs) = (g.input(), g.filters(), g.output(), vector(g.k as usize));
            let mut m = Machine::<T>::new();
            let (x, w) = (m.put(xs, &numbers(&v["x"])), m.put(ws, &numbers(&v["w"])));
            let (b, dy) = (m.put(bs, &numbers(&v["b"])), m.put(ys, &numbers(&v["dy"])));
            let (y, dx, dw, db) = (m.room(ys), m.room(xs), m.room(ws), m.room(bs));
            m.run(ConvForward { geometry: g, neuron: Neuron::NONE, x, w, b: Some(b), y });
            m.run(ConvBackwardImage { geometry: g, neuron: Neuron::NONE, dy, w, seen: None, dx: Target::set(dx) });
            m.run(ConvBackwardFilters { geometry: g, x, dy, dw: Target::set(dw) });
            m.run(BiasBackward { dy, db: Target::set(db) });
            for (name, t) in [("y", y), ("dx", dx), ("dw", dw), ("db", db)] {
                assert_near(&format!("{name} of {g:?}"), &m.get(t), &numbers(&v[name]), bound::<T>());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn local_layers() {
    fn check<T: Real>() {
        let all: Value = serde_json::from_str(include_str!("../golden/local.json")).unwrap();
        for v in all["local"].as_array().unwrap() {
            let g: ConvGeometry = geometry(&v["geometry"]);
            let (xs, ws, ys) = (g.input(), g.local_filters(), g.output());
            let bs = Shape { n: 1, ..ys };
            let mut m = Machine::<T>::new();
            let (x, w) = (m.put(xs, &numbers(&v["x"])), m.put(ws, &numbers(&v["w"])));
            let (b, dy) = (m.put(bs, &numbers(&v["b"])), m.put(ys, &numbers(&v["dy"])));
            let (y, dx, dw, db) = (m.room(ys), m.room(xs), m.room(ws), m.room(bs));
            m.run(LocalForward { geometry: g, neuron: Neuron::NONE, x, w, b: Some(b), y });
            m.run(LocalBackwardImage { geometry: g, dy, w, dx: Target::set(dx) });
            m.run(LocalBackwardFilters { geometry: g, x, dy, dw: Target::set(dw) });
            m.run(BiasBackward { dy, db: Target::set(db) });
            for (name, t) in [("y", y), ("dx", dx), ("dw", dw), ("db", db)] {
                assert_near(&format!("{name} of {g:?}"), &m.get(t), &numbers(&v[name]), bound::<T>());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn pools() {
    fn check<T: Real>() {
        for v in golden("pool") {
            let g: PoolGeometry = geometry(&v["geometry"]);
            let kind = if v["kind"] == "max" { PoolKind::Max } else { PoolKind::Avg };
            let mut m = Machine::<T>::new();
            let (x, dy) = (m.put(g.input(), &numbers(&v["x"])), m.put(g.output(), &numbers(&v["dy"])));
            let (y, dx) = (m.room(g.output()), m.room(g.input()));
            m.run(PoolForward { kind, geometry: g, x, y });
            m.run(pool_backward(kind, g, [x, y, dy], Target::set(dx)));
            for (name, t) in [("y", y), ("dx", dx)] {
                assert_near(&format!("{name} of {kind:?} {g:?}"), &m.get(t), &numbers(&v[name]), bound::<T>());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn softmax_and_costs() {
    fn check<T: Real>() {
        for v in golden("cost") {
            let (n, classes) = (v["n"].as_u64().unwrap() as usize, v["classes"].as_u64().unwrap() as usize);
            let shape = Shape::new(n, 1, 1, classes);
            let labels: Vec<i32> = numbers(&v["labels"]).into_iter().map(|v| v as i32).collect();
            let mut m = Machine::<T>::new();
            let mut values = step();
            values.gradient_scale = 1.0 / n as f64;
            m.device.set_step(values).unwrap();
            let (x, dy, labels) = (m.put(shape, &numbers(&v["x"])), m.put(shape, &numbers(&v["dy"])), m.integers(&labels));
            let (y, softmax_dx, dx) = (m.room(shape), m.room(shape), m.room(shape));
            let (fused, apart) = (m.put(vector(4), &[0.0; 4]), m.put(vector(4), &[0.0; 4]));
            m.run(SoftmaxForward { x, y });
            m.run(SoftmaxBackward { y, dy, dx: Target::set(softmax_dx) });
            m.run(LogregForward { smoothing: 0.0, x, labels, metrics: fused });
            m.run(LogregBackward { smoothing: 0.0, coefficient: 1.0, x, labels, dx: Target::set(dx) });
            for (name, t) in [("y", y), ("softmax_dx", softmax_dx), ("dx", dx)] {
                assert_near(&format!("{name} of {classes} classes"), &m.get(t), &numbers(&v[name]), bound::<T>());
            }
            let errors = numbers(&v["errors"]);
            let metrics = [v["loss"][0].as_f64().unwrap(), errors[0], errors[1], n as f64];
            assert_near(&format!("metrics of {classes} classes"), &m.get(fused), &metrics, bound::<T>());

            // The same in two: softmax, then the cross entropy of its probabilities. The last case's probabilities are too small.
            if metrics[0] < 100.0 {
                let dp = m.room(shape);
                m.run(CrossEntropyForward { smoothing: 0.0, x: y, labels, metrics: apart });
                assert_near("cross entropy", &m.get(apart), &metrics, bound::<T>());
                m.run(CrossEntropyBackward { smoothing: 0.0, coefficient: 1.0, x: y, labels, dx: Target::set(dp) });
                m.run(SoftmaxBackward { y, dy: dp, dx: Target::set(dx) });
                assert_near("its gradient", &m.get(dx), &numbers(&v["dx"]), bound::<T>());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

/// The loss is the first metric, Σ over the images.
fn loss<T: Real>(m: &mut Machine<T>, metrics: Tensor) -> f64 {
    m.get(metrics)[0]
}

fn scaled<T: Real>(v: &Value) -> (Machine<T>, usize) {
    let n = v["n"].as_u64().unwrap() as usize;
    let mut m = Machine::<T>::new();
    m.device.set_step(StepValues { gradient_scale: 1.0 / n as f64, ..step() }).unwrap();
    (m, n)
}

fn whole(v: &Value) -> Vec<i32> {
    numbers(v).into_iter().map(|v| v as i32).collect()
}

/// `cross_entropy` with `label_smoothing`, and with soft targets; the same of probabilities, behind a softmax.
#[test]
fn smoothed_and_soft_targets() {
    fn check<T: Real>() {
        for v in golden("smoothed") {
            let (mut m, n) = scaled::<T>(&v);
            let shape = Shape::new(n, 1, 1, v["classes"].as_u64().unwrap() as usize);
            let smoothing = v["smoothing"].as_f64().unwrap();
            let (x, labels, t) =
                (m.put(shape, &numbers(&v["x"])), m.integers(&whole(&v["labels"])), m.put(shape, &numbers(&v["t"])));
            let [y, one_hot, dx, dp] = [(); 4].map(|()| m.room(shape));
            m.run(SoftmaxForward { x, y });
            m.run(OneHot { smoothing, labels, y: one_hot });
            assert_near("one-hot", &m.get(one_hot), &numbers(&v["one_hot"]), bound::<T>());
            for fused in [true, false] {
                let [smoothed, of_one_hot, soft] = [(); 3].map(|()| m.put(vector(4), &[0.0; 4]));
                let p = if fused { x } else { y };
                if fused {
                    m.run(LogregForward { smoothing, x: p, labels, metrics: smoothed });
                    m.run(LogregBackward { smoothing, coefficient: 1.0, x: p, labels, dx: Target::set(dx) });
                } else {
                    m.run(CrossEntropyForward { smoothing, x: p, labels, metrics: smoothed });
                    m.run(CrossEntropyBackward { smoothing, coefficient: 1.0, x: p, labels, dx: Target::set(dp) });
                    m.run(SoftmaxBackward { y, dy: dp, dx: Target::set(dx) });
                }
                assert_near("smoothed loss", &[loss(&mut m, smoothed)], &numbers(&v["loss"]), bound::<T>());
                assert_near("its gradient", &m.get(dx), &numbers(&v["dx"]), bound::<T>());
                // Labels by another way, and the errors with them.
                m.run(SoftCrossEntropyForward { softmax: fused, x: p, target: one_hot, metrics: of_one_hot });
                assert_near("one-hot metrics", &m.get(of_one_hot), &m.get(smoothed), bound::<T>());
                m.run(SoftCrossEntropyForward { softmax: fused, x: p, target: t, metrics: soft });
                let to = if fused { dx } else { dp };
                m.run(SoftCrossEntropyBackward { softmax: fused, coefficient: 1.0, x: p, target: t, dx: Target::set(to) });
                if !fused {
                    m.run(SoftmaxBackward { y, dy: dp, dx: Target::set(dx) });
                }
                assert_near("soft loss", &[loss(&mut m, soft)], &numbers(&v["soft"]), bound::<T>());
                assert_near("its gradient", &m.get(dx), &numbers(&v["soft_dx"]), bound::<T>());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

/// `binary_cross_entropy_with_logits` with `pos_weight`, and `binary_cross_entropy`.
#[test]
fn binary_cross_entropies() {
    fn check<T: Real>() {
        for v in golden("binary") {
            let (mut m, n) = scaled::<T>(&v);
            let shape = Shape::new(n, 1, 1, v["outputs"].as_u64().unwrap() as usize);
            let [x, t, p] = ["x", "t", "p"].map(|name| m.put(shape, &numbers(&v[name])));
            let dx = m.room(shape);
            let weighed = Binary { logistic: true, positive_weight: v["weight"].as_f64().unwrap() };
            let plain = Binary { logistic: false, positive_weight: 1.0 };
            for (binary, x, of_loss, of_dx) in [(weighed, x, "loss", "dx"), (plain, p, "apart", "dp")] {
                let metrics = m.put(vector(4), &[0.0; 4]);
                m.run(BinaryCrossEntropyForward { binary, x, target: t, metrics });
                m.run(BinaryCrossEntropyBackward { binary, coefficient: 1.0, x, target: t, dx: Target::set(dx) });
                assert_near(of_loss, &[loss(&mut m, metrics)], &numbers(&v[of_loss]), bound::<T>());
                assert_near(of_dx, &m.get(dx), &numbers(&v[of_dx]), bound::<T>());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

/// `multi_margin_loss` with p = 1 and 2, without its division by the number of classes.
#[test]
fn hinge_losses() {
    fn check<T: Real>() {
        for v in golden("hinge") {
            let (mut m, n) = scaled::<T>(&v);
            let shape = Shape::new(n, 1, 1, v["classes"].as_u64().unwrap() as usize);
            let hinge = HingeLoss { one_vs_all: false, squared: v["norm"] == 2, margin: v["margin"].as_f64().unwrap() };
            let (x, labels) = (m.put(shape, &numbers(&v["x"])), m.integers(&whole(&v["labels"])));
            let (dx, metrics) = (m.room(shape), m.put(vector(4), &[0.0; 4]));
            m.run(HingeForward { loss: hinge, x, labels, metrics });
            m.run(HingeBackward { loss: hinge, coefficient: 1.0, x, labels, dx: Target::set(dx) });
            assert_near("loss", &[loss(&mut m, metrics)], &numbers(&v["loss"]), bound::<T>());
            assert_near("dx", &m.get(dx), &numbers(&v["dx"]), bound::<T>());
        }
    }
    check::<f32>();
    check::<f64>();
}

/// The contrastive loss out of PyTorch's own operations.
#[test]
fn contrastive_losses() {
    fn check<T: Real>() {
        for v in golden("contrastive") {
            let (mut m, n) = scaled::<T>(&v);
            let shape = Shape::new(n, 1, 1, v["elements"].as_u64().unwrap() as usize);
            let margin = v["margin"].as_f64().unwrap();
            let [a, b] = ["a", "b"].map(|name| m.put(shape, &numbers(&v[name])));
            let labels = m.integers(&whole(&v["labels"]));
            let ([da, db], metrics) = ([(); 2].map(|()| m.room(shape)), m.put(vector(4), &[0.0; 4]));
            m.run(ContrastiveForward { margin, a, b, labels, metrics });
            m.run(ContrastiveBackward { margin, coefficient: 1.0, a, b, labels, da: Target::set(da) });
            m.run(ContrastiveBackward { margin, coefficient: 1.0, a: b, b: a, labels, da: Target::set(db) });
            let expected = [numbers(&v["loss"])[0], numbers(&v["errors"])[0], 0.0, n as f64];
            assert_near("metrics", &m.get(metrics), &expected, bound::<T>());
            for (name, t) in [("da", da), ("db", db)] {
                assert_near(name, &m.get(t), &numbers(&v[name]), bound::<T>());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn neurons() {
    fn check<T: Real>() {
        for v in golden("neuron") {
            let a = v["a"].as_f64().unwrap();
            let neuron = match v["neuron"].as_str().unwrap() {
                "leaky" => Neuron::Leaky { a },
                "elu" => Neuron::Elu { a },
                _ => Neuron::Swish,
            };
            let (x, dy) = (numbers(&v["x"]), numbers(&v["dy"]));
            let mut m = Machine::<T>::new();
            let shape = vector(x.len());
            let (x, dy, y, dx) = (m.put(shape, &x), m.put(shape, &dy), m.room(shape), m.room(shape));
            m.run(NeuronForward { neuron, x, y });
            let seen = Some(if neuron.derivative_reads_input() { x } else { y });
            m.run(NeuronBackward { neuron, seen, dy, dx: Target::set(dx), db: None });
            for (name, t) in [("y", y), ("dx", dx)] {
                assert_near(&format!("{name} of {neuron:?}"), &m.get(t), &numbers(&v[name]), bound::<T>());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn resizing() {
    fn check<T: Real>() {
        for v in golden("resize") {
            let g: ImageGeometry = geometry(&v["geometry"]);
            let axis = |cells: i32, outputs: i32| {
                let step = f64::from(cells) / f64::from(outputs);
                [(step - 1.0) / 2.0, step]
            };
            let window = [axis(g.h, g.p), axis(g.w, g.q)].concat();
            let mut m = Machine::<T>::new();
            let (x, dy) = (m.put(g.input(), &numbers(&v["x"])), m.put(g.output(), &numbers(&v["dy"])));
            let (window, y, dx) = (m.put(vector(4), &window), m.room(g.output()), m.room(g.input()));
            m.run(ResampleForward { geometry: g, window, x, y });
            m.run(ResampleBackward { geometry: g, window, dy, dx: Target::set(dx) });
            for (name, t) in [("y", y), ("dx", dx)] {
                assert_near(&format!("{name} of {g:?}"), &m.get(t), &numbers(&v[name]), bound::<T>());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn parametric_relu() {
    fn check<T: Real>() {
        for v in golden("prelu") {
            let shape = numbers(&v["shape"]);
            let [n, h, w, c] = [0, 1, 2, 3].map(|i| shape[i] as usize);
            let (shape, slopes) = (Shape::new(n, h, w, c), numbers(&v["slope"]));
            let mut m = Machine::<T>::new();
            let (x, dy) = (m.put(shape, &numbers(&v["x"])), m.put(shape, &numbers(&v["dy"])));
            let slope = m.put(vector(slopes.len()), &slopes);
            let (y, dx, dslope) = (m.room(shape), m.room(shape), m.room(slope.shape));
            m.run(PreluForward { x, slope, y });
            m.run(PreluBackward { x, slope, dy, dx: Target::set(dx) });
            m.run(PreluBackwardSlope { x, dy, dslope: Target::set(dslope) });
            for (name, t) in [("y", y), ("dx", dx), ("dslope", dslope)] {
                assert_near(&format!("{name} of {} slopes", slopes.len()), &m.get(t), &numbers(&v[name]), bound::<T>());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn momentum_updates() {
    fn check<T: Real>() {
        for v in golden("sgd") {
            let start = numbers(&v["w"]);
            let mut m = Machine::<T>::new();
            let mut values = step();
            values.learning_rate = v["rate"].as_f64().unwrap();
            values.momentum = v["momentum"].as_f64().unwrap();
            m.device.set_step(values).unwrap();
            let shape = vector(start.len());
            let (w, velocity) = (m.put(shape, &start), m.put(shape, &vec![0.0; start.len()]));
            let update = Update::new(1.0, v["decay"].as_f64().unwrap());
            let (gradients, after) = (v["gradients"].as_array().unwrap(), v["after"].as_array().unwrap());
            for (i, (g, after)) in gradients.iter().zip(after).enumerate() {
                let g = m.put(shape, &numbers(g));
                m.run(SgdUpdate { update, w, g, v: velocity, factor: None });
                assert_near(&format!("weights after step {i}"), &m.get(w), &numbers(after), bound::<T>());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}
