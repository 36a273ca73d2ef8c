"""The nets of configs/ and the single layers of benches/singles.toml in PyTorch, as much like ours as it can say them.

Each net is a function that returns a module, the shape of an image (channels, height, width) and the number of classes; the
module's output is the scores, or a list of (scores, coefficient) where there are several costs.
"""

import tomllib
from pathlib import Path

import torch
from torch import nn

SINGLES = Path(__file__).resolve().parent.parent / "singles.toml"


def conv(inputs, filters, size, **more):
    return [nn.Conv2d(inputs, filters, size, **more), nn.ReLU(True)]


def fc(inputs, outputs, drop=0.5):
    return [nn.Linear(inputs, outputs), nn.ReLU(True), nn.Dropout(drop)]


def lenet():
    net = [nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*net, *fc(800, 500), nn.Linear(500, 10)), (1, 28, 28), 10


def cifar_quick():
    mean = nn.AvgPool2d(3, 2, ceil_mode=True)
    first = [nn.Conv2d(3, 32, 5, padding=2), nn.MaxPool2d(3, 2, ceil_mode=True), nn.ReLU(True)]
    net = first + conv(32, 32, 5, padding=2) + [mean] + conv(32, 64, 5, padding=2) + [mean]
    return nn.Sequential(*net, nn.Flatten(), nn.Linear(1024, 64), nn.Linear(64, 10)), (3, 32, 32), 10


def alexnet():
    norm = lambda: nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
    pool = nn.MaxPool2d(3, 2)
    net = conv(3, 96, 11, stride=4) + [norm(), pool] + conv(96, 256, 5, padding=2, groups=2) + [norm(), pool]
    net += conv(256, 384, 3, padding=1) + conv(384, 384, 3, padding=1, groups=2) + conv(384, 256, 3, padding=1, groups=2)
    net += [pool, nn.Flatten(), *fc(9216, 4096), *fc(4096, 4096), nn.Linear(4096, 1000)]
    return nn.Sequential(*net), (3, 227, 227), 1000


def alexnet_one_weird_trick():
    pool = nn.MaxPool2d(3, 2)
    net = conv(3, 64, 11, stride=4, padding=2) + [pool] + conv(64, 192, 5, padding=2) + [pool]
    net += conv(192, 384, 3, padding=1) + conv(384, 256, 3, padding=1) + conv(256, 256, 3, padding=1)
    net += [pool, nn.Flatten(), nn.Dropout(0.5), *fc(9216, 4096), *fc(4096, 4096)[:2], nn.Linear(4096, 1000)]
    return nn.Sequential(*net), (3, 224, 224), 1000


def overfeat_fast():
    pool = nn.MaxPool2d(2)
    net = conv(3, 96, 11, stride=4) + [pool] + conv(96, 256, 5) + [pool]
    net += conv(256, 512, 3, padding=1) + conv(512, 1024, 3, padding=1) + conv(1024, 1024, 3, padding=1)
    net += [pool, nn.Flatten(), *fc(36864, 3072), *fc(3072, 4096), nn.Linear(4096, 1000)]
    return nn.Sequential(*net), (3, 231, 231), 1000


def vgg(*widths):
    net, inputs = [], 3
    for width in widths:
        if width == "pool":
            net.append(nn.MaxPool2d(2))
        else:
            net += conv(inputs, width, 3, padding=1)
            inputs = width
    net += [nn.Flatten(), *fc(25088, 4096), *fc(4096, 4096), nn.Linear(4096, 1000)]
    return nn.Sequential(*net), (3, 224, 224), 1000


def vgg_a():
    return vgg(64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool")


def vgg_d():
    blocks = [64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool"]
    return vgg(*blocks, 512, 512, 512, "pool", 512, 512, 512, "pool")


class Inception(nn.Module):
    """Four branches side by side (Szegedy et al. 2014), as Caffe's bvlc_googlenet has them."""

    def __init__(self, inputs, one, reduce3, three, reduce5, five, pooled):
        super().__init__()
        self.outputs = one + three + five + pooled
        branches = [
            conv(inputs, one, 1),
            conv(inputs, reduce3, 1) + conv(reduce3, three, 3, padding=1),
            conv(inputs, reduce5, 1) + conv(reduce5, five, 5, padding=2),
            [nn.MaxPool2d(3, 1, 1)] + conv(inputs, pooled, 1),
        ]
        self.branches = nn.ModuleList(nn.Sequential(*branch) for branch in branches)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class GoogLeNet(nn.Module):
    """bvlc_googlenet, with its two auxiliary costs in training."""

    def __init__(self):
        super().__init__()
        pool = lambda: nn.MaxPool2d(3, 2, ceil_mode=True)
        norm = lambda: nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
        stem = conv(3, 64, 7, stride=2, padding=3) + [pool(), norm()]
        stem += conv(64, 64, 1) + conv(64, 192, 3, padding=1) + [norm(), pool()]
        a3, b3 = Inception(192, 64, 96, 128, 16, 32, 32), Inception(256, 128, 128, 192, 32, 96, 64)
        a4, b4 = Inception(480, 192, 96, 208, 16, 48, 64), Inception(512, 160, 112, 224, 24, 64, 64)
        c4, d4 = Inception(512, 128, 128, 256, 24, 64, 64), Inception(512, 112, 144, 288, 32, 64, 64)
        e4, a5 = Inception(528, 256, 160, 320, 32, 128, 128), Inception(832, 256, 160, 320, 32, 128, 128)
        b5 = Inception(832, 384, 192, 384, 48, 128, 128)
        self.low = nn.Sequential(*stem, a3, b3, pool(), a4)
        self.middle = nn.Sequential(b4, c4, d4)
        self.high = nn.Sequential(e4, pool(), a5, b5, nn.AvgPool2d(7, 1), nn.Flatten(), nn.Dropout(0.4), nn.Linear(1024, 1000))
        self.first, self.second = self.auxiliary(512), self.auxiliary(528)

    @staticmethod
    def auxiliary(inputs):
        pool = nn.AvgPool2d(5, 3, ceil_mode=True)
        return nn.Sequential(pool, *conv(inputs, 128, 1), nn.Flatten(), *fc(2048, 1024, 0.7), nn.Linear(1024, 1000))

    def forward(self, x):
        low = self.low(x)
        middle = self.middle(low)
        scores = self.high(middle)
        if not self.training:
            return scores
        return [(scores, 1.0), (self.first(low), 0.3), (self.second(middle), 0.3)]


def googlenet():
    return GoogLeNet(), (3, 224, 224), 1000


def torchvision(name):
    import torchvision.models

    return getattr(torchvision.models, name)(), (3, 224, 224), 1000


NETS = {
    "lenet": lenet,
    "cifar10-quick": cifar_quick,
    "alexnet": alexnet,
    "alexnet-one-weird-trick": alexnet_one_weird_trick,
    "overfeat-fast": overfeat_fast,
    "vgg-a": vgg_a,
    "vgg-d": vgg_d,
    "googlenet": googlenet,
    "resnet-18": lambda: torchvision("resnet18"),
    "resnet-50": lambda: torchvision("resnet50"),
}


def singles():
    """Each single layer by name: its batch, its image (channels, height, width) and its keys."""
    suites = tomllib.loads(SINGLES.read_text())
    found = {}
    for layers in suites.values():
        for name, s in layers.items():
            h, w, c = s["image"]
            found[name] = (s["batch"], (c, h, w), s["layer"])
    return found


def single(keys, image):
    """The module of a layer's keys for images of that shape."""
    c, h, w = image
    match keys["type"]:
        case "conv":
            more = {key: keys[key] for key in ("stride", "padding", "groups") if key in keys}
            return nn.Conv2d(c, keys["filters"], keys["size"], **more)
        case "fc":
            return nn.Sequential(nn.Flatten(), nn.Linear(c * h * w, keys["outputs"]))
        case "pool":
            kind = nn.MaxPool2d if keys["pool"] == "max" else nn.AvgPool2d
            return kind(keys["size"], keys["stride"], ceil_mode=True)
        case "lrn":
            return nn.LocalResponseNorm(keys["size"], alpha=keys["alpha"], beta=keys["beta"])
        case "batch-norm":
            return nn.BatchNorm2d(c)
        case "neuron":
            return nn.ReLU()
        case "dropout":
            return nn.Dropout(1 - keys["keep"])
        case "softmax":
            return nn.Softmax(1)
    raise SystemExit(f"error: there is no twin of a layer of type {keys['type']}; add it to {__file__}")
