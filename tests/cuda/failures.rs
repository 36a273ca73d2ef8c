//! The device where the driver is missing or fails: an error that names the call every time, never a panic.

use super::{child, device, on_a_card, said};
use convnet::device::cuda::{CudaDevice, available};
use convnet::device::{Device, Dtype, Error, Into, Neuron, Op, Product, Shape, Slot, StepValues, Tensor, Update};

/// A little of everything that calls the driver.
fn work(d: &mut CudaDevice) -> Result<(), Error> {
    d.allocate(1 << 16)?;
    let [x, y, z] = [0, 1024, 2048].map(|slot| Tensor { slot: Slot(slot), shape: Shape::new(1, 1, 4, 4), dtype: Dtype::F32 });
    let labels = [4096, 4352].map(|slot| Tensor { slot: Slot(slot), shape: Shape::new(1, 1, 1, 4), dtype: Dtype::I32 });
    d.write(x, &[1; 64])?;
    d.set_step(StepValues {
        seed: 0,
        step: 0,
        first_image: 0,
        images: 1,
        gradient_scale: 1.0,
        learning_rate: 1.0,
        momentum: 0.0,
    })?;
    d.feed(&[(labels[0], &[2; 16])])?;
    d.load_labels(labels[0], labels[1])?;
    d.neuron_forward(Neuron::Logistic, x, y)?;
    let p = Product { m: 4, n: 4, k: 4, transpose_a: 0, transpose_b: 0 };
    let scratch = Tensor { slot: Slot(8192), shape: Shape::new(1, 1, 1, d.scratch(&Op::Product(p))), dtype: Dtype::U8 };
    d.product(&p, x, y, None, Neuron::Square, z, Into::Set, scratch)?;
    if d.record()? {
        d.sgd_update(&Update::new(1.0, 0.0), x, y, z)?;
        let graph = d.finish_recording()?.expect("a recording was begun");
        d.replay(graph)?;
    }
    let mut bytes = [0; 64];
    d.read(z, &mut bytes)
}

/// Called in a process of its own whose n-th call of the driver fails, by the test below.
#[test]
#[ignore = "a part of another test"]
fn one_call_fails() {
    emulator::testing::load().unwrap();
    match CudaDevice::new(0).and_then(|mut d| work(&mut d)) {
        Ok(()) => println!("worked"),
        Err(error) => println!("error: {error}"),
    }
}

#[test]
fn every_failing_call_is_an_error_that_names_it() {
    if on_a_card() {
        return; // no card fails on request: the emulator's part
    }
    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("calls");
    let output = child("failures::one_call_fails", &[("CONVNET_EMULATOR_CALLS", calls.to_str().unwrap())]);
    assert!(said(&output).contains("worked"), "{}", said(&output));
    let calls = std::fs::read_to_string(calls).unwrap();
    let calls: Vec<(&str, usize)> = calls
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, times)| Some((name, times.parse().ok()?)))
        .filter(|(name, _)| *name != "total")
        .collect();
    assert!(calls.len() > 25, "the work calls most of the driver: {calls:?}");
    for (name, times) in calls {
        // The first, one in between, and the last call.
        let mut picked = vec![1, times / 2 + 1, times];
        picked.dedup();
        for call in picked {
            let output = child("failures::one_call_fails", &[("CONVNET_EMULATOR_FAIL", &format!("{name}:{call}"))]);
            let said = said(&output);
            assert!(output.status.success(), "{name}, call {call}, does not end well:\n{said}");
            // Freeing may fail without harm, and the last calls are made while all goes away.
            let named = said.contains("error: ") && (said.contains(name) || name == "cuInit" || name.contains("MemAlloc"));
            assert!(named || said.contains("worked"), "{name}, call {call}:\n{said}");
            let frees = ["Free", "Destroy", "Release", "Unload", "cuCtxSetCurrent", "cuStreamSynchronize"];
            assert!(
                !said.contains("worked") || frees.iter().any(|f| name.contains(f)),
                "{name}, call {call}, went unseen:\n{said}"
            );
        }
    }
}

#[test]
fn memory_that_is_not_there_is_told() {
    let mut d = device();
    match d.allocate(1 << 44) {
        Err(Error::OutOfMemory { device, asked, free }) => {
            assert_eq!((device, asked), (d.name(), 1 << 44));
            assert!(free > 0 && free < asked);
        }
        other => panic!("{other:?}"),
    }
    d.allocate(1024).unwrap();
}

#[test]
fn cards_are_described() {
    let d = device();
    let cards = available().unwrap();
    assert_eq!(cards[0], *d.info());
    assert_eq!(d.name(), format!("cuda:0 ({})", cards[0].name));
    let missing = CudaDevice::new(cards.len()).err().unwrap().to_string();
    assert!(missing.contains(&format!("there is no cuda:{}", cards.len())), "{missing}");
}

/// Called in a process of its own without any libcuda.
#[test]
#[ignore = "a part of another test"]
fn without_a_driver() {
    let error = available().unwrap_err().to_string();
    assert!(error.contains("libcuda.so.1") && error.contains("--device cpu"), "{error}");
    assert_eq!(CudaDevice::new(0).err().unwrap().to_string(), error);
}

#[test]
fn a_missing_driver_is_told() {
    if on_a_card() {
        return; // there is one
    }
    let output = child("failures::without_a_driver", &[]);
    assert!(output.status.success(), "{}", said(&output));
}
