//! The device where there is no driver, no such card or too little memory: each its own message. (Calls that fail: faults.rs.)

use super::{child, device, on_a_card, said};
use convnet::device::cuda::{CudaDevice, available};
use convnet::device::{Device, Error};

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
