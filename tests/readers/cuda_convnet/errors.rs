//! What is wrong with a pair ends the command with status 2 and one message that shows the line of the file at fault.

use crate::common::Folder;
use std::fs;

/// A pair that is sound before it is spoiled.
const LAYERS: &str = "\
[data]
type=data
dataIdx=0

[labels]
type=data
dataIdx=1

[conv1]
type=conv
inputs=data
channels=1
filters=16
filterSize=5
padding=2
stride=1
initW=0.01
neuron=relu

[pool1]
type=pool
pool=max
inputs=conv1
channels=16
sizeX=3
stride=2

[fc10]
type=fc
inputs=pool1
outputs=10
initW=0.1

[probs]
type=softmax
inputs=fc10

[logprob]
type=cost.logreg
inputs=labels,probs
";
const PARAMS: &str = "\
[conv1]
epsW=0.001
epsB=0.002
momW=0.9
momB=0.9
wc=0.004

[fc10]
epsW=0.001
epsB=0.002
momW=0.9
momB=0.9
wc=0.03

[logprob]
coeff=1
";

fn folder(layers: &str, params: &str) -> Folder {
    let folder = Folder::new("");
    fs::write(folder.path("layers.cfg"), layers).unwrap();
    fs::write(folder.path("params.cfg"), params).unwrap();
    folder
}

const PAIR: [&str; 4] = ["--layer-def", "layers.cfg", "--layer-params", "params.cfg"];

fn summary(folder: &Folder, more: &[&str]) -> crate::common::Ended {
    folder.convnet(&[&["summary"], PAIR.as_slice(), more].concat())
}

/// The pair is sound: it is summarised for the digits that are built in.
#[test]
fn the_pair_of_these_tests_is_sound() {
    let ended = summary(&folder(LAYERS, PARAMS), &["--data", "mnist-10k"]).ended(0);
    assert!(ended.stdout.contains("conv1") && ended.stderr.is_empty(), "{}{}", ended.stdout, ended.stderr);
}

/// Without images to be for, it says which arguments give some, and where the files say that it reads them.
#[test]
fn without_images_it_says_how_to_give_some() {
    let folder = folder(LAYERS, PARAMS);
    let wanted = ["layers.cfg:3:9", "which images", "--data DATA", "data.source=synthetic", "data.synthetic.shape="];
    for command in ["train", "summary", "check", "bench"] {
        folder.convnet(&[&[command], PAIR.as_slice()].concat()).failed(2, &wanted);
    }
    summary(&folder, &["--set", "data.source=synthetic", "--set", "data.synthetic.shape=[20,24,1]"]).ended(0);
}

/// Which file is spoiled.
#[derive(Clone, Copy)]
enum In {
    Layers,
    Params,
}
use In::{Layers, Params};

/// In a file, this text becomes that; the message has the file and line, and says this.
type Row = (In, &'static str, &'static str, &'static str, &'static [&'static str]);

const TABLE: &[Row] = &[
    // Syntax.
    (Layers, "[data]\n", "", "layers.cfg:1:1", &["in no section", "[conv1]"]),
    (Layers, "stride=1\n", "stride 1\n", "layers.cfg:16:1", &["neither a section nor a key"]),
    (Layers, "[pool1]\n", "[pool1\n", "layers.cfg:20:1", &["neither a section nor a key"]),
    (Layers, "initW=0.01\n", "initW=%(w)s\n", "layers.cfg:17:7", &["refer to others by %"]),
    (Layers, "[conv1]\n", "[conv1]\n  type=conv\n", "layers.cfg:10:3", &["starts with a space"]),
    (Layers, "stride=1\n", "stride=1\n  initW=0.01\n", "layers.cfg:16:8", &["stride must be a whole number", "an indented line"]),
    (Params, "wc=0.004\n", "wc=0.004 # strong\n", "params.cfg:6:4", &["wc must be a number", "a comment has a line of its own"]),
    // Sections that are in one file alone; both are named.
    (Params, "[fc10]\n", "[fc11]\n", "params.cfg:8:2", &["layers.cfg has no layer 'fc11'", "did you mean 'fc10'?"]),
    (Layers, "[fc10]\n", "[fc11]\n", "params.cfg:8:2", &["layers.cfg has no layer 'fc10'", "did you mean 'fc11'?"]),
    (Params, "[logprob]\ncoeff=1\n", "", "layers.cfg:38:2", &["params.cfg has no section", "[logprob]", "coeff"]),
    // Types, keys and values.
    (Layers, "type=conv\n", "type=cnov\n", "layers.cfg:10:6", &["unknown type 'cnov'", "did you mean 'conv'?"]),
    (Layers, "type=conv\n", "", "layers.cfg:9:2", &["layer 'conv1': missing key 'type'"]),
    (Layers, "filters=16\n", "fliters=16\n", "layers.cfg:13:1", &["unknown key 'fliters' of a conv layer", "'filters'?"]),
    (Layers, "filters=16\n", "", "layers.cfg:9:2", &["layer 'conv1': missing key 'filters'", "add filters=…"]),
    (Layers, "filters=16\n", "filters=16\nepsW=1\n", "layers.cfg:14:1", &["unknown key 'epsW'", "section in params.cfg"]),
    (Params, "wc=0.03\n", "wc=0.03\noutputs=10\n", "params.cfg:14:1", &["unknown key 'outputs'", "section in layers.cfg"]),
    (Params, "epsW=0.001\n", "", "params.cfg:1:2", &["layer 'conv1': missing key 'epsW'"]),
    (Params, "epsB=0.002\n", "", "params.cfg:1:2", &["layer 'conv1': missing key 'epsB'"]),
    (Params, "momB=0.9\n", "", "params.cfg:1:2", &["layer 'conv1': missing key 'momB'"]),
    (Params, "coeff=1\n", "", "params.cfg:15:2", &["layer 'logprob': missing key 'coeff'"]),
    (Params, "[conv1]\n", "[DEFAULT]\nmomw=0.9\nfoo=1\n[conv1]\n", "params.cfg:3:1", &["unknown key 'foo' in [DEFAULT]"]),
    (Layers, "filters=16\n", "filters=16.5\n", "layers.cfg:13:9", &["filters must be a whole number, not '16.5'"]),
    (Layers, "filters=16\n", "filters=0\n", "layers.cfg:13:9", &["filters must be at least 1, not 0"]),
    (Layers, "filters=16\n", "filters=\n", "layers.cfg:13:1", &["filters must be a whole number, not ''"]),
    (Layers, "filters=16\n", "filters=99999999999999999999\n", "layers.cfg:13:9", &["filters must be a whole number"]),
    (Layers, "filters=16\n", "filters=4294967296\ngroups=4294967296\n", "layers.cfg:13:9", &["too many filters"]),
    (Layers, "outputs=10\n", "outputs=9999999999\n", "layers.cfg:31:9", &["outputs must be at most 4294967295"]),
    (Layers, "filters=16\n", "filters=16,16\n", "layers.cfg:13:9", &["filters has 2 values for 1 inputs"]),
    (Layers, "padding=2\n", "padding=-1\n", "layers.cfg:15:9", &["padding must be at least 0, not -1"]),
    (Layers, "sizeX=3\n", "sizeX=3\nstart=40\n", "layers.cfg:25:1", &["layer 'pool1'", "its input of 28"]),
    (Layers, "channels=16\n", "channels=8\n", "layers.cfg:24:10", &["channels = 8, but its input 'conv1' has 16"]),
    (Layers, "initW=0.01\n", "initW=nan\n", "layers.cfg:17:7", &["initW must be a number, not 'nan'"]),
    (Layers, "neuron=relu\n", "neuron=rellu\n", "layers.cfg:18:8", &["unknown neuron 'rellu'", "did you mean 'relu'?"]),
    (Layers, "neuron=relu\n", "neuron=tanh[1,2,3]\n", "layers.cfg:18:8", &["neuron takes at most 2 numbers, not 3"]),
    (Layers, "neuron=relu\n", "neuron=relu\ngpu=a\n", "layers.cfg:19:5", &["gpu must be a whole number, not 'a'"]),
    (Layers, "pool=max\n", "pool=maxabs\n", "layers.cfg:22:6", &["there is no pool 'maxabs'", "max, avg"]),
    (Layers, "pool=max\n", "pool=avg\nsum=1\n", "layers.cfg:23:5", &["pools that sum their windows are not there"]),
    (
        Params,
        "epsW=0.001\n",
        "epsW=dexp[base=1]\n",
        "params.cfg:2:6",
        &["epsW must be a number, const[base=…]", "'dexp[base=1]'"],
    ),
    (Params, "epsW=0.001\n", "epsW=step[base=1]\n", "params.cfg:2:6", &["epsW must be a number, const[base=…]"]),
    (
        Params,
        "epsW=0.001\n",
        "epsW=exp[base=1;tgtFactor=0]\n",
        "params.cfg:2:6",
        &["layer 'conv1'", "target_factor must be above 0"],
    ),
    (Params, "epsW=0.001\n", "epsW=-0.001\n", "params.cfg:2:6", &["learning_rate must be at least 0"]),
    (Params, "momW=0.9\n", "momW=1\n", "params.cfg:4:6", &["momentum", "must be at least 0 and below 1, not 1"]),
    (Params, "wc=0.004\n", "wc=-0.004\n", "params.cfg:6:4", &["must be at least 0, not -0.004"]),
    (Params, "wc=0.004\n", "wc=0.004\ndropout=1\n", "params.cfg:7:9", &["dropout must be at least 0 and below 1, not 1"]),
    // What layers read.
    (Layers, "inputs=pool1\n", "", "layers.cfg:28:2", &["layer 'fc10': missing key 'inputs'"]),
    (Layers, "inputs=pool1\n", "inputs=pool2\n", "layers.cfg:30:8", &["no layer has the name 'pool2'", "did you mean 'pool1'?"]),
    (Layers, "inputs=pool1\n", "inputs=probs\n", "layers.cfg:30:8", &["'probs' is defined below", "above this one"]),
    (Layers, "inputs=pool1\n", "inputs=fc10\n", "layers.cfg:30:8", &["a layer cannot read itself"]),
    (Layers, "inputs=pool1\n", "inputs=pool1,,conv1\n", "layers.cfg:30:8", &["no layer has the name ''"]),
    (Layers, "inputs=conv1\n", "inputs=conv1,data\n", "layers.cfg:23:8", &["this layer reads 1 layer, not 2"]),
    (Layers, "inputs=labels,probs\n", "inputs=probs,labels\n", "layers.cfg:40:1", &["layer 'logprob'", "labels"]),
    (Layers, "dataIdx=0\n", "dataIdx=7\n", "layers.cfg:3:9", &["dataIdx = 7: there is no such data", "2 the labels as a matrix"]),
    (Layers, "dataIdx=0\n", "dataIdx=0\nend=100\n", "layers.cfg:4:5", &["cannot read a part of the data's values"]),
    // What cannot be done here.
    (
        Layers,
        "stride=1\n",
        "stride=1\nrandSparse=1\ngroups=2\n",
        "layers.cfg:17:12",
        &["random sparse connections are not there"],
    ),
    (Layers, "stride=1\n", "stride=1\nmodulesX=28\n", "layers.cfg:17:10", &["the number of outputs cannot be given"]),
    (
        Layers,
        "stride=1\n",
        "stride=1\ninitWFunc=initw.make(3)\n",
        "layers.cfg:17:11",
        &["function of Python", "layer.conv1.init={"],
    ),
    (
        Layers,
        "stride=1\n",
        "stride=1\ninitBFunc=initw.make\n",
        "layers.cfg:17:11",
        &["function of Python", "layer.conv1.init_bias={"],
    ),
    (Params, "wc=0.004\n", "wc=0.004\nwcNormMax=1\n", "params.cfg:7:11", &["not held to a standard deviation"]),
    (Params, "wc=0.004\n", "wc=0.004\nupdatePeriod=4\n", "params.cfg:7:14", &["updated less often", "train.batch"]),
    (
        Layers,
        "initW=0.1\n",
        "initW=0.1\nweightSource=conv1\n",
        "layers.cfg:33:14",
        &["'conv1' is a conv layer, this is a fc layer"],
    ),
    (Layers, "initW=0.1\n", "initW=0.1\nweightSource=fc9\n", "layers.cfg:33:14", &["there is no layer 'fc9' above"]),
    (Layers, "initW=0.1\n", "initW=0.1\nweightSource=fc10[0]\n", "layers.cfg:33:14", &["there are no weights 'fc10[0]' by then"]),
    (Layers, "initW=0.1\n", "initW=0.1\nweightSource=fc10[x]\n", "layers.cfg:33:14", &["weightSource must name layers"]),
    (Layers, "initW=0.1\n", "initW=0.1\nweightSource=fc9,fc8\n", "layers.cfg:33:14", &["weightSource has 2 layers for 1 inputs"]),
    (
        Layers,
        "[conv1]\n",
        "[s]\ntype=rscale\ninputs=data\nchannels=1\nmaxScale=1.2\n[conv1]\n",
        "layers.cfg:9:2",
        &["missing key 'tgtSize'"],
    ),
    (
        Layers,
        "[conv1]\n",
        "[s]\ntype=resize\ninputs=data\nchannels=1\nscale=0\n[conv1]\n",
        "layers.cfg:13:7",
        &["scale must be above 0, not 0"],
    ),
    (Layers, "[probs]\ntype=softmax\n", "[probs]\ntype=sum\n", "layers.cfg:35:6", &["there is no layer that sums"]),
];

/// Every row gets its one message with its place, and status 2; nothing panics.
#[test]
fn every_mistake_is_shown_where_it_is() {
    assert!(TABLE.len() >= 25);
    for (i, (file, from, to, place, wanted)) in TABLE.iter().enumerate() {
        let text = if let Layers = file { LAYERS } else { PARAMS };
        assert!(text.contains(from), "row {i}: there is no {from:?} to replace");
        let spoiled = text.replacen(from, to, 1);
        let folder = if let Layers = file { folder(&spoiled, PARAMS) } else { folder(LAYERS, &spoiled) };
        eprintln!("row {i}: {from:?} → {to:?}");
        summary(&folder, &["--data", "mnist-10k"]).failed(2, &[&[*place], *wanted].concat());
    }
}

/// A layer that shares weights learns as their owner, here as there.
#[test]
fn shared_weights_learn_in_one_way() {
    let again = "[fc11]\ntype=fc\ninputs=pool1\noutputs=10\ninitW=0.1\nweightSource=fc10\n[probs]\n";
    let layers = LAYERS.replace("[probs]\n", again);
    for (key, line, other) in [("epsW", 15, "0.002"), ("momW", 17, "0.5"), ("wc", 19, "0")] {
        let mut params = format!("{PARAMS}[fc11]\nepsW=0.001\nepsB=0.002\nmomW=0.9\nmomB=0.9\nwc=0.03\n");
        let at = params.rfind(&format!("{key}=")).unwrap() + key.len() + 1;
        let end = at + params[at..].find('\n').unwrap();
        params.replace_range(at..end, other);
        let place = format!("params.cfg:{}:{}", line + 3, key.len() + 2);
        let message = format!("{key} differs from that of 'fc10[0]'");
        summary(&folder(&layers, &params), &["--data", "mnist-10k"]).failed(2, &[&place, &message]);
    }
}

/// Files that are not there, are no text or are too large, and arguments that do not go together.
#[test]
fn files_and_arguments() {
    let folder = folder(LAYERS, PARAMS);
    fs::write(folder.path("binary.cfg"), b"[data]\n\xff").unwrap();
    fs::write(folder.path("large.cfg"), vec![b'\n'; 5 << 20]).unwrap();
    fs::write(folder.path("net.toml"), "").unwrap();
    let pair = |layers, params| folder.convnet(&["summary", "--layer-def", layers, "--layer-params", params]);
    pair("none.cfg", "params.cfg").failed(2, &["cannot read 'none.cfg': there is no such file"]);
    pair("layers.cfg", "none.cfg").failed(2, &["cannot read 'none.cfg': there is no such file"]);
    pair("binary.cfg", "params.cfg").failed(2, &["not UTF-8", "binary.cfg:2:1"]);
    pair("layers.cfg", "large.cfg").failed(2, &["'large.cfg' is too large for a config: more than 4 MiB"]);
    pair("params.cfg", "layers.cfg").failed(2, &["layers.cfg defines layers, params.cfg does not", "layers.cfg:1:2"]);
    fs::write(folder.path("empty.cfg"), "").unwrap();
    pair("empty.cfg", "empty.cfg").failed(2, &["empty.cfg has no layers"]);
    folder.convnet(&["summary", "--layer-def", "layers.cfg"]).failed(2, &["--layer-params"]);
    folder.convnet(&["summary", "--layer-params", "params.cfg"]).failed(2, &["--layer-def"]);
    folder.convnet(&[&["summary", "net.toml"], PAIR.as_slice()].concat()).failed(2, &["cannot be used with"]);
    folder.convnet(&["summary"]).failed(2, &["required"]);
    // A mistake in an argument shows the argument.
    summary(&folder, &["--set", "train.batch=0"]).failed(2, &["command line:1:", "train.batch"]);
}
