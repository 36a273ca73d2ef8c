//! Every operation against the CPU in f64, over the conformance table and at random.

use super::{child, device, on_a_card, said};
use convnet::device::{Device, Precision};
use convnet::verify::{Case, cases, random_case, results, run};

/// Runs cases in every precision, those whose operands are not rounded in one, and lists those that fail.
fn check(cases: &[Case]) {
    let mut device = device();
    let mut outcomes = run(&mut device, cases).unwrap_or_else(|error| panic!("{error}"));
    let rounded: Vec<Case> = cases.iter().filter(|case| case.is_rounded()).cloned().collect();
    for precision in [Precision::Tf32, Precision::Bf16] {
        assert_eq!(device.set_precision(Some(precision)), precision);
        let more = run(&mut device, &rounded).unwrap_or_else(|error| panic!("{error}"));
        assert!(more.iter().all(|outcome| outcome.dtype == precision.to_string()));
        outcomes.extend(more);
    }
    let failed: Vec<String> = outcomes.iter().filter(|o| !o.passed).map(ToString::to_string).collect();
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), outcomes.len(), failed.join("\n"));
}

/// Called by the tests below in a process of its own.
#[test]
#[ignore = "a part of other tests"]
fn table() {
    check(&cases());
}

/// The whole table. On the emulator in checked mode: no access out of bounds, misaligned, or of memory that nothing wrote,
/// no race, no divergent barrier.
#[test]
fn every_operation_agrees_with_the_reference() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("findings");
    let checked = [("CONVNET_EMULATOR_CHECK", "1"), ("CONVNET_EMULATOR_REPORT", report.to_str().unwrap())];
    let output = child("conformance::table", if on_a_card() { &[] } else { &checked });
    assert!(output.status.success(), "{}", said(&output));
    let findings = std::fs::read_to_string(&report).unwrap_or_default();
    assert!(findings.is_empty(), "the emulator found:\n{findings}");
}

/// Geometries that nobody thought of.
#[test]
fn random_cases_agree_with_the_reference() {
    check(&(0..150).map(random_case).collect::<Vec<_>>());
}

/// Two devices make the same bits.
#[test]
fn the_same_calls_give_the_same_bits() {
    let cases: Vec<_> = cases().into_iter().step_by(7).collect();
    for precision in Precision::ALL {
        let [first, second] = [(); 2].map(|()| {
            let mut device = device();
            device.set_precision(Some(precision));
            results(&mut device, &cases).unwrap()
        });
        for ((case, a), b) in cases.iter().zip(first).zip(second) {
            assert_eq!(a, b, "{case} in {precision}");
        }
    }
}
