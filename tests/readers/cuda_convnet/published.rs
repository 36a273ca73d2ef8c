//! The pairs that come with cuda-convnet2 and cuda-convnet, written anew: every layer and every value that they have. What
//! they mean here is checked always; that they are the published ones, where those were fetched.

use convnet::config::{InitKind, NetSpec, Schedule, ScheduleKind};
use convnet::device::Shape;
use convnet::net::Graph;
use std::fmt::Write;
use std::path::Path;

/// A pair that is being written.
#[derive(Default)]
pub struct Pair {
    pub layers: String,
    pub params: String,
}

impl Pair {
    /// A layer with its keys in the two files; no section in the second where it has none there.
    fn layer(&mut self, name: &str, keys: &str, params: &str) -> &mut Self {
        for (text, keys) in [(&mut self.layers, keys), (&mut self.params, params)] {
            if !keys.is_empty() {
                writeln!(text, "[{name}]").unwrap();
                keys.split_whitespace().for_each(|key| writeln!(text, "{key}").unwrap());
            }
        }
        self
    }

    fn data(labels: &str) -> Self {
        let mut pair = Self::default();
        pair.layer("data", "type=data dataIdx=0", "").layer(labels, "type=data dataIdx=1", "");
        pair
    }

    fn read(&self) -> NetSpec {
        let read = NetSpec::from_pair((&self.layers, "layers.cfg"), (&self.params, "params.cfg"), &[]);
        read.unwrap_or_else(|e| panic!("{}", e.render(false)))
    }
}

/// dexp schedules of AlexNet's weights and biases.
fn dexp(base: f64, bias_factor: u32) -> String {
    format!(
        "momW=0.9 momB=0.9 wc=0.0005 wball=0.00 epsW=dexp[base={base};tgtFactor=250;numSteps=4] \
         epsB=dexp[base={};tgtFactor={bias_factor};numSteps=2]",
        2.0 * base
    )
}

const NORM: &str = "scale=0.0001 pow=0.75 minDiv=2";

/// The convolutions of Krizhevsky's "One weird trick" AlexNet (2014): 64, 192, 384, 256 and 256 filters.
fn one_tower(gpu: &str, learn: &str) -> Pair {
    let mut pair = Pair::data("labvec");
    let conv = |rest: &str| format!("type=conv {rest}");
    pair.layer(
        "conv1",
        &conv(&format!(
            "inputs=data channels=3 filters=64 padding=0 stride=4 filterSize=11 initW=0.01 sumWidth=4 sharedBiases=1 gpu={gpu}"
        )),
        learn,
    );
    pair.layer("rnorm1", "type=cmrnorm inputs=conv1 channels=64 size=5", NORM);
    pair.layer("pool1", "type=pool pool=max inputs=rnorm1 sizeX=3 stride=2 channels=64 neuron=relu", "");
    let conv2 =
        "inputs=pool1 filters=192 padding=2 stride=1 filterSize=5 channels=64 initW=0.01 initB=1 sumWidth=3 sharedBiases=1";
    pair.layer("conv2", &conv(&format!("{conv2} neuron=relu")), learn);
    pair.layer("rnorm2", "type=cmrnorm inputs=conv2 channels=192 size=5", NORM);
    pair.layer("pool2", "type=pool pool=max inputs=rnorm2 sizeX=3 stride=2 channels=192", "");
    let three = "padding=1 stride=1 filterSize=3 initW=0.03 sumWidth=3";
    pair.layer("conv3", &conv(&format!("inputs=pool2 filters=384 channels=192 {three} sharedBiases=1 neuron=relu")), learn);
    pair.layer(
        "conv4",
        &conv(&format!("inputs=conv3 filters=256 channels=384 {three} initB=1 sharedBiases=1 neuron=relu")),
        learn,
    );
    pair.layer("conv5", &conv(&format!("inputs=conv4 filters=256 channels=256 {three} initB=1")), learn);
    pair.layer("pool3", "type=pool pool=max inputs=conv5 sizeX=3 stride=2 channels=256 neuron=relu", "");
    pair
}

/// layers-imagenet-1gpu, -2gpu-data and -4gpu-data: the batch over 1, 2 and 4 GPUs.
fn data_parallel(gpu: &str, base: f64, others_gpu: &str) -> Pair {
    let learn = format!("{} updatePeriod=1", dexp(base, 10));
    let mut pair = one_tower(gpu, &learn);
    let fc = |rest: &str| format!("type=fc initW=0.01 {rest} {others_gpu}");
    pair.layer("fc4096a", &fc("inputs=pool3 outputs=4096 initB=1 neuron=relu"), &learn);
    pair.layer("dropout1", "type=dropout2 inputs=fc4096a", "enable=true");
    pair.layer("fc4096b", &fc("inputs=dropout1 outputs=4096 initB=1 neuron=relu"), &learn);
    pair.layer("dropout2", "type=dropout2 inputs=fc4096b", "enable=true");
    pair.layer("fc1000", &fc("inputs=dropout2 outputs=1000 initB=-7"), &learn);
    pair.layer("probs", "type=softmax inputs=fc1000", "");
    pair.layer("logprob", &format!("type=cost.logreg inputs=labvec,probs gpu={gpu}"), "coeff=1 topk=5");
    pair
}

/// layers-imagenet-4gpu-data-model: convolutions with the batch over 4 GPUs, fully connected layers with their outputs over 4.
fn data_and_model_parallel() -> Pair {
    let mut pair = one_tower("0,1,2,3", &dexp(0.04, 10));
    let learn = format!("{} updatePeriod=1", dexp(0.01, 10));
    let towers = ["a", "b", "c", "d"];
    let each = |stem: &str| towers.map(|t| format!("{stem}{t}")).join(",");
    let fc = "type=fc outputs=1024 initW=0.01 initB=1 neuron=relu";
    let dropout = "enable=true keep=0.5";
    for (gpu, t) in towers.iter().enumerate() {
        pair.layer(&format!("fc1024{t}"), &format!("{fc} inputs=pool3 gpu={gpu}"), &learn);
    }
    for t in towers {
        pair.layer(&format!("dropout1{t}"), &format!("type=dropout2 inputs=fc1024{t}"), dropout);
    }
    for (gpu, t) in towers.iter().enumerate() {
        pair.layer(&format!("pass1{t}"), &format!("type=pass inputs={} gpu={gpu}", each("dropout1")), "");
    }
    for t in towers {
        pair.layer(&format!("fc1024b{t}"), &format!("{fc} inputs=pass1{t}"), &learn);
    }
    for t in towers {
        pair.layer(&format!("dropout2{t}"), &format!("type=dropout2 inputs=fc1024b{t}"), dropout);
    }
    pair.layer("pass2a", &format!("inputs={} type=pass gpu=0", each("dropout2")), "");
    pair.layer("fc1000", "type=fc outputs=1000 inputs=pass2a initW=0.01", &learn);
    pair.layer("probs", "type=softmax inputs=fc1000", "");
    pair.layer("logprob", "type=cost.logreg inputs=labvec,probs gpu=0", "coeff=1 topk=5");
    pair
}

/// layers-imagenet-2gpu-model: the two towers of Krizhevsky 2012, with a second normalisation of each.
fn two_towers() -> Pair {
    let mut pair = Pair::data("labels");
    let (one, two) =
        (dexp(0.02, 25), dexp(0.02, 25).replace("momW=0.9", "momW=0.9,0.9").replace("wc=0.0005", "wc=0.0005,0.0005"));
    let two = two.replace("wball=0.00", "wball=0,0");
    let mut both = |name: &str, keys: &str, params: &str| {
        for (gpu, t) in ["a", "b"].iter().enumerate() {
            let keys = keys.replace('@', t).replace('#', &gpu.to_string());
            pair.layer(&format!("{name}{t}"), &keys, params);
        }
    };
    both(
        "conv1",
        "type=conv inputs=data channels=3 filters=48 padding=0 stride=4 filterSize=11 initW=0.01 sumWidth=3 sharedBiases=1 gpu=#",
        &one,
    );
    both("rnorm1", "type=cmrnorm inputs=conv1@ channels=48 size=5", NORM);
    both("pool1", "type=pool pool=max inputs=rnorm1@ sizeX=3 stride=2 channels=48 neuron=relu", "");
    let conv2 = "type=conv inputs=pool1@ filters=128 padding=2 stride=1 filterSize=5 channels=48 initW=0.01 initB=1 sumWidth=3";
    both("conv2", &format!("{conv2} sharedBiases=1 neuron=relu gpu=#"), &one);
    both("rnorm2", "type=cmrnorm inputs=conv2@ channels=128 size=5", NORM);
    both("cnorm2", "type=rnorm inputs=rnorm2@ channels=128 size=5", "scale=0.001 pow=0.75");
    both("pool2", "type=pool pool=max inputs=cnorm2@ sizeX=3 stride=2 channels=128", "");
    let conv3 =
        "type=conv inputs=pool2a,pool2b filters=192,192 padding=1,1 stride=1,1 filterSize=3,3 channels=128,128 initW=0.03,0.03";
    both("conv3", &format!("{conv3} sumWidth=2 sharedBiases=1 neuron=relu gpu=#"), &two);
    let three = "padding=1 stride=1 filterSize=3 channels=192 initW=0.03 initB=1 sumWidth=2";
    both("conv4", &format!("type=conv inputs=conv3@ filters=192 {three} sharedBiases=1 neuron=relu"), &one);
    both("conv5", &format!("type=conv inputs=conv4@ filters=128 {three} groups=1 randSparse=0"), &one);
    both("pool3", "type=pool pool=max inputs=conv5@ sizeX=3 stride=2 channels=128 neuron=relu", "");
    let fc = "type=fc outputs=2048 initW=0.01,0.01 initB=1 neuron=relu gpu=#";
    both("fc2048", &format!("{fc} inputs=pool3a,pool3b"), &two);
    both("dropout1", "type=dropout inputs=fc2048@", "enable=true keep=0.5");
    for (gpu, (name, inputs)) in [("fc2048ba", "dropout1a,dropout1b"), ("fc2048bb", "dropout1b,dropout1a")].iter().enumerate() {
        pair.layer(name, &format!("{} inputs={inputs}", fc.replace('#', &gpu.to_string())), &two);
    }
    for t in ["a", "b"] {
        pair.layer(&format!("dropout2{t}"), &format!("type=dropout inputs=fc2048b{t}"), "enable=true keep=0.5");
    }
    pair.layer("fc1000", "type=fc outputs=1000 inputs=dropout2a,dropout2b initW=0.01,0.01 gpu=0", &two);
    pair.layer("probs", "type=softmax inputs=fc1000", "");
    pair.layer("logprob", "type=cost.logreg inputs=labels,probs gpu=0", "coeff=1 topk=5");
    pair
}

/// How the nets for CIFAR-10 learn, with this weight decay.
fn cifar(wc: &str) -> String {
    format!("epsW=0.001 epsB=0.002 momW=0.9 momB=0.9 wc={wc}")
}

/// layers-cifar10-11pct; cuda-convnet's layers-conv-local-11pct has `partialSum` in place of `sumWidth` and no `gpu`.
fn cifar_11_percent(sums: [&str; 2], gpu: &str) -> Pair {
    let mut pair = Pair::data("labels");
    let conv = "type=conv filters=64 padding=2 stride=1 filterSize=5 neuron=relu sharedBiases=1";
    pair.layer("conv1", &format!("{conv} inputs=data channels=3 initW=0.0001 {} {gpu}", sums[0]), &cifar("0.000"));
    let pool = "type=pool pool=max start=0 sizeX=3 stride=2 outputsX=0 channels=64";
    pair.layer("pool1", &format!("{pool} inputs=conv1"), "");
    pair.layer("rnorm1", "type=cmrnorm inputs=pool1 channels=64 size=9", "scale=0.001 pow=0.75");
    pair.layer("conv2", &format!("{conv} inputs=rnorm1 channels=64 initW=0.01 {}", sums[1]), &cifar("0.000"));
    pair.layer("rnorm2", "type=cmrnorm inputs=conv2 channels=64 size=9", "scale=0.001 pow=0.75");
    pair.layer("pool2", &format!("{pool} inputs=rnorm2"), "");
    let local = "type=local padding=1 stride=1 filterSize=3 channels=64 neuron=relu initW=0.04";
    pair.layer("local3", &format!("{local} inputs=pool2 filters=64"), &cifar("0.004"));
    pair.layer("local4", &format!("{local} inputs=local3 filters=32"), &cifar("0.004"));
    pair.layer("fc10", "type=fc outputs=10 inputs=local4 initW=0.01", &cifar("0.01"));
    pair.layer("probs", "type=softmax inputs=fc10", "");
    pair.layer("logprob", &format!("type=cost.logreg inputs=labels,probs {gpu}"), "coeff=1");
    pair
}

/// cuda-convnet's layers-80sec, "26% error on CIFAR-10 in 80 seconds".
pub fn cifar_80_seconds() -> Pair {
    let mut pair = Pair::data("labels");
    let conv = "type=conv padding=2 stride=1 filterSize=5 partialSum=4 sharedBiases=1";
    let pool = "type=pool start=0 sizeX=3 stride=2 outputsX=0";
    let learn = cifar("0.004");
    pair.layer("conv1", &format!("{conv} inputs=data channels=3 filters=32 initW=0.0001"), &learn);
    pair.layer("pool1", &format!("{pool} pool=max inputs=conv1 channels=32 neuron=relu"), "");
    pair.layer("conv2", &format!("{conv} inputs=pool1 channels=32 filters=32 neuron=relu initW=0.01"), &learn);
    pair.layer("pool2", &format!("{pool} pool=avg inputs=conv2 channels=32"), "");
    pair.layer("conv3", &format!("{conv} inputs=pool2 channels=32 filters=64 neuron=relu initW=0.01"), &learn);
    pair.layer("pool3", &format!("{pool} pool=avg inputs=conv3 channels=64"), "");
    pair.layer("fc64", "type=fc outputs=64 inputs=pool3 initW=0.1 neuron=relu", &cifar(".03"));
    pair.layer("fc10", "type=fc outputs=10 inputs=fc64 initW=0.1", &cifar(".03"));
    pair.layer("probs", "type=softmax inputs=fc10", "");
    pair.layer("logprob", "type=cost.logreg inputs=labels,probs", "coeff=1");
    pair
}

/// The six of cuda-convnet2, then those of cuda-convnet that differ from all others, by the folder that
/// scripts/fetch-cuda-convnet-configs.sh gives them and their names.
fn published() -> [(&'static str, &'static str, Pair); 8] {
    [
        ("2", "cifar10-11pct", cifar_11_percent(["sumWidth=4", "sumWidth=2"], "gpu=0")),
        ("2", "imagenet-1gpu", data_parallel("0", 0.01, "gpu=0")),
        ("2", "imagenet-2gpu-data", data_parallel("0,1", 0.02, "")),
        ("2", "imagenet-2gpu-model", two_towers()),
        ("2", "imagenet-4gpu-data", data_parallel("0,1,2,3", 0.04, "")),
        ("2", "imagenet-4gpu-data-model", data_and_model_parallel()),
        ("1", "80sec", cifar_80_seconds()),
        ("1", "conv-local-11pct", cifar_11_percent(["partialSum=4", "partialSum=8"], "")),
    ]
}

fn of(name: &str) -> NetSpec {
    published().into_iter().find(|p| p.1 == name).unwrap().2.read()
}

/// The layers of a type.
fn count(spec: &NetSpec, kind: &str) -> usize {
    spec.layers.iter().filter(|l| l.kind == kind).count()
}

fn dexp_from(base: f64, factor: f64, num_steps: u64) -> Schedule {
    Schedule { kind: ScheduleKind::Dexp { target: base / factor, num_steps }, ..Schedule::constant(base) }
}

/// A net's name, how many layers of each type it has, and `[train]`'s learning rate and weight decay.
type Row = (&'static str, &'static [(&'static str, usize)], f64, f64);

/// What each of the six has of each type, and what [train] is made of their parameter files.
#[test]
fn layers_and_training_of_the_six() {
    let constant = Schedule::constant;
    let table: [Row; 6] = [
        ("cifar10-11pct", &[("conv", 2), ("local", 2), ("fc", 1), ("pool", 2), ("lrn", 2)], 0.001, 0.004),
        ("imagenet-1gpu", &[("conv", 5), ("fc", 3), ("pool", 3), ("lrn", 2), ("dropout", 2)], 1.0, 0.0005),
        ("imagenet-2gpu-data", &[("conv", 5), ("fc", 3), ("pool", 3), ("lrn", 2), ("dropout", 2)], 1.0, 0.0005),
        ("imagenet-2gpu-model", &[("conv", 10), ("fc", 5), ("pool", 6), ("lrn", 6), ("dropout", 4)], 1.0, 0.0005),
        ("imagenet-4gpu-data", &[("conv", 5), ("fc", 3), ("pool", 3), ("lrn", 2), ("dropout", 2)], 1.0, 0.0005),
        (
            "imagenet-4gpu-data-model",
            &[("conv", 5), ("fc", 9), ("pool", 3), ("lrn", 2), ("dropout", 8), ("concat", 5)],
            1.0,
            0.0005,
        ),
    ];
    for (name, kinds, rate, decay) in table {
        let spec = of(name);
        for &(kind, wanted) in kinds {
            assert_eq!(count(&spec, kind), wanted, "{kind} layers of {name}");
        }
        let others = ["softmax", "logistic-regression", "data"].map(|kind| count(&spec, kind)).iter().sum::<usize>();
        assert_eq!(spec.layers.len(), others + kinds.iter().map(|k| k.1).sum::<usize>(), "{name}");
        let train = &spec.train;
        assert_eq!((&train.learning_rate, train.weight_decay, train.batch), (&constant(rate), decay, 128), "{name}");
        assert_eq!(train.momentum, constant(0.9), "{name}");
        assert_eq!((spec.data.source.as_str(), spec.data.mean), ("none", convnet::config::Mean::Pixel), "{name}");
    }
}

/// The parameters and multiply-adds of AlexNet: of two towers (Krizhevsky 2012) 60,965,224 and 724,406,816, as Caffe's bvlc_alexnet
/// has, and of one (2014) 61,100,840 and 714,188,480, as torchvision's has; the fully connected layers of the hybrid read what
/// all of its parts make. Of the net for CIFAR-10, whose local layers have weights for each place: 4,864 + 102,464 +
/// (8·8·64·576 + 4,096) + (8·8·32·576 + 2,048) + 20,490. Normalisations have none, and are left out here.
#[test]
fn parameters_are_the_published_ones() {
    for (name, image, classes, parameters, multiply_adds) in [
        ("imagenet-1gpu", 224, 1000, 61_100_840, 714_188_480),
        ("imagenet-2gpu-data", 224, 1000, 61_100_840, 714_188_480),
        ("imagenet-2gpu-model", 224, 1000, 60_965_224, 724_406_816),
        ("imagenet-4gpu-data", 224, 1000, 61_100_840, 714_188_480),
        ("imagenet-4gpu-data-model", 224, 1000, 61_100_840, 714_188_480),
        ("cifar10-11pct", 32, 10, 3_672_906, 34_689_024),
    ] {
        let mut config: toml::Table = of(name).to_toml().parse().unwrap();
        for layer in config["layer"].as_array_mut().unwrap().iter_mut().map(|l| l.as_table_mut().unwrap()) {
            if layer["type"].as_str() == Some("lrn") {
                let kept = ["name", "inputs"].map(|key| (key.to_owned(), layer[key].clone()));
                *layer = kept.into_iter().collect();
                layer.extend(
                    ["type", "neuron"].map(|k| (k.to_owned(), toml::Value::from(if k == "type" { "neuron" } else { "linear" }))),
                );
            }
        }
        let spec = NetSpec::from_toml(&config.to_string(), name, &[]).unwrap();
        let graph = Graph::new(&spec, Shape::new(1, image, image, 3), classes).unwrap_or_else(|e| panic!("{}", e.render(false)));
        assert_eq!((graph.parameter_count(), graph.multiply_adds()), (parameters, multiply_adds), "{name}");
    }
}

/// AlexNet's rates: weights from base to base/250 in four stairs, biases from twice that to a tenth (a 25th) in two, and the
/// convolutions of the hybrid at four times the rate of its fully connected layers.
#[test]
fn rates_of_the_six() {
    for (name, layer, base, factor) in [
        ("imagenet-1gpu", "conv1", 0.01, 10.0),
        ("imagenet-2gpu-data", "fc1000", 0.02, 10.0),
        ("imagenet-2gpu-model", "conv3b", 0.02, 25.0),
        ("imagenet-4gpu-data", "fc4096b", 0.04, 10.0),
        ("imagenet-4gpu-data-model", "conv5", 0.04, 10.0),
        ("imagenet-4gpu-data-model", "fc1024bd", 0.01, 10.0),
    ] {
        let spec = of(name);
        let rates = &spec.layer(layer).unwrap().1.learning_rate;
        assert_eq!(rates.weights, dexp_from(base, 250.0, 4), "{name}");
        assert_eq!(rates.bias, dexp_from(2.0 * base, factor, 2), "{name}");
    }
    let spec = of("cifar10-11pct");
    let decays: Vec<_> = ["conv1", "local3", "fc10"].map(|l| spec.layer(l).unwrap().1.weight_decay.weights).into();
    assert_eq!(decays, [0.0, 1.0, 2.5]);
    for layer in spec.layers.iter().filter(|l| ["conv", "local", "fc"].contains(&l.kind.as_str())) {
        assert_eq!(layer.weight_decay.bias, 0.0, "cuda-convnet decays no biases");
        assert_eq!((layer.learning_rate.weights.base, layer.learning_rate.bias.base), (1.0, 2.0), "{}", layer.name);
    }
}

/// Starts, inputs, placement and norms as the files have them.
#[test]
fn layers_of_the_six_in_detail() {
    let spec = of("imagenet-1gpu");
    let layer = |name: &str| spec.layer(name).unwrap().1.clone();
    assert_eq!(layer("conv1").init.unwrap().kind, InitKind::Gaussian { mean: 0.0, std: 0.01, sparse: None });
    assert_eq!(layer("fc1000").init_bias.unwrap().kind, InitKind::Constant { value: -7.0 });
    assert_eq!(layer("conv1").init_bias, None);
    let number = |name: &str, key: &str| layer(name).keys.get(key).map(|e| e.node.value.clone());
    use convnet::config::Value::{Float, Integer, String};
    for (name, key, wanted) in [
        ("conv1", "filters", Integer(64)),
        ("conv1", "size", Integer(11)),
        ("conv1", "stride", Integer(4)),
        ("conv1", "rounding", String("ceil".into())),
        ("conv2", "padding", Integer(2)),
        ("rnorm1", "size", Integer(5)),
        ("rnorm1", "alpha", Float(0.0001)),
        ("rnorm1", "beta", Float(0.75)),
        ("rnorm1", "k", Integer(2)),
        ("pool1", "pool", String("max".into())),
        ("dropout1", "keep", Float(0.5)),
        ("fc4096a", "outputs", Integer(4096)),
    ] {
        assert_eq!(number(name, key), Some(wanted), "{key} of {name}");
    }
    let inputs = |spec: &NetSpec, name: &str| -> Vec<std::string::String> {
        spec.layer(name).unwrap().1.inputs.iter().map(|i| i.name.clone()).collect()
    };
    assert_eq!(inputs(&spec, "logprob"), ["probs", "labvec"]);
    let towers = of("imagenet-2gpu-model");
    assert_eq!(inputs(&towers, "conv3b"), ["pool2a", "pool2b"]);
    assert_eq!(inputs(&towers, "fc2048bb"), ["dropout1b", "dropout1a"]);
    assert_eq!(towers.layer("conv1b").unwrap().1.gpu, [1]);
    let region = towers.layer("cnorm2a").unwrap().1.keys["region"].node.value.clone();
    assert_eq!(region, String("within-map".into()));
    let hybrid = of("imagenet-4gpu-data-model");
    assert_eq!(hybrid.layer("conv1").unwrap().1.gpu, [0, 1, 2, 3]);
    assert_eq!(inputs(&hybrid, "pass1c"), ["dropout1a", "dropout1b", "dropout1c", "dropout1d"]);
    assert_eq!(inputs(&hybrid, "fc1024bc"), ["pass1c"]);
}

/// What has no effect is said once for each key, with its first place.
#[test]
fn notes_of_the_hybrid() {
    let notes = of("imagenet-4gpu-data-model").notes;
    let starts = ["layers.cfg:16: sumWidth of 'conv1' and 4 more", "params.cfg:51: updatePeriod of 'fc1024a' and 8 more"];
    for start in starts.iter().chain(&["layers.cfg:18: gpu of 'conv1' and 10 more", "params.cfg:142: topk of 'logprob'"]) {
        assert!(notes.iter().any(|n| n.starts_with(&format!("{start} "))), "no note {start:?} in {notes:#?}");
    }
    assert_eq!(notes.len(), 4, "{notes:#?}");
}

/// The published files and those above make the same nets.
#[test]
#[ignore = "needs the files that scripts/fetch-cuda-convnet-configs.sh fetches"]
fn the_published_files_are_these() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cuda-convnet");
    for (version, name, pair) in published() {
        let file = |stem: &str| folder.join(version).join(format!("{stem}-{name}.cfg"));
        let real =
            NetSpec::load_pair(file("layers"), file("layer-params"), &[]).unwrap_or_else(|e| panic!("{}", e.render(false)));
        let ours = pair.read();
        assert_eq!(NetSpec { name: ours.name.clone(), ..real.clone() }, ours, "{name}:\n{}\n{}", real.to_toml(), ours.to_toml());
        assert_eq!(real.name, name);
    }
    for name in ["18pct", "19pct", "conv-local-13pct"] {
        let file = |stem: &str| folder.join("1").join(format!("{stem}-{name}.cfg"));
        NetSpec::load_pair(file("layers"), file("layer-params"), &[]).unwrap_or_else(|e| panic!("{}", e.render(false)));
    }
}
