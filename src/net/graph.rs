//! The net as a graph of layers with their shapes: what a config means for images of a given size, before any device.

use crate::config::{ConfigError, Init, InputSpec, LayerSpec, NetSpec, Schedule, Source, WeightSource};
use crate::device::{METRICS, Shape};
use crate::layer::{KINDS, Layer, Misfit, NeuronLayer, ParameterRole, ParameterSpec, Part, Role};
use crate::op::Neuron;

/// Where a node's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// A part of the batch.
    Source(Part),
    /// The output of the node with this index.
    Node(usize),
}

/// What the labels of images are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// The number of a class, of so many.
    Classes(usize),
    /// So many values: targets, or a probability for each class.
    Values(usize),
}

impl Labels {
    /// The shape of those of so many images.
    pub fn shape(self, images: usize) -> Shape {
        Shape::new(images, 1, 1, if let Self::Values(values) = self { values } else { 1 })
    }
}

impl From<usize> for Labels {
    fn from(classes: usize) -> Self {
        Self::Classes(classes)
    }
}

/// A layer in the graph.
#[derive(Debug)]
pub struct Node {
    /// The layer's name in the config; a riding neuron is `conv1.relu`-like: the layer's name, a dot and `neuron`.
    pub name: String,
    /// The layer's type in the config.
    pub kind: String,
    /// The layer.
    pub layer: Box<dyn Layer>,
    /// Its inputs.
    pub inputs: Vec<Input>,
    /// Indices of its parameters in [`Graph::parameters`]; a shared one is its owner's.
    pub parameters: Vec<usize>,
    /// It is the neuron of the layer before it.
    pub rides: bool,
    /// Multiply-adds of one image's forward pass.
    pub multiply_adds: u64,
    /// A gradient flows through it: a cost is reached from it, and a parameter before it learns.
    pub learns: bool,
    /// A cost is reached from it, so that training runs it.
    pub trains: bool,
}

impl Node {
    /// What the layer is to the net.
    pub fn role(&self) -> Role {
        self.layer.role()
    }

    /// Reals of a cost's metrics, those of its own counts included.
    pub fn metrics(&self) -> usize {
        METRICS + self.layer.counts().own.len() * self.layer.output().image()
    }

    /// Whether it is a cost.
    pub fn is_cost(&self) -> bool {
        matches!(self.role(), Role::Cost { .. })
    }
}

/// A parameter tensor of the net.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// `conv1.weights`.
    pub name: String,
    /// Its shape and fans.
    pub spec: ParameterSpec,
    /// How it starts.
    pub init: Init,
    /// Multiplies the learning rate.
    pub rate: Schedule,
    /// Multiplies the weight decay.
    pub decay: f64,
    /// In place of the net's momentum.
    pub momentum: Option<f64>,
    /// The largest L2 norm that each output's weights may have.
    pub max_norm: Option<f64>,
}

impl Parameter {
    /// Whether training changes it: it is of the learned kind, and its rate is not always 0.
    pub fn learns(&self) -> bool {
        self.spec.is_learned() && self.rate != Schedule::constant(0.0)
    }
}

/// A net: layers in an order in which each comes after its inputs.
#[derive(Debug)]
pub struct Graph {
    /// The net's name.
    pub name: String,
    /// The shape of a batch of images.
    pub images: Shape,
    /// What their labels are.
    pub labels: Labels,
    /// The layers.
    pub nodes: Vec<Node>,
    /// The parameters, in the order of the layers that own them.
    pub parameters: Vec<Parameter>,
    /// Nodes whose outputs are read from outside in any case, beside the net's own.
    pub shown: Vec<usize>,
    /// Whether operations may be fused: `train.fuse`.
    pub fuse: bool,
    /// Whether values may share memory; `false` gives each a place of its own, for tests.
    pub share: bool,
    /// What [`consumers`](Graph::consumers) answers, by node.
    readers: Vec<Vec<usize>>,
}

impl Graph {
    /// The graph of a config for batches of images of this shape with these labels: a number is so many classes.
    ///
    /// # Errors
    /// A layer's keys that do not read or do not fit its inputs, with their place in the config.
    pub fn new(spec: &NetSpec, images: Shape, labels: impl Into<Labels>) -> Result<Self, ConfigError> {
        let mut builder = Builder {
            spec,
            graph: Self {
                name: spec.name.clone(),
                images,
                labels: labels.into(),
                nodes: Vec::new(),
                parameters: Vec::new(),
                shown: Vec::new(),
                fuse: spec.train.fuse,
                share: true,
                readers: Vec::new(),
            },
            outputs: Vec::with_capacity(spec.layers.len()),
        };
        for layer in &spec.layers {
            builder.add(layer)?;
        }
        let mut graph = builder.graph;
        graph.find_readers();
        graph.mark();
        Ok(graph)
    }

    /// The shape of an input.
    pub fn shape(&self, input: Input) -> Shape {
        match input {
            Input::Source(Part::Images) => self.images,
            Input::Source(Part::Labels) => self.labels.shape(self.images.n),
            Input::Node(i) => self.nodes[i].layer.output(),
        }
    }

    /// The nodes that read a node's output, in order, each once.
    pub fn consumers(&self, node: usize) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.readers[node].iter().copied()
    }

    /// The number of parameters that can be learned, shared ones once.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().filter(|p| p.spec.is_learned()).map(|p| p.spec.shape.elements()).sum()
    }

    /// Those of one node that are its own.
    pub fn own_parameter_count(&self, node: usize) -> usize {
        let before = |&k: &usize| self.nodes[..node].iter().any(|n| n.parameters.contains(&k));
        let mut own: Vec<usize> = self.nodes[node].parameters.iter().copied().filter(|k| !before(k)).collect();
        own.dedup();
        own.into_iter().map(|k| &self.parameters[k].spec).filter(|s| s.is_learned()).map(|s| s.shape.elements()).sum()
    }

    /// Multiply-adds of one image's forward pass.
    pub fn multiply_adds(&self) -> u64 {
        self.nodes.iter().map(|n| n.multiply_adds).sum()
    }

    /// The nodes whose output nobody reads and that are no costs: the net's predictions.
    pub fn outputs(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|&i| !self.nodes[i].is_cost() && self.consumers(i).next().is_none())
    }

    /// The costs.
    pub fn costs(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|&i| self.nodes[i].is_cost())
    }

    /// The node whose output is the class probabilities (or the scores, where there are none): the first softmax, or what the
    /// first cost is about, or else the net's first output.
    pub fn prediction(&self) -> Option<usize> {
        let softmax = self.nodes.iter().position(|n| n.role() == Role::Softmax);
        softmax.or_else(|| {
            let read = self.costs().find_map(|c| match self.nodes[c].inputs[0] {
                Input::Node(i) => Some(i),
                Input::Source(_) => None,
            });
            read.or_else(|| self.outputs().next())
        })
    }

    /// Notes who reads each node: the plan asks for every node several times.
    fn find_readers(&mut self) {
        self.readers = vec![Vec::new(); self.nodes.len()];
        for (j, node) in self.nodes.iter().enumerate() {
            for input in &node.inputs {
                if let Input::Node(i) = *input
                    && self.readers[i].last() != Some(&j)
                {
                    self.readers[i].push(j);
                }
            }
        }
    }

    /// Finds out which layers train and which learn.
    fn mark(&mut self) {
        for i in 0..self.nodes.len() {
            let (before, node) = self.nodes.split_at(i);
            let learned = node[0].parameters.iter().any(|&k| self.parameters[k].learns());
            let input_learns = node[0].inputs.iter().any(|input| matches!(input, Input::Node(j) if before[*j].learns));
            self.nodes[i].learns = learned || input_learns;
        }
        for i in (0..self.nodes.len()).rev() {
            let trains = self.nodes[i].is_cost() || self.consumers(i).any(|j| self.nodes[j].trains);
            self.nodes[i].trains = trains;
            self.nodes[i].learns &= trains;
        }
    }
}

/// A graph that grows layer by layer.
struct Builder<'a> {
    spec: &'a NetSpec,
    graph: Graph,
    /// What readers of each layer of the config read.
    outputs: Vec<Input>,
}

impl Builder<'_> {
    fn add(&mut self, spec: &LayerSpec) -> Result<(), ConfigError> {
        let kind = KINDS.iter().find(|k| k.name == spec.kind).expect("the config reader knows the layer types");
        let mut inputs: Vec<Input> = spec.inputs.iter().map(|i| self.resolve(i)).collect();
        if kind.labels == Some(inputs.len()) {
            inputs.push(Input::Source(Part::Labels));
        }
        for (i, input) in inputs.iter().enumerate().filter(|_| kind.name != "data") {
            let wants = kind.labels == Some(i);
            let (message, help) = match (*input == Input::Source(Part::Labels), self.graph.labels) {
                (false, _) if wants => {
                    (format!("input {} of a {} layer is no labels", i + 1, kind.name), "name \"labels\" there".into())
                }
                (true, Labels::Classes(_)) if !wants => {
                    let readers: Vec<&str> = KINDS.iter().filter(|k| k.labels.is_some()).map(|k| k.name).collect();
                    let help = format!("layers that read labels: {}; one-hot makes values of them", readers.join(", "));
                    ("labels are class numbers, not values".into(), help)
                }
                (true, Labels::Values(values)) if wants && (values == 1 || self.graph.shape(inputs[0]).image() != values) => {
                    let help = "costs that read values: sum-of-squares, binary-cross-entropy, cross-entropy; logistic-regression \
                                reads a probability for each class, as augment.mixup makes them";
                    (format!("the labels are {values} values an image, not class numbers"), help.to_owned())
                }
                _ => continue,
            };
            return Err(self.misfit(spec, Misfit::Shape { key: "inputs", message, help }));
        }
        let shapes: Vec<Shape> = if kind.name == "data" {
            [Part::Images, Part::Labels].map(|p| self.graph.shape(Input::Source(p))).to_vec()
        } else {
            inputs.iter().map(|&i| self.graph.shape(i)).collect()
        };
        let layer = (kind.build)(spec, &shapes).map_err(|m| self.misfit(spec, m))?;
        if let Role::Source(part) = layer.role() {
            self.outputs.push(Input::Source(part));
            return Ok(());
        }
        // Labels must be below the classes that a layer which reads them has room for.
        if let Labels::Classes(classes) = self.graph.labels
            && layer.classes().is_some_and(|room| room < classes)
        {
            return Err(self.misfit(spec, layer.too_few(classes)));
        }
        let riding = spec.neuron.filter(|_| kind.name != "neuron");
        let shape = layer.output();
        self.push(spec, layer, inputs)?;
        if let Some(neuron) = riding {
            self.ride(spec, neuron, shape);
        }
        self.outputs.push(Input::Node(self.graph.nodes.len() - 1));
        Ok(())
    }

    fn resolve(&self, input: &InputSpec) -> Input {
        match input.source {
            Source::Images => Input::Source(Part::Images),
            Source::Labels => Input::Source(Part::Labels),
            Source::Layer(i) => self.outputs[i],
        }
    }

    /// A layer as the config names it, with its parameters.
    fn push(&mut self, spec: &LayerSpec, layer: Box<dyn Layer>, inputs: Vec<Input>) -> Result<(), ConfigError> {
        if !matches!(layer.role(), Role::Cost { .. }) {
            self.check_size(spec, "its output", layer.output())?;
        }
        let specs = layer.parameters();
        for p in &specs {
            self.check_size(spec, &format!("its {}", p.name), p.shape)?;
        }
        let weights = specs.iter().filter(|p| p.role == ParameterRole::Weights).count();
        if spec.weight_source.len() > weights.max(usize::from(spec.weight_source.is_empty())) {
            let message = format!("{} weight sources for {weights} weights", spec.weight_source.len());
            return Err(self.misfit(spec, Misfit::shape("weight_source", message, "give one for each input of a weight layer")));
        }
        let mut parameters: Vec<usize> = Vec::with_capacity(specs.len());
        let mut weight = 0;
        for p in specs {
            let source = match p.role {
                ParameterRole::Weights => {
                    weight += 1;
                    spec.weight_source.get(weight - 1).and_then(Option::as_ref).map(|s| ("weight_source", s))
                }
                ParameterRole::Bias => spec.bias_source.as_ref().map(|s| ("bias_source", s)),
                ParameterRole::Statistic | ParameterRole::Fixed(_) => None,
            };
            if let Some((key, source)) = source {
                parameters.push(self.shared(spec, key, source, &p, &parameters)?);
                continue;
            }
            let given = if p.is_bias() { &spec.init_bias } else { &spec.init };
            let (rate, decay, momentum) = if p.is_bias() {
                (&spec.learning_rate.bias, spec.weight_decay.bias, spec.momentum.bias)
            } else {
                (&spec.learning_rate.weights, spec.weight_decay.weights, spec.momentum.weights)
            };
            let init = given.as_ref().filter(|_| p.is_learned()).unwrap_or(&p.init).clone();
            let name = format!("{}.{}", spec.name, p.name);
            parameters.push(self.graph.parameters.len());
            let max_norm = spec.max_norm.filter(|_| p.role == ParameterRole::Weights);
            self.graph.parameters.push(Parameter { name, spec: p, init, rate: rate.clone(), decay, momentum, max_norm });
        }
        let kind = spec.kind.clone();
        self.add_node(Node {
            name: spec.name.clone(),
            kind,
            layer,
            inputs,
            parameters,
            rides: false,
            multiply_adds: 0,
            learns: false,
            trains: false,
        });
        Ok(())
    }

    /// The index of the parameter that a layer shares; `own` are those that it has so far.
    fn shared(
        &self,
        spec: &LayerSpec,
        key: &'static str,
        source: &WeightSource,
        wanted: &ParameterSpec,
        own: &[usize],
    ) -> Result<usize, ConfigError> {
        let fault = |message: String, help: &str| Err(self.misfit(spec, Misfit::shape(key, message, help)));
        let owner = if source.layer == spec.name {
            Some(own)
        } else {
            self.graph.nodes.iter().find(|n| n.name == source.layer).map(|n| n.parameters.as_slice())
        };
        let Some(owner) = owner else {
            return fault(format!("no layer '{}' comes before this one", source.layer), "name a layer above that has weights");
        };
        let of_role = |k: &&usize| self.graph.parameters[**k].spec.role == wanted.role;
        let Some(&index) = owner.iter().filter(of_role).nth(source.input) else {
            let what = if wanted.is_bias() { "biases" } else { "weights" };
            return fault(
                format!("'{}' has no {what} number {} by then", source.layer, source.input),
                "inputs are counted from 0; a layer may share its own weights of an input before",
            );
        };
        let have = &self.graph.parameters[index].spec;
        // A fully connected layer's weights lie as filters of its whole input do.
        let flat = |s: Shape| s.h == 1 && s.w == 1;
        let alike = flat(have.shape) || flat(wanted.shape);
        let same_rows = (have.shape.n, have.shape.image()) == (wanted.shape.n, wanted.shape.image());
        if have.shape != wanted.shape && !(alike && same_rows) {
            let text = |s: Shape| format!("{}×{}×{}×{}", s.n, s.h, s.w, s.c);
            return fault(
                format!("it needs {} {}, '{}' has {}", text(wanted.shape), wanted.name, source.layer, text(have.shape)),
                "layers that share weights have the same filters and input channels",
            );
        }
        Ok(index)
    }

    /// Adds a node, and counts its multiply-adds.
    fn add_node(&mut self, mut node: Node) {
        let images = self.graph.images.n.max(1) as u64;
        node.multiply_adds = super::writer::multiply_adds(&self.graph, &node) / images;
        self.graph.nodes.push(node);
    }

    /// The neuron that rides on the layer just pushed.
    fn ride(&mut self, spec: &LayerSpec, neuron: Neuron, shape: Shape) {
        self.add_node(Node {
            name: format!("{}.neuron", spec.name),
            kind: "neuron".into(),
            layer: Box::new(NeuronLayer { neuron, shape }),
            inputs: vec![Input::Node(self.graph.nodes.len() - 1)],
            parameters: Vec::new(),
            rides: true,
            multiply_adds: 0,
            learns: false,
            trains: false,
        });
    }

    /// Sizes must be such that products of them fit: a tensor's elements and bytes in 64 bits, an image's elements in 32.
    fn check_size(&self, spec: &LayerSpec, what: &str, shape: Shape) -> Result<(), ConfigError> {
        const MAX: usize = 1 << 40;
        let Shape { n, h, w, c } = shape;
        let elements = |extents: &[usize]| extents.iter().try_fold(1_usize, |n, &extent| n.checked_mul(extent));
        if elements(&[h, w, c]).is_some_and(|n| n <= i32::MAX as usize) && elements(&[n, h, w, c]).is_some_and(|n| n <= MAX) {
            return Ok(());
        }
        let message = format!("{what} would be too large: {n}×{h}×{w}×{c} elements");
        Err(self.misfit(spec, Misfit::shape("type", message, "use smaller layers or a smaller batch")))
    }

    /// A misfit with its layer's name and its key's place in the config.
    fn misfit(&self, spec: &LayerSpec, misfit: Misfit) -> ConfigError {
        match misfit {
            Misfit::Keys(e) => e,
            Misfit::Shape { key, message, help } => {
                let inputs: Vec<String> = spec
                    .inputs
                    .iter()
                    .map(|i| match self.resolve(i) {
                        Input::Source(Part::Labels) => format!("'{}'", i.name),
                        input => format!("{} from '{}'", self.graph.shape(input), i.name),
                    })
                    .collect();
                let label = format!("input is {}", inputs.join(" and "));
                self.spec.layer_error(spec, key, message, label, help)
            }
        }
    }
}
