//! Weights of other programs, means and ONNX models: every reader on every file. `cargo +nightly fuzz run weights
//! fuzz/corpus/weights tests/golden/port`
#![no_main]

use convnet::config::NetSpec;
use convnet::device::Shape;
use convnet::net::Graph;
use convnet::port::{ChannelOrder, Format, mean, onnx, read};
use libfuzzer_sys::fuzz_target;
use std::cell::OnceCell;

const TOML: &str = include_str!("../../tests/golden/port/tiny.toml");
const CAFFE: &str = include_str!("../../tests/golden/port/tiny.prototxt");
const DARKNET: &str = include_str!("../../tests/golden/port/tiny.cfg");

thread_local! {
    static GRAPHS: OnceCell<[Graph; 3]> = const { OnceCell::new() };
}

fn graphs() -> [Graph; 3] {
    let read = [
        NetSpec::from_toml(TOML, "tiny.toml", &[]),
        NetSpec::from_caffe(CAFFE, "tiny.prototxt", &[]),
        NetSpec::from_darknet(DARKNET, "tiny.cfg", &[]),
    ];
    read.map(|spec| Graph::new(&spec.expect("it reads"), Shape::new(1, 12, 10, 3), 5).expect("it fits"))
}

fuzz_target!(|file: &[u8]| {
    GRAPHS.with(|cell| {
        for graph in cell.get_or_init(graphs) {
            for (format, ..) in Format::ALL {
                match read(format, file, graph) {
                    Ok(weights) => {
                        let fit = graph.parameters.iter().zip(&weights.values);
                        assert!(fit.into_iter().all(|(p, v)| !p.spec.is_saved() || v.len() == p.spec.shape.elements()));
                        assert!(weights.values.iter().flatten().all(|v| v.is_finite()));
                    }
                    Err(e) => for_error(&e),
                }
            }
        }
    });
    if let Err(e) = mean::read(file, [12, 10, 3], ChannelOrder::Bgr) {
        for_error(&e);
    }
    match onnx::read(file, "net", &[]) {
        Ok(found) => assert!(found.weights.values.iter().flatten().all(|v| v.is_finite())),
        Err(e) => for_error(&e),
    }
});

fn for_error(e: &str) {
    assert!(!e.is_empty() && e.len() < 20_000 && !e.chars().any(|c| c.is_control() && c != '\n'), "{e:?}");
}
