//! Single facts about the CPU device that a table of geometries does not show.

use super::{Machine, assert_near, step};
use convnet::device::cpu::{CpuDevice, Real};
use convnet::device::{Device, Dtype, Error, ImageGeometry, METRIC_ERRORS, METRIC_ERRORS_TOP5, METRIC_LOSS, PoolGeometry, Shape};
use convnet::op::{
    BiasBackward, Binary, BinaryCrossEntropyBackward, BinaryCrossEntropyForward, ContrastiveBackward, ContrastiveForward,
    CountDetections, Dropout, LabForward, LoadImages, LogregBackward, LogregForward, Neuron, NeuronForward, NoisyReluForward, Op,
    PoolBackward, PoolForward, PoolKind, RandomWindow, Target,
};

fn vector(c: usize) -> Shape {
    Shape::new(1, 1, 1, c)
}

/// Of 200,000 elements a share of `keep` is kept, within five standard deviations; the others are 0, those 1/keep.
#[test]
fn dropout_keeps_its_share() {
    let (shape, elements) = (Shape::new(20, 10, 10, 100), 200_000);
    for keep in [0.1, 0.5, 0.9] {
        let mut m = Machine::<f32>::new();
        m.device.set_step(step()).unwrap();
        let (x, y) = (m.put(shape, &vec![1.0; elements]), m.room(shape));
        m.run(Dropout { layer: 0, keep, factor: 1.0 / keep, x, y: Target::set(y) });
        let y = m.get(y);
        let kept = y.iter().filter(|&&y| y != 0.0).count() as f64;
        assert!(y.iter().all(|&y| y == 0.0 || y == f64::from((1.0 / keep) as f32)));
        let deviation = (elements as f64 * keep * (1.0 - keep)).sqrt();
        assert!((kept - elements as f64 * keep).abs() < 5.0 * deviation, "kept {kept} of {elements} at {keep}");
    }
}

/// The mask depends on seed, step, layer and the image's place in its batch, and on nothing else: two micro-batches get the
/// two halves of the mask of the whole.
#[test]
fn dropout_masks_are_functions_of_their_keys() {
    let shape = Shape::new(8, 1, 1, 1000);
    let half = Shape::new(4, 1, 1, 1000);
    let mask = |shape: Shape, seed: u64, at: u64, layer: u32, first_image: u32| {
        let mut m = Machine::<f32>::new();
        let mut values = step();
        (values.seed, values.step, values.first_image) = (seed, at, first_image);
        m.device.set_step(values).unwrap();
        let x = m.put(shape, &vec![1.0; shape.elements()]);
        m.run(Dropout { layer, keep: 0.5, factor: 2.0, x, y: Target::set(x) });
        m.get(x)
    };
    let whole = mask(shape, 1, 2, 3, 0);
    assert_eq!(whole, mask(shape, 1, 2, 3, 0));
    assert_eq!(whole[..4000], mask(half, 1, 2, 3, 0));
    assert_eq!(whole[4000..], mask(half, 1, 2, 3, 4));
    for other in [mask(shape, 2, 2, 3, 0), mask(shape, 1, 3, 3, 0), mask(shape, 1, 2, 4, 0), mask(shape, 1, 2, 3, 1)] {
        let equal = whole.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!((3600..4400).contains(&equal), "{equal} of 8000 equal: about half are by chance");
    }
}

/// Far above 0, where its deviation is 1 and the relu does nothing, noisy relu adds standard normal numbers: mean, variance and
/// the share below −1 of 200,000, within five standard deviations. At 0 the variance is ½, and the mean of what is left
/// √(½/2π).
#[test]
fn noisy_relu_adds_normal_numbers() {
    let (shape, elements) = (Shape::new(20, 10, 10, 100), 200_000);
    let noisy = |at: f64| {
        let mut m = Machine::<f64>::new();
        m.device.set_step(step()).unwrap();
        let (x, y) = (m.put(shape, &vec![at; elements]), m.room(shape));
        m.run(NoisyReluForward { layer: 0, x, y });
        m.get(y)
    };
    let near = |what: &str, got: f64, expected: f64, deviation: f64| {
        let bound = 5.0 * deviation / (elements as f64).sqrt();
        assert!((got - expected).abs() < bound, "{what}: {got}, expected {expected} within {bound}");
    };
    let mean = |values: &[f64], f: &dyn Fn(f64) -> f64| values.iter().map(|&v| f(v)).sum::<f64>() / elements as f64;
    let high = noisy(100.0);
    near("mean", mean(&high, &|y| y - 100.0), 0.0, 1.0);
    near("variance", mean(&high, &|y| (y - 100.0).powi(2)), 1.0, 2f64.sqrt());
    near("share below −1", mean(&high, &|y| f64::from(u8::from(y < 99.0))), 0.158_655, 0.37);
    // Neighbours are independent, those of one pair of Box and Muller's among them.
    let products: Vec<f64> = high.windows(2).map(|y| (y[0] - 100.0) * (y[1] - 100.0)).collect();
    near("correlation", mean(&products, &|p| p), 0.0, 1.0);
    near("mean at 0", mean(&noisy(0.0), &|y| y), (0.5 / std::f64::consts::TAU).sqrt(), 0.5);
}

/// As dropout's masks: the noise depends on seed, step, layer and the image's place in its batch, and on nothing else.
#[test]
fn noise_is_a_function_of_its_keys() {
    let (shape, half) = (Shape::new(8, 1, 1, 1001), Shape::new(4, 1, 1, 1001));
    let noise = |shape: Shape, seed: u64, at: u64, layer: u32, first_image: u32| {
        let mut m = Machine::<f32>::new();
        let mut values = step();
        (values.seed, values.step, values.first_image) = (seed, at, first_image);
        m.device.set_step(values).unwrap();
        let (x, y) = (m.put(shape, &vec![20.0; shape.elements()]), m.room(shape));
        m.run(NoisyReluForward { layer, x, y });
        m.get(y)
    };
    let whole = noise(shape, 1, 2, 3, 0);
    assert_eq!(whole, noise(shape, 1, 2, 3, 0));
    assert_eq!(whole[..4004], noise(half, 1, 2, 3, 0));
    assert_eq!(whole[4004..], noise(half, 1, 2, 3, 4));
    for other in [noise(shape, 2, 2, 3, 0), noise(shape, 1, 3, 3, 0), noise(shape, 1, 2, 4, 0), noise(shape, 1, 2, 3, 1)] {
        let equal = whole.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(equal < 10, "{equal} of 8008 equal");
    }
}

/// Over 4,000 steps: the window lies in the image, scales are between 1 and the largest, and below the middle one as often as
/// the cubes of the numbers of places say; an image and a batch do not matter.
#[test]
fn random_windows_lie_in_the_image() {
    let g = ImageGeometry { n: 1, h: 40, w: 30, c: 1, p: 20, q: 12 };
    let (largest, steps) = (1.5, 4000);
    let mut m = Machine::<f64>::new();
    let t = m.room(vector(4));
    let mut window = |at: u64, layer: u32, first_image: u32| {
        let mut values = step();
        (values.step, values.first_image) = (at, first_image);
        m.device.set_step(values).unwrap();
        m.run(RandomWindow { layer, geometry: g, largest, window: t });
        m.get(t)
    };
    let (mut low, mut ends) = (0, [f64::INFINITY, f64::NEG_INFINITY]);
    for at in 0..steps {
        let w = window(at, 3, 0);
        for ([first, step], cells, size) in [([w[0], w[1]], 40.0, 20.0), ([w[2], w[3]], 30.0, 12.0)] {
            // The edges of the first and the last cell.
            let (begin, end) = (first + 0.5 - step / 2.0, first + 0.5 + (size - 0.5) * step);
            assert!(begin > -1e-9 && end < cells + 1e-9, "step {at}: from {begin} to {end} of {cells}");
        }
        let (scale, also) = (40.0 / (20.0 * w[1]), 30.0 / (12.0 * w[3]));
        assert!((scale - also).abs() < 1e-9 && (1.0..=largest).contains(&scale), "{scale} {also}");
        low += usize::from(scale < 1.25);
        ends = [ends[0].min(scale), ends[1].max(scale)];
    }
    let share = (6f64.powi(3) - 1.0) / (11f64.powi(3) - 1.0);
    let (expected, deviation) = (steps as f64 * share, (steps as f64 * share * (1.0 - share)).sqrt());
    assert!((low as f64 - expected).abs() < 5.0 * deviation, "{low} scales below the middle, {expected} expected");
    assert!(ends[0] < 1.05 && ends[1] > 1.499, "{ends:?}");
    assert_eq!(window(7, 3, 0), window(7, 3, 64));
    assert_ne!(window(7, 3, 0), window(7, 4, 0));
}

/// White and black of L*a*b*, and white's YUV, to the coefficients' four digits: L* is 100 and 0, colours are 0.
#[test]
fn white_has_no_colour() {
    let mut m = Machine::<f64>::new();
    let shape = Shape::new(1, 1, 3, 3);
    let x = m.put(shape, &[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.2, 0.2, 0.2]);
    let y = m.room(shape);
    m.run(LabForward { centre: 0.0, x, y });
    // Grey of a fifth: L* = 116·∛0.2 − 16.
    assert_near("L*a*b*", &m.get(y), &[100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 51.837, 0.0, 0.0], 1e-3);
    m.run(LabForward { centre: 50.0, x, y });
    assert_near("centred", &m.get(y)[..3], &[50.0, 0.0, 0.0], 1e-3);
}

/// Logits of ±1e4: the loss is 2e4 where the label is the lowest, 0 where it is the highest; gradients are ±1 and 0.
#[test]
fn logreg_is_stable_for_large_logits() {
    fn check<T: Real>() {
        let mut m = Machine::<T>::new();
        m.device.set_step(step()).unwrap();
        let x = m.put(Shape::new(2, 1, 1, 3), &[1e4, -1e4, 0.0, -1e4, 1e4, 0.0]);
        let (labels, metrics, dx) = (m.integers(&[1, 1]), m.put(vector(4), &[0.0; 4]), m.room(Shape::new(2, 1, 1, 3)));
        m.run(LogregForward { smoothing: 0.0, x, labels, metrics });
        assert_eq!(m.get(metrics), [2e4, 1.0, 0.0, 2.0]);
        m.run(LogregBackward { smoothing: 0.0, coefficient: 1.0, x, labels, dx: Target::set(dx) });
        assert_eq!(m.get(dx), [1.0, -1.0, 0.0, 0.0, 0.0, 0.0]);
    }
    check::<f32>();
    check::<f64>();
}

/// Logits of ±1e4 and targets against them: the loss is 1e4 each, the gradient ±1; with them, both are 0.
#[test]
fn binary_cross_entropy_is_stable_for_large_logits() {
    fn check<T: Real>() {
        let mut m = Machine::<T>::new();
        m.device.set_step(step()).unwrap();
        let shape = Shape::new(1, 1, 1, 4);
        let (x, t) = (m.put(shape, &[1e4, -1e4, 1e4, -1e4]), m.put(shape, &[0.0, 1.0, 1.0, 0.0]));
        let (metrics, dx) = (m.put(vector(4), &[0.0; 4]), m.room(shape));
        let binary = Binary { logistic: true, positive_weight: 1.0 };
        m.run(BinaryCrossEntropyForward { binary, x, target: t, metrics });
        assert_eq!(m.get(metrics), [2e4, 0.5, 0.0, 1.0]);
        m.run(BinaryCrossEntropyBackward { binary, coefficient: 1.0, x, target: t, dx: Target::set(dx) });
        assert_eq!(m.get(dx), [1.0, -1.0, 0.0, 0.0]);
        let counts = m.put(vector(12), &[7.0; 12]);
        m.run(CountDetections { binary, x, target: t, counts });
        // True positives, false positives, false negatives, on top of what was there.
        assert_eq!(m.get(counts), [7.0, 7.0, 8.0, 7.0, 8.0, 7.0, 7.0, 7.0, 7.0, 8.0, 7.0, 7.0]);
    }
    check::<f32>();
    check::<f64>();
}

/// A NaN is on the wrong side of ½, whatever its target is, and shows in the loss.
#[test]
fn a_nan_is_on_no_side() {
    for logistic in [false, true] {
        let mut m = Machine::<f32>::new();
        m.device.set_step(step()).unwrap();
        let shape = Shape::new(2, 1, 1, 2);
        let (x, t) = (m.put(shape, &[f64::NAN, 1.0, f64::NAN, 1.0]), m.put(shape, &[0.0, 1.0, 1.0, 1.0]));
        let metrics = m.put(vector(4), &[0.0; 4]);
        m.run(BinaryCrossEntropyForward { binary: Binary { logistic, positive_weight: 1.0 }, x, target: t, metrics });
        let got = m.get(metrics);
        assert!(got[METRIC_LOSS].is_nan() && got[METRIC_ERRORS] == 1.0, "{got:?}");
    }
}

/// Two equal vectors have no direction to part in: the gradient is 0 and no NaN, whether they are of one class or not.
#[test]
fn equal_vectors_have_no_contrastive_gradient() {
    let mut m = Machine::<f32>::new();
    m.device.set_step(step()).unwrap();
    let shape = Shape::new(2, 1, 1, 3);
    let [a, b] = [(); 2].map(|()| m.put(shape, &[1.0, -2.0, 3.0, 0.5, 0.25, 0.0]));
    let (labels, metrics, da) = (m.integers(&[0, 1]), m.put(vector(4), &[0.0; 4]), m.room(shape));
    m.run(ContrastiveForward { margin: 2.0, a, b, labels, metrics });
    // ½·2² of the pair of two classes, which is wrong.
    assert_eq!(m.get(metrics), [2.0, 1.0, 0.0, 2.0]);
    m.run(ContrastiveBackward { margin: 2.0, coefficient: 1.0, a, b, labels, da: Target::set(da) });
    assert_eq!(m.get(da), [0.0; 6]);
}

/// Of equal maxima the first is the prediction, for the errors as for the pools' gradients.
#[test]
fn the_first_of_equal_maxima_wins() {
    let mut m = Machine::<f32>::new();
    m.device.set_step(step()).unwrap();
    let x = m.put(Shape::new(3, 1, 1, 7), &[1.0; 21]);
    let (labels, metrics) = (m.integers(&[0, 4, 5]), m.put(vector(4), &[0.0; 4]));
    m.run(LogregForward { smoothing: 0.0, x, labels, metrics });
    // The first image is right; the second is among the five; the third is the sixth.
    assert_eq!(m.get(metrics)[METRIC_ERRORS..], [2.0, 1.0, 3.0]);
}

/// A NaN makes the loss NaN and its image an error, wherever it is.
#[test]
fn a_nan_is_an_error() {
    for (place, classes) in [(0, 10), (3, 10), (9, 10), (0, 1)] {
        let mut m = Machine::<f32>::new();
        m.device.set_step(step()).unwrap();
        let mut logits = vec![0.0; classes];
        logits[classes.min(4) - 1] = 5.0;
        logits[place] = f64::NAN;
        let (x, labels) = (m.put(vector(classes), &logits), m.integers(&[classes.min(4) as i32 - 1]));
        let metrics = m.put(vector(4), &[0.0; 4]);
        m.run(LogregForward { smoothing: 0.0, x, labels, metrics });
        let got = m.get(metrics);
        assert!(got[METRIC_LOSS].is_nan() && got[METRIC_ERRORS] == 1.0 && got[METRIC_ERRORS_TOP5] == 1.0, "{got:?}");
    }
}

/// Labels that are no class read nothing out of bounds (the data are checked before).
#[test]
fn labels_outside_the_classes_are_the_nearest_class() {
    let mut m = Machine::<f64>::new();
    m.device.set_step(step()).unwrap();
    let x = m.put(Shape::new(2, 1, 1, 2), &[0.0, 3.0, 0.0, 3.0]);
    let (labels, metrics) = (m.integers(&[i32::MIN, i32::MAX]), m.put(vector(4), &[0.0; 4]));
    m.run(LogregForward { smoothing: 0.0, x, labels, metrics });
    assert_eq!(m.get(metrics)[METRIC_ERRORS], 1.0);
}

/// NaN in a pool's window neither panics nor loses the gradient.
#[test]
fn pools_take_nan() {
    let g = PoolGeometry {
        n: 1,
        h: 3,
        w: 3,
        c: 1,
        p: 1,
        q: 1,
        size_h: 3,
        size_w: 3,
        stride_h: 1,
        stride_w: 1,
        start_h: 0,
        start_w: 0,
    };
    for place in 0..9 {
        let mut m = Machine::<f32>::new();
        let mut values = [1.0, 2.0, 3.0, 4.0, 5.0, 4.0, 3.0, 2.0, 1.0];
        values[place] = f64::NAN;
        let (x, y) = (m.put(Shape::new(1, 3, 3, 1), &values), m.room(vector(1)));
        let (dy, dx) = (m.put(vector(1), &[1.0]), m.room(Shape::new(1, 3, 3, 1)));
        m.run(PoolForward { kind: PoolKind::Max, geometry: g, x, y });
        m.run(PoolBackward {
            kind: PoolKind::Max,
            geometry: g,
            neuron: Neuron::NONE,
            x: Some(x),
            y: None,
            dy,
            dx: Target::set(dx),
        });
        assert_eq!(m.get(y)[0].is_nan(), place == 0);
        assert_eq!(m.get(dx).iter().sum::<f64>(), 1.0);
    }
}

/// Mirrored first, then shifted; the mean moves with the image; outside is 0.
#[test]
fn images_are_mirrored_and_shifted() {
    let g = ImageGeometry { n: 1, h: 2, w: 3, c: 1, p: 2, q: 3 };
    let load = |top: i32, left: i32, flip: i32| {
        let mut m = Machine::<f64>::new();
        let x = m.place(Shape::new(1, 2, 3, 1), Dtype::U8);
        m.device.write(x, &[10, 20, 30, 40, 50, 60]).unwrap();
        let (places, y) = (m.integers(&[top, left, flip]), m.room(Shape::new(1, 2, 3, 1)));
        let mean = m.put(Shape::new(1, 2, 3, 1), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        m.run(LoadImages { geometry: g, scale: 0.5, x, places, mean, y });
        m.get(y)
    };
    assert_eq!(load(0, 0, 0), [4.5, 9.0, 13.5, 18.0, 22.5, 27.0]);
    assert_eq!(load(0, 0, 1), [13.5, 9.0, 4.5, 27.0, 22.5, 18.0]);
    assert_eq!(load(1, -1, 0), [0.0, 18.0, 22.5, 0.0, 0.0, 0.0]);
    assert_eq!(load(0, 1, 1), [9.0, 4.5, 0.0, 22.5, 18.0, 0.0]);
    assert_eq!(load(i32::MAX, i32::MIN, 1), [0.0; 6]);
}

/// An impossible size is an error that names the device, never an abort.
#[test]
fn too_much_memory_is_an_error() {
    for bytes in [1 << 50, usize::MAX] {
        let error = CpuDevice::<f32>::new(1).allocate(bytes).unwrap_err();
        assert!(matches!(error, Error::OutOfMemory { asked, .. } if asked == bytes));
        assert!(error.to_string().starts_with("cpu (1 thread, "), "{error}");
    }
}

/// Many rows into few biases, the case that is cut into parts, in f32 near the exact sum.
#[test]
fn long_bias_sums_are_accurate() {
    let shape = Shape::new(16, 24, 24, 20);
    let mut m = Machine::<f32>::new();
    let values: Vec<f64> = (0..shape.elements()).map(|i| f64::from((i as f32 * 0.618).fract())).collect();
    let (dy, db) = (m.put(shape, &values), m.room(vector(20)));
    let op = Op::from(BiasBackward { dy, db: Target::set(db) });
    assert!(m.device.scratch(&op) > 0);
    m.run(op);
    let exact: Vec<f64> = (0..20).map(|c| values.iter().skip(c).step_by(20).sum()).collect();
    assert_near("db", &m.get(db), &exact, 1e-6);
}

/// Relu keeps NaN (a diverging run must show), and every neuron of large inputs is finite where it has a limit.
#[test]
fn neurons_at_the_ends() {
    let mut m = Machine::<f32>::new();
    let shape = vector(5);
    let x = m.put(shape, &[f64::NAN, -1e30, 1e30, -200.0, 200.0]);
    let y = m.room(shape);
    for (neuron, ends) in [
        (Neuron::Relu, [0.0, 1e30_f32, 0.0, 200.0]),
        (Neuron::Brelu { a: 6.0 }, [0.0, 6.0, 0.0, 6.0]),
        (Neuron::Softrelu, [0.0, 1e30, 0.0, 200.0]),
        (Neuron::Tanh { a: 1.0, b: 1.0 }, [-1.0, 1.0, -1.0, 1.0]),
        (Neuron::Logistic, [0.0, 1.0, 0.0, 1.0]),
        (Neuron::Drelu { a: 2.0 }, [-1e30, 1e30, -198.0, 198.0]),
        (Neuron::Leaky { a: 0.25 }, [-0.25e30, 1e30, -50.0, 200.0]),
        (Neuron::Elu { a: 0.5 }, [-0.5, 1e30, -0.5, 200.0]),
        (Neuron::Swish, [0.0, 1e30, 0.0, 200.0]),
    ] {
        m.run(NeuronForward { neuron, x, y });
        let got = m.get(y);
        assert!(got[0].is_nan(), "{neuron:?} of NaN is {}", got[0]);
        assert_near(&format!("{neuron:?}"), &got[1..], &ends.map(f64::from), 1e-6);
    }
}
