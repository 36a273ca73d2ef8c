//! Images from bytes: kernels/images.cu.

use super::driver::Grid;
use super::{CudaDevice, Tensor};
use crate::device::{Dtype, ImageGeometry, Place, Result};

pub(super) const KERNELS: &[&str] = &["load_images"];

/// y ← (x at its place − mean)·scale.
pub(super) fn load(
    d: &CudaDevice,
    g: &ImageGeometry,
    x: Tensor,
    places: Tensor,
    mean: Tensor,
    scale: f64,
    y: Tensor,
) -> Result<()> {
    let [n, h, w, c, p, q] = [g.n, g.h, g.w, g.c, g.p, g.q].map(|v| v as usize);
    if x.dtype != Dtype::U8 || x.bytes() != n * h * w * c || places.bytes() != n * size_of::<Place>() {
        return Err(d.failed(format_args!("load_images: {x:?} and {places:?} are not {g:?}'s")));
    }
    let mean_is_image = mean.shape.elements() != c;
    let mean = d.reals(mean, if mean_is_image { h * w * c } else { c })?;
    let blocks = [(p * q * c).div_ceil(256) as u32, n.min(65535) as u32, 1];
    d.launch(
        "load_images",
        Grid { blocks, threads: 256 },
        &[g, &d.at(x)?, &d.at(places)?, &mean, &i32::from(mean_is_image), &(scale as f32), &d.reals(y, n * p * q * c)?],
    )
}
