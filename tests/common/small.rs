//! Small nets as configs, which several tests train.

/// A config whose last layers are the softmax and the cost of a classifier; what is given ends in the layer of its classes' scores.
macro_rules! classifier {
    ($config:literal) => {
        concat!(
            $config,
            "[[layer]]\nname = \"probabilities\"\ntype = \"softmax\"\n[[layer]]\nname = \"cost\"\ntype = \"logistic-regression\"\n"
        )
    };
}
pub(crate) use classifier;

/// LeNet as in configs/lenet.toml, without the dropout.
pub const LENET: &str = classifier!(
    r#"
name = "lenet-plain"
[data]
source = "mnist-10k"
[train]
batch = 64
epochs = 1
seed = 1
learning_rate = 0.01
[[layer]]
name = "conv1"
type = "conv"
filters = 20
size = 5
[[layer]]
name = "pool1"
type = "pool"
pool = "max"
size = 2
stride = 2
[[layer]]
name = "conv2"
type = "conv"
filters = 50
size = 5
[[layer]]
name = "pool2"
type = "pool"
pool = "max"
size = 2
stride = 2
[[layer]]
name = "fc1"
type = "fc"
outputs = 500
neuron = "relu"
[[layer]]
name = "fc2"
type = "fc"
outputs = 10
"#
);

/// A net of 1,554 parameters with everything that is random (shuffling, shifts, dropout), and 300 steps of training with
/// lines and checkpoints at numbers of steps that have little in common.
pub const SMALL: &str = classifier!(
    r#"
name = "small"
[data]
source = "mnist-10k"
train_images = 640
test_images = 100
augment = { translate = 2 }
[train]
batch = 32
epochs = 15
seed = 3
learning_rate = { schedule = "cosine", base = 0.05 }
momentum = 0.9
weight_decay = 0.0005
log_every = 5
test_every = 50
checkpoint_every = 7
[[layer]]
name = "conv1"
type = "conv"
filters = 4
size = 5
stride = 2
neuron = "relu"
[[layer]]
name = "pool1"
type = "pool"
pool = "max"
size = 2
stride = 2
[[layer]]
name = "drop1"
type = "dropout"
keep = 0.8
[[layer]]
name = "fc1"
type = "fc"
outputs = 10
"#
);

/// A trunk whose five ends are costs of as many kinds, with lines and checkpoints at numbers of steps that have little in
/// common.
pub const COSTS: &str = r#"
name = "costs"
[data]
source = "mnist-10k"
train_images = 320
test_images = 100
[train]
batch = 32
epochs = 6
seed = 3
learning_rate = 0.02
log_every = 5
test_every = 20
checkpoint_every = 7
keep = 100
[[layer]]
name = "trunk"
type = "fc"
outputs = 32
neuron = "tanh[1,1]"
[[layer]]
name = "scores"
type = "fc"
outputs = 10
[[layer]]
name = "probabilities"
type = "softmax"
[[layer]]
name = "classes"
type = "logistic-regression"
smoothing = 0.1
[[layer]]
name = "target"
type = "one-hot"
inputs = ["labels"]
classes = 10
[[layer]]
name = "soft"
type = "cross-entropy"
inputs = ["probabilities", "target"]
coefficient = 0.5
[[layer]]
name = "present"
type = "fc"
inputs = ["trunk"]
outputs = 10
neuron = "logistic"
[[layer]]
name = "detection"
type = "detection-cross-entropy"
inputs = ["present", "target"]
positive_weight = 2.0
coefficient = 0.25
[[layer]]
name = "margin"
type = "hinge"
inputs = ["scores"]
coefficient = 0.1
[[layer]]
name = "rebuilt"
type = "fc"
inputs = ["trunk"]
outputs = 784
[[layer]]
name = "likeness"
type = "sum-of-squares"
inputs = ["rebuilt", "data"]
coefficient = 0.001
"#;
