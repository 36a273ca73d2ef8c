"""Makes configs.json: for the nets of configs/ that torchvision has too, the parameters, the output of each layer, and the
logits of a few with weights and images that tests/configs.rs makes by the same formula.

    python tests/golden/make_configs.py        # needs torch and torchvision; made with the versions that the file names
"""

import json
import math
import pathlib

import numpy as np
import torch
import torchvision
from torch import nn
from torchvision import models

HERE = pathlib.Path(__file__).parent
KINDS = {nn.Conv2d: "conv", nn.MaxPool2d: "pool", nn.AdaptiveAvgPool2d: "pool", nn.Linear: "fc", nn.BatchNorm2d: "batch-norm"}


def uniform(stream, n):
    """n numbers in [-1, 1): the upper 53 bits of a hash (splitmix64's end) of the stream and the element."""
    x = np.uint64(stream << 32) + np.arange(n, dtype=np.uint64)
    x = (x + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1


def fill(net):
    """Tensor i, in the order of the layers: weights with the deviation of He et al. 2015, biases up to 0.1, slopes and
    variances from 0.5 to 1.5, all rounded to f32."""
    tensors = [(k, t) for k, t in net.state_dict().items() if not k.endswith("num_batches_tracked")]
    for i, (name, t) in enumerate(tensors):
        u = uniform(i, t.numel())
        if t.dim() > 1:
            u *= math.sqrt(6 / t[0].numel())
        elif name.endswith("running_var") or (name.endswith("weight") and t.dim() == 1):
            u = 1 + u / 2
        else:
            u *= 0.1
        t.copy_(torch.from_numpy(u.astype(np.float32).astype(np.float64).reshape(t.shape)))


def image(size):
    """Bytes less 128, over 64; the elements in the order row, column, channel."""
    u = uniform(1 << 20, size * size * 3)
    x = np.floor((u + 1) * 128) - 128
    return torch.from_numpy((x / 64).reshape(1, size, size, 3)).permute(0, 3, 1, 2)


def layers(net, size):
    """The kind and output of each layer that has weights or changes the size, in the order in which they run."""
    seen = []

    def hook(module, inputs, output):
        adaptive = isinstance(module, nn.AdaptiveAvgPool2d)
        if adaptive and inputs[0].shape == output.shape:
            return  # nothing at this size
        shape = output.shape[2:] + output.shape[1:2] if output.dim() == 4 else output.shape[1:]
        seen.append(f"{KINDS[type(module)]} {'×'.join(map(str, shape))}")

    hooks = [m.register_forward_hook(hook) for m in net.modules() if type(m) in KINDS]
    net(image(size))
    for h in hooks:
        h.remove()
    return seen


def logits(net, size):
    return [float(f"{v:.7g}") for v in net(image(size))[0].tolist()]


NETS = {
    "alexnet-one-weird-trick": (models.alexnet, models.AlexNet_Weights),
    "vgg-a": (models.vgg11, models.VGG11_Weights),
    "vgg-b": (models.vgg13, models.VGG13_Weights),
    "vgg-d": (models.vgg16, models.VGG16_Weights),
    "vgg-e": (models.vgg19, models.VGG19_Weights),
    "resnet-18": (models.resnet18, models.ResNet18_Weights),
    "resnet-34": (models.resnet34, models.ResNet34_Weights),
    "resnet-50": (models.resnet50, models.ResNet50_Weights),
    "squeezenet-1.1": (models.squeezenet1_1, models.SqueezeNet1_1_Weights),
}
WITH_LOGITS = ["alexnet-one-weird-trick", "vgg-a", "resnet-18", "squeezenet-1.1"]


def reduced():
    """The same nets for small images, with the arguments of --set that make them so here: name, side, arguments, net."""
    net = models.alexnet(weights=None)
    net.avgpool = nn.Identity()
    for i, (before, after) in {1: (256, 64), 4: (64, 64), 6: (64, 100)}.items():
        net.classifier[i] = nn.Linear(before, after)
    yield "alexnet-one-weird-trick", 63, ["layer.fc6.outputs=64", "layer.fc7.outputs=64", "layer.fc8.outputs=100"], net

    yield "resnet-18", 32, ["layer.fc.outputs=100"], models.resnet18(weights=None, num_classes=100)
    yield "squeezenet-1.1", 32, ["layer.conv10.filters=100"], models.squeezenet1_1(weights=None, num_classes=100)

    widths = [16, "M", 32, "M", 64, 64, "M", 128, 128, "M", 128, 128, "M"]
    net = models.vgg.VGG(models.vgg.make_layers(widths), init_weights=False)
    net.avgpool = nn.Identity()
    for i, (before, after) in {0: (128, 64), 3: (64, 64), 6: (64, 100)}.items():
        net.classifier[i] = nn.Linear(before, after)
    names = ["1_1", "2_1", "3_1", "3_2", "4_1", "4_2", "5_1", "5_2"]
    narrow = [f"layer.conv{n}.filters={w}" for n, w in zip(names, (w for w in widths if w != "M"))]
    yield "vgg-a", 32, narrow + ["layer.fc6.outputs=64", "layer.fc7.outputs=64", "layer.fc8.outputs=100"], net


torch.set_default_dtype(torch.float64)
golden = {"torch": torch.__version__, "torchvision": torchvision.__version__, "nets": {}, "whole": {}, "reduced": {}}
with torch.no_grad():
    for name, (make, weights) in NETS.items():
        net = make(weights=None, **({"init_weights": False} if name.startswith("vgg") else {})).eval()
        golden["nets"][name] = {
            "parameters": sum(p.numel() for p in net.parameters()),
            "billions": weights.IMAGENET1K_V1.meta["_ops"],
            "layers": layers(net, 224),
        }
        if name in WITH_LOGITS:
            fill(net)
            golden["whole"][name] = {"sets": [], "logits": logits(net, 224)}
        print(name, golden["nets"][name]["parameters"], flush=True)
    for name, side, sets, net in reduced():
        fill(net.eval())
        sets = [f"data.synthetic.shape=[{side}, {side}, 3]", "data.synthetic.classes=100", *sets]
        golden["reduced"][name] = {"sets": sets, "logits": logits(net, side)}
text = json.dumps(golden, ensure_ascii=False)
for key in ("nets", "whole", "reduced", *NETS):
    text = text.replace(f' "{key}": {{', f'\n"{key}": {{').replace(f'{{"{key}": {{', f'{{\n"{key}": {{')
(HERE / "configs.json").write_text(text + "\n")
