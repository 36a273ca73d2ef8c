//! Suites by name: nets of configs/ and single layers of benches/singles.toml, with the batches that they are compared at.
//! benches/peer/ has a twin of each in PyTorch.

use crate::config::{ConfigError, NetSpec};
use crate::device::Shape;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A named set of what is timed.
#[derive(Clone, Debug)]
pub struct Suite {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// What is timed, in order.
    pub cases: Vec<Case>,
}

/// One net or single layer.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Images a step.
    pub batch: usize,
    subject: Text,
}

#[derive(Clone, Debug)]
enum Text {
    Net(&'static str),
    /// A config of one layer, and the height, width and channels of its images.
    Single(String, [usize; 3]),
}

/// What a case is, read.
pub enum Subject {
    /// A net.
    Net(Box<NetSpec>),
    /// A config of one layer, and the batch of images that the layer reads.
    Single(Box<NetSpec>, Shape),
}

macro_rules! config {
    ($name:literal) => {
        ($name, include_str!(concat!("../../configs/", $name, ".toml")))
    };
}

/// Name, text and batch of each net.
type Nets = &'static [((&'static str, &'static str), usize)];

const SUITES: &[(&str, &str, Nets)] = &[
    (
        "convnet-benchmarks",
        "the nets and the single layers of Soumith Chintala's convnet-benchmarks, at its batches",
        &[
            (config!("alexnet-one-weird-trick"), 128),
            (config!("overfeat-fast"), 128),
            (config!("vgg-a"), 64),
            (config!("googlenet"), 128),
        ],
    ),
    ("kernels", "one of each kind of layer that takes time in the nets of configs/", &[]),
];

/// A single layer as benches/singles.toml has it.
#[derive(Deserialize)]
struct Single {
    batch: usize,
    image: [usize; 3],
    layer: toml::Table,
}

/// All suites.
pub fn suites() -> Vec<Suite> {
    let mut singles: BTreeMap<String, toml::Table> =
        toml::from_str(include_str!("../../benches/singles.toml")).expect("singles.toml is tables of layers");
    let one = |&(name, about, nets): &(&'static str, &'static str, Nets)| {
        let net =
            |&((name, text), batch): &((&str, &'static str), usize)| Case { name: name.into(), batch, subject: Text::Net(text) };
        let mut cases: Vec<Case> = nets.iter().map(net).collect();
        for (name, value) in singles.remove(name).unwrap_or_default() {
            let single: Single = value.try_into().expect("an entry of singles.toml is a layer");
            cases.push(single.case(name));
        }
        Suite { name, about, cases }
    };
    SUITES.iter().map(one).collect()
}

/// The suite of a name.
pub fn suite(name: &str) -> Option<Suite> {
    suites().into_iter().find(|s| s.name == name)
}

/// The single layer, or the net of a suite, of a name.
pub fn case(name: &str) -> Option<Case> {
    suites().into_iter().flat_map(|s| s.cases).find(|c| c.name == name)
}

impl Single {
    /// As a config of one layer: what it reads is made up, so that any size will do.
    fn case(mut self, name: String) -> Case {
        self.layer.insert("name".into(), name.clone().into());
        let mut config = toml::Table::new();
        config.insert("layer".into(), vec![toml::Value::Table(self.layer)].into());
        let data: toml::Table = [("source".to_owned(), "synthetic".into())].into_iter().collect();
        config.insert("data".into(), data.into());
        Case { name, batch: self.batch, subject: Text::Single(config.to_string(), self.image) }
    }
}

impl Case {
    /// Reads it, with `--set` arguments.
    ///
    /// # Errors
    /// An argument that does not fit.
    pub fn load(&self, sets: &[String]) -> Result<Subject, ConfigError> {
        let batch = format!("train.batch={}", self.batch);
        let sets: Vec<String> = std::iter::once(batch).chain(sets.iter().cloned()).collect();
        Ok(match &self.subject {
            Text::Net(text) => Subject::Net(Box::new(NetSpec::from_toml(text, &self.name, &sets)?)),
            Text::Single(text, [h, w, c]) => {
                let spec = NetSpec::from_toml(text, &self.name, &sets)?;
                let images = Shape::new(spec.train.batch, *h, *w, *c);
                Subject::Single(Box::new(spec), images)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Graph;

    /// Every case reads, and a single layer fits its images.
    #[test]
    fn suites_are_whole() {
        for suite in suites() {
            assert!(!suite.cases.is_empty(), "{}", suite.name);
            for case in suite.cases {
                match case.load(&["train.batch=2".into()]).unwrap() {
                    Subject::Net(spec) => assert_eq!(spec.train.batch, 2),
                    Subject::Single(spec, images) => {
                        assert_eq!(images.n, 2);
                        Graph::new(&spec, images, 1).unwrap();
                    }
                }
            }
        }
    }

    /// github.com/soumith/convnet-benchmarks: L1 to L5, multiply-adds of one image.
    #[test]
    fn the_single_layers_are_soumiths() {
        let published = [("L1", 118 * 118 * 96 * 363_u64), ("L2", 56 * 56 * 128 * 5184), ("L3", 24 * 24 * 128 * 10368)];
        for (name, multiply_adds) in published.into_iter().chain([("L4", 10 * 10 * 128 * 6272), ("L5", 11 * 11 * 384 * 3456)]) {
            let case = case(name).unwrap();
            assert_eq!(case.batch, 128);
            let Subject::Single(spec, images) = case.load(&[]).unwrap() else { panic!("{name} is a single layer") };
            assert_eq!(Graph::new(&spec, images, 1).unwrap().multiply_adds(), multiply_adds);
        }
    }
}
