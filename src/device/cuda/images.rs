//! Batches out of what was fed: images from bytes (kernels/images.cu), and labels.

use super::CudaDevice;
use super::driver::Grid;
use crate::device::{Dtype, Place, Result, Run, Tensor};
use crate::op::{LoadImages, LoadLabels};

impl Run<LoadImages<Tensor>> for CudaDevice {
    fn run(&mut self, op: &LoadImages<Tensor>, _scratch: Tensor) -> Result<()> {
        let (g, input, output) = (&op.geometry, op.geometry.input(), op.geometry.output());
        let (x, places) = (op.x, op.places);
        if x.dtype != Dtype::U8 || x.bytes() != input.elements() || places.bytes() != input.n * size_of::<Place>() {
            return Err(self.failed(format_args!("load_images: {x:?} and {places:?} do not fit {g:?}")));
        }
        let mean_is_image = op.mean.shape.elements() != input.c;
        let mean = self.reals(op.mean, if mean_is_image { input.image() } else { input.c })?;
        let (x, places, y) = (self.at(x)?, self.at(places)?, self.reals(op.y, output.elements())?);
        let grid = Grid { blocks: [output.image().div_ceil(256) as u32, input.n.min(65535) as u32, 1], threads: 256 };
        self.loading(|d| {
            d.launch("load_images", grid, &[g, &x, &places, &mean, &i32::from(mean_is_image), &(op.scale as f32), &y])
        })
    }
}

impl Run<LoadLabels<Tensor>> for CudaDevice {
    fn run(&mut self, op: &LoadLabels<Tensor>, _scratch: Tensor) -> Result<()> {
        let (x, y) = (op.x, op.y);
        if x.bytes() != y.bytes() {
            return Err(self.failed(format_args!("load_labels: {x:?} and {y:?} differ in size")));
        }
        let (from, to) = (self.at(x)?, self.at(y)?);
        self.loading(|d| d.answer("load_labels", d.stream.copy(from, to, x.bytes())))
    }
}
