//! What a trained net does with its test images: which classes it takes for which, its worst errors, and its hidden units.
//! One pass over the test set.

use super::units;
use crate::data::Loader;
use crate::layer::Role;
use crate::net::{Graph, Input, Net};
use crate::op::Neuron;
use crate::testing::{is_probable, softmax};
use crate::train::{Result, Setup, bytes_of, test_step};
use image::{Rgb, RgbImage};
use std::collections::BTreeMap;

/// Errors that are kept with their pictures.
const WORST: usize = 24;
/// Classes that are kept of each.
const TOP: usize = 5;
/// Images whose hidden units are looked at.
const SAMPLE: usize = 512;
/// Outputs of one layer that are read at once.
const MAX_READ: usize = 1 << 23;

/// An image that the net takes for another class.
#[derive(Clone, Debug)]
pub struct Mistake {
    /// The image as it comes from the source.
    pub image: RgbImage,
    /// Where it comes from.
    pub origin: String,
    /// Its class.
    pub label: usize,
    /// The probability that the net gives its class.
    pub of_label: f64,
    /// The most probable classes, with their probabilities.
    pub top: Vec<(usize, f64)>,
}

/// How often images of one class are taken for another.
#[derive(Clone, Debug, Default)]
pub struct Confusion {
    /// Images by (class, predicted class), where there are any.
    pub counts: BTreeMap<(usize, usize), u64>,
}

impl Confusion {
    /// Images of a class, and those of them that are taken for another.
    pub fn of_class(&self, class: usize) -> (u64, u64) {
        let row = self.counts.range((class, 0)..=(class, usize::MAX));
        row.fold((0, 0), |(all, wrong), ((_, predicted), n)| (all + n, wrong + if *predicted == class { 0 } else { *n }))
    }

    /// Images taken for a class.
    pub fn predicted(&self, class: usize) -> u64 {
        self.counts.iter().filter(|((_, p), _)| *p == class).map(|(_, n)| n).sum()
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Study {
    /// Test images.
    pub images: usize,
    /// Those taken for another class; nothing where the net predicts no classes.
    pub wrong: Option<usize>,
    /// Which for which.
    pub confusion: Confusion,
    /// The worst errors: those whose own class the net thought least probable.
    pub worst: Vec<Mistake>,
    /// Hidden layers, in their order.
    pub units: Vec<units::Found>,
}

impl Study {
    /// Runs the test set through a net with its parameters. `progress` is told batches done and their number.
    ///
    /// # Errors
    /// The device or the data fails.
    pub fn of(net: &mut Net, setup: &Setup, progress: &mut dyn FnMut(usize, usize)) -> Result<Self> {
        let source = &setup.data.test;
        let mut tests = Loader::test(source.clone(), net.batch())?;
        let batches = tests.batches();
        let as_many = |p: &usize| net.graph.nodes[*p].layer.output().image() == setup.data.classes;
        let has_classes = source.values() == 0;
        let prediction = net.graph.prediction().filter(|p| has_classes && as_many(p) && classifies(&net.graph, *p));
        let probable = prediction.is_some_and(|p| is_probable(&net.graph, p));
        let mut samples: Vec<(usize, units::Sample)> = hidden_layers(&net.graph);
        let mut study = Self {
            images: 0,
            wrong: prediction.map(|_| 0),
            confusion: Confusion::default(),
            worst: Vec::new(),
            units: Vec::new(),
        };
        let mut scores = Vec::new();
        net.clear_metrics()?;
        for i in 0..batches {
            let batch = tests.next()?;
            net.feed(bytes_of(&batch))?;
            net.set_step(test_step(setup.spec.train.seed, batch.count))?;
            let labels = &batch.labels[..batch.count];
            net.forward_watched(&mut |net, node| {
                let Some(output) = net.output(node) else { return Ok(()) };
                if prediction == Some(node) {
                    scores = net.read(output)?;
                }
                for (_, sample) in samples.iter_mut().filter(|(n, _)| *n == node) {
                    let each = output.shape.image();
                    let wanted = SAMPLE.div_ceil(batches).min(MAX_READ / each.max(1)).clamp(1, labels.len());
                    sample.add(&net.read(output.part(0, wanted * each))?, labels);
                }
                Ok(())
            })?;
            for (k, (scores, &label)) in scores.chunks_exact(setup.data.classes).zip(labels).enumerate() {
                let first = batch.first_position as usize;
                let bytes = batch.images.len() / batch.labels.len();
                study.add(scores, probable, label as usize, || {
                    (picture(&batch.images[k * bytes..][..bytes], setup), source.origin(first + k))
                });
            }
            study.images += batch.count;
            tests.recycle(batch);
            progress(i + 1, batches);
        }
        net.clear_metrics()?;
        study.units = samples.iter().map(|(_, s)| s.found()).collect();
        Ok(study)
    }

    /// Adds one image.
    fn add(&mut self, scores: &[f64], probable: bool, label: usize, image: impl FnOnce() -> (RgbImage, String)) {
        let mut p = scores.to_vec();
        if !probable {
            softmax(&mut p);
        }
        // Of equal ones the first is the prediction, as everywhere.
        let predicted = (0..p.len()).fold(0, |best, i| if p[i] > p[best] { i } else { best });
        *self.confusion.counts.entry((label, predicted)).or_default() += 1;
        if predicted == label {
            return;
        }
        *self.wrong.get_or_insert(0) += 1;
        let of_label = p[label];
        if self.worst.len() == WORST && self.worst.last().is_some_and(|w| w.of_label <= of_label) {
            return;
        }
        let mut order: Vec<usize> = (0..p.len()).collect();
        order.sort_by(|&i, &j| p[j].total_cmp(&p[i]));
        let top = order.into_iter().take(TOP).map(|i| (i, p[i])).collect();
        let (image, origin) = image();
        let at = self.worst.partition_point(|w| w.of_label <= of_label);
        self.worst.insert(at, Mistake { image, origin, label, of_label, top });
        self.worst.truncate(WORST);
    }
}

/// Whether a prediction's outputs are about one class each: what a Siamese net tells pairs by, or an autoencoder restores, is not.
pub fn classifies(graph: &Graph, prediction: usize) -> bool {
    let scored = |i: usize| {
        let cost = &graph.nodes[i];
        ["logistic-regression", "hinge"].contains(&cost.kind.as_str()) && cost.inputs.first() == Some(&Input::Node(prediction))
    };
    is_probable(graph, prediction) || graph.costs().any(scored)
}

/// The layers with a nonlinearity after which others come, by the node that computes it.
fn hidden_layers(graph: &Graph) -> Vec<(usize, units::Sample)> {
    let prediction = graph.prediction();
    let mut found = Vec::new();
    for (i, node) in graph.nodes.iter().enumerate().filter(|(i, _)| prediction != Some(*i)) {
        if let Role::Neuron(neuron) = node.role()
            && neuron != Neuron::NONE
        {
            let name = node.name.strip_suffix(".neuron").unwrap_or(&node.name);
            found.push((i, units::Sample::new(name, neuron, node.layer.output())));
        }
    }
    found
}

/// An image's bytes as a picture: three channels are its colours, else the first is shown in grey.
fn picture(bytes: &[u8], setup: &Setup) -> RgbImage {
    let shape = setup.data.shape();
    RgbImage::from_fn(shape.w as u32, shape.h as u32, |x, y| {
        let pixel = &bytes[(y as usize * shape.w + x as usize) * shape.c..][..shape.c];
        match *pixel {
            [r, g, b] => Rgb([r, g, b]),
            _ => Rgb([pixel[0]; 3]),
        }
    })
}
