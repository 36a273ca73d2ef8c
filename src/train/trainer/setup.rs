//! What a run is made of before its first step: the config's data, the graph, and the net with its initial parameters.

use crate::config::{ConfigError, DataSpec, Mean, NetSpec, Scale};
use crate::data::{self, DataSet, ImageShape, Loader, Normalisation, Reading};
use crate::device::{self, Device, Shape};
use crate::net::{Graph, InitError, Labels, Net, Plan, Purpose};
use crate::train::{Error, Result};

/// What a run is made of, before there is a net.
pub struct Setup {
    /// The config.
    pub spec: NetSpec,
    /// The data.
    pub data: DataSet,
    /// What is done to its pixels.
    pub normalisation: Normalisation,
}

impl Setup {
    /// Opens a config's data and measures its mean and scale.
    ///
    /// # Errors
    /// The data is not there or not whole.
    pub fn new(spec: NetSpec) -> Result<Self> {
        let data = open_data(&spec)?;
        let mut normalisation = match spec.data.mean {
            Mean::Channel => Normalisation::of(data.train.as_ref(), data::Mean::Channel)?,
            Mean::Pixel => Normalisation::of(data.train.as_ref(), data::Mean::Pixel)?,
            Mean::None => {
                let mut n = Normalisation::of(data.train.as_ref(), data::Mean::Channel)?;
                n.mean.fill(0.0);
                n
            }
        };
        if let Scale::Factor(factor) = spec.data.scale {
            normalisation.scale = factor;
        }
        spec.data.augment.check(data.shape())?;
        Ok(Self { spec, data, normalisation })
    }

    /// The same where shapes are all that matters: images are made up where the source is not there and the config's file
    /// tells what they are like.
    ///
    /// # Errors
    /// The data is not there or not whole, and nothing is known of it.
    pub fn for_shapes(spec: NetSpec) -> Result<Self> {
        Self::new(made_up(spec))
    }

    /// As [`for_shapes`](Self::for_shapes), where the normalisation is known for images of each shape, and nothing measured.
    ///
    /// # Errors
    /// The data is not there or not whole, and nothing is known of it, or the normalisation does not fit.
    pub fn with_normalisation(spec: NetSpec, of: impl FnOnce(ImageShape) -> Result<Normalisation>) -> Result<Self> {
        let spec = made_up(spec);
        let data = open_data(&spec)?;
        let normalisation = of(data.shape())?;
        Ok(Self { spec, data, normalisation })
    }

    /// The shape of a batch of the data's images.
    pub fn images(&self, batch: usize) -> Shape {
        let ImageShape { h, w, c } = self.data.shape();
        Shape::new(batch, h, w, c)
    }

    /// The graph for batches of `batch` images.
    ///
    /// # Errors
    /// A layer that does not fit.
    pub fn graph(&self, batch: usize) -> Result<Graph> {
        Ok(Graph::new(&self.spec, self.images(batch), self.labels())?)
    }

    /// What the net is told of each image.
    pub fn labels(&self) -> Labels {
        match self.data.train.values() {
            0 if self.spec.data.augment.mixup > 0.0 => Labels::Values(self.data.classes),
            0 => Labels::Classes(self.data.classes),
            values => Labels::Values(values),
        }
    }

    /// The planned and allocated net, its parameters 0.
    ///
    /// # Errors
    /// A layer that does not fit, or a device that has not the memory.
    pub fn net(&self, batch: usize, mut device: Box<dyn Device>, purpose: Purpose) -> Result<Net> {
        device.set_winograd(self.spec.train.winograd);
        device.set_precision(self.spec.train.precision);
        let graph = self.graph(batch)?;
        let Normalisation { mean, scale } = &self.normalisation;
        Net::new(graph, device, purpose, self.images(batch), mean, *scale).map_err(|(e, device)| match e {
            device::Error::OutOfMemory { free, .. } => {
                Error::TooLarge { advice: self.what_fits(batch, device.as_ref(), purpose, free), source: e }
            }
            other => other.into(),
        })
    }

    /// What to do about a net that does not fit the device's `free` bytes: the largest part of a batch that would.
    fn what_fits(&self, batch: usize, device: &dyn Device, purpose: Purpose, free: usize) -> String {
        if purpose == Purpose::Infer {
            return "use a device with more memory, or --device cpu".into();
        }
        let mean = Shape::new(1, 1, 1, self.normalisation.mean.len());
        let fits =
            |&m: &usize| self.graph(m).is_ok_and(|g| Plan::new(&g, device, purpose, self.images(m), mean, 1.0).bytes <= free);
        match (1..batch).rev().filter(|m| batch.is_multiple_of(*m)).find(fits) {
            Some(m) => format!("--set train.micro_batch={m} would fit, with the same results but for rounding"),
            None => "not even one image at a time fits: use a smaller net or a device with more memory".into(),
        }
    }

    /// Draws a net's initial parameters from the seed, or reads them from the files that the config names.
    ///
    /// # Errors
    /// A file that does not have a parameter's values, or the device.
    pub fn initialise(&self, net: &mut Net) -> Result<()> {
        net.initialise(self.spec.train.seed).map_err(|e| self.explain(e))
    }

    /// The error with the place in the config that it is about.
    pub(super) fn explain(&self, e: InitError) -> Error {
        match e {
            InitError::Device(e) => e.into(),
            InitError::File { ref layer, ref parameter, bias, ref path, ref what } => {
                let Some((_, layer)) = self.spec.layer(layer) else { return ConfigError::new(&e).into() };
                let message = format!("cannot start its {parameter} from '{}': {what}", path.display());
                let help = "a .npy file, or a tensor of a .safetensors file, of as many floats; paths are relative to the \
                            working directory";
                layer.error(if bias { "init_bias" } else { "init" }, message, "", help).into()
            }
        }
    }

    /// Images that go through the net at once.
    pub fn micro_batch(&self) -> usize {
        self.spec.train.micro_batch.unwrap_or(self.spec.train.batch)
    }

    /// Loads the training images as training does, from a position of their stream on.
    ///
    /// # Errors
    /// A setting that does not fit the images, or images that cannot be read where their colours are measured.
    pub fn loader(&self, start: u64) -> Result<Loader> {
        let (train, d) = (self.data.train.clone(), &self.spec.data);
        let window = d.shuffle_window.map(|images| u32::try_from(images).unwrap_or(u32::MAX));
        let (threads, classes) = (d.readers.unwrap_or(0), self.data.classes);
        let reading = Reading { window, threads, classes, ..Reading::of(&*train, d.augment)? };
        Ok(Loader::train(train, self.micro_batch(), self.spec.train.seed, reading, start)?)
    }
}

/// The config with images made up where its source is not there and its file tells what they are like.
fn made_up(mut spec: NetSpec) -> NetSpec {
    if let Some(images) = spec.images.take()
        && open_data(&spec).is_err()
    {
        spec.data = DataSpec { source: "synthetic".into(), synthetic: Some(images), ..spec.data };
    }
    spec
}

/// The data set that a config names.
///
/// # Errors
/// It is not there or not whole.
pub fn open_data(spec: &NetSpec) -> Result<DataSet> {
    let d = &spec.data;
    if d.source == DataSpec::NONE {
        let span = spec.root.entry(&["data", "source"]).map_or(spec.root.span, |e| e.node.span);
        let help = "give --data DATA, a built-in set or a folder, or try it out with --set data.source=synthetic \
                    --set data.synthetic.shape=[height,width,channels]";
        return Err(spec.error_at(span, "the config does not say which images it is for", "", help).into());
    }
    let synthetic = d.synthetic.as_ref();
    let options = data::Options {
        train: d.train_images.or(synthetic.map(|s| s.train_images)),
        test: d.test_images.or(synthetic.map(|s| s.test_images)),
        classes: synthetic.map(|s| s.classes),
        shape: synthetic.map(|s| s.shape).or(d.shape).map(|[h, w, c]| ImageShape { h, w, c }),
        seed: spec.train.seed,
        pairs: d.pairs,
        size: d.size,
        on_error: d.on_error,
    };
    Ok(data::open(&d.source, &options)?)
}

/// Parameter updates of a whole run: `train.steps`, or epochs · images / batch, rounded up.
pub fn total_steps(spec: &NetSpec, train_images: usize) -> u64 {
    if let Some(steps) = spec.train.steps {
        return steps;
    }
    (spec.train.epochs * train_images as f64 / spec.train.batch as f64).ceil() as u64
}
