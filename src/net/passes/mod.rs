//! What is done to a program before its memory is planned: each pass, a file, makes another program of it that computes the same.
//!
//! First operations become one: in testing batch normalisations and the layers before them; a cost and what it is the cost of; and
//! where the device has the fused form, a residual sum and the normalisation before it, a neuron and what it rides on, its gradient
//! and what that is made of or read by, a sum of gradients and the pass that makes them. Then what nobody reads is dropped. Last,
//! values are laid into each other: copies vanish where both sides can be one tensor, and operations work in place.

mod copies;
mod costs;
mod dead;
mod fold;
mod in_place;
mod masks;
mod moves;
mod neurons;
mod residuals;
mod sums;

pub use fold::Fold;

use super::Graph;
use crate::device::{CopyGeometry, Device, Slot, Tensor};
use crate::op::{Access, Op, Pass, Program, Value};

/// Runs all of them; `folds` is what takes the folded batch normalisations, where they may be folded.
pub(super) fn run(program: &mut Program, graph: &Graph, device: &dyn Device, folds: Option<&mut Vec<Fold>>) {
    if let Some(folds) = folds {
        *folds = fold::fold(program, graph);
    }
    if graph.fuse {
        costs::fuse(program);
        dead::drop(program);
        residuals::fuse(program, device);
        neurons::fuse(program, device);
        masks::fuse(program, device);
        sums::fuse(program, device);
    }
    dead::drop(program);
    if graph.share {
        copies::drop(program, device);
        in_place::lay(program, device);
    }
}

/// What one step does with a value. Reading from outside is done by the last step of a pass.
#[derive(Clone, Copy, Debug)]
struct Use {
    step: usize,
    access: Access,
    value: Value,
}

/// The uses of each buffer, in the order of the steps.
fn uses(program: &Program) -> Vec<Vec<Use>> {
    let mut uses: Vec<Vec<Use>> = vec![Vec::new(); program.buffers.len()];
    for (step, s) in program.steps.iter().enumerate() {
        let mut add = |access, value: Value| uses[value.slot.buffer].push(Use { step, access, value });
        match copied(&s.op) {
            Some((x, y)) => {
                add(Access::Reads, x);
                add(Access::Writes, y);
            }
            None => s.op.operands(&mut |access, &value| add(access, value)),
        }
    }
    for &(value, pass) in &program.read {
        if let Some(step) = program.last_of(pass) {
            let all = &mut uses[value.slot.buffer];
            let at = all.partition_point(|u| u.step <= step);
            all.insert(at, Use { step, access: Access::Reads, value });
        }
    }
    uses
}

/// What an operation copies, and where to, where a copy is all that it does.
fn copied(op: &Op<Value>) -> Option<(Value, Value)> {
    match op {
        Op::Scale(s) if s.factor == 1.0 && !s.y.adds() && s.x.dtype == s.y.at.dtype => Some((s.x, s.y.at)),
        Op::CopyBox(c) if !c.y.adds() => {
            let CopyGeometry {
                h,
                w,
                c: of,
                p,
                q,
                k,
                rows,
                columns,
                channels,
                from_h,
                from_w,
                from_c,
                to_h,
                to_w,
                to_c,
                mirror,
                ..
            } = c.geometry;
            let cells = (h, w) == (p, q) && (h, w) == (rows, columns) && [from_h, from_w, to_h, to_w, mirror] == [0; 5];
            let inside = from_c >= 0 && to_c >= 0 && from_c + channels <= of && to_c + channels <= k;
            let [from_c, to_c, channels] = [from_c, to_c, channels].map(|v| usize::try_from(v).unwrap_or(0));
            (cells && inside).then(|| (c.x.channels(from_c, channels), c.y.at.channels(to_c, channels)))
        }
        _ => None,
    }
}

/// A value's operation as a device may be asked about it: at places that are as aligned as the values are in their buffers,
/// those of different buffers farther apart than any buffer is long, so that they are neither in place nor in each other's gaps.
fn anywhere(op: &Op<Value>) -> Op<Tensor> {
    let place = |v: &Value| Slot((v.slot.buffer << 40) + v.slot.bytes);
    op.map(&mut |v| Tensor { slot: place(v), shape: v.shape, dtype: v.dtype, pitch: v.pitch })
}

impl Program {
    /// The last step of a pass, or of those before it where it has none.
    pub(super) fn last_of(&self, pass: Pass) -> Option<usize> {
        self.steps.iter().rposition(|s| s.pass <= pass)
    }

    /// Removes the steps that are marked.
    fn remove(&mut self, marked: &[bool]) {
        let mut marked = marked.iter();
        self.steps.retain(|_| !marked.next().is_some_and(|m| *m));
    }

    /// A value is never made: it is no layer's output any more.
    fn forget(&mut self, value: Value) {
        for output in &mut self.outputs {
            *output = output.filter(|o| o.slot.buffer != value.slot.buffer);
        }
    }

    /// Whether a value is all of a buffer that has no place yet.
    fn is_whole(&self, value: &Value) -> bool {
        let buffer = &self.buffers[value.slot.buffer];
        buffer.place.is_none() && value.slot.bytes == 0 && value.is_dense() && value.bytes() == buffer.bytes
    }
}

#[cfg(test)]
mod tests {
    use crate::config::NetSpec;
    use crate::device::cpu::CpuDevice;
    use crate::device::{Device, Dtype, Place, Result, Shape, StepValues, Tensor};
    use crate::layer::Phase;
    use crate::net::{BatchBytes, Graph, Net, Purpose};
    use crate::op::{Op, Write};

    /// A device that has neither fused forms nor such on tensors with gaps.
    struct Plain(CpuDevice<f64>);

    impl Device for Plain {
        fn name(&self) -> String {
            self.0.name()
        }
        fn real(&self) -> Dtype {
            self.0.real()
        }
        fn allocate(&mut self, bytes: usize) -> Result<()> {
            self.0.allocate(bytes)
        }
        fn allocated(&self) -> usize {
            self.0.allocated()
        }
        fn supports(&self, op: &Op<Tensor>) -> bool {
            op.is_dense() && op.parts(&mut |&like| like).is_none()
        }
        fn scratch(&self, op: &Op<Tensor>) -> usize {
            self.0.scratch(op)
        }
        fn run(&mut self, op: &Op<Tensor>, scratch: Tensor) -> Result<()> {
            assert!(self.supports(op), "{op} was not asked for");
            self.0.run(op, scratch)
        }
        fn write(&mut self, to: Tensor, bytes: &[u8]) -> Result<()> {
            self.0.write(to, bytes)
        }
        fn read(&mut self, from: Tensor, bytes: &mut [u8]) -> Result<()> {
            self.0.read(from, bytes)
        }
        fn feed(&mut self, parts: &[(Tensor, &[u8])]) -> Result<()> {
            self.0.feed(parts)
        }
        fn set_step(&mut self, values: StepValues) -> Result<()> {
            self.0.set_step(values)
        }
    }

    /// The bits of a step: its gradients, its loss, and what a test makes of the same images.
    fn bits(config: &str, images: Shape, classes: usize, share: bool, device: Box<dyn Device>) -> Vec<u64> {
        let spec = NetSpec::from_toml(config, "test.toml", &[]).unwrap_or_else(|e| panic!("{}", e.render(false)));
        let mut graph = Graph::new(&spec, images, classes).unwrap_or_else(|e| panic!("{}", e.render(false)));
        graph.share = share;
        let made = Net::new(graph, device, Purpose::Train, images, &vec![100.0; images.c], 0.01);
        let mut net = made.unwrap_or_else(|(e, _)| panic!("{e}"));
        net.initialise(3).unwrap();
        let pixels: Vec<u8> = (0..images.elements()).map(|i| (i * i * 31 % 251) as u8).collect();
        let labels: Vec<i32> = (0..images.n).map(|i| (i * 7 % classes) as i32).collect();
        let batch = BatchBytes { images: &pixels, places: &vec![Place::default(); images.n], labels: &labels, values: &[] };
        net.feed(batch).unwrap();
        let (images, gradient_scale) = (images.n as u32, 1.0 / images.n as f64);
        net.set_step(StepValues { seed: 5, step: 2, first_image: 0, images, gradient_scale, learning_rate: 0.1, momentum: 0.9 })
            .unwrap();
        net.clear_metrics().unwrap();
        net.training_pass(Write::Set).unwrap();
        net.training_pass(Write::Add).unwrap();
        let gradients: Vec<_> = net.plan.kept.gradients.iter().flatten().copied().collect();
        let mut values: Vec<f64> = gradients.into_iter().flat_map(|g| net.read(g).unwrap()).collect();
        net.forward(Phase::Test).unwrap();
        for output in net.graph.outputs().collect::<Vec<_>>() {
            values.extend(net.read(net.output(output).unwrap()).unwrap());
        }
        values.extend(net.metrics().unwrap().iter().map(|(_, m)| m.loss));
        assert!(values.iter().all(|v| v.is_finite()) && values.iter().filter(|v| **v != 0.0).count() > values.len() / 20);
        values.iter().map(|v| v.to_bits()).collect()
    }

    /// Nets with branches, residuals, shared layers, views, concatenations, slices and several costs.
    const NETS: [(&str, Shape, usize); 3] = [
        (include_str!("testdata/branches.toml"), Shape::new(3, 9, 7, 4), 5),
        (include_str!("testdata/residuals.toml"), Shape::new(3, 8, 8, 3), 4),
        (include_str!("testdata/joined.toml"), Shape::new(2, 8, 8, 3), 4),
    ];

    fn cpu() -> CpuDevice<f64> {
        CpuDevice::new(2)
    }

    /// What a device does in fused forms has the bits of what one without them does.
    #[test]
    fn fused_forms_change_no_bit() {
        for (config, images, classes) in NETS {
            let fused = bits(config, images, classes, true, Box::new(cpu()));
            let plain = bits(config, images, classes, true, Box::new(Plain(cpu())));
            let differ = fused.iter().zip(&plain).position(|(a, b)| a != b);
            assert_eq!((fused.len(), differ), (plain.len(), None), "{config}");
        }
    }

    /// Values that lie in each other's places give the bits of values that all have one of their own.
    #[test]
    fn sharing_memory_changes_no_bit() {
        for (config, images, classes) in NETS {
            for fuse in ["true", "false"] {
                let config = config.replace("fuse = true", &format!("fuse = {fuse}"));
                let [own, shared] = [false, true].map(|share| bits(&config, images, classes, share, Box::new(cpu())));
                let differ = own.iter().zip(&shared).position(|(a, b)| a != b);
                assert_eq!((own.len(), differ), (shared.len(), None), "fuse = {fuse}: {config}");
            }
        }
    }
    /// Where fusing changes memory traffic alone, the bits stay: all passes but those of costs, in f32.
    #[test]
    fn fusing_changes_no_bit() {
        let scores = "{ name = \"probabilities\", type = \"softmax\" },\n{ name = \"cost\", type = \"logistic-regression\" },";
        let hinge = "{ name = \"cost\", type = \"hinge\" },";
        for (config, images) in [
            (include_str!("testdata/residuals.toml"), Shape::new(3, 8, 8, 3)),
            (include_str!("testdata/joined.toml"), Shape::new(2, 8, 8, 3)),
        ] {
            let fused = config.replace(scores, hinge);
            assert_ne!(fused, config);
            let parts = fused.replace("fuse = true", "fuse = false");
            let of = |config: &str| bits(config, images, 4, true, Box::new(CpuDevice::<f32>::new(2)));
            assert!(of(&fused) == of(&parts), "f32: {fused}");
        }
    }
}
