//! Every gradient against finite differences in f64: each layer alone, and a net's as a whole.

use convnet::check::{self, BOUND, LayerCheck, Options};
use convnet::config::NetSpec;
use convnet::device::cpu::CpuDevice;
use convnet::device::philox::{Purpose as Random, Stream};
use convnet::device::{Place, Shape, StepValues};
use convnet::layer::{Io, Layer, ParameterSpec, Part, Phase, Role, Tape};
use convnet::net::{BatchBytes, Graph, Input, Net, Node, Purpose};
use convnet::op::{Neuron, NeuronForward, Target, Value, Write};

const HEAD: &str = "[data]\nsource = \"mnist-10k\"\n[train]\nbatch = 2\nlearning_rate = 0.01\n";

/// Every layer type, and every option of each; one a line.
const LAYERS: &str = r#"
layer = [
{ name = "conv", type = "conv", filters = 6, size = 3 },
{ name = "conv-padded", inputs = ["data"], type = "conv", filters = 4, size = [3, 2], stride = [2, 1], padding = [1, 2] },
{ name = "conv-groups", inputs = ["data"], type = "conv", filters = 6, size = 3, groups = 2, padding = 1 },
{ name = "conv-depthwise", inputs = ["data"], type = "conv", filters = 4, size = 3, groups = 4, padding = 1 },
{ name = "conv-dilated", inputs = ["data"], type = "conv", filters = 3, size = [2, 3], dilation = [3, 2], padding = 1 },
{ name = "conv-all", inputs = ["data"], type = "conv", filters = 4, size = [3, 2], stride = 2, padding = [2, 1], dilation = [2, 1], groups = 2, rounding = "ceil", bias = "untied" },
{ name = "conv-ceil", inputs = ["data"], type = "conv", filters = 2, size = 3, stride = 3, rounding = "ceil" },
{ name = "conv-untied", inputs = ["data"], type = "conv", filters = 3, size = 4, bias = "untied" },
{ name = "conv-no-bias", inputs = ["data"], type = "conv", filters = 3, size = 1, bias = "none" },
{ name = "conv-stride-over-size", inputs = ["data"], type = "conv", filters = 3, size = 2, stride = 3 },
{ name = "conv-whole-image", inputs = ["data"], type = "conv", filters = 3, size = [9, 7] },
{ name = "conv-relu", inputs = ["data"], type = "conv", filters = 4, size = 3, neuron = "relu" },
{ name = "conv-brelu", inputs = ["data"], type = "conv", filters = 4, size = 3, neuron = "brelu[0.5]" },
{ name = "conv-softrelu", inputs = ["data"], type = "conv", filters = 4, size = 3, neuron = "softrelu" },
{ name = "conv-tanh", inputs = ["data"], type = "conv", filters = 4, size = 3, neuron = "tanh[1.7159, 0.6667]" },
{ name = "conv-logistic", inputs = ["data"], type = "conv", filters = 4, size = 3, neuron = "logistic" },
{ name = "conv-linear", inputs = ["data"], type = "conv", filters = 4, size = 3, neuron = "linear[-0.7, 0.3]" },
{ name = "conv-abs", inputs = ["data"], type = "conv", filters = 4, size = 3, neuron = "abs" },
{ name = "conv-square", inputs = ["data"], type = "conv", filters = 4, size = 3, neuron = "square" },
{ name = "conv-leaky", inputs = ["data"], type = "conv", filters = 4, size = 3, neuron = "leaky[0.1]" },
{ name = "conv-elu", inputs = ["data"], type = "conv", filters = 4, size = 3, neuron = "elu[0.7]" },
{ name = "conv-log", inputs = ["data"], type = "conv", filters = 4, size = 3, neuron = "log[1.5]" },
{ name = "conv-swish", inputs = ["data"], type = "conv", filters = 4, size = 3, neuron = "swish" },
{ name = "conv-nrelu", inputs = ["data"], type = "conv", filters = 4, size = 3, neuron = "nrelu" },
{ name = "conv-sqrt", inputs = ["data"], type = "conv", filters = 4, size = 3, neuron = "sqrt" },
{ name = "deconv", inputs = ["data"], type = "deconv", channels = 3, size = 3, stride = 2, neuron = "tanh" },
{ name = "deconv-padded", inputs = ["data"], type = "deconv", channels = 6, size = [3, 4], stride = [3, 2], padding = [1, 0], dilation = [1, 2], groups = 2, outputs = [26, 20], bias = false },
{ name = "deconv-tied", inputs = ["conv"], type = "deconv", channels = 4, size = 3, weight_source = "conv" },
{ name = "max", inputs = ["data"], type = "pool", pool = "max", size = 2, stride = 2 },
{ name = "max-overlapping", inputs = ["data"], type = "pool", pool = "max", size = 3, stride = 2, rounding = "floor" },
{ name = "max-start", inputs = ["data"], type = "pool", pool = "max", size = [3, 2], stride = [2, 1], start = [-1, 0], outputs = [5, 4] },
{ name = "max-padded", inputs = ["data"], type = "pool", pool = "max", size = 3, stride = 2, padding = 1, neuron = "tanh" },
{ name = "max-gaps", inputs = ["data"], type = "pool", pool = "max", size = 1, stride = 3 },
{ name = "max-global", inputs = ["data"], type = "pool", pool = "max", global = true },
{ name = "avg-global", inputs = ["conv"], type = "pool", pool = "avg", global = true },
{ name = "l2", inputs = ["data"], type = "pool", pool = "l2", size = 3, stride = 2, neuron = "tanh" },
{ name = "l2-padded", inputs = ["data"], type = "pool", pool = "l2", size = [2, 3], stride = 1, padding = 1 },
{ name = "l2-global", inputs = ["data"], type = "pool", pool = "l2", global = true },
{ name = "avg", inputs = ["data"], type = "pool", pool = "avg", size = 2, stride = 2 },
{ name = "avg-overlapping", inputs = ["data"], type = "pool", pool = "avg", size = 3, stride = 2, rounding = "floor" },
{ name = "avg-start", inputs = ["data"], type = "pool", pool = "avg", size = [3, 2], stride = [2, 1], start = [-1, 0], outputs = [5, 4] },
{ name = "avg-padded", inputs = ["data"], type = "pool", pool = "avg", size = 3, stride = 2, padding = 1 },
{ name = "avg-whole-image", inputs = ["data"], type = "pool", pool = "avg", size = [9, 7] },
{ name = "lrn", inputs = ["data"], type = "lrn", alpha = 0.5 },
{ name = "lrn-even", inputs = ["data"], type = "lrn", size = 2, alpha = 1.5, beta = 0.5, k = 2 },
{ name = "lrn-wide", inputs = ["conv"], type = "lrn", size = 11, alpha = 3, beta = 1.0, k = 0.5 },
{ name = "lrn-blocked", inputs = ["conv"], type = "lrn", size = 4, alpha = 2, beta = 0.8, blocked = true, neuron = "tanh" },
{ name = "lrn-within", inputs = ["data"], type = "lrn", region = "within-map", size = 3, alpha = 4 },
{ name = "lrn-within-even", inputs = ["data"], type = "lrn", region = "within-map", size = 4, alpha = 9, beta = 0.65, k = 0.7 },
{ name = "maxout", inputs = ["data"], type = "cross-map-pool", pool = "max", size = 2 },
{ name = "maxout-overlapping", inputs = ["conv"], type = "cross-map-pool", pool = "max", size = 3, stride = 2, start = -1, neuron = "tanh" },
{ name = "cross-map-mean", inputs = ["conv"], type = "cross-map-pool", pool = "avg", size = 4, stride = 1, outputs = 6 },
{ name = "cross-map-l2", inputs = ["conv"], type = "cross-map-pool", pool = "l2", size = 3 },
{ name = "pyramid", inputs = ["data"], type = "spatial-pyramid" },
{ name = "pyramid-mean", inputs = ["conv"], type = "spatial-pyramid", pool = "avg", levels = [3, 1, 8], neuron = "tanh" },
{ name = "pyramid-l2", inputs = ["data"], type = "spatial-pyramid", pool = "l2", levels = [2, 3] },
{ name = "contrast", inputs = ["data"], type = "contrast-norm", alpha = 3 },
{ name = "contrast-even", inputs = ["conv"], type = "contrast-norm", size = 4, alpha = 9, beta = 0.9, k = 0.5, neuron = "tanh" },
{ name = "mean-subtraction", inputs = ["data"], type = "mean-subtraction", size = 3 },
{ name = "mean-subtraction-even", inputs = ["conv"], type = "mean-subtraction", size = 2, neuron = "tanh" },
{ name = "batch-norm", inputs = ["data"], type = "batch-norm" },
{ name = "batch-norm-of-vectors", inputs = ["conv-whole-image"], type = "batch-norm", epsilon = 0.3, neuron = "tanh" },
{ name = "batch-norm-alone", inputs = ["conv"], type = "batch-norm", affine = false, running_momentum = 1, neuron = "relu" },
{ name = "fc", inputs = ["data"], type = "fc", outputs = 5 },
{ name = "deconv-of-fc", inputs = ["fc"], type = "deconv", channels = 4, size = [9, 7], weight_source = "fc" },
{ name = "fc-no-bias", inputs = ["data"], type = "fc", outputs = 5, bias = false },
{ name = "conv-two-inputs", inputs = ["data", "conv"], type = "conv", filters = 4, size = 3, per_input = [{ stride = 2 }, { size = [1, 1], stride = 2 }], neuron = "tanh" },
{ name = "conv-shared", inputs = ["data"], type = "conv", filters = 6, size = 3, weight_source = "conv", bias_source = "conv" },
{ name = "fc-two-inputs", inputs = ["data", "conv"], type = "fc", outputs = 5, neuron = "tanh" },
{ name = "fc-own-weights-twice", inputs = ["data", "data"], type = "fc", outputs = 5, weight_source = ["", "fc-own-weights-twice[0]"] },
{ name = "local", inputs = ["data"], type = "local", filters = 3, size = 3 },
{ name = "local-all", inputs = ["data"], type = "local", filters = 4, size = [3, 2], stride = 2, padding = [2, 1], dilation = [2, 1], groups = 2, rounding = "ceil" },
{ name = "local-shared-bias", inputs = ["data"], type = "local", filters = 3, size = [4, 2], stride = [3, 2], bias = "shared", neuron = "tanh" },
{ name = "local-no-bias", inputs = ["data"], type = "local", filters = 2, size = [9, 7], bias = "none" },
{ name = "local-two-inputs", inputs = ["data", "conv"], type = "local", filters = 4, size = 3, per_input = [{ stride = 2 }, { size = [1, 1], stride = 2 }], neuron = "relu" },
{ name = "local-shared", inputs = ["data"], type = "local", filters = 3, size = 3, weight_source = "local", bias_source = "local" },
{ name = "fc-groups", inputs = ["data"], type = "fc", outputs = 6, groups = 2, neuron = "tanh" },
{ name = "fc-groups-two-inputs", inputs = ["data", "conv"], type = "fc", outputs = 4, groups = 2, bias = false },
{ name = "fc-drop-connect", inputs = ["data"], type = "fc", outputs = 5, drop_connect = 0.6 },
{ name = "fc-drop-connect-two-inputs", inputs = ["data", "conv"], type = "fc", outputs = 3, drop_connect = 0.5, neuron = "tanh" },
{ name = "dropout-at-test", inputs = ["data"], type = "dropout", keep = 0.4, at_test = "scale" },
{ name = "noise", inputs = ["data"], type = "noise", std = 0.3, neuron = "tanh" },
{ name = "fc-relu", inputs = ["data"], type = "fc", outputs = 7, neuron = "relu" },
{ name = "fc-sqrt", inputs = ["data"], type = "fc", outputs = 7, neuron = "sqrt" },
{ name = "fc-square", inputs = ["data"], type = "fc", outputs = 7, neuron = "square" },
{ name = "linear", inputs = ["data"], type = "neuron", neuron = "linear[2.0, -1.0]" },
{ name = "relu", inputs = ["data"], type = "neuron", neuron = "relu" },
{ name = "brelu", inputs = ["data"], type = "neuron", neuron = "brelu[0.7]" },
{ name = "softrelu", inputs = ["data"], type = "neuron", neuron = "softrelu" },
{ name = "tanh", inputs = ["data"], type = "neuron", neuron = "tanh[1.7159, 0.6667]" },
{ name = "logistic", inputs = ["data"], type = "neuron", neuron = "logistic" },
{ name = "abs", inputs = ["data"], type = "neuron", neuron = "abs" },
{ name = "square", inputs = ["data"], type = "neuron", neuron = "square" },
{ name = "sqrt", inputs = ["data"], type = "neuron", neuron = "sqrt" },
{ name = "log", inputs = ["data"], type = "neuron", neuron = "log[0.3]" },
{ name = "drelu", inputs = ["data"], type = "neuron", neuron = "drelu[1.3]" },
{ name = "nrelu", inputs = ["data"], type = "neuron", neuron = "nrelu" },
{ name = "leaky", inputs = ["data"], type = "neuron", neuron = "leaky[0.1]" },
{ name = "elu", inputs = ["data"], type = "neuron", neuron = "elu[0.7]" },
{ name = "swish", inputs = ["data"], type = "neuron", neuron = "swish" },
{ name = "prelu", inputs = ["data"], type = "prelu" },
{ name = "prelu-shared", inputs = ["data"], type = "prelu", shared = true },
{ name = "dropout", inputs = ["data"], type = "dropout", keep = 0.7 },
{ name = "dropout-relu", inputs = ["data"], type = "dropout", neuron = "relu" },
{ name = "concat", inputs = ["data", "relu", "concat-thin"], type = "concat", neuron = "tanh" },
{ name = "concat-thin", inputs = ["data"], type = "slice", channels = [1, 2] },
{ name = "concat-vectors", inputs = ["fc", "fc-relu", "fc"], type = "concat" },
{ name = "slice", inputs = ["data"], type = "slice", channels = [1, 4] },
{ name = "crop", inputs = ["data"], type = "crop", size = [4, 3], start = [2, 1] },
{ name = "crop-outside", inputs = ["data"], type = "crop", size = [12, 3], start = [-2, 5] },
{ name = "reflect", inputs = ["data"], type = "reflect" },
{ name = "flatten", inputs = ["data"], type = "flatten" },
{ name = "eltsum", inputs = ["data", "relu"], type = "eltsum", neuron = "tanh" },
{ name = "eltsum-coefficients", inputs = ["data", "relu", "tanh", "data"], type = "eltsum", coefficients = [0.5, -2, 1, 1.5] },
{ name = "eltsum-of-one", inputs = ["data"], type = "eltsum", coefficients = [-0.5] },
{ name = "eltmax", inputs = ["data", "relu"], type = "eltmax" },
{ name = "eltmax-of-four", inputs = ["data", "relu", "tanh", "abs"], type = "eltmax" },
{ name = "eltproduct", inputs = ["data", "relu"], type = "eltproduct" },
{ name = "eltproduct-of-four", inputs = ["data", "relu", "tanh", "abs"], type = "eltproduct" },
{ name = "nailbed", inputs = ["data"], type = "nailbed", stride = 2 },
{ name = "nailbed-start", inputs = ["data"], type = "nailbed", stride = [3, 1], start = [2, 0] },
{ name = "resize-larger", inputs = ["data"], type = "resize", size = [13, 20] },
{ name = "resize-smaller", inputs = ["data"], type = "resize", scale = 1.7 },
{ name = "resize-one", inputs = ["data"], type = "resize", size = 1 },
{ name = "random-scale", inputs = ["data"], type = "random-scale", max = 1.5 },
{ name = "random-scale-smaller", inputs = ["data"], type = "random-scale", max = 1.8, size = [5, 4] },
{ name = "blur", inputs = ["data"], type = "blur", size = 5, std = 1.3 },
{ name = "blur-over-all", inputs = ["data"], type = "blur", size = 11, std = 4 },
{ name = "colours", inputs = ["data"], type = "slice", channels = [0, 3] },
{ name = "yuv", type = "rgb2yuv" },
{ name = "lab", inputs = ["colours"], type = "rgb2lab" },
{ name = "lab-centred", inputs = ["colours"], type = "rgb2lab", center = true },
{ name = "softmax", inputs = ["fc"], type = "softmax" },
{ name = "softmax-image", inputs = ["conv"], type = "softmax" },
{ name = "cost-fused", inputs = ["softmax"], type = "logistic-regression", coefficient = 0.7 },
{ name = "cost-of-probabilities", inputs = ["fc-relu"], type = "logistic-regression" },
{ name = "cost-smoothed", inputs = ["softmax"], type = "logistic-regression", coefficient = 0.7, smoothing = 0.2 },
{ name = "cost-of-probabilities-smoothed", inputs = ["fc-relu"], type = "logistic-regression", smoothing = 0.1 },
{ name = "target", inputs = ["labels"], type = "one-hot", classes = 5, smoothing = 0.3 },
{ name = "soft-cost", inputs = ["softmax", "target"], type = "cross-entropy", coefficient = 0.7 },
{ name = "soft-cost-of-probabilities", inputs = ["fc-relu", "fc-sqrt"], type = "cross-entropy" },
{ name = "fc-logistic", inputs = ["data"], type = "fc", outputs = 5, neuron = "logistic" },
{ name = "binary", inputs = ["logistic", "data"], type = "binary-cross-entropy", coefficient = 0.7, positive_weight = 1.5 },
{ name = "binary-of-fc", inputs = ["fc-logistic", "target"], type = "binary-cross-entropy" },
{ name = "binary-of-probabilities", inputs = ["fc", "target"], type = "binary-cross-entropy", positive_weight = 0.5 },
{ name = "detection", inputs = ["fc-logistic", "target"], type = "detection-cross-entropy", positive_weight = 2.0 },
{ name = "detection-of-probabilities", inputs = ["fc", "target"], type = "detection-cross-entropy" },
{ name = "hinge", inputs = ["fc"], type = "hinge", coefficient = 0.7 },
{ name = "hinge-squared", inputs = ["fc"], type = "hinge", norm = 2, margin = 0.5 },
{ name = "hinge-one-vs-all", inputs = ["fc"], type = "hinge", kind = "one-vs-all", margin = 2.0 },
{ name = "hinge-one-vs-all-squared", inputs = ["fc"], type = "hinge", kind = "one-vs-all", norm = 2 },
{ name = "squares-of-data", inputs = ["tanh", "data"], type = "sum-of-squares" },
{ name = "squares", inputs = ["fc-sqrt"], type = "sum-of-squares", coefficient = 0.3 },
{ name = "squares-of-difference", inputs = ["fc-relu", "fc-square"], type = "sum-of-squares" },
]
"#;

fn graph(layers: &str) -> Graph {
    let spec =
        NetSpec::from_toml(&format!("{layers}\n{HEAD}"), "test.toml", &[]).unwrap_or_else(|e| panic!("{}", e.render(false)));
    Graph::new(&spec, Shape::new(2, 9, 7, 4), 5).unwrap_or_else(|e| panic!("{}", e.render(false)))
}

fn checks(graph: &Graph, elements: usize) -> Vec<LayerCheck> {
    check::check(graph, &Options { elements, ..Options::default() }, |_, _| {}).unwrap()
}

/// The bound is the issue's: gradient checks below 1e-6.
#[test]
fn every_layer_computes_its_gradient() {
    let graph = graph(LAYERS);
    let checks = checks(&graph, 25);
    let wrong: Vec<&LayerCheck> = checks.iter().filter(|c| !c.is_right()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What reads labels alone has nothing that a gradient could be of.
    let varies = |n: &&Node| n.inputs != [Input::Source(Part::Labels)] || !n.parameters.is_empty();
    let names = graph.nodes.iter().filter(varies).map(|n| &n.name);
    let missing: Vec<&String> = names.filter(|n| !checks.iter().any(|c| c.name == **n)).collect();
    assert!(missing.is_empty(), "not checked: {missing:?}");
    let worst = checks.iter().max_by(|a, b| a.worst_relative_error.total_cmp(&b.worst_relative_error));
    println!("{} gradients, worst {worst:?}", checks.len());
}

/// Pairs are labelled 0 or 1. Of random vectors of 252 elements most are about 22 apart: within one margin, beyond the other.
#[test]
fn contrastive_costs_compute_their_gradients() {
    const PAIRS: &str = r#"
layer = [
{ name = "a", type = "neuron", neuron = "tanh" },
{ name = "b", inputs = ["data"], type = "neuron", neuron = "linear[0.5, 0.1]" },
{ name = "near", inputs = ["a", "b"], type = "contrastive", margin = 30.0, coefficient = 0.7 },
{ name = "far", inputs = ["a", "b"], type = "contrastive", margin = 20.0 },
]"#;
    let spec = NetSpec::from_toml(&format!("{PAIRS}\n{HEAD}"), "test.toml", &[]).unwrap();
    let graph = |classes| Graph::new(&spec, Shape::new(12, 9, 7, 4), classes);
    let checks = checks(&graph(2).unwrap(), 60);
    let costs: Vec<&LayerCheck> = checks.iter().filter(|c| c.kind == "contrastive").collect();
    assert_eq!(costs.len(), 4);
    assert!(costs.iter().all(|c| c.is_right() && c.backward != 0.0), "{costs:#?}");
    let error = graph(3).unwrap_err();
    assert!(error.advice().is_some_and(|a| a.contains("pairs = true")), "{error}: {:?}", error.advice());
}

/// What a wrapped layer's backward pass does wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The input's gradient is 1 % too large.
    Input,
    /// The first parameter's gradient is 1 % too large.
    Parameter,
    /// Gradients are set where they should be added to.
    Overwrites,
    /// One element of the input's gradient is off by 0.01 %.
    OneElement,
}

#[derive(Debug)]
struct Faulty {
    layer: Box<dyn Layer>,
    fault: Fault,
}

impl Layer for Faulty {
    fn output(&self) -> Shape {
        self.layer.output()
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        self.layer.parameters()
    }

    fn role(&self) -> Role {
        self.layer.role()
    }

    fn forward(&self, tape: &mut Tape, io: &Io) {
        self.layer.forward(tape, io);
    }

    fn backward(&self, tape: &mut Tape, io: &Io) {
        // y ← factor·x, whatever else is added to.
        let put = |factor, x, y| NeuronForward { neuron: Neuron::Linear { a: factor, b: 0.0 }, x, y };
        let (factor, at) = match self.fault {
            Fault::Overwrites => {
                let mut apart = io.clone();
                for target in apart.input_gradients.iter_mut().chain(&mut apart.parameter_gradients).flatten() {
                    *target = Target::set(tape.value(target.at.shape));
                }
                self.layer.backward(tape, &apart);
                let targets = |io: &Io| -> Vec<Value> {
                    io.input_gradients.iter().chain(&io.parameter_gradients).flatten().map(|t| t.at).collect()
                };
                targets(&apart).into_iter().zip(targets(io)).for_each(|(x, y)| tape.push(put(1.0, x, y)));
                return;
            }
            Fault::Input => (1.01, io.input_gradient(0).unwrap().at),
            Fault::OneElement => (1.0001, io.input_gradient(0).unwrap().at.part(0, 1)),
            Fault::Parameter => (1.01, io.parameter_gradient(0).unwrap().at),
        };
        self.layer.backward(tape, io);
        tape.push(put(factor, at, at));
    }
}

/// A check that finds nothing must not be one that finds nothing ever.
#[test]
fn a_wrong_gradient_is_found() {
    const SMALL: &str = r#"
layer = [
{ name = "conv", type = "conv", filters = 3, size = 3, neuron = "relu" },
{ name = "fc", type = "fc", outputs = 5 },
{ name = "cost", type = "logistic-regression" },
]"#;
    let all_right = |checks: &[LayerCheck], but: &[&str]| {
        for c in checks {
            let wrong = but.contains(&format!("{}.{}", c.name, c.what).as_str());
            assert_eq!(c.is_right(), !wrong, "{c:?}");
        }
    };
    all_right(&checks(&graph(SMALL), 10), &[]);
    for (fault, wrong) in [
        (Fault::Input, &["fc.input 0"] as &[&str]),
        (Fault::Parameter, &["fc.weights"]),
        (Fault::Overwrites, &["fc.input 0", "fc.weights", "fc.bias"]),
        (Fault::OneElement, &["fc.input 0"]),
    ] {
        let mut graph = graph(SMALL);
        // Else the copies that overwrite become part of what adds.
        graph.fuse = false;
        let node = graph.nodes.iter_mut().find(|n| n.name == "fc").unwrap();
        let layer = std::mem::replace(&mut node.layer, Box::new(Nothing));
        node.layer = Box::new(Faulty { layer, fault });
        println!("{fault:?}");
        all_right(&checks(&graph, 200), wrong);
    }
}

/// A layer's place while it is wrapped.
#[derive(Debug)]
struct Nothing;

impl Layer for Nothing {
    fn output(&self) -> Shape {
        unreachable!()
    }

    fn forward(&self, _: &mut Tape, _: &Io) {
        unreachable!()
    }

    fn backward(&self, _: &mut Tape, _: &Io) {
        unreachable!()
    }
}

/// Branches that part and meet again (the costs read both; `trunk` has three readers, `left` two), neurons in place and
/// not, dropout, a layer that learns nothing, two costs and a half-counted one.
const BRANCHES: &str = r#"
layer = [
{ name = "trunk", type = "conv", filters = 4, size = 3, padding = 1, neuron = "tanh", init = "xavier" },
{ name = "left", type = "conv", filters = 6, size = 3, groups = 2, neuron = "softrelu", init = "xavier" },
{ name = "left-pool", type = "pool", pool = "max", size = 3, stride = 2 },
{ name = "right", inputs = ["trunk"], type = "pool", pool = "avg", size = 2, stride = 2, neuron = "square" },
{ name = "right-conv", type = "conv", filters = 3, size = 2, bias = "untied", init = "xavier", neuron = "abs" },
{ name = "right-dropout", type = "dropout", keep = 0.8, neuron = "logistic" },
{ name = "middle", inputs = ["trunk"], type = "neuron", neuron = "tanh[1.5, 0.5]" },
{ name = "middle-dropout", type = "dropout", keep = 0.6 },
{ name = "left-fc", inputs = ["left-pool"], type = "fc", outputs = 5, init = "xavier", neuron = "tanh" },
{ name = "right-fc", inputs = ["right-dropout"], type = "fc", outputs = 5, init = "xavier" },
{ name = "middle-fc", inputs = ["middle-dropout"], type = "fc", outputs = 5, init = "xavier", learning_rate = 0 },
{ name = "left-again", inputs = ["left"], type = "fc", outputs = 5, init = "xavier" },
{ name = "again", inputs = ["left-fc", "right-fc"], type = "fc", outputs = 5, init = "xavier", weight_source = ["", "again[0]"], neuron = "tanh" },
{ name = "once-more", type = "fc", outputs = 5, weight_source = "again", bias_source = "again" },
{ name = "probabilities", inputs = ["left-fc"], type = "softmax" },
{ name = "cost", type = "logistic-regression" },
{ name = "corner", inputs = ["trunk"], type = "crop", size = 3, start = [-1, 4] },
{ name = "corner-flat", type = "flatten", neuron = "square" },
{ name = "right-half", inputs = ["right-conv"], type = "slice", channels = [1, 3], neuron = "tanh" },
{ name = "right-flat", type = "flatten" },
{ name = "right-tanh", type = "neuron", neuron = "tanh" },
{ name = "joined", inputs = ["corner-flat", "left-fc", "right-tanh"], type = "concat" },
{ name = "joined-fc", type = "fc", outputs = 5, init = "xavier" },
{ name = "sum-left", inputs = ["trunk"], type = "conv", filters = 4, size = 3, padding = 1, init = "xavier" },
{ name = "sum-right", inputs = ["sum-left"], type = "conv", filters = 4, size = 1, init = "xavier", neuron = "tanh" },
{ name = "sum-third", inputs = ["trunk"], type = "conv", filters = 4, size = 1, init = "xavier" },
{ name = "sum", inputs = ["trunk", "sum-right"], type = "eltsum", neuron = "tanh" },
{ name = "difference", inputs = ["sum-third", "sum"], type = "eltsum", coefficients = [1, -0.7] },
{ name = "doubled", inputs = ["difference", "difference", "sum-left"], type = "eltsum" },
{ name = "res-stem", inputs = ["trunk"], type = "conv", filters = 4, size = 1, init = "xavier", neuron = "tanh" },
{ name = "res-1", type = "conv", filters = 4, size = 3, padding = 1, init = "xavier", neuron = "tanh" },
{ name = "res-2", type = "conv", filters = 4, size = 3, padding = 1, init = "xavier", neuron = "softrelu" },
{ name = "res-sum", inputs = ["res-2", "res-stem"], type = "eltsum" },
{ name = "res-3", type = "conv", filters = 4, size = 1, init = "xavier", neuron = "logistic" },
{ name = "res-4", inputs = ["res-sum"], type = "neuron", neuron = "tanh" },
{ name = "res-5", inputs = ["res-sum"], type = "conv", filters = 4, size = 1, init = "xavier" },
{ name = "res-more", inputs = ["res-3", "res-sum", "res-4", "res-5"], type = "eltsum" },
{ name = "res-6", inputs = ["trunk"], type = "conv", filters = 4, size = 1, init = "xavier", neuron = "tanh" },
{ name = "res-again", inputs = ["res-more", "res-6"], type = "eltsum", neuron = "tanh" },
{ name = "res-fc", type = "fc", outputs = 5, init = "xavier" },
{ name = "res-cost", type = "sum-of-squares", coefficient = 0.1 },
{ name = "largest-left", inputs = ["doubled"], type = "neuron", neuron = "tanh" },
{ name = "largest-middle", inputs = ["doubled"], type = "neuron", neuron = "linear[-0.5, 0.1]" },
{ name = "largest-right", inputs = ["trunk"], type = "conv", filters = 4, size = 1, init = "xavier" },
{ name = "largest", inputs = ["largest-left", "largest-middle", "largest-right"], type = "eltmax" },
{ name = "factor", inputs = ["trunk"], type = "conv", filters = 4, size = 1, init = "xavier" },
{ name = "product", inputs = ["factor", "largest", "trunk"], type = "eltproduct" },
{ name = "product-again", inputs = ["product", "trunk"], type = "eltproduct" },
{ name = "prelu", inputs = ["sum-left"], type = "conv", filters = 4, size = 3, init = "xavier" },
{ name = "prelu-slopes", type = "prelu" },
{ name = "noisy", inputs = ["prelu-slopes"], type = "conv", filters = 3, size = 3, init = "xavier", neuron = "nrelu" },
{ name = "noisy-fc", type = "fc", outputs = 5, init = "xavier", neuron = "swish" },
{ name = "noisy-cost", type = "sum-of-squares", coefficient = 0.1 },
{ name = "merged", inputs = ["product-again"], type = "fc", outputs = 5, init = "xavier" },
{ name = "agree", inputs = ["left-fc", "right-fc"], type = "sum-of-squares", coefficient = 0.3 },
{ name = "agree-again", inputs = ["middle-fc", "left-again"], type = "sum-of-squares", coefficient = 0.2 },
{ name = "small", inputs = ["right-fc"], type = "sum-of-squares", coefficient = 0.1 },
{ name = "shared", inputs = ["once-more"], type = "sum-of-squares", coefficient = 0.2 },
{ name = "merged-cost", inputs = ["merged"], type = "sum-of-squares", coefficient = 0.2 },
{ name = "joined-cost", inputs = ["joined-fc"], type = "sum-of-squares", coefficient = 0.2 },
]
"#;

struct Whole {
    net: Net,
    step: StepValues,
}

impl Whole {
    fn new() -> Self {
        let graph = graph(BRANCHES);
        let Shape { n, h, w, c } = graph.images;
        let mut random = Stream::new(3, Random::Data, 0, 0);
        let images: Vec<u8> = (0..graph.images.elements()).map(|_| random.next_u32() as u8).collect();
        let mean = vec![127.0; c];
        let device = Box::new(CpuDevice::<f64>::new(2));
        let mut net = Net::new(graph, device, Purpose::Train, Shape::new(n, h, w, c), &mean, 1.0 / 64.0)
            .unwrap_or_else(|(error, _)| panic!("{error}"));
        net.initialise(1).unwrap();
        net.feed(BatchBytes { images: &images, places: &[Place::default(); 2], labels: &[1, 4], values: &[] }).unwrap();
        let step =
            StepValues { seed: 1, step: 5, first_image: 0, images: 2, gradient_scale: 0.5, learning_rate: 0.01, momentum: 0.9 };
        net.set_step(step).unwrap();
        Self { net, step }
    }

    fn loss(&mut self) -> f64 {
        self.net.clear_metrics().unwrap();
        self.net.forward(Phase::Train).unwrap();
        let metrics = self.net.metrics().unwrap();
        self.net.total_loss(&metrics)
    }

    /// The gradients of all parameters that have one.
    fn gradients(&mut self) -> Vec<Vec<f64>> {
        let places = self.net.plan.kept.gradients.clone();
        places.into_iter().map(|g| g.map_or_else(Vec::new, |g| self.net.read(g).unwrap())).collect()
    }
}

/// The chain rule through the whole plan: lifetimes, shared memory, in-place passes and gradients of several readers.
#[test]
fn a_net_with_branches_computes_its_gradient() {
    let mut whole = Whole::new();
    whole.loss();
    whole.net.backward(Write::Set).unwrap();
    let gradients = whole.gradients();
    let mut random = Stream::new(4, Random::Data, 1, 0);
    let mut checked = 0;
    for (k, gradients) in gradients.iter().enumerate() {
        let (name, learns) = (whole.net.graph.parameters[k].name.clone(), whole.net.graph.parameters[k].learns());
        let place = whole.net.plan.kept.parameters[k];
        let values = whole.net.read(place).unwrap();
        let most = gradients.iter().fold(0.0f64, |m, g| m.max(g.abs()));
        if !learns {
            assert!(gradients.is_empty(), "{name} has a gradient and does not learn");
            continue;
        }
        assert!(most > 0.0, "{name} has no gradient");
        for _ in 0..6 {
            let e = random.below(values.len() as u32) as usize;
            let mut loss_at = |x: f64| {
                let mut values = values.clone();
                values[e] = x;
                whole.net.write(place, &values).unwrap();
                whole.loss()
            };
            // A max pool's tie or abs's corner within the step: a smaller one misses it.
            let error = |h: f64, loss_at: &mut dyn FnMut(f64) -> f64| {
                let d = (loss_at(values[e] + h) - loss_at(values[e] - h)) / (2.0 * h);
                ((d - gradients[e]).abs() / d.abs().max(gradients[e].abs()).max(1e-3 * most), d)
            };
            let (worst, d) = [1e-5, 1e-6, 1e-4]
                .map(|h| error(h, &mut loss_at))
                .into_iter()
                .reduce(|a, b| if b.0 < a.0 { b } else { a })
                .unwrap();
            assert!(worst < BOUND, "{name}[{e}]: backward computes {:e}, differences give {d:e}: {worst:e}", gradients[e]);
            checked += 1;
        }
        whole.net.write(place, &values).unwrap();
    }
    assert!(checked >= 60, "{checked} elements were checked");
}

/// Two micro-batches' gradients add up to the batch's.
#[test]
fn gradients_accumulate_over_micro_batches() {
    let mut whole = Whole::new();
    whole.loss();
    whole.net.backward(Write::Set).unwrap();
    let once = whole.gradients();
    whole.loss();
    whole.net.backward(Write::Add).unwrap();
    for (k, (once, twice)) in once.iter().zip(whole.gradients()).enumerate() {
        let most = once.iter().fold(0.0f64, |m, g| m.max(g.abs()));
        for (e, (&a, b)) in once.iter().zip(twice).enumerate() {
            let name = &whole.net.graph.parameters[k].name;
            assert!((2.0 * a - b).abs() <= 1e-13 * most, "{name}[{e}]: {b:e} is not twice {a:e}");
        }
    }
    // An image that does not count adds nothing: with the first alone the loss and gradients are its own.
    whole.net.set_step(StepValues { images: 1, gradient_scale: 1.0, ..whole.step }).unwrap();
    whole.loss();
    whole.net.backward(Write::Set).unwrap();
    let first = whole.gradients();
    assert!(first.iter().flatten().all(|g| g.is_finite()) && first != once);
}
