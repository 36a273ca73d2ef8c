//! The configs that come with the program: their published counts and shapes, that they take two steps, and that the nets
//! which torchvision has too compute what it computes.

mod shapes;
mod steps;

#[path = "../common/nets.rs"]
mod nets;

use convnet::device::Shape;
use convnet::device::cpu::CpuDevice;
use convnet::net::Graph;
use nets::{golden, spec};

/// The names of all configs, sorted.
fn names() -> Vec<String> {
    let files = std::fs::read_dir("configs").unwrap();
    let mut names: Vec<String> = files.map(|f| f.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// The graph of a config for one image, without its data.
fn graph(name: &str, sets: &[&str]) -> Graph {
    let spec = spec(name, sets);
    let [h, w, c] = spec.data.synthetic.as_ref().map_or([28, 28, 1], |s| s.shape);
    // Pairs are two images, labelled alike or not.
    let c = if spec.data.pairs { 2 * c } else { c };
    let classes = if spec.data.pairs { 2 } else { spec.data.synthetic.as_ref().map_or(10, |s| s.classes) };
    Graph::new(&spec, Shape::new(1, h, w, c), classes).unwrap_or_else(|e| panic!("{}", e.render(false)))
}

/// Parameters of every config, as published or, where the source says none, as its layers add up to.
const PARAMETERS: &[(&str, usize)] = &[
    // 784·500 + 500 to the features, 500·784 + 784 back.
    ("autoencoder", 785_284),
    // Caffe's bvlc_alexnet, and the paper's net of two towers.
    ("alexnet", 60_965_224),
    ("alexnet-two-tower", 60_965_224),
    // torchvision's AlexNet_Weights, num_params.
    ("alexnet-one-weird-trick", 61_100_840),
    // Caffe's cifar10_quick: 2,432 + 25,632 + 51,264 + 65,600 + 650.
    ("cifar10-quick", 145_578),
    // Caffe's bvlc_googlenet: 6,998,552 without the auxiliary classifiers, which have 3,188,840 and 3,190,888.
    ("googlenet", 13_378_280),
    // conv 4,864 + 102,464; local, on 6×6 places, 36·(576 + 1)·32 + 36·(288 + 1)·32; fc 11,530.
    ("layers-13pct", 1_116_490),
    // 2,432 + 25,632 + 51,264 + 10,250; normalisation has none.
    ("layers-18pct", 89_578),
    ("layers-19pct", 89_578),
    ("layers-80sec", 145_578),
    // conv 4,864 + 102,464; local 36·(576 + 1)·64 + 36·(576 + 1)·32; fc 11,530.
    ("layers-conv-local-11pct", 2_112_970),
    // Caffe's LeNet.
    ("lenet", 431_080),
    ("lenet-shift", 431_080),
    // 784·500 + 500, 500·500 + 500, 500·10 + 10.
    ("mnist-pretrained", 648_010),
    // LeCun et al. 1998: 156 + 12 + 1,516 + 32 + 48,120 + 10,164 = 60,000 to F6; and 850 of the outputs here.
    ("lenet-5", 60_850),
    // As the layers of the authors' Caffe models add up to: files of 3.7 and 29 MiB.
    ("nin-cifar10", 966_986),
    ("nin-imagenet", 7_595_176),
    // Sermanet et al. 2013, table 4: 144 and 145 million.
    ("overfeat-accurate", 144_656_488),
    ("overfeat-fast", 145_920_872),
    // torchvision's ResNet…_Weights.
    ("resnet-18", 11_689_512),
    ("resnet-34", 21_797_672),
    ("resnet-50", 25_557_032),
    // Caffe's examples/siamese: one tower's 520 + 25,050 + 400,500 + 5,010 + 22.
    ("siamese", 431_102),
    // torchvision's SqueezeNet1_1_Weights.
    ("squeezenet-1.1", 1_235_496),
    // One scale's 416 + 12,832; fc 128·(7·7 + 4·4)·32 + 128 and 1,290.
    ("two-scale", 280_906),
    // torchvision's VGG…_Weights; C is B and three filters of one cell, 65,792 + 2·262,656.
    ("vgg-a", 132_863_336),
    ("vgg-b", 133_047_848),
    ("vgg-c", 133_638_952),
    ("vgg-d", 138_357_544),
    ("vgg-e", 143_667_240),
    // Computational Analysis and Deep Learning for Medical Care (Wiley 2021), table 1.4.
    ("zfnet", 62_357_608),
];

#[test]
fn every_config_has_its_parameters() {
    let counts: Vec<(String, usize)> = names().iter().map(|n| (n.clone(), graph(n, &[]).parameter_count())).collect();
    let mut wanted: Vec<(String, usize)> = PARAMETERS.iter().map(|&(n, p)| (n.to_owned(), p)).collect();
    wanted.sort();
    assert_eq!(counts, wanted);
}

/// The README's table of them names each, with its parameters.
#[test]
fn the_readme_lists_every_config() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let rows: Vec<Vec<&str>> = readme.lines().filter(|l| l.starts_with("| `")).map(|l| l.split('|').collect()).collect();
    let mut listed = Vec::new();
    for row in rows.iter().filter(|row| row.len() == 6) {
        let names: Vec<&str> = row[1].split(", ").map(|name| name.trim().trim_matches('`')).collect();
        let mut counts: Vec<usize> = row[3].split(", ").map(|n| n.trim().replace(',', "").parse().unwrap()).collect();
        counts.resize(names.len(), counts[0]);
        listed.extend(names.into_iter().zip(counts));
    }
    listed.sort();
    let mut wanted = PARAMETERS.to_vec();
    wanted.sort();
    assert_eq!(listed, wanted);
}

/// Multiply-adds of an image: Caffe's LeNet and cifar10_quick, counted by hand; torchvision's to the thousandth of a
/// billion that it gives; and OverFeat's connections (table 4), to half a percent.
#[test]
fn multiply_adds_are_the_published_ones() {
    let count = |name: &str| graph(name, &[]).multiply_adds();
    assert_eq!((count("lenet"), count("lenet-shift"), count("cifar10-quick")), (2_293_000, 2_293_000, 12_354_176));
    for (name, net) in golden()["nets"].as_object().unwrap() {
        let billions = count(name) as f64 / 1e9;
        assert!((billions - net["billions"].as_f64().unwrap()).abs() <= 0.0005 + 1e-9, "{name}: {billions}, {}", net["billions"]);
    }
    for (name, millions) in [("overfeat-fast", 2810.0), ("overfeat-accurate", 5369.0)] {
        let counted = count(name) as f64 / 1e6;
        assert!((counted / millions - 1.0).abs() < 0.005, "{name}: {counted} million, not {millions}");
    }
}

/// AlexNet, VGG-11, ResNet-18 and SqueezeNet at their own size, with the same weights as torchvision's.
#[test]
fn logits_are_torchvision_s() {
    for name in golden()["whole"].as_object().unwrap().keys() {
        nets::as_torchvision(name, "whole", Box::new(CpuDevice::<f32>::new(2)));
    }
}
