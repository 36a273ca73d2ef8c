//! Where images come from: data sets, what is subtracted from them, the order and the augmentation they are trained in,
//! and the loader that keeps batches ready while a step runs.
//!
//! [`open`] turns the config's `data.source` into a [`DataSet`]: two [`Source`]s, one to train on and one to test on. A
//! [`Loader`] reads a source into [`Batch`]es on a thread of its own. Which image stands where depends on the seed and the
//! position in the stream alone ([`order`], [`augment`]), so a run can go on from any position.
//!
//! # How to add a data source
//!
//! 1. Write `src/data/x.rs` with a function that returns a [`DataSet`]. Where the images fit in memory, fill an [`Images`];
//!    where they do not (a folder of JPEGs, shards), implement [`Source`]: a count, a shape, and `label` and `read` by
//!    index. Build the index when it is opened and read pixels in `read`; `read` takes `&self` and may be called from
//!    several threads at once.
//! 2. Say what is wrong with a file as a variant of [`Error`]: what, in which file, what to do. Check a header's sizes
//!    against the file's length before allocating what it asks for.
//! 3. Give it a `KIND` there: its name, what its folder looks like, and the function that opens one and returns nothing where the
//!    folder is of another kind. Name it in `KINDS` of `sources.rs`, in the order in which folders are looked at; a built-in set is
//!    a line of `BUILT_IN` there.
//!    Files of images of any size need no source of their own: fill an `Index` with where they lie, as `folder.rs`, `shards.rs` and
//!    `list.rs` do, and `Pictures` reads, decodes and cuts them.
//! 4. Add it to `tests/data.rs`, or `tests/sources.rs`: one set that is read whole, and each error with its message.

pub mod augment;
mod batches;
mod cifar;
pub mod decode;
mod error;
mod faults;
mod folder;
mod idx;
mod ilsvrc;
mod images;
mod index;
mod list;
mod lmdb;
pub mod loader;
mod matlab;
pub mod normalise;
mod oddities;
pub mod order;
mod pairs;
pub mod pickle;
mod pictures;
mod shards;
mod sources;
mod synthetic;
mod targets;

pub use augment::{Augment, Draw, ResizedCrop};
pub use error::{Error, Result};
pub use faults::{Faults, OnError};
pub use images::Images;
pub use loader::{Batch, Loader, Reading};
pub use normalise::{Colours, Mean, Normalisation};
pub use order::shuffle;
pub use pairs::Pairs;
pub use sources::built_in;
pub use synthetic::Synthetic;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// The extents of one image: `h` rows of `w` columns of `c` channels, channel fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ImageShape {
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl ImageShape {
    /// `h` × `w` × `c`.
    pub const fn new(h: usize, w: usize, c: usize) -> Self {
        Self { h, w, c }
    }

    /// Bytes of one image: `h` × `w` × `c`.
    pub const fn bytes(&self) -> usize {
        self.h * self.w * self.c
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}×{}×{}", self.h, self.w, self.c))
    }
}

/// Labelled images of one shape, by index. Calls may come from several threads at once; `i` is below [`len`](Source::len).
pub trait Source: Send + Sync {
    /// The number of images.
    fn len(&self) -> usize;

    /// Whether there are no images; [`open`] gives no such source.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of every image.
    fn shape(&self) -> ImageShape;

    /// The class of image `i`; 0 where images have values.
    fn label(&self, i: usize) -> i32;

    /// How many values each image has to be told by the net, in place of a class; 0 where it has a class.
    fn values(&self) -> usize {
        0
    }

    /// Writes the values of image `i`, as many as [`values`](Source::values) says.
    fn read_values(&self, _i: usize, _values: &mut [f32]) {}

    /// Writes image `i` into `pixels`, which holds [`ImageShape::bytes`] bytes: rows, columns, channels.
    fn read(&self, i: usize, pixels: &mut [u8]) -> Result<()>;

    /// Where image `i` comes from, for people: `image 17 of data_batch_1.bin`.
    fn origin(&self, i: usize) -> String;

    /// Where the bytes of image `i` are, where that is in a file and no other image's are there.
    fn place(&self, _i: usize) -> Option<String> {
        None
    }

    /// Writes image `i` as it is drawn for training into `pixels`, and returns its label: what the source itself draws anew each
    /// epoch. [`label`](Source::label) and [`read`](Source::read) are those of epoch 0.
    fn sample(&self, i: usize, _draw: &Draw, pixels: &mut [u8]) -> Result<i32> {
        self.read(i, pixels)?;
        Ok(self.label(i))
    }

    /// The source of the single images that this one's are pairs of, one's channels behind the other's: statistics are
    /// theirs.
    fn single(&self) -> Option<&dyn Source> {
        None
    }

    /// How many images differ: image `i` has the pixels and the label of image `i mod distinct()`. Statistics and checks
    /// read these alone.
    fn distinct(&self) -> usize {
        self.len()
    }

    /// How many of the distinct images statistics are of, evenly spread.
    fn measured(&self) -> usize {
        self.distinct()
    }

    /// Whether reading an image takes long enough to be shared among threads.
    fn is_slow(&self) -> bool {
        false
    }

    /// Whether image `i` lies in another file than the one before it, where files hold many images each.
    fn starts_shard(&self, i: usize) -> bool {
        i == 0
    }

    /// Reads the file of image `i` as it is stored, or makes one of its pixels where it may have a size of its own; false, and
    /// nothing read, where there is none.
    ///
    /// # Errors
    /// It cannot be read.
    fn file(&self, _i: usize, _bytes: &mut Vec<u8>) -> Result<bool> {
        Ok(false)
    }

    /// The path of image `i`, where it has a file of its own.
    fn path(&self, _i: usize) -> Option<PathBuf> {
        None
    }

    /// Where images that cannot be read are noted, if training goes on in spite of them.
    fn faults(&self) -> Option<&Faults> {
        None
    }
}

/// Images to train on and images to test on, of the same shape and classes.
#[derive(Clone)]
pub struct DataSet {
    /// The source as it was asked for.
    pub name: String,
    /// What to train on.
    pub train: Arc<dyn Source>,
    /// What to test on.
    pub test: Arc<dyn Source>,
    /// Classes; every label is below. Where images have values, how many.
    pub classes: usize,
    /// The classes' names, one a class; their numbers where nothing names them. The values' where images have some.
    pub class_names: Vec<String>,
    /// What is odd about it, for people.
    pub warnings: Vec<String>,
}

impl DataSet {
    /// The shape of every image of both sets.
    pub fn shape(&self) -> ImageShape {
        self.train.shape()
    }

    /// Fails, naming the first image at fault, if a label is not below `classes`: what a net with so many outputs needs.
    pub fn check_labels(&self, classes: usize) -> Result<()> {
        check_labels(&*self.train, classes)?;
        check_labels(&*self.test, classes)
    }
}

impl fmt::Debug for DataSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataSet")
            .field("name", &self.name)
            .field("train", &self.train.len())
            .field("test", &self.test.len())
            .field("shape", &self.shape())
            .field("classes", &self.classes)
            .finish()
    }
}

/// What [`open`] is asked beyond the source's name.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Take only so many training images: the first, of image files ones evenly spread; of a synthetic set, make so many.
    pub train: Option<usize>,
    /// Take only so many test images, likewise.
    pub test: Option<usize>,
    /// The number of classes, where the files do not tell or tell too few.
    pub classes: Option<usize>,
    /// The shape of a synthetic set's images; for any other source, the shape that its images must have.
    pub shape: Option<ImageShape>,
    /// The seed of a synthetic set's pixels, and of pairs.
    pub seed: u64,
    /// Make [`Pairs`] of the images.
    pub pairs: bool,
    /// To what the shorter side of image files is resized, before a part is taken.
    pub size: Option<usize>,
    /// What to do about image files that cannot be read.
    pub on_error: OnError,
}

/// Opens a built-in data set ([`built_in`]) or what is at a path: a folder, recognised by what is in it, or a single file that is a
/// set. `sources.rs` lists the kinds.
pub fn open(source: &str, options: &Options) -> Result<DataSet> {
    for (limit, set) in [(options.train, "training"), (options.test, "test")] {
        if limit == Some(0) {
            return Err(Error::Empty { what: format!("the {set} set, limited to 0 images,") });
        }
    }
    let mut set = sources::open(source, options)?;
    set.name = source.to_owned();
    let (train, test) = (set.train.shape(), set.test.shape());
    if train != test {
        return Err(Error::Shape { what: set.test.origin(0), found: test, expected: train, by: set.train.origin(0) });
    }
    if let Some(expected) = options.shape.filter(|&shape| shape != train) {
        return Err(Error::Shape { what: set.train.origin(0), found: train, expected, by: "the shape asked for".to_owned() });
    }
    if let Some(classes) = options.classes {
        let named = set.class_names.len().min(classes);
        set.class_names.truncate(named);
        set.class_names.extend((named..classes).map(|class| class.to_string()));
        set.classes = classes;
    }
    set.check_labels(set.classes)?;
    if set.train.values() == 0 && source != "synthetic" {
        set.warnings.extend(oddities::of_classes(&*set.train, &*set.test, &set.class_names));
    }
    if source != "synthetic" {
        set.warnings.extend(oddities::of_images(&*set.train, &*set.test));
    }
    if options.size.is_some() && !set.train.is_slow() {
        let what = format!("data.size resizes image files; {source} holds images of one shape, {}", set.train.shape());
        return Err(Error::Setting(what));
    }
    if options.pairs {
        set.train = Arc::new(Pairs::new(set.train, options.seed)?);
        set.test = Arc::new(Pairs::new(set.test, options.seed)?);
        set.classes = pairs::NAMES.len();
        set.class_names = pairs::NAMES.map(str::to_owned).to_vec();
    }
    Ok(set)
}

/// The names of classes that nothing names.
fn numbered(classes: usize) -> Vec<String> {
    (0..classes).map(|class| class.to_string()).collect()
}

fn check_labels(source: &dyn Source, classes: usize) -> Result<()> {
    for i in 0..source.distinct() {
        let label = source.label(i);
        if usize::try_from(label).map_or(true, |label| label >= classes) {
            return Err(Error::Label { what: source.origin(i), label, classes });
        }
    }
    Ok(())
}
