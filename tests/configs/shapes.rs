//! The output of each layer: torchvision's where it has the net, else the paper's.

use super::{golden, graph};
use convnet::net::{Graph, Node};

/// `conv 55×55×64`, `fc 4096`.
fn output(node: &Node) -> String {
    let shape = node.layer.output();
    if node.kind == "fc" { format!("fc {}", shape.c) } else { format!("{} {}×{}×{}", node.kind, shape.h, shape.w, shape.c) }
}

/// Layers with weights and those that change the size are those of torchvision, in the order in which it runs them.
#[test]
fn layer_by_layer_as_torchvision() {
    for (name, net) in golden()["nets"].as_object().unwrap() {
        let graph = graph(name, &[]);
        let kinds = ["conv", "pool", "fc", "batch-norm"];
        let ours: Vec<String> = graph.nodes.iter().filter(|n| kinds.contains(&n.kind.as_str())).map(output).collect();
        let theirs: Vec<&str> = net["layers"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
        assert_eq!(ours, theirs, "{name}");
        assert_eq!(graph.parameter_count() as u64, net["parameters"].as_u64().unwrap(), "{name}");
    }
}

/// Fails unless these layers have these outputs, height × width × channels.
#[track_caller]
fn has(graph: &Graph, outputs: &[(&str, [usize; 3])]) {
    for &(name, wanted) in outputs {
        let node = graph.nodes.iter().find(|n| n.name == name);
        let s = node.unwrap_or_else(|| panic!("{} has no '{name}'", graph.name)).layer.output();
        assert_eq!([s.h, s.w, s.c], wanted, "{} of {}", name, graph.name);
    }
}

/// Szegedy et al. 2014, table 1, and what the text says of the auxiliary classifiers.
#[test]
fn googlenet_as_in_table_1() {
    has(
        &graph("googlenet", &[]),
        &[
            ("conv1_7x7", [112, 112, 64]),
            ("pool1", [56, 56, 64]),
            ("conv2_3x3", [56, 56, 192]),
            ("pool2", [28, 28, 192]),
            ("inception_3a", [28, 28, 256]),
            ("inception_3b", [28, 28, 480]),
            ("pool3", [14, 14, 480]),
            ("inception_4a", [14, 14, 512]),
            ("inception_4b", [14, 14, 512]),
            ("inception_4c", [14, 14, 512]),
            ("inception_4d", [14, 14, 528]),
            ("inception_4e", [14, 14, 832]),
            ("pool4", [7, 7, 832]),
            ("inception_5a", [7, 7, 832]),
            ("inception_5b", [7, 7, 1024]),
            ("pool5", [1, 1, 1024]),
            ("classifier", [1, 1, 1000]),
            ("aux1_pool", [4, 4, 512]),
            ("aux2_pool", [4, 4, 528]),
        ],
    );
}

/// Krizhevsky et al. 2012, section 3.5 and figure 2: of each tower, and of both in one.
#[test]
fn alexnet_as_in_figure_2() {
    let both = [("conv1", 55, 48), ("pool1", 27, 48), ("conv2", 27, 128), ("pool2", 13, 128)];
    let both = both.into_iter().chain([("conv3", 13, 192), ("conv4", 13, 192), ("conv5", 13, 128), ("pool5", 6, 128)]);
    let (towers, one) = (graph("alexnet-two-tower", &[]), graph("alexnet", &[]));
    for (layer, side, maps) in both {
        for tower in ["a", "b"] {
            has(&towers, &[(&format!("{layer}{tower}"), [side, side, maps])]);
        }
        has(&one, &[(layer, [side, side, 2 * maps])]);
    }
}

/// Zeiler and Fergus 2013, figure 3.
#[test]
fn zfnet_as_in_figure_3() {
    let layers = [("conv1", 110, 96), ("pool1", 55, 96), ("conv2", 26, 256), ("pool2", 13, 256), ("conv3", 13, 384)];
    let layers = layers.into_iter().chain([("conv4", 13, 384), ("conv5", 13, 256), ("pool5", 6, 256)]);
    for (layer, side, maps) in layers {
        has(&graph("zfnet", &[]), &[(layer, [side, side, maps])]);
    }
}

/// Sermanet et al. 2013, tables 1 and 3: the inputs of the layers behind the pools. (Table 1 gives conv2 of the fast net its
/// output's 24×24.)
#[test]
fn overfeat_as_in_tables_1_and_3() {
    has(&graph("overfeat-fast", &[]), &[("conv2", [24, 24, 256]), ("pool2", [12, 12, 256]), ("conv4", [12, 12, 1024])]);
    has(&graph("overfeat-fast", &[]), &[("pool5", [6, 6, 1024]), ("fc6", [1, 1, 3072])]);
    has(&graph("overfeat-accurate", &[]), &[("pool1", [36, 36, 96]), ("pool2", [15, 15, 256]), ("conv4", [15, 15, 512])]);
    has(&graph("overfeat-accurate", &[]), &[("pool6", [5, 5, 1024]), ("fc7", [1, 1, 4096])]);
}

/// LeCun et al. 1998, figure 2, and the trainable parameters that the text gives for each layer.
#[test]
fn lenet_5_as_in_figure_2() {
    let graph = graph("lenet-5", &[]);
    let outputs = [("c1", 28, 6), ("s2", 14, 6), ("c3", 10, 16), ("s4", 5, 16), ("c5", 1, 120), ("f6", 1, 84)];
    for (layer, side, maps) in outputs {
        has(&graph, &[(layer, [side, side, maps])]);
    }
    let parameters = [("c1", 156), ("s2", 12), ("c3", 1516), ("s4", 32), ("c5", 48_120), ("f6", 10_164)];
    for (layer, wanted) in parameters {
        let of = |name: &str| name == layer || (layer == "c3" && name.starts_with("c3_"));
        let own = (0..graph.nodes.len()).filter(|&i| of(&graph.nodes[i].name)).map(|i| graph.own_parameter_count(i));
        assert_eq!(own.sum::<usize>(), wanted, "{layer}");
    }
}
