"""Checks `convnet import` and `export` with PyTorch and onnxruntime, which CI does not have: torchvision's AlexNet and ResNet-18
with random weights, LeNet after a few steps, and a net of every layer that ONNX has a form of. Logits agree within 1e-4 of the
largest.

    python tests/golden/check_port.py target/release/convnet    # needs torch, torchvision, safetensors, onnx, onnxruntime, pillow
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

ROOT = pathlib.Path(__file__).parents[2]
CONVNET = str(pathlib.Path(sys.argv[1]).resolve())
MEAN, STD = "123.675,116.28,103.53", "58.395,57.12,57.375"
worst = 0.0


def convnet(*arguments):
    return subprocess.run([CONVNET, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def agree(what, ours, theirs, bound=1e-4):
    global worst
    error = np.abs(np.asarray(ours) - np.asarray(theirs)).max() / np.abs(theirs).max()
    worst = max(worst, error)
    print(f"{what}: {error:.1e} of the largest, bound {bound:.0e}", flush=True)
    assert error <= bound, what


def run_onnx(path, x):
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0].reshape(len(x), -1)


def pixels(h, w, c, n=1):
    return np.random.default_rng(3).integers(0, 256, (n, h, w, c), dtype=np.uint8)


def planes(images):
    return images.transpose(0, 3, 1, 2).astype(np.float32)


def torchvision_net(folder, name, config, net, output):
    torch.manual_seed(5)
    net = net.eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in ((module.weight, 0.5, 1.0), (module.bias, -0.2, 0.2), (module.running_mean, -0.2, 0.2), (module.running_var, 0.5, 1.5)):
                torch.nn.init.uniform_(tensor, low, high)
    save_file(net.state_dict(), folder / f"{name}.safetensors")
    images = pixels(224, 224, 3, 2)
    x = torch.from_numpy(planes(images))
    mean, std = (torch.tensor([float(v) for v in s.split(",")]).view(1, 3, 1, 1) for s in (MEAN, STD))
    with torch.no_grad():
        logits = net((x - mean) / std).numpy()
    run = folder / name
    convnet("import", folder / f"{name}.safetensors", ROOT / "configs" / config, "--out", run, "--mean", MEAN, "--std", STD)
    # `predict` says probabilities.
    Image.fromarray(images[0]).save(folder / "x.png")
    said = json.loads(convnet("predict", run, folder / "x.png", "--json", "--top", 1000, "--device", "cpu"))
    probabilities = {p["class"]: p["probability"] for p in said["images"][0]["predictions"]}
    ours = np.log([probabilities[i] for i in range(1000)])
    agree(f"{name}: predict", ours - ours.mean(), logits[0] - logits[0].mean())
    convnet("export", run, folder / f"{name}.onnx", "--output", output)
    agree(f"{name}: its ONNX model", run_onnx(folder / f"{name}.onnx", x.numpy()), logits)


def lenet(folder):
    run = folder / "lenet"
    convnet("train", ROOT / "configs/lenet.toml", "--out", run, "--device", "cpu", "--set", "train.steps=20", "--set", "data.train_images=640",
            "--set", "data.test_images=64")
    state = json.loads((run / "checkpoints/step-20/state.json").read_text())
    mean = load_file(run / "checkpoints/step-20/weights.safetensors")["data.mean"]
    convnet("export", run, folder / "lenet.safetensors")
    w = load_file(folder / "lenet.safetensors")
    images = planes(pixels(28, 28, 1, 3))
    x = (torch.from_numpy(images) - mean) * state["data"]["scale"]
    for name in ("conv1", "conv2"):
        x = F.max_pool2d(F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"]), 2)
    x = F.relu(F.linear(x.flatten(1), w["fc1.weight"], w["fc1.bias"]))
    logits = F.linear(x, w["fc2.weight"], w["fc2.bias"]).numpy()
    convnet("export", run, folder / "lenet.onnx", "--output", "fc2")
    agree("lenet: its ONNX model", run_onnx(folder / "lenet.onnx", images), logits)


def zoo(folder):
    run = folder / "zoo"
    convnet("train", ROOT / "tests/golden/port/zoo.toml", "--out", run, "--device", "cpu", "--set", "train.steps=2")
    convnet("export", run, folder / "zoo.onnx")
    images = pixels(13, 12, 4, 1)
    Image.fromarray(images[0], "RGBA").save(folder / "zoo.png")
    said = json.loads(convnet("predict", run, folder / "zoo.png", "--json", "--device", "cpu"))
    probabilities = {p["class"]: p["probability"] for p in said["images"][0]["predictions"]}
    agree("zoo: its ONNX model", run_onnx(folder / "zoo.onnx", planes(images))[0], [probabilities[i] for i in range(5)], 1e-5)


with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    zoo(folder)
    lenet(folder)
    torchvision_net(folder, "resnet18", "resnet-18.toml", torchvision.models.resnet18(weights=None), "fc")
    torchvision_net(folder, "alexnet", "alexnet-one-weird-trick.toml", torchvision.models.alexnet(weights=None), "fc8")
print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, onnxruntime {onnxruntime.__version__}: worst {worst:.1e}")
