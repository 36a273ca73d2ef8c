//! Normalisations and pools against PyTorch's numbers: tests/golden/norms.json, made in double by make_norms.py beside it.

use super::{Machine, assert_near, pool_backward};
use crate::golden::{bound, geometry, numbers};
use convnet::config::NetSpec;
use convnet::device::cpu::{CpuDevice, Real};
use convnet::device::{LrnGeometry, Place, PoolGeometry, Shape};
use convnet::layer::Phase;
use convnet::net::{BatchBytes, Graph, Net, Purpose};
use convnet::op::{
    BatchNorm, BatchNormApply, BatchNormBackward, BatchNormMoments, BatchNormRunning, LrnBackward, LrnForward, Neuron,
    PoolForward, PoolKind, Response, Target,
};
use serde_json::Value;

fn golden(kind: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../golden/norms.json")).unwrap();
    all[kind].as_array().unwrap().clone()
}

#[test]
fn response_normalisation() {
    fn check<T: Real>() {
        for v in golden("lrn") {
            let g: LrnGeometry = geometry(&v["geometry"]);
            let number = |name: &str| v[name].as_f64().unwrap();
            let response = Response { alpha: number("alpha"), beta: number("beta"), k: number("k") };
            let mut m = Machine::<T>::new();
            let (x, dy) = (m.put(g.shape(), &numbers(&v["x"])), m.put(g.shape(), &numbers(&v["dy"])));
            let (y, dx) = (m.room(g.shape()), m.room(g.shape()));
            m.run(LrnForward { geometry: g, response, x, seen: None, y });
            m.run(LrnBackward { geometry: g, response, x, seen: None, dy, dx: Target::set(dx), dseen: None });
            for (name, t) in [("y", y), ("dx", dx)] {
                assert_near(&format!("{name} of {g:?}"), &m.get(t), &numbers(&v[name]), bound::<T>());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

/// A training pass from running moments of an earlier batch, its gradients, and a test with the running moments after it.
#[test]
fn batch_normalisation() {
    fn check<T: Real>() {
        for v in golden("batch_norm") {
            let [n, h, w, c] = <[f64; 4]>::try_from(numbers(&v["shape"])).unwrap().map(|v| v as usize);
            let (shape, vector) = (Shape::new(n, h, w, c), Shape::new(1, 1, 1, c));
            let number = |name: &str| v[name].as_f64().unwrap();
            let norm = BatchNorm { epsilon: number("epsilon"), momentum: number("momentum") };
            let mut m = Machine::<T>::new();
            let [x, dy] = ["x", "dy"].map(|name| m.put(shape, &numbers(&v[name])));
            let [gamma, beta, mean, variance] =
                ["gamma", "beta", "mean", "variance"].map(|name| m.put(vector, &numbers(&v[name])));
            let [y, dx, tested] = [(); 3].map(|()| m.room(shape));
            let [dgamma, dbeta] = [(); 2].map(|()| m.room(vector));
            let saved = m.room(Shape::new(1, 1, 1, 2 * c));
            let apply =
                |y| BatchNormApply { neuron: Neuron::NONE, saved, gamma: Some(gamma), beta: Some(beta), x, residual: None, y };
            m.run(BatchNormMoments { norm, x, mean, variance, saved });
            m.run(apply(y));
            m.run(BatchNormBackward {
                neuron: Neuron::NONE,
                beta: None,
                x,
                saved,
                gamma: Some(gamma),
                dy,
                dgamma: Some(Target::set(dgamma)),
                dbeta: Some(Target::set(dbeta)),
                dx: Some(Target::set(dx)),
            });
            m.run(BatchNormRunning { epsilon: norm.epsilon, mean, variance, saved });
            m.run(apply(tested));
            for (name, t) in [("mean_after", mean), ("variance_after", variance), ("y", y), ("tested", tested)] {
                assert_near(&format!("{name} of {shape:?}"), &m.get(t), &numbers(&v[name]), bound::<T>());
            }
            for (name, t) in [("dgamma", dgamma), ("dbeta", dbeta), ("dx", dx)] {
                assert_near(&format!("{name} of {shape:?}"), &m.get(t), &numbers(&v[name]), bound::<T>());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

/// L2 norms of windows, and windows that divide the image evenly.
#[test]
fn pools() {
    fn check<T: Real>() {
        for v in golden("pool") {
            let g: PoolGeometry = geometry(&v["geometry"]);
            let kind: PoolKind = serde_json::from_value(v["kind"].clone()).unwrap();
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

/// Layers that are made of several operations, through a net of their own.
#[test]
fn layers() {
    for v in golden("layer") {
        let [n, h, w, c] = <[f64; 4]>::try_from(numbers(&v["shape"])).unwrap().map(|v| v as usize);
        let (images, keys) = (Shape::new(n, h, w, c), v["layer"].as_str().unwrap());
        let spec =
            NetSpec::from_toml(&format!("layer = [{{ name = \"x\", inputs = \"data\", {keys} }}]"), "x.toml", &[]).unwrap();
        let graph = Graph::new(&spec, images, 2).unwrap_or_else(|e| panic!("{}", e.render(false)));
        let device = Box::new(CpuDevice::<f64>::new(1));
        let net = Net::new(graph, device, Purpose::Infer, images, &vec![128.0; c], 1.0 / 64.0);
        let mut net = net.unwrap_or_else(|(error, _)| panic!("{error}"));
        let bytes: Vec<u8> = numbers(&v["x"]).iter().map(|x| (x * 64.0 + 128.0) as u8).collect();
        let (places, labels) = (vec![Place::default(); n], vec![0; n]);
        net.feed(BatchBytes { images: &bytes, places: &places, labels: &labels, values: &[] }).unwrap();
        net.set_step(super::step()).unwrap();
        net.forward(Phase::Test).unwrap();
        let y = net.output(0).unwrap();
        assert_near(keys, &net.read(y).unwrap(), &numbers(&v["y"]), 1e-12);
    }
}
