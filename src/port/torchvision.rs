//! The names of torchvision's modules, for nets that are among its own: AlexNet, VGG, ResNet and SqueezeNet 1.1. A net is one of them
//! where its layers with parameters are of the same kinds in the same order, and its filters have the same extents; fully
//! connected layers may have others, as those of other images and classes do.

use crate::layer::ParameterRole;
use crate::net::Graph;

/// What a module is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A convolution of so many filters, each of channels × rows × columns; any number of filters where that is none.
    Conv(Option<usize>, [usize; 3]),
    /// A batch normalisation.
    Norm,
    /// A fully connected layer.
    Full,
}

/// A net's modules with parameters, in the order in which they run.
type Modules = Vec<(String, Kind)>;

/// The names of torchvision's modules for some layers of a net, where it is one of its nets.
pub(super) fn names(graph: &Graph, layers: &[usize]) -> Option<Vec<String>> {
    let kinds: Vec<Kind> = layers.iter().map(|&i| kind(graph, i)).collect::<Option<_>>()?;
    let fits = |wanted: Kind, found: Kind| match (wanted, found) {
        (Kind::Conv(None, a), Kind::Conv(_, b)) => a == b,
        _ => wanted == found,
    };
    let is = |net: &Modules| net.len() == kinds.len() && net.iter().zip(&kinds).all(|((_, wanted), &found)| fits(*wanted, found));
    nets().into_iter().find(is).map(|net| net.into_iter().map(|(name, _)| name).collect())
}

fn kind(graph: &Graph, layer: usize) -> Option<Kind> {
    let node = &graph.nodes[layer];
    match node.kind.as_str() {
        "conv" => {
            let weights =
                node.parameters.iter().map(|&k| &graph.parameters[k].spec).find(|p| p.role == ParameterRole::Weights)?;
            Some(Kind::Conv(Some(weights.shape.n), [weights.shape.c, weights.shape.h, weights.shape.w]))
        }
        "batch-norm" => Some(Kind::Norm),
        "fc" => Some(Kind::Full),
        _ => None,
    }
}

fn nets() -> Vec<Modules> {
    let mut nets = vec![alexnet(), squeezenet()];
    nets.extend(VGG.iter().map(|stages| vgg(*stages)));
    nets.extend([
        resnet([2, 2, 2, 2], false),
        resnet([3, 4, 6, 3], false),
        resnet([3, 4, 6, 3], true),
        resnet([3, 4, 23, 3], true),
    ]);
    nets
}

fn conv(name: impl ToString, filters: usize, channels: usize, side: usize) -> (String, Kind) {
    (name.to_string(), Kind::Conv(Some(filters), [channels, side, side]))
}

/// The three layers behind the features, by their numbers.
fn classifier(numbers: [usize; 3]) -> impl Iterator<Item = (String, Kind)> {
    numbers.into_iter().map(|i| (format!("classifier.{i}"), Kind::Full))
}

fn alexnet() -> Modules {
    let filters = [(0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3)];
    let features = filters.into_iter().map(|(i, filters, channels, side)| conv(format!("features.{i}"), filters, channels, side));
    features.chain(classifier([1, 4, 6])).collect()
}

/// Convolutions of each stage of VGG-11, -13, -16 and -19.
const VGG: [[usize; 5]; 4] = [[1, 1, 2, 2, 2], [2, 2, 2, 2, 2], [2, 2, 3, 3, 3], [2, 2, 4, 4, 4]];

fn vgg(stages: [usize; 5]) -> Modules {
    let (mut modules, mut number, mut channels) = (Vec::new(), 0, 3);
    for (convolutions, filters) in stages.into_iter().zip([64, 128, 256, 512, 512]) {
        for _ in 0..convolutions {
            modules.push(conv(format!("features.{number}"), filters, channels, 3));
            channels = filters;
            // Behind each is a ReLU, and behind the stage a pooling layer.
            number += 2;
        }
        number += 1;
    }
    modules.extend(classifier([0, 3, 6]));
    modules
}

fn resnet(blocks: [usize; 4], bottleneck: bool) -> Modules {
    let mut modules = vec![conv("conv1", 64, 3, 7), ("bn1".to_owned(), Kind::Norm)];
    let mut channels = 64;
    for (stage, &count) in (1..).zip(&blocks) {
        let planes = 64 << (stage - 1);
        let out = if bottleneck { 4 * planes } else { planes };
        for block in 0..count {
            let name = |part: String| format!("layer{stage}.{block}.{part}");
            let convolutions = match bottleneck {
                true => vec![(planes, channels, 1), (planes, planes, 3), (out, planes, 1)],
                false => vec![(planes, channels, 3), (planes, planes, 3)],
            };
            for (i, (filters, channels, side)) in (1..).zip(convolutions) {
                modules.push(conv(name(format!("conv{i}")), filters, channels, side));
                modules.push((name(format!("bn{i}")), Kind::Norm));
            }
            if channels != out {
                modules.push(conv(name("downsample.0".to_owned()), out, channels, 1));
                modules.push((name("downsample.1".to_owned()), Kind::Norm));
            }
            channels = out;
        }
    }
    modules.push(("fc".to_owned(), Kind::Full));
    modules
}

fn squeezenet() -> Modules {
    let mut modules = vec![conv("features.0", 64, 3, 3)];
    let mut channels = 64;
    for (number, squeezed) in [(3, 16), (4, 16), (6, 32), (7, 32), (9, 48), (10, 48), (11, 64), (12, 64)] {
        let (name, expanded) = (|part| format!("features.{number}.{part}"), 4 * squeezed);
        modules.push(conv(name("squeeze"), squeezed, channels, 1));
        modules.push(conv(name("expand1x1"), expanded, squeezed, 1));
        modules.push(conv(name("expand3x3"), expanded, squeezed, 3));
        channels = 2 * expanded;
    }
    modules.push(("classifier.1".to_owned(), Kind::Conv(None, [channels, 1, 1])));
    modules
}

#[cfg(test)]
mod tests {
    use super::super::Parameters;
    use super::*;
    use crate::config::NetSpec;
    use crate::device::Shape;

    fn named(config: &str) -> Option<Vec<String>> {
        let spec = NetSpec::load(format!("{}/configs/{config}.toml", env!("CARGO_MANIFEST_DIR")), &[]).unwrap();
        let graph = Graph::new(&spec, Shape::new(1, 224, 224, 3), 1000).unwrap();
        names(&graph, &Parameters::new(&graph).layers())
    }

    /// Names as `torchvision.models.NAME().state_dict()` has them.
    #[test]
    fn torchvision_s_nets_have_its_names() {
        for (config, modules, some) in [
            ("alexnet-one-weird-trick", 8, &[(0, "features.0"), (4, "features.10"), (7, "classifier.6")][..]),
            ("vgg-a", 11, &[(1, "features.3"), (7, "features.18"), (8, "classifier.0")]),
            ("vgg-b", 13, &[(1, "features.2"), (9, "features.22")]),
            ("vgg-d", 16, &[(12, "features.28"), (15, "classifier.6")]),
            ("vgg-e", 19, &[(15, "features.34")]),
            ("resnet-18", 41, &[(14, "layer2.0.downsample.0"), (39, "layer4.1.bn2"), (40, "fc")]),
            ("resnet-34", 73, &[(71, "layer4.2.bn2")]),
            ("resnet-50", 107, &[(8, "layer1.0.downsample.0"), (104, "layer4.2.conv3")]),
            ("squeezenet-1.1", 26, &[(3, "features.3.expand3x3"), (24, "features.12.expand3x3"), (25, "classifier.1")]),
        ] {
            let names = named(config).unwrap_or_else(|| panic!("{config} is none of torchvision's"));
            assert_eq!(names.len(), modules, "{config}: {names:?}");
            some.iter().for_each(|&(i, name)| assert_eq!(names[i], name, "{config}"));
        }
        for config in ["alexnet", "vgg-c", "googlenet", "zfnet"] {
            assert_eq!(named(config), None, "{config}");
        }
    }
}
