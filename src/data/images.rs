//! Images in memory: bytes as they come from files, NHWC.

use super::{Error, ImageShape, Result, Source};

/// A labelled set of images of one shape, in memory.
#[derive(Clone, Debug)]
pub struct Images {
    shape: ImageShape,
    pixels: Vec<u8>,
    labels: Vec<i32>,
    /// The index of the first image out of each file, and the file's name, in order.
    files: Vec<(usize, String)>,
}

impl Images {
    /// Images out of one file. `pixels` holds an image of `shape` a label.
    pub fn new(file: impl Into<String>, shape: ImageShape, pixels: Vec<u8>, labels: Vec<i32>) -> Result<Self> {
        let file = file.into();
        if shape.bytes() == 0 || labels.is_empty() {
            return Err(Error::Empty { what: file });
        }
        if pixels.len() != labels.len() * shape.bytes() {
            let (image_count, label_count) = (pixels.len() / shape.bytes(), labels.len());
            return Err(Error::Counts { images: file.clone(), image_count, labels: file, label_count });
        }
        Ok(Self { shape, pixels, labels, files: vec![(0, file)] })
    }

    /// Adds the images of another set of the same shape behind these.
    pub fn append(&mut self, mut more: Images) -> Result<()> {
        if more.shape != self.shape {
            let (what, by) = (more.origin(0), self.origin(0));
            return Err(Error::Shape { what, found: more.shape, expected: self.shape, by });
        }
        let first = self.labels.len();
        self.pixels.append(&mut more.pixels);
        self.labels.append(&mut more.labels);
        self.files.extend(more.files.into_iter().map(|(i, file)| (first + i, file)));
        Ok(())
    }

    /// The first so many images.
    ///
    /// # Errors
    /// There are none.
    pub fn first(&self, images: usize) -> Result<Self> {
        let images = images.min(self.labels.len());
        let pixels = self.pixels[..images * self.shape.bytes()].to_vec();
        let first = Self::new("", self.shape, pixels, self.labels[..images].to_vec())?;
        Ok(Self { files: self.files.clone(), ..first })
    }

    /// All pixels, image after image.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// All labels, one an image.
    pub fn labels(&self) -> &[i32] {
        &self.labels
    }
}

impl Source for Images {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> ImageShape {
        self.shape
    }

    fn label(&self, i: usize) -> i32 {
        self.labels[i]
    }

    fn read(&self, i: usize, pixels: &mut [u8]) -> Result<()> {
        let bytes = self.shape.bytes();
        pixels.copy_from_slice(&self.pixels[i * bytes..][..bytes]);
        Ok(())
    }

    fn origin(&self, i: usize) -> String {
        let (first, file) = &self.files[self.files.partition_point(|(first, _)| *first <= i) - 1];
        format!("image {} of {file}", i - first)
    }
}
