//! The CPU device: every operation in Rust, generic over f32 and f64, on all cores. One file an operation; this one hands
//! each call the slices that its tensors are. Work is cut the same way for any number of threads and sums have a fixed
//! order, so the bits do not depend on it. No operation allocates.

mod arena;
mod batch_norm;
mod bias;
mod binary_cross_entropy;
mod contrastive;
mod conv;
mod copy;
mod cost;
mod dispatch;
mod drop_connect;
mod dropout;
mod elementwise;
mod gemm;
mod hinge;
mod images;
mod lab;
mod local;
mod lrn;
mod math;
mod merge;
mod neuron;
mod noise;
mod noisy_relu;
mod norm;
mod one_hot;
mod pool;
mod prelu;
mod real;
mod resample;
mod sgd;
mod simd;
mod soft_cross_entropy;
mod softmax;
mod workers;

pub use real::Real;
pub use workers::Workers;

use super::{
    BatchNorm, Binary, ConvGeometry, CopyGeometry, Device, DropConnect, Dtype, Error, Hinge, ImageGeometry, Into, LrnGeometry,
    Merge, Neuron, Op, PoolGeometry, PoolKind, Product, Response, Result, StepValues, Tensor, Update,
};
use arena::{Arena, Borrow};
use drop_connect::Masked;

/// All cores, or some of them, as a [`Device`] whose reals are `T`. It stays on the thread that made it.
pub struct CpuDevice<T: Real> {
    arena: Arena,
    workers: Workers,
    step: StepValues,
    /// Whether convolutions may take fewer multiply-adds than their definition has.
    winograd: bool,
    real: std::marker::PhantomData<T>,
}

impl<T: Real> CpuDevice<T> {
    /// A device of so many threads; 0: one for each core.
    pub fn new(threads: usize) -> Self {
        let step =
            StepValues { seed: 0, step: 0, first_image: 0, images: 0, gradient_scale: 0.0, learning_rate: 0.0, momentum: 0.0 };
        Self { arena: Arena::default(), workers: Workers::new(threads), step, winograd: true, real: std::marker::PhantomData }
    }
}

/// Bytes of memory that the system has in all and can still give; 0 where it does not tell.
pub fn memory() -> (u64, u64) {
    [meminfo("MemTotal:"), meminfo("MemAvailable:")].map(|n| n.unwrap_or(0) as u64).into()
}

/// Bytes of memory that the system can still give; `None` where it does not tell.
fn free() -> Option<usize> {
    meminfo("MemAvailable:")
}

/// A line of /proc/meminfo, in bytes.
fn meminfo(name: &str) -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// Scratch to write; nothing where there is none, wherever its slot is.
fn scratch_of<'a, T: Real>(b: &mut Borrow<'a>, scratch: Tensor) -> &'a mut [T] {
    if scratch.bytes() == 0 { &mut [] } else { b.write(scratch) }
}

/// What an operation that may work in place gets: x, unless it is y, and y.
fn in_place<'a, T: Real>(b: &mut Borrow<'a>, x: Tensor, y: Tensor) -> (Option<&'a [T]>, &'a mut [T]) {
    let apart = (x.slot != y.slot).then(|| b.read(x));
    (apart, b.write(y))
}

/// As [`in_place`], of two inputs: a and b, unless they are y, and y.
fn either_in_place<'a, T: Real>(
    t: &mut Borrow<'a>,
    a: Tensor,
    b: Tensor,
    y: Tensor,
) -> (Option<&'a [T]>, Option<&'a [T]>, &'a mut [T]) {
    let [a, b] = [a, b].map(|x| (x.slot != y.slot).then(|| t.read(x)));
    (a, b, t.write(y))
}

impl<T: Real> Device for CpuDevice<T> {
    fn name(&self) -> String {
        let threads = self.workers.threads();
        let s = if threads == 1 { "" } else { "s" };
        format!("cpu ({threads} thread{s}, {})", dispatch::Level::best().name())
    }

    fn real(&self) -> Dtype {
        T::DTYPE
    }

    fn allocate(&mut self, bytes: usize) -> Result<()> {
        self.arena = Arena::default();
        let free = free();
        let arena = if free.is_some_and(|free| bytes > free) { None } else { Arena::new(bytes) };
        self.arena = arena.ok_or_else(|| Error::OutOfMemory { device: self.name(), asked: bytes, free: free.unwrap_or(0) })?;
        Ok(())
    }

    fn allocated(&self) -> usize {
        self.arena.bytes()
    }

    fn scratch(&self, op: &Op) -> usize {
        match op {
            Op::ConvForward(g) => conv::forward_scratch::<T>(g, self.winograd),
            Op::ConvBackwardImage(g) => conv::backward_image_scratch::<T>(g, self.winograd),
            Op::ConvBackwardFilters(g) => conv::backward_filters_scratch::<T>(g, self.winograd),
            Op::LocalForward(g) => local::forward_scratch::<T>(g),
            Op::LocalBackwardImage(g) => local::backward_image_scratch::<T>(g),
            Op::LocalBackwardFilters(g) => local::backward_filters_scratch::<T>(g),
            Op::Product(p) => gemm::scratch::<T>(p),
            Op::BiasBackward(dy, db) => bias::scratch::<T>(*dy, *db),
            Op::PreluBackwardSlope(x, _) => prelu::scratch::<T>(*x),
            Op::MeanAbs(_) => 0,
            Op::BatchNorm(x) => batch_norm::scratch::<T>(*x),
            Op::LrnBackward(g) => g.shape().elements() * size_of::<T>(),
        }
    }

    fn write(&mut self, to: Tensor, bytes: &[u8]) -> Result<()> {
        self.arena.borrow().write::<u8>(to).copy_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, from: Tensor, bytes: &mut [u8]) -> Result<()> {
        bytes.copy_from_slice(self.arena.borrow().read::<u8>(from));
        Ok(())
    }

    /// Everything queued before is done already: this is [`write`](Device::write).
    fn feed(&mut self, parts: &[(Tensor, &[u8])]) -> Result<()> {
        parts.iter().try_for_each(|&(to, bytes)| self.write(to, bytes))
    }

    fn set_winograd(&mut self, allowed: bool) {
        self.winograd = allowed;
    }

    fn set_step(&mut self, values: StepValues) -> Result<()> {
        self.step = values;
        Ok(())
    }

    fn load_images(&mut self, g: &ImageGeometry, x: Tensor, places: Tensor, mean: Tensor, scale: f64, y: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        images::load::<T>(&self.workers, g, b.read(x), b.read(places), b.read(mean), scale, b.write(y));
        Ok(())
    }

    fn load_labels(&mut self, x: Tensor, y: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        b.write::<u8>(y).copy_from_slice(b.read(x));
        Ok(())
    }

    fn conv_forward(
        &mut self,
        g: &ConvGeometry,
        x: Tensor,
        w: Tensor,
        b: Option<Tensor>,
        neuron: Neuron,
        y: Tensor,
        scratch: Tensor,
    ) -> Result<()> {
        let mut t = self.arena.borrow();
        let (x, w, b) = (t.read::<T>(x), t.read(w), b.map(|b| t.read(b)));
        conv::forward(&self.workers, g, self.winograd, x, w, b, neuron, t.write(y), scratch_of(&mut t, scratch));
        Ok(())
    }

    fn conv_backward_image(
        &mut self,
        g: &ConvGeometry,
        dy: Tensor,
        w: Tensor,
        dx: Tensor,
        into: Into,
        scratch: Tensor,
    ) -> Result<()> {
        let mut b = self.arena.borrow();
        let (dy, w) = (b.read::<T>(dy), b.read(w));
        conv::backward_image(&self.workers, g, self.winograd, dy, w, b.write(dx), into, scratch_of(&mut b, scratch));
        Ok(())
    }

    fn conv_backward_filters(
        &mut self,
        g: &ConvGeometry,
        x: Tensor,
        dy: Tensor,
        dw: Tensor,
        into: Into,
        scratch: Tensor,
    ) -> Result<()> {
        let mut b = self.arena.borrow();
        let (x, dy) = (b.read::<T>(x), b.read(dy));
        conv::backward_filters(&self.workers, g, self.winograd, x, dy, b.write(dw), into, scratch_of(&mut b, scratch));
        Ok(())
    }

    fn local_forward(
        &mut self,
        g: &ConvGeometry,
        x: Tensor,
        w: Tensor,
        b: Option<Tensor>,
        neuron: Neuron,
        y: Tensor,
        scratch: Tensor,
    ) -> Result<()> {
        let mut t = self.arena.borrow();
        let (x, w, b) = (t.read::<T>(x), t.read(w), b.map(|b| t.read(b)));
        local::forward(&self.workers, g, x, w, b, neuron, t.write(y), scratch_of(&mut t, scratch));
        Ok(())
    }

    fn local_backward_image(
        &mut self,
        g: &ConvGeometry,
        dy: Tensor,
        w: Tensor,
        dx: Tensor,
        into: Into,
        scratch: Tensor,
    ) -> Result<()> {
        let mut b = self.arena.borrow();
        let (dy, w) = (b.read::<T>(dy), b.read(w));
        local::backward_image(&self.workers, g, dy, w, b.write(dx), into, scratch_of(&mut b, scratch));
        Ok(())
    }

    fn local_backward_filters(
        &mut self,
        g: &ConvGeometry,
        x: Tensor,
        dy: Tensor,
        dw: Tensor,
        into: Into,
        scratch: Tensor,
    ) -> Result<()> {
        let mut b = self.arena.borrow();
        let (x, dy) = (b.read::<T>(x), b.read(dy));
        local::backward_filters(&self.workers, g, x, dy, b.write(dw), into, scratch_of(&mut b, scratch));
        Ok(())
    }

    fn bias_backward(&mut self, dy: Tensor, db: Tensor, into: Into, scratch: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        bias::backward::<T>(&self.workers, b.read(dy), b.write(db), into, scratch_of(&mut b, scratch));
        Ok(())
    }

    fn product(
        &mut self,
        p: &Product,
        a: Tensor,
        b: Tensor,
        bias: Option<Tensor>,
        neuron: Neuron,
        c: Tensor,
        into: Into,
        scratch: Tensor,
    ) -> Result<()> {
        let mut t = self.arena.borrow();
        let (a, b, bias) = (t.read::<T>(a), t.read(b), bias.map(|bias| t.read(bias)));
        gemm::product(&self.workers, p, a, b, bias, neuron, t.write(c), into, scratch_of(&mut t, scratch));
        Ok(())
    }

    fn pool_forward(&mut self, g: &PoolGeometry, kind: PoolKind, x: Tensor, y: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        pool::forward::<T>(&self.workers, g, kind, b.read(x), b.write(y));
        Ok(())
    }

    fn pool_backward(
        &mut self,
        g: &PoolGeometry,
        kind: PoolKind,
        x: Tensor,
        y: Tensor,
        dy: Tensor,
        dx: Tensor,
        into: Into,
    ) -> Result<()> {
        let mut b = self.arena.borrow();
        // What the gradient does not depend on may be another tensor's memory by now.
        let x: &[T] = if kind.gradient_reads_input() { b.read(x) } else { &[] };
        let y: &[T] = if kind.gradient_reads_output() { b.read(y) } else { &[] };
        pool::backward(&self.workers, g, kind, [x, y, b.read(dy)], b.write(dx), into);
        Ok(())
    }

    fn lrn_forward(&mut self, g: &LrnGeometry, r: &Response, x: Tensor, seen: Tensor, y: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        lrn::forward::<T>(&self.workers, g, r, b.read(x), b.read(seen), b.write(y));
        Ok(())
    }

    fn lrn_backward(
        &mut self,
        g: &LrnGeometry,
        r: &Response,
        x: Tensor,
        seen: Tensor,
        dy: Tensor,
        dx: Tensor,
        into: Into,
        dseen: Option<Tensor>,
        scratch: Tensor,
    ) -> Result<()> {
        let mut b = self.arena.borrow();
        let (x, seen, dy) = (b.read::<T>(x), b.read(seen), b.read(dy));
        let (dx, dseen) = (b.write(dx), dseen.map(|d| b.write(d)));
        lrn::backward(&self.workers, g, r, [x, seen, dy], dx, into, dseen, scratch_of(&mut b, scratch));
        Ok(())
    }

    fn batch_norm_moments(
        &mut self,
        b: &BatchNorm,
        x: Tensor,
        mean: Tensor,
        variance: Tensor,
        kept: Tensor,
        scratch: Tensor,
    ) -> Result<()> {
        let mut t = self.arena.borrow();
        let (x, running, kept) = (t.read::<T>(x), [t.write(mean), t.write(variance)], t.write(kept));
        batch_norm::moments(&self.workers, b, x, running, kept, scratch_of(&mut t, scratch));
        Ok(())
    }

    fn batch_norm_running(&mut self, epsilon: f64, mean: Tensor, variance: Tensor, kept: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        batch_norm::running::<T>(epsilon, b.read(mean), b.read(variance), b.write(kept));
        Ok(())
    }

    fn batch_norm_apply(
        &mut self,
        kept: Tensor,
        affine: Option<(Tensor, Tensor)>,
        neuron: Neuron,
        x: Tensor,
        y: Tensor,
    ) -> Result<()> {
        let mut b = self.arena.borrow();
        let affine = affine.map(|(gamma, beta)| (b.read::<T>(gamma), b.read(beta)));
        let kept = b.read(kept);
        let (x, y) = in_place(&mut b, x, y);
        batch_norm::apply(&self.workers, kept, affine, neuron, x, y);
        Ok(())
    }

    fn batch_norm_backward(
        &mut self,
        x: Tensor,
        kept: Tensor,
        gamma: Option<Tensor>,
        dy: Tensor,
        dgamma: Option<(Tensor, Into)>,
        dbeta: Option<(Tensor, Into)>,
        dx: Option<(Tensor, Into)>,
        scratch: Tensor,
    ) -> Result<()> {
        let mut b = self.arena.borrow();
        let (x, kept, gamma) = (b.read::<T>(x), b.read(kept), gamma.map(|gamma| b.read(gamma)));
        let (dy, dx) = match dx {
            Some((dx, into)) => {
                let (dy, dx) = in_place(&mut b, dy, dx);
                (dy, Some((dx, into)))
            }
            None => (Some(b.read(dy)), None),
        };
        let mut gradient = |g: Option<(Tensor, Into)>| g.map(|(t, into)| (b.write(t), into));
        let gradients = batch_norm::Gradients { dy, dx, dgamma: gradient(dgamma), dbeta: gradient(dbeta) };
        batch_norm::backward(&self.workers, x, kept, gamma, gradients, scratch_of(&mut b, scratch));
        Ok(())
    }

    fn neuron_forward(&mut self, neuron: Neuron, x: Tensor, y: Tensor) -> Result<()> {
        let (x, y) = in_place::<T>(&mut self.arena.borrow(), x, y);
        neuron::forward(&self.workers, neuron, x, y);
        Ok(())
    }

    fn neuron_backward(&mut self, neuron: Neuron, seen: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
        let mut b = self.arena.borrow();
        let seen: &[T] = if matches!(neuron, Neuron::Linear { .. }) { &[] } else { b.read(seen) };
        let (dy, dx) = in_place(&mut b, dy, dx);
        neuron::backward(&self.workers, neuron, seen, dy, dx, into);
        Ok(())
    }

    fn noisy_relu_forward(&mut self, layer: u32, x: Tensor, y: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        noisy_relu::forward::<T>(&self.workers, &self.step, layer, y.shape.image(), b.read(x), b.write(y));
        Ok(())
    }

    fn noisy_relu_backward(&mut self, layer: u32, x: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
        let image = dx.shape.image();
        let mut b = self.arena.borrow();
        let x = b.read::<T>(x);
        let (dy, dx) = in_place(&mut b, dy, dx);
        noisy_relu::backward(&self.workers, &self.step, layer, image, x, dy, dx, into);
        Ok(())
    }

    fn prelu_forward(&mut self, x: Tensor, slope: Tensor, y: Tensor) -> Result<()> {
        let channels = y.shape.c;
        let mut b = self.arena.borrow();
        let slope = b.read::<T>(slope);
        let (x, y) = in_place(&mut b, x, y);
        prelu::forward(&self.workers, channels, x, slope, y);
        Ok(())
    }

    fn prelu_backward(&mut self, x: Tensor, slope: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
        let channels = dx.shape.c;
        let mut b = self.arena.borrow();
        let (x, slope) = (b.read::<T>(x), b.read(slope));
        let (dy, dx) = in_place(&mut b, dy, dx);
        prelu::backward(&self.workers, channels, x, slope, dy, dx, into);
        Ok(())
    }

    fn prelu_backward_slope(&mut self, x: Tensor, dy: Tensor, dslope: Tensor, into: Into, scratch: Tensor) -> Result<()> {
        let shape = x.shape;
        let mut b = self.arena.borrow();
        let (x, dy, dslope) = (b.read::<T>(x), b.read(dy), b.write(dslope));
        prelu::backward_slope(&self.workers, shape, x, dy, dslope, into, scratch_of(&mut b, scratch));
        Ok(())
    }

    fn dropout(&mut self, layer: u32, keep: f64, factor: f64, x: Tensor, y: Tensor, into: Into) -> Result<()> {
        let image = y.shape.image();
        let (x, y) = in_place::<T>(&mut self.arena.borrow(), x, y);
        dropout::apply(&self.workers, &self.step, layer, keep, factor, image, x, y, into);
        Ok(())
    }

    fn drop_connect_forward(
        &mut self,
        m: &DropConnect,
        x: Tensor,
        w: Tensor,
        b: Option<Tensor>,
        y: Tensor,
        into: Into,
    ) -> Result<()> {
        let masked = Masked::new(m, &self.step, x.shape, y.shape);
        let mut t = self.arena.borrow();
        let (x, w, b) = (t.read::<T>(x), t.read(w), b.map(|b| t.read(b)));
        masked.forward(&self.workers, x, w, b, t.write(y), into);
        Ok(())
    }

    fn drop_connect_backward_input(&mut self, m: &DropConnect, dy: Tensor, w: Tensor, dx: Tensor, into: Into) -> Result<()> {
        let masked = Masked::new(m, &self.step, dx.shape, dy.shape);
        let mut b = self.arena.borrow();
        let (dy, w) = (b.read::<T>(dy), b.read(w));
        masked.backward_input(&self.workers, dy, w, b.write(dx), into);
        Ok(())
    }

    fn drop_connect_backward_weights(&mut self, m: &DropConnect, x: Tensor, dy: Tensor, dw: Tensor, into: Into) -> Result<()> {
        let masked = Masked::new(m, &self.step, x.shape, dy.shape);
        let mut b = self.arena.borrow();
        let (x, dy) = (b.read::<T>(x), b.read(dy));
        masked.backward_weights(&self.workers, x, dy, b.write(dw), into);
        Ok(())
    }

    fn noise(&mut self, layer: u32, std: f64, x: Tensor, y: Tensor) -> Result<()> {
        let image = y.shape.image();
        let (x, y) = in_place::<T>(&mut self.arena.borrow(), x, y);
        noise::add(&self.workers, &self.step, layer, std, image, x, y);
        Ok(())
    }

    fn softmax_forward(&mut self, x: Tensor, y: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        softmax::forward::<T>(&self.workers, x.shape.image(), b.read(x), b.write(y));
        Ok(())
    }

    fn softmax_backward(&mut self, y: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
        let mut b = self.arena.borrow();
        softmax::backward::<T>(&self.workers, y.shape.image(), b.read(y), b.read(dy), b.write(dx), into);
        Ok(())
    }

    fn one_hot(&mut self, labels: Tensor, smoothing: f64, y: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        one_hot::forward::<T>(&self.workers, b.read(labels), smoothing, b.write(y));
        Ok(())
    }

    fn logreg_forward(&mut self, x: Tensor, labels: Tensor, smoothing: f64, metrics: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        cost::logreg_forward::<T>(&self.workers, &self.step, b.read(x), b.read(labels), smoothing, b.write(metrics));
        Ok(())
    }

    fn logreg_backward(
        &mut self,
        x: Tensor,
        labels: Tensor,
        smoothing: f64,
        coefficient: f64,
        dx: Tensor,
        into: Into,
    ) -> Result<()> {
        let mut b = self.arena.borrow();
        let (x, labels) = (b.read::<T>(x), b.read(labels));
        cost::logreg_backward(&self.workers, &self.step, x, labels, smoothing, coefficient, b.write(dx), into);
        Ok(())
    }

    fn cross_entropy_forward(&mut self, x: Tensor, labels: Tensor, smoothing: f64, metrics: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        cost::cross_entropy_forward::<T>(&self.workers, &self.step, b.read(x), b.read(labels), smoothing, b.write(metrics));
        Ok(())
    }

    fn cross_entropy_backward(
        &mut self,
        x: Tensor,
        labels: Tensor,
        smoothing: f64,
        coefficient: f64,
        dx: Tensor,
        into: Into,
    ) -> Result<()> {
        let mut b = self.arena.borrow();
        let (x, labels) = (b.read::<T>(x), b.read(labels));
        cost::cross_entropy_backward(&self.workers, &self.step, x, labels, smoothing, coefficient, b.write(dx), into);
        Ok(())
    }

    fn soft_cross_entropy_forward(&mut self, softmax: bool, x: Tensor, target: Tensor, metrics: Tensor) -> Result<()> {
        let image = x.shape.image();
        let mut b = self.arena.borrow();
        let (x, t) = (b.read::<T>(x), b.read(target));
        soft_cross_entropy::forward(&self.workers, &self.step, image, softmax, x, t, b.write(metrics));
        Ok(())
    }

    fn soft_cross_entropy_backward(
        &mut self,
        softmax: bool,
        x: Tensor,
        target: Tensor,
        coefficient: f64,
        dx: Tensor,
        into: Into,
    ) -> Result<()> {
        let image = x.shape.image();
        let mut b = self.arena.borrow();
        let (x, t, dx) = (b.read::<T>(x), b.read(target), (b.write(dx), into));
        soft_cross_entropy::backward(&self.workers, &self.step, image, softmax, x, t, coefficient, dx);
        Ok(())
    }

    fn soft_cross_entropy_target_backward(
        &mut self,
        softmax: bool,
        x: Tensor,
        coefficient: f64,
        dt: Tensor,
        into: Into,
    ) -> Result<()> {
        let image = x.shape.image();
        let mut b = self.arena.borrow();
        let (x, dt) = (b.read::<T>(x), (b.write(dt), into));
        soft_cross_entropy::target_backward(&self.workers, &self.step, image, softmax, x, coefficient, dt);
        Ok(())
    }

    fn binary_cross_entropy_forward(&mut self, how: Binary, x: Tensor, target: Tensor, metrics: Tensor) -> Result<()> {
        let image = x.shape.image();
        let mut b = self.arena.borrow();
        let (x, t) = (b.read::<T>(x), b.read(target));
        binary_cross_entropy::forward(&self.workers, &self.step, image, how, x, t, b.write(metrics));
        Ok(())
    }

    fn binary_cross_entropy_backward(
        &mut self,
        how: Binary,
        x: Tensor,
        target: Tensor,
        coefficient: f64,
        dx: Tensor,
        into: Into,
    ) -> Result<()> {
        let image = x.shape.image();
        let mut b = self.arena.borrow();
        let (x, t, dx) = (b.read::<T>(x), b.read(target), (b.write(dx), into));
        binary_cross_entropy::backward(&self.workers, &self.step, image, how, x, t, coefficient, dx);
        Ok(())
    }

    fn binary_cross_entropy_target_backward(
        &mut self,
        how: Binary,
        x: Tensor,
        coefficient: f64,
        dt: Tensor,
        into: Into,
    ) -> Result<()> {
        let image = x.shape.image();
        let mut b = self.arena.borrow();
        let (x, dt) = (b.read::<T>(x), (b.write(dt), into));
        binary_cross_entropy::target_backward(&self.workers, &self.step, image, how, x, coefficient, dt);
        Ok(())
    }

    fn count_detections(&mut self, how: Binary, x: Tensor, target: Tensor, counts: Tensor) -> Result<()> {
        let image = x.shape.image();
        let mut b = self.arena.borrow();
        let (x, t) = (b.read::<T>(x), b.read(target));
        binary_cross_entropy::count_detections(&self.workers, &self.step, image, how, x, t, b.write(counts));
        Ok(())
    }

    fn hinge_forward(&mut self, h: Hinge, x: Tensor, labels: Tensor, metrics: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        hinge::forward::<T>(&self.workers, &self.step, h, b.read(x), b.read(labels), b.write(metrics));
        Ok(())
    }

    fn hinge_backward(&mut self, h: Hinge, x: Tensor, labels: Tensor, coefficient: f64, dx: Tensor, into: Into) -> Result<()> {
        let mut b = self.arena.borrow();
        let (x, labels) = (b.read::<T>(x), b.read(labels));
        hinge::backward(&self.workers, &self.step, h, x, labels, coefficient, b.write(dx), into);
        Ok(())
    }

    fn contrastive_forward(&mut self, margin: f64, a: Tensor, b: Tensor, labels: Tensor, metrics: Tensor) -> Result<()> {
        let image = a.shape.image();
        let mut t = self.arena.borrow();
        let (a, b, labels) = (t.read::<T>(a), t.read(b), t.read(labels));
        contrastive::forward(&self.workers, &self.step, image, margin, a, b, labels, t.write(metrics));
        Ok(())
    }

    fn contrastive_backward(
        &mut self,
        margin: f64,
        a: Tensor,
        b: Tensor,
        labels: Tensor,
        coefficient: f64,
        da: Tensor,
        into: Into,
    ) -> Result<()> {
        let image = a.shape.image();
        let mut t = self.arena.borrow();
        let (a, b, labels) = (t.read::<T>(a), t.read(b), t.read(labels));
        contrastive::backward(&self.workers, &self.step, image, margin, a, b, labels, coefficient, t.write(da), into);
        Ok(())
    }

    fn squares_forward(&mut self, x: Tensor, target: Option<Tensor>, metrics: Tensor) -> Result<()> {
        let image = x.shape.image();
        let mut b = self.arena.borrow();
        let (x, target) = (b.read::<T>(x), target.map(|t| b.read(t)));
        cost::squares_forward(&self.workers, &self.step, image, x, target, b.write(metrics));
        Ok(())
    }

    fn squares_backward(&mut self, x: Tensor, target: Option<Tensor>, coefficient: f64, dx: Tensor, into: Into) -> Result<()> {
        let image = x.shape.image();
        let mut b = self.arena.borrow();
        let (x, target) = (b.read::<T>(x), target.map(|t| b.read(t)));
        cost::squares_backward(&self.workers, &self.step, image, x, target, coefficient, b.write(dx), into);
        Ok(())
    }

    fn scale(&mut self, factor: f64, x: Tensor, y: Tensor, into: Into) -> Result<()> {
        let mut b = self.arena.borrow();
        elementwise::scale::<T>(&self.workers, factor, b.read(x), b.write(y), into);
        Ok(())
    }

    fn copy_box(&mut self, g: &CopyGeometry, x: Tensor, y: Tensor, into: Into) -> Result<()> {
        let mut b = self.arena.borrow();
        copy::copy_box::<T>(&self.workers, g, b.read(x), b.write(y), into);
        Ok(())
    }

    fn resample_forward(&mut self, g: &ImageGeometry, window: Tensor, x: Tensor, y: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        resample::forward::<T>(&self.workers, g, b.read(window), b.read(x), b.write(y));
        Ok(())
    }

    fn resample_backward(&mut self, g: &ImageGeometry, window: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
        let mut b = self.arena.borrow();
        resample::backward::<T>(&self.workers, g, b.read(window), b.read(dy), b.write(dx), into);
        Ok(())
    }

    fn random_window(&mut self, layer: u32, g: &ImageGeometry, most: f64, window: Tensor) -> Result<()> {
        resample::random_window::<T>(&self.step, layer, g, most, self.arena.borrow().write(window));
        Ok(())
    }

    fn lab_forward(&mut self, centre: f64, x: Tensor, y: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        lab::forward::<T>(&self.workers, centre, b.read(x), b.write(y));
        Ok(())
    }

    fn lab_backward(&mut self, x: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
        let mut b = self.arena.borrow();
        lab::backward::<T>(&self.workers, b.read(x), b.read(dy), b.write(dx), into);
        Ok(())
    }

    fn merge(&mut self, merge: Merge, a: Tensor, b: Tensor, y: Tensor, into: Into) -> Result<()> {
        let (a, b, y) = either_in_place::<T>(&mut self.arena.borrow(), a, b, y);
        merge::merge(&self.workers, merge, a, b, y, into);
        Ok(())
    }

    fn max_forward(&mut self, number: u32, a: Tensor, b: Tensor, y: Tensor, which: Tensor) -> Result<()> {
        let mut t = self.arena.borrow();
        let (a, b, y) = either_in_place::<T>(&mut t, a, b, y);
        merge::max_forward(&self.workers, number, a, b, y, t.write(which));
        Ok(())
    }

    fn max_backward(&mut self, number: u32, which: Tensor, dy: Tensor, dx: Tensor, into: Into) -> Result<()> {
        let mut b = self.arena.borrow();
        let which = b.read::<T>(which);
        let (dy, dx) = in_place(&mut b, dy, dx);
        merge::max_backward(&self.workers, number, which, dy, dx, into);
        Ok(())
    }

    fn fill(&mut self, x: Tensor, value: f64) -> Result<()> {
        elementwise::fill::<T>(&self.workers, self.arena.borrow().write(x), value);
        Ok(())
    }

    fn sgd_update(&mut self, u: &Update, w: Tensor, g: Tensor, v: Tensor, factor: Option<Tensor>) -> Result<()> {
        let mut b = self.arena.borrow();
        let factor = factor.map_or(T::ONE, |factor| b.read::<T>(factor)[0]);
        sgd::update::<T>(&self.workers, &self.step, u, b.write(w), b.read(g), b.write(v), factor);
        Ok(())
    }

    fn sum_squares(&mut self, x: Tensor, sum: Tensor, into: Into) -> Result<()> {
        let mut b = self.arena.borrow();
        norm::sum_squares::<T>(&self.workers, b.read(x), b.write(sum), into);
        Ok(())
    }

    fn clip_factor(&mut self, limit: f64, sum: Tensor, factor: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        norm::clip_factor::<T>(limit, b.read(sum), b.write(factor));
        Ok(())
    }

    fn limit_norms(&mut self, limit: f64, w: Tensor) -> Result<()> {
        let length = w.shape.image();
        norm::limit_norms::<T>(&self.workers, limit, length, self.arena.borrow().write(w));
        Ok(())
    }

    fn mean_abs(&mut self, x: Tensor, mean: Tensor, _scratch: Tensor) -> Result<()> {
        let mut b = self.arena.borrow();
        elementwise::mean_abs::<T>(&self.workers, b.read(x), b.write(mean));
        Ok(())
    }
}
