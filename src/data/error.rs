//! What can be wrong with data: each error says what, in which file, and what to do.

use super::{ImageShape, sources};
use std::io;
use std::path::{Path, PathBuf};

/// What functions on data return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why images cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A source that is neither built in nor there.
    #[error(
        "no data set '{name}': it is neither built in ({known}) nor a folder that exists{hint}",
        known = sources::built_in().collect::<Vec<_>>().join(", "),
        hint = nearest.map_or_else(String::new, |name| format!("; did you mean '{name}'?")),
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// The built-in whose name is nearest, if one is near.
        nearest: Option<&'static str>,
    },
    /// A path to a file where a folder is read.
    #[error(
        "{path} is a file; give the folder that holds the data set's files, {files}",
        path = path.display(),
        files = sources::single_files()
    )]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// A folder with nothing we know.
    #[error(
        "{path} holds no data set that is known; looked for {kinds}",
        path = path.display(),
        kinds = sources::looked_for()
    )]
    Unrecognised {
        /// The folder.
        path: PathBuf,
    },
    /// A file of a set is not there.
    #[error("{path} is missing; {kind} is {needs}: put the file beside the others", path = path.display())]
    Missing {
        /// Where it was expected.
        path: PathBuf,
        /// The kind of data set that the folder's other files make.
        kind: &'static str,
        /// The files of such a set.
        needs: &'static str,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A gzip file that does not unpack.
    #[error("{path} is a damaged gzip file ({source}); fetch it again", path = path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        source: io::Error,
    },
    /// A file that does not begin as its name says.
    #[error("{path} begins with {found}, not with {expected}; it is another kind of file, or damaged: fetch it again", path = path.display())]
    Magic {
        /// The file.
        path: PathBuf,
        /// Its first bytes.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// A file shorter or longer than its header says.
    #[error("{path} should hold {expected}, but holds {found}; fetch it again", path = path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// What its header or its format promises.
        expected: String,
        /// What is there.
        found: String,
    },
    /// More than fits in memory.
    #[error(
        "{path}: no memory for its {bytes} bytes of pixels; train on fewer images, or on a machine with more memory",
        path = path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes that did not fit.
        bytes: u128,
    },
    /// Images and labels that are not one to one.
    #[error(
        "{images} holds {image_count} images, but {labels} holds {label_count} labels; \
         they do not belong together: take both from the same data set"
    )]
    Counts {
        /// The file of images.
        images: String,
        /// Its images.
        image_count: usize,
        /// The file of labels.
        labels: String,
        /// Its labels.
        label_count: usize,
    },
    /// A label that is not a class.
    #[error(
        "{what} has label {label}, but there are {classes} classes, 0 to {last}; \
         correct the label, or give the net (its last layer, its number of classes) at least {needed}",
        last = classes.saturating_sub(1),
        needed = i64::from(*label) + 1,
    )]
    Label {
        /// The image, and its file.
        what: String,
        /// Its label.
        label: i32,
        /// The number of classes.
        classes: usize,
    },
    /// Images of another shape than the rest.
    #[error("{what} is {found}, but {by} is {expected}; all images of a data set have one shape")]
    Shape {
        /// The image, and its file.
        what: String,
        /// Its shape.
        found: ImageShape,
        /// The shape it should have.
        expected: ImageShape,
        /// What has that shape.
        by: String,
    },
    /// No images.
    #[error("{what} holds no images; at least one is needed")]
    Empty {
        /// What is empty.
        what: String,
    },
    /// A file of class names that does not name each class.
    #[error("{path} names {found} classes instead of {expected}; put one name on a line, or remove the file", path = path.display())]
    Names {
        /// The file.
        path: PathBuf,
        /// Names in it.
        found: usize,
        /// Classes.
        expected: usize,
    },
    /// An image that cannot be read.
    #[error("{what} cannot be read: {why}")]
    Broken {
        /// The image.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing but images that cannot be read.
    #[error("{first} cannot be read, nor can {count} other images tried in its place; is the disk still there?")]
    AllBroken {
        /// The image that was asked for.
        first: String,
        /// Images tried.
        count: usize,
    },
    /// A tar file that is none, or damaged.
    #[error("{path} cannot be read as a tar file: {why}; fetch or make it again", path = path.display())]
    Shard {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A pickle that is none, or holds no images.
    #[error("{path} cannot be read as a batch of images in a pickle: {why}", path = path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An LMDB file that is none, or holds no images.
    #[error("{path} cannot be read as an LMDB of Caffe's images: {why}", path = path.display())]
    Lmdb {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A line of a list or of a CSV file that is none.
    #[error("{path}, line {line}: {why}", path = path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// Pictures of different sizes, and nothing said of what to make of them.
    #[error(
        "{a} is {h}×{w}, but {b} is {p}×{q}; say what to make of pictures of different sizes: data.shape = [height, width, 3], the \
         images' shape, and data.size, to which the shorter side is resized first",
        a = what[0], b = what[1], h = sizes[0].0, w = sizes[0].1, p = sizes[1].0, q = sizes[1].1
    )]
    Sizes {
        /// Two of them.
        what: [String; 2],
        /// Their heights and widths.
        sizes: [(usize, usize); 2],
    },
    /// A synthetic set that cannot be made, or an augmentation or batch that cannot be.
    #[error("{0}")]
    Setting(String),
    /// The loader's thread is gone.
    #[error("the thread that loads the data has stopped ({0}); resume the run from its last checkpoint")]
    Stopped(&'static str),
}

impl Error {
    pub(super) fn unknown(name: &str) -> Self {
        let near = |known: &&'static str| strsim::jaro_winkler(name, known);
        let nearest = sources::built_in().max_by(|a, b| near(a).total_cmp(&near(b))).filter(|known| near(known) > 0.75);
        Self::Unknown { name: name.to_owned(), nearest }
    }

    /// Whether it is about one image of many, so that the others may do.
    pub fn is_of_one_image(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }

    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}
