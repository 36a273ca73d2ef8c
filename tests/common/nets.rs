//! With the same weights, the nets that torchvision has too give its logits. The weights are a formula's, here and in
//! tests/golden/make_configs.py, so that only the logits are kept.

use convnet::config::NetSpec;
use convnet::device::{Device, Place, Shape, StepValues};
use convnet::layer::{ParameterRole, Phase};
use convnet::net::{BatchBytes, Graph, Input, Net, Purpose};
use serde_json::Value;

/// What torchvision has of these nets: tests/golden/configs.json, made by make_configs.py beside it.
pub fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/configs.json")).unwrap()
}

/// A config of the folder.
pub fn spec(name: &str, sets: &[&str]) -> NetSpec {
    let sets: Vec<String> = sets.iter().map(|s| s.to_string()).collect();
    NetSpec::load(format!("configs/{name}.toml"), &sets).unwrap_or_else(|e| panic!("{}", e.render(false)))
}

/// A number in [-1, 1) for an element of a stream: the upper 53 bits of a hash (splitmix64's end).
pub fn uniform(stream: u64, element: u64) -> f64 {
    let x = ((stream << 32) + element).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 11) as f64 * 2f64.powi(-52) - 1.0
}

/// The values of parameter number `k`, in this program's order of the elements. PyTorch's tensors are in the same order, but
/// not their elements: its filters are [out][channel][row][column], its images [channel][row][column].
fn values(graph: &Graph, k: usize) -> Vec<f32> {
    let p = &graph.parameters[k];
    let stream = k as u64;
    if p.spec.role == ParameterRole::Weights && p.spec.shape.elements() > p.spec.shape.c {
        let node = graph.nodes.iter().find(|n| n.parameters.contains(&k)).expect("a layer has each parameter");
        // Outputs, and the rows, columns and channels that one of them sees.
        let s = p.spec.shape;
        let [h, w, c] = if node.kind == "fc" {
            let x = graph.shape(node.inputs[0]);
            [x.h, x.w, x.c]
        } else {
            [s.h, s.w, s.c]
        };
        let scale = (6.0 / (h * w * c) as f64).sqrt();
        let element = |o: usize, y: usize, x: usize, z: usize| (((o * c + z) * h + y) * w + x) as u64;
        let outputs = 0..s.n;
        return outputs
            .flat_map(|o| (0..h).flat_map(move |y| (0..w).flat_map(move |x| (0..c).map(move |z| (o, y, x, z)))))
            .map(|(o, y, x, z)| (uniform(stream, element(o, y, x, z)) * scale) as f32)
            .collect();
    }
    let about_one = p.name.ends_with(".variance") || (p.spec.role == ParameterRole::Weights);
    let value = |u: f64| if about_one { 1.0 + u / 2.0 } else { u * 0.1 };
    (0..p.spec.shape.elements() as u64).map(|e| value(uniform(stream, e)) as f32).collect()
}

/// What a net computes of the formula's image, before the softmax.
fn logits(name: &str, sets: &[&str], device: Box<dyn Device>) -> Vec<f64> {
    let spec = spec(name, sets);
    let synthetic = spec.data.synthetic.as_ref().unwrap();
    let [h, w, c] = synthetic.shape;
    let images = Shape::new(1, h, w, c);
    let mut graph = Graph::new(&spec, images, synthetic.classes).unwrap();
    let input = |node: usize| match graph.nodes[node].inputs[0] {
        Input::Node(input) => input,
        Input::Source(_) => panic!("layer '{}' of {name} reads no layer", graph.nodes[node].name),
    };
    // What the cost's softmax reads.
    let scores = input(input(graph.costs().next().unwrap()));
    graph.shown.push(scores);
    let made = Net::new(graph, device, Purpose::Infer, images, &[128.0; 3], 1.0 / 64.0);
    let mut net = made.unwrap_or_else(|(e, _)| panic!("{e}"));
    for k in 0..net.graph.parameters.len() {
        let values = values(&net.graph, k);
        let tensor = net.plan.kept.parameters[k];
        net.device_mut().write(tensor, bytemuck::cast_slice(&values)).unwrap();
    }
    net.fold_parameters().unwrap();
    let pixels: Vec<u8> = (0..(h * w * c) as u64).map(|e| ((uniform(1 << 20, e) + 1.0) * 128.0) as u8).collect();
    net.feed(BatchBytes { images: &pixels, places: &[Place::default()], labels: &[0], values: &[] }).unwrap();
    let step = StepValues { seed: 1, step: 0, first_image: 0, images: 1, gradient_scale: 1.0, learning_rate: 0.0, momentum: 0.0 };
    net.set_step(step).unwrap();
    net.forward(Phase::Test).unwrap();
    let scores = net.output(scores).unwrap();
    net.read(scores).unwrap()
}

/// Fails unless the logits of a net are within 1e-4 of the largest of torchvision's. `form` is `whole`, or `reduced`: the
/// image and layers made smaller by the golden file's `--set` arguments.
#[track_caller]
pub fn as_torchvision(name: &str, form: &str, device: Box<dyn Device>) {
    let golden = &golden()[form][name];
    let sets: Vec<&str> = golden["sets"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    let theirs: Vec<f64> = golden["logits"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    let ours = logits(name, &sets, device);
    assert_eq!(ours.len(), theirs.len(), "{name}");
    let largest = theirs.iter().fold(0f64, |m, v| m.max(v.abs()));
    let error = |i: usize| (ours[i] - theirs[i]).abs() / largest;
    let worst = (0..ours.len()).max_by(|&i, &j| error(i).total_cmp(&error(j))).unwrap();
    println!("{name}, {form}: error {:.1e} of the largest logit, {largest}", error(worst));
    let (a, b) = (ours[worst], theirs[worst]);
    assert!(error(worst) <= 1e-4, "{name}: logit {worst} is {a}, torchvision's {b}; the largest is {largest}, bound 1e-4");
}
