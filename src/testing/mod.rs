//! Testing a trained net beyond one pass over its test set: several views of each image, several checkpoints, nets that see
//! images of any size, and what their predictions say.
//!
//! A [`Predictor`] is a net with a checkpoint's parameters that is fed bytes and gives probabilities. [`subnet`] makes other
//! nets of a config with the same parameters: one that ends at a layer, or one whose fully connected layers are convolutions
//! (OverFeat, Sermanet et al. 2013). [`views`] cuts views out of images; [`measures`] counts.

pub mod measures;
pub mod subnet;
pub mod views;

use crate::config::NetSpec;
use crate::data::{ImageShape, Loader, Normalisation, Source};
use crate::device::{Device, Place, Shape, Tensor};
use crate::layer::{Phase, Role};
use crate::net::{BatchBytes, Graph, Net, Purpose};
use crate::op::Neuron;
use crate::train::checkpoint::Checkpoint;
use crate::train::{Error, Result, load_parameters, normalisation_of, test_step};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use subnet::Dense;
use views::{Pass, View, Views};

/// A net with a checkpoint's parameters, fed bytes.
pub struct Predictor {
    net: Net,
    output: Tensor,
    /// The output is probabilities already, of one class each or each of its own.
    probabilities: bool,
}

impl Predictor {
    /// The net of a config for batches of images of this shape, its output what [`Graph::prediction`] says.
    ///
    /// # Errors
    /// The config has no output, or the checkpoint is of another net, or the device fails.
    pub fn new(spec: &NetSpec, images: Shape, found: &Checkpoint, path: &Path, device: Box<dyn Device>) -> Result<Self> {
        let graph = Graph::new(spec, images, found.state.data.labels())?;
        let Some(prediction) = graph.prediction() else {
            return Err(Error::Argument("the net has no output to predict with".into()));
        };
        let probabilities = is_probable(&graph, prediction);
        Self::of(spec, graph, (prediction, probabilities), found, path, device)
    }

    /// The dense net, for batches of images of this shape, which may be larger than those it was trained on.
    ///
    /// # Errors
    /// Images that do not fit the net, or what [`new`](Self::new) finds.
    pub fn dense(dense: &Dense, images: Shape, found: &Checkpoint, path: &Path, device: Box<dyn Device>) -> Result<Self> {
        let graph = Graph::new(&dense.spec, images, 1)?;
        let output = dense.output(&graph);
        Self::of(&dense.spec, graph, (output, dense.probabilities), &dense.checkpoint(found), path, device)
    }

    /// The net that ends at a layer, [`subnet::ending_at`]: its output is what the layer makes.
    ///
    /// # Errors
    /// The layer has no output, or what [`new`](Self::new) finds.
    pub fn ending_at(
        (spec, layer): (&NetSpec, &str),
        images: Shape,
        found: &Checkpoint,
        path: &Path,
        device: Box<dyn Device>,
    ) -> Result<Self> {
        let graph = Graph::new(spec, images, 1)?;
        let Some(output) = subnet::node_of(&graph, layer).filter(|&i| !graph.nodes[i].is_cost()) else {
            return Err(Error::Argument(format!("layer '{layer}' has no output of its own; name another")));
        };
        Self::of(spec, graph, (output, true), &subnet::parameters_of(spec, found), path, device)
    }

    fn of(
        spec: &NetSpec,
        graph: Graph,
        (output, probabilities): (usize, bool),
        found: &Checkpoint,
        path: &Path,
        mut device: Box<dyn Device>,
    ) -> Result<Self> {
        let images = graph.images;
        let Normalisation { mut mean, scale, .. } = normalisation_of(found, path)?;
        if mean.len() != images.c && mean.len() != images.image() {
            // A mean image is of one size; of others its channels' means are taken.
            let pixels = mean.len() / images.c;
            mean = (0..images.c).map(|c| mean.iter().skip(c).step_by(images.c).sum::<f32>() / pixels as f32).collect();
        }
        device.set_winograd(spec.train.winograd);
        device.set_precision(spec.train.precision);
        let net = Net::new(graph, device, Purpose::Infer, images, &mean, scale);
        let mut net = net.map_err(|(error, _)| error)?;
        load_parameters(&mut net, found, path)?;
        let output = net.output(output).expect("what is read is no cost");
        Ok(Self { net, output, probabilities })
    }

    /// The shape of a batch of images.
    pub fn images(&self) -> Shape {
        self.net.graph.images
    }

    /// The shape of the output: of a dense net the places that its windows take, otherwise one place.
    pub fn output(&self) -> Shape {
        self.output.shape
    }

    /// The net's output for the first `count` images of a batch whose bytes are `pixels`, one after the other.
    ///
    /// # Errors
    /// The device fails.
    pub fn run(&mut self, pixels: &mut Vec<u8>, count: usize) -> Result<Vec<f64>> {
        let shape = self.images();
        pixels.resize(shape.elements(), 0);
        let (places, labels) = (vec![Place::default(); shape.n], vec![0; shape.n]);
        self.net.feed(BatchBytes { images: pixels, places: &places, labels: &labels, values: &[] })?;
        self.net.set_step(test_step(0, count))?;
        self.net.forward(Phase::Test)?;
        let mut outputs = self.net.read(self.output)?;
        outputs.truncate(count * self.output.shape.image());
        Ok(outputs)
    }

    /// As [`run`](Self::run), as probabilities: a softmax over the channels of each place, where the net has none itself.
    ///
    /// # Errors
    /// The device fails.
    pub fn probabilities(&mut self, pixels: &mut Vec<u8>, count: usize, classes: usize) -> Result<Vec<f64>> {
        let mut outputs = self.run(pixels, count)?;
        if !self.probabilities {
            outputs.chunks_mut(classes).for_each(softmax);
        }
        Ok(outputs)
    }
}

/// Whether a prediction's outputs are probabilities already, of one class each or each of its own.
pub(crate) fn is_probable(graph: &Graph, prediction: usize) -> bool {
    matches!(graph.nodes[prediction].role(), Role::Softmax | Role::Neuron(Neuron::Logistic))
}

/// x ← eˣ/Σeˣ
pub(crate) fn softmax(scores: &mut [f64]) {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores.iter_mut().for_each(|s| *s = (*s - most).exp());
    let sum: f64 = scores.iter().sum();
    scores.iter_mut().for_each(|s| *s /= sum);
}

/// What was predicted of a test set.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// Classes.
    pub classes: usize,
    /// A probability for each class of each image, one image after the other.
    pub probabilities: Vec<f32>,
    /// Each image's class.
    pub labels: Vec<i32>,
}

/// What predictions are made of, beside checkpoints and views.
pub struct Material<'a> {
    /// The config.
    pub spec: &'a NetSpec,
    /// The images.
    pub source: &'a Arc<dyn Source>,
    /// The images at another shape, where their files have more than is seen of them; otherwise as they are, to be resized here.
    pub at: &'a dyn Fn(ImageShape) -> Result<Arc<dyn Source>>,
    /// Opens the device, once for each net that is made.
    pub open: &'a dyn Fn() -> Result<Box<dyn Device>>,
}

/// The mean of the predictions of all checkpoints over all views of each image, and how many views that are. `progress` is told
/// what is done of how much.
///
/// # Errors
/// The net does not predict classes, the views do not fit it, a checkpoint is of another net, the source cannot be read, or the
/// device fails.
pub fn predict(
    of: &Material,
    checkpoints: &[(Checkpoint, PathBuf)],
    views: &Views,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(Predictions, usize)> {
    let &Material { spec, source, at, open } = of;
    let (first, _) = checkpoints.first().ok_or_else(|| Error::Argument("name a checkpoint".into()))?;
    if first.state.data.values {
        let what = "views, several checkpoints and details are of nets that tell classes, and this one tells values";
        return Err(Error::Argument(what.into()));
    }
    let [h, w, c] = first.state.data.shape;
    let (net, classes, images) = (ImageShape::new(h, w, c), first.state.data.classes, source.len());
    let shape = |n: usize, s: ImageShape| Shape::new(n, s.h, s.w, s.c);
    let graph = Graph::new(spec, shape(1, net), classes)?;
    let outputs = graph.prediction().map_or(0, |i| graph.nodes[i].layer.output().image());
    if outputs < classes {
        return Err(Error::Argument(format!(
            "views, several checkpoints and details need a net that predicts classes: its output has {outputs} values for {classes} \
             classes"
        )));
    }
    let dense = if views.is_dense() { Some(Dense::new(spec, &graph)?) } else { None };
    let passes = views.passes(source.shape(), net, dense.as_ref())?;
    let count = checkpoints.len() * passes.iter().map(|p| p.views.len()).sum::<usize>();
    let mut sums = Vec::new();
    if sums.try_reserve_exact(images * outputs).is_err() {
        return Err(Error::Argument(format!("no memory for the predictions of {images} images and {outputs} classes")));
    }
    sums.resize(images * outputs, 0f32);
    let mut labels = vec![0; images];
    let mut done = 0;
    for (checkpoint, path) in checkpoints {
        for pass in &passes {
            let batch = spec.train.micro_batch.unwrap_or(spec.train.batch);
            let batch = (batch * net.h * net.w / (pass.crop.h * pass.crop.w)).clamp(1, images.max(1));
            let crops = shape(batch, pass.crop);
            let device = open()?;
            let mut predictor = match &dense {
                Some(dense) => Predictor::dense(dense, crops, checkpoint, path, device)?,
                None => Predictor::new(spec, crops, checkpoint, path, device)?,
            };
            let source = at(pass.scaled)?;
            let mut loader = Loader::test(source.clone(), batch)?;
            let batches = loader.batches();
            for i in 0..batches {
                let images = loader.next()?;
                let first = images.first_position as usize;
                labels[first..first + images.count].copy_from_slice(&images.labels[..images.count]);
                let pictures = pass.scaled(source.shape(), &images.images, images.count);
                for view in &pass.views {
                    let found = one_view(&mut predictor, pass, view, &pictures, outputs)?;
                    for (sum, p) in sums[first * outputs..].iter_mut().zip(found) {
                        *sum += (p / count as f64) as f32;
                    }
                }
                loader.recycle(images);
                progress(done * batches + i + 1, checkpoints.len() * passes.len() * batches);
            }
            done += 1;
        }
    }
    let seen = count / checkpoints.len();
    Ok((Predictions { classes: outputs, probabilities: sums, labels }, seen))
}

/// The probabilities of one view of each picture: of a dense net their means over all places.
fn one_view(
    predictor: &mut Predictor,
    pass: &Pass,
    view: &View,
    pictures: &[Vec<u8>],
    classes: usize,
) -> Result<impl Iterator<Item = f64> + use<>> {
    let mut pixels = Vec::with_capacity(predictor.images().elements());
    pictures.iter().for_each(|picture| pass.cut(view, picture, &mut pixels));
    let found = predictor.probabilities(&mut pixels, pictures.len(), classes)?;
    let places = predictor.output().image() / classes;
    let means = found.chunks(classes * places).flat_map(|image| {
        (0..classes).map(|class| image.iter().skip(class).step_by(classes).sum::<f64>() / places as f64).collect::<Vec<_>>()
    });
    Ok(means.collect::<Vec<_>>().into_iter())
}
