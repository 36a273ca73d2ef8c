//! The configs that come with the program: their published counts, and that they take two steps.

mod common;

use common::f32_device;
use convnet::config::NetSpec;
use convnet::train::{Setup, Trainer};

fn setup(name: &str, sets: &[&str]) -> Setup {
    let sets: Vec<String> = sets.iter().map(|s| s.to_string()).collect();
    Setup::new(NetSpec::load(format!("configs/{name}.toml"), &sets).unwrap()).unwrap()
}

/// Parameters and multiply-adds: Caffe's LeNet has 431,080 parameters; its cifar10_quick 145,578 (2,432 + 25,632 + 51,264 +
/// 65,600 + 650).
#[test]
fn counts_are_the_published_ones() {
    for (name, parameters, multiply_adds) in
        [("lenet", 431_080, 2_293_000), ("lenet-shift", 431_080, 2_293_000), ("cifar-quick", 145_578, 12_354_176)]
    {
        let graph = setup(name, &[]).graph(1).unwrap();
        assert_eq!((graph.parameter_count(), graph.multiply_adds()), (parameters, multiply_adds), "{name}");
    }
}

/// Every config in the folder takes two steps, in small batches, and its loss stays a number.
#[test]
fn every_config_takes_two_steps() {
    let mut seen = 0;
    for entry in std::fs::read_dir("configs").unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let mut trainer = Trainer::new(setup(name, &["train.batch=8"]), f32_device(1)).unwrap();
        trainer.one_step().unwrap();
        trainer.one_step().unwrap();
        let metrics = trainer.net().metrics().unwrap();
        assert!(metrics[0].1.loss.is_finite() && metrics[0].1.images == 16.0, "{name}: {metrics:?}");
        seen += 1;
    }
    assert!(seen >= 3, "configs/ holds {seen}");
}
