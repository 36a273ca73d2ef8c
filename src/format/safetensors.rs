//! The parts of `.safetensors` files that the crate of that name leaves to its users: a tensor's floats, whatever their type; a file of
//! f32; and a header alone, of a file whose values are written piece by piece.

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo, TensorView};

/// The values of a tensor of floats, each as `from` turns it; nothing where they are of another type.
pub fn floats<T>(view: &TensorView, from: impl Fn(f64) -> T) -> Option<Vec<T>> {
    fn all<T, const N: usize>(view: &TensorView, one: impl Fn([u8; N]) -> T) -> Vec<T> {
        view.data().as_chunks::<N>().0.iter().map(|&bytes| one(bytes)).collect()
    }
    Some(match view.dtype() {
        Dtype::F16 => all(view, |b| from(f16::from_le_bytes(b).to_f64())),
        Dtype::BF16 => all(view, |b| from(bf16::from_le_bytes(b).to_f64())),
        Dtype::F32 => all(view, |b| from(f64::from(f32::from_le_bytes(b)))),
        Dtype::F64 => all(view, |b| from(f64::from_le_bytes(b))),
        _ => return None,
    })
}

/// A file of tensors of f32: their names, extents and values.
///
/// # Errors
/// A name that appears twice, or a header that is too long.
pub fn write<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>) -> Result<Vec<u8>, String> {
    let bytes = |(name, shape, values): (&'a str, &'a [usize], &[f32])| {
        (name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
    };
    let tensors: Vec<_> = tensors.into_iter().map(bytes).collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("a tensor has as many values as its shape");
        (*name, view)
    });
    safetensors::serialize(views, None).map_err(|e| e.to_string())
}

/// What goes before the values of tensors of these names, types and extents, which follow in this order.
///
/// # Errors
/// Extents beyond what a file can hold.
pub fn header(tensors: &[(&str, Dtype, &[usize])]) -> Result<Vec<u8>, String> {
    let mut end = 0_usize;
    let mut all = Vec::with_capacity(tensors.len());
    for &(name, dtype, shape) in tensors {
        let elements = shape.iter().try_fold(1_usize, |n, &extent| n.checked_mul(extent));
        let bytes = elements.and_then(|n| n.checked_mul(dtype.bitsize() / 8)).ok_or("a tensor is too large for a file")?;
        let data_offsets = (end, end.checked_add(bytes).ok_or("the tensors are too large for a file")?);
        end = data_offsets.1;
        all.push((name.to_owned(), TensorInfo { dtype, shape: shape.to_vec(), data_offsets }));
    }
    let metadata = Metadata::new(None, all).map_err(|e| e.to_string())?;
    let mut text = serde_json::to_vec(&metadata).map_err(|e| e.to_string())?;
    // The values begin on a multiple of 8 bytes.
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok([&(text.len() as u64).to_le_bytes()[..], &text].concat())
}

#[cfg(test)]
mod tests {
    use super::{floats, header, write};
    use safetensors::tensor::{Dtype, SafeTensors};

    /// A header alone, with the values after it, is the file that the crate writes of the same tensors.
    #[test]
    fn a_header_and_values_are_a_file() {
        let values: Vec<f32> = (0..6).map(|v| v as f32).collect();
        let whole = write([("features", &[2, 3][..], &values[..])]).unwrap();
        let mut pieces = header(&[("features", Dtype::F32, &[2, 3])]).unwrap();
        pieces.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        assert_eq!(pieces, whole);
        let mut two = header(&[("features", Dtype::F32, &[2, 1]), ("labels", Dtype::I32, &[2])]).unwrap();
        assert!(two.len().is_multiple_of(8));
        two.extend([[1_f32, 2.0].map(f32::to_le_bytes), [7_i32, 8].map(i32::to_le_bytes)].concat().concat());
        let file = SafeTensors::deserialize(&two).unwrap();
        assert_eq!(floats(&file.tensor("features").unwrap(), |v| v), Some(vec![1.0, 2.0]));
        assert_eq!(floats(&file.tensor("labels").unwrap(), |v| v), None);
        assert_eq!(file.tensor("labels").unwrap().data(), [7, 0, 0, 0, 8, 0, 0, 0]);
        header(&[("endless", Dtype::F32, &[usize::MAX, 2])]).unwrap_err();
        header(&[("a", Dtype::F32, &[usize::MAX / 4]), ("b", Dtype::F32, &[1])]).unwrap_err();
    }
}
