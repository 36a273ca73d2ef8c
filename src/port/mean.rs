//! Files of a data set's mean: Caffe's `.binaryproto`, a BlobProto of 1 × channels × rows × columns, and NumPy's `.npy` of
//! channels × rows × columns or of one number a channel. A mean image that is larger than the net's is cut to its middle.

use super::images::Channels;
use super::{Tensor, caffe};
use crate::format::npy;

/// The mean that a file holds, for images of height, width, channels: a number a channel, or one a pixel and channel, the
/// channel fastest and red first.
///
/// # Errors
/// What is wrong with the file, or does not fit the images.
pub fn read(file: &[u8], [h, w, c]: [usize; 3], order: Channels) -> Result<Vec<f32>, String> {
    let Tensor { shape, values, .. } = if file.starts_with(npy::MAGIC) {
        let (shape, values) = npy::array(file)?;
        Tensor { name: String::new(), shape, values: values.into_iter().map(|v| v as f32).collect() }
    } else {
        caffe::read_blob(file, "its blob".into())?
    };
    if values.iter().any(|v| !v.is_finite()) {
        return Err("a value of it is no finite number".into());
    }
    let first = shape.iter().take(shape.len().saturating_sub(1)).take_while(|&&e| e == 1).count();
    let channel = |o: usize| if order == Channels::Bgr && c == 3 { c - 1 - o } else { o };
    match shape[first..] {
        [n] if n == c => Ok((0..c).map(|o| values[channel(o)]).collect()),
        [n, 1, 1] if n == c => Ok((0..c).map(|o| values[channel(o)]).collect()),
        [n, rows, columns] if n == c && rows >= h && columns >= w => {
            let (top, left) = ((rows - h) / 2, (columns - w) / 2);
            let at = |i: usize, j: usize, o: usize| values[(channel(o) * rows + top + i) * columns + left + j];
            Ok((0..h).flat_map(|i| (0..w).flat_map(move |j| (0..c).map(move |o| at(i, j, o)))).collect())
        }
        [rows, columns] if c == 1 && rows >= h && columns >= w => {
            let (top, left) = ((rows - h) / 2, (columns - w) / 2);
            Ok((0..h).flat_map(|i| (0..w).map(move |j| (i, j))).map(|(i, j)| values[(top + i) * columns + left + j]).collect())
        }
        _ => Err(format!("its mean is {}, and the net's images have {c} channels of {h}×{w}", Tensor::extents(&shape))),
    }
}
