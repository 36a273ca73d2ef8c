//! Feeding, stepping and recording: what is done when.

use super::device;
use convnet::device::cuda::CudaDevice;
use convnet::device::{Device, Dtype, Result, Shape, Slot, StepValues, Tensor};
use convnet::op::{Fill, LoadLabels, Op, Scale, SgdUpdate, Target, Update};

fn step(images: u32, learning_rate: f64) -> StepValues {
    StepValues { seed: 1, step: 0, first_image: 0, images, gradient_scale: 1.0, learning_rate, momentum: 0.5 }
}

fn tensor(slot: usize, elements: usize, dtype: Dtype) -> Tensor {
    Tensor::new(Slot(slot), Shape::new(1, 1, 1, elements), dtype)
}

/// Queues an operation that wants no scratch.
fn run(d: &mut CudaDevice, op: impl Into<Op<Tensor>>) -> Result<()> {
    d.run(&op.into(), tensor(0, 0, Dtype::U8))
}

fn put(d: &mut CudaDevice, t: Tensor, values: &[f32]) {
    d.write(t, bytemuck::cast_slice(values)).unwrap();
}

fn get<T: bytemuck::Pod>(d: &mut CudaDevice, t: Tensor) -> Vec<T> {
    let mut values = vec![T::zeroed(); t.shape.elements()];
    d.read(t, bytemuck::cast_slice_mut(&mut values)).unwrap();
    values
}

#[test]
fn an_allocation_is_zeros() {
    let mut d = device();
    d.allocate(1000).unwrap();
    assert!(d.allocated() >= 1000);
    assert_eq!(get::<u8>(&mut d, tensor(0, 1000, Dtype::U8)), [0; 1000]);
}

/// Each load takes what was fed before it, however many batches follow.
#[test]
fn loads_and_feeds_take_turns() {
    let mut d = device();
    d.allocate(1 << 16).unwrap();
    let fed = tensor(0, 3, Dtype::I32);
    let loaded: Vec<Tensor> = (1..8).map(|i| tensor(i * 256, 3, Dtype::I32)).collect();
    for (i, &to) in loaded.iter().enumerate() {
        let labels = [i as i32, 10 * i as i32, -7];
        d.feed(&[(fed, bytemuck::cast_slice(&labels))]).unwrap();
        run(&mut d, LoadLabels { x: fed, y: to }).unwrap();
    }
    for (i, &t) in loaded.iter().enumerate() {
        assert_eq!(get::<i32>(&mut d, t), [i as i32, 10 * i as i32, -7]);
    }
}

/// More steps than the ring of values has places: every update reads its own.
#[test]
fn every_step_reads_its_own_values() {
    let mut d = device();
    d.allocate(1 << 12).unwrap();
    let [w, g, v] = [0, 256, 512].map(|slot| tensor(slot, 5, Dtype::F32));
    put(&mut d, g, &[1.0; 5]);
    let (mut weight, mut velocity) = (0.0_f32, 0.0_f32);
    for i in 0..50 {
        let rate = 1.0 / 2_f64.powi(i % 8);
        d.set_step(step(1, rate)).unwrap();
        run(&mut d, SgdUpdate { update: Update::new(1.0, 0.0), w, g, v, factor: None }).unwrap();
        velocity = 0.5 * velocity - rate as f32;
        weight += velocity;
    }
    assert_eq!(get::<f32>(&mut d, w), [weight; 5]);
    assert_eq!(get::<f32>(&mut d, v), [velocity; 5]);
}

/// A recording runs only when it is replayed, with the step's values and the fed labels of that time.
#[test]
fn a_recorded_step_is_replayed_with_new_values() {
    let mut d = device();
    d.allocate(1 << 12).unwrap();
    let [w, g, v, x, y] = [0, 256, 512, 768, 1024].map(|slot| tensor(slot, 5, Dtype::F32));
    let (fed, labels) = (tensor(1280, 2, Dtype::I32), tensor(1536, 2, Dtype::I32));
    put(&mut d, g, &[1.0; 5]);
    put(&mut d, x, &[1.0, 2.0, 3.0, 4.0, 5.0]);
    d.set_step(step(1, 1.0)).unwrap();

    assert!(d.record().unwrap());
    run(&mut d, LoadLabels { x: fed, y: labels }).unwrap();
    run(&mut d, SgdUpdate { update: Update::new(1.0, 0.0), w, g, v, factor: None }).unwrap();
    run(&mut d, Scale { factor: 2.0, x, y: Target::add(y) }).unwrap();
    for (what, error) in [
        ("write", d.write(x, &[0; 20]).unwrap_err()),
        ("read", d.read(x, &mut [0; 20]).unwrap_err()),
        ("step", d.set_step(step(1, 1.0)).unwrap_err()),
        ("recording", d.record().unwrap_err()),
    ] {
        assert!(error.to_string().contains("recording"), "{what}: {error}");
    }
    let graph = d.finish_recording().unwrap().unwrap();
    assert_eq!(get::<f32>(&mut d, y), [0.0; 5], "nothing ran yet");

    for (rate, label) in [(1.0, 7), (0.25, 8)] {
        d.feed(&[(fed, bytemuck::cast_slice(&[label, -label]))]).unwrap();
        d.set_step(step(1, rate)).unwrap();
        d.replay(graph).unwrap();
        assert_eq!(get::<i32>(&mut d, labels), [label, -label]);
    }
    // v: −1, then −½ − ¼; w: their sum.
    assert_eq!(get::<f32>(&mut d, v), [-0.75; 5]);
    assert_eq!(get::<f32>(&mut d, w), [-1.75; 5]);
    assert_eq!(get::<f32>(&mut d, y), [4.0, 8.0, 12.0, 16.0, 20.0]);
    assert_eq!(d.finish_recording().unwrap(), None);
}

/// What does not fit the net's memory or the operation is an error that says so, and nothing is queued.
#[test]
fn misfits_are_errors() {
    let mut d = device();
    let t = tensor(0, 4, Dtype::F32);
    assert!(run(&mut d, Fill { value: 1.0, x: t }).unwrap_err().to_string().contains("is not in the net's 0 bytes"));
    d.allocate(1024).unwrap();
    assert!(run(&mut d, Fill { value: 1.0, x: tensor(1020, 4, Dtype::F32) }).is_err());
    assert!(run(&mut d, Fill { value: 1.0, x: tensor(0, 4, Dtype::I32) }).is_err());
    assert!(d.write(t, &[0; 3]).unwrap_err().to_string().contains("3 bytes"));
    assert!(d.feed(&[(t, &[0; 3])]).is_err());
    assert!(run(&mut d, Scale { factor: 1.0, x: t, y: Target::set(tensor(256, 5, Dtype::F32)) }).is_err());
    run(&mut d, Fill { value: 1.0, x: t }).unwrap();
    assert_eq!(get::<f32>(&mut d, t), [1.0; 4]);
}
