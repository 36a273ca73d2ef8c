//! Nets of configs/ with torchvision's weights: the logits are torchvision's, of small images and with layers made narrower.

use super::device;

#[path = "../common/nets.rs"]
mod nets;

#[test]
fn logits_are_torchvision_s() {
    for name in nets::golden()["reduced"].as_object().unwrap().keys() {
        let start = std::time::Instant::now();
        nets::as_torchvision(name, "reduced", Box::new(device()));
        println!("{:?}", start.elapsed());
    }
}
