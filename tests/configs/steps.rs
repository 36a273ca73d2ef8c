//! Every config in the folder takes two steps. The large ones do on small images and with narrow fully connected layers:
//! what is left out is size, not a layer.

use super::{names, spec};
use convnet::device::cpu::CpuDevice;
use convnet::train::{Setup, Trainer};

/// What makes a net of ImageNet small enough.
fn smaller(name: &str) -> Vec<&'static str> {
    let (side, fcs): (&str, &[&str]) = match name {
        "alexnet" | "alexnet-one-weird-trick" | "zfnet" | "overfeat-fast" => ("67", &["fc6", "fc7"]),
        "alexnet-two-tower" => ("67", &["fc6a", "fc6b", "fc7a", "fc7b"]),
        "overfeat-accurate" => ("97", &["fc7", "fc8"]),
        "vgg-a" | "vgg-b" | "vgg-c" | "vgg-d" | "vgg-e" => ("32", &["fc6", "fc7"]),
        "googlenet" => ("224", &["aux1_fc", "aux2_fc"]),
        "nin-imagenet" => ("67", &[]),
        "resnet-18" | "resnet-34" | "resnet-50" | "squeezenet-1.1" => ("64", &[]),
        _ => ("", &[]),
    };
    if side.is_empty() {
        return Vec::new();
    }
    let shape = format!("data.synthetic.shape=[{side}, {side}, 3]");
    let narrow = fcs.iter().map(|fc| format!("layer.{fc}.outputs=16"));
    narrow.chain([shape]).map(|set| &*set.leak()).collect()
}

/// Two steps of two images; the loss of all stays a number.
#[test]
fn every_config_takes_two_steps() {
    let names = names();
    assert!(names.len() >= 30, "configs/ holds {}", names.len());
    for name in names {
        let mut sets = smaller(&name);
        sets.push("train.batch=2");
        if spec(&name, &[]).train.micro_batch.is_some() {
            sets.push("train.micro_batch=1");
        }
        if spec(&name, &[]).data.synthetic.is_some() {
            sets.push("data.synthetic.train_images=8");
        }
        let setup = Setup::new(spec(&name, &sets)).unwrap();
        let mut trainer = Trainer::new(setup, Box::new(CpuDevice::<f32>::new(1))).unwrap();
        trainer.one_step().unwrap();
        trainer.one_step().unwrap();
        let metrics = trainer.net().metrics().unwrap();
        assert!(metrics.iter().all(|(_, m)| m.loss.is_finite() && m.images == 4.0), "{name}: {metrics:?}");
    }
}
