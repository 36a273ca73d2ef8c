//! The conformance table and random cases on the CPU device.

use convnet::device::Dtype;
use convnet::device::cpu::CpuDevice;
use convnet::op::Op;
use convnet::verify::{Outcome, cases, random_case, results, run};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;

/// A device is made on the thread that it works on, and each has its own.
fn on_a_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| scope.spawn(work).join().expect("the thread ends well"))
}

/// Asserts that the device supports the whole table, and is within its bounds.
fn assert_all_pass(outcomes: &[Outcome]) {
    assert_eq!(outcomes.len(), cases().len(), "cases that the device does not support");
    let failed: Vec<String> = outcomes.iter().filter(|o| !o.passed).map(|o| o.to_string()).collect();
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), outcomes.len(), failed.join("\n"));
}

#[test]
fn f32_is_within_its_bounds_of_f64() {
    for threads in [1, 2] {
        assert_all_pass(&on_a_thread(|| run(&mut CpuDevice::<f32>::new(threads), &cases()).unwrap()));
    }
}

#[test]
fn f64_is_within_its_bounds_of_itself_on_one_thread() {
    assert_all_pass(&on_a_thread(|| run(&mut CpuDevice::<f64>::new(2), &cases()).unwrap()));
}

/// Any number of threads gives the same bits, f32 and f64.
#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let cases = cases();
    for dtype in [Dtype::F32, Dtype::F64] {
        let bits = |threads: usize| {
            on_a_thread(|| match dtype {
                Dtype::F64 => results(&mut CpuDevice::<f64>::new(threads), &cases).unwrap(),
                _ => results(&mut CpuDevice::<f32>::new(threads), &cases).unwrap(),
            })
        };
        let one = bits(1);
        for threads in [2, 3] {
            for ((case, one), more) in cases.iter().zip(&one).zip(bits(threads)) {
                assert!(*one == more, "{case}, {dtype:?}: 1 and {threads} threads differ");
            }
        }
    }
}

/// The table holds every operation, and no other.
#[test]
fn the_table_misses_no_operation() {
    let in_table: BTreeSet<&str> = cases().iter().map(|case| case.operation()).collect();
    assert_eq!(in_table, Op::<usize>::NAMES.iter().copied().collect());
}

/// A family of operations is a file of src/op; its cases are the file of the same name.
#[test]
fn every_family_has_a_file_of_cases() {
    let files = |folder: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let mut families = files("src/op");
    assert!(["mod.rs", "program.rs"].iter().all(|other| families.remove(*other)));
    assert_eq!(files("src/verify/cases"), families);
}

/// An outcome shows the element that is worst by its bound, whether it passed or not.
#[test]
fn an_outcome_names_the_worst_element() {
    let outcomes = on_a_thread(|| run(&mut CpuDevice::<f32>::new(1), &cases()).unwrap());
    let o = outcomes.iter().find(|o| o.operation == "product" && o.worst > 0.0).unwrap();
    assert!((o.got - o.expected).abs() == o.worst && o.worst <= o.bound && o.bound > 0.0, "{o}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_cases_are_within_their_bounds(seed: u64) {
        let case = random_case(seed);
        let outcomes = run(&mut CpuDevice::<f32>::new(1), std::slice::from_ref(&case)).unwrap();
        prop_assert!(outcomes[0].passed, "{}", outcomes[0]);
    }
}
