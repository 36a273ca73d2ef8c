#!/usr/bin/env python3
"""Compares the loaders alone: `convnet bench --loader` beside torchvision's ImageFolder and DataLoader, in turn, in one run.

usage: benches/peer/loader.py FOLDER [--make TAR…] [--turns 5] …

FOLDER has class folders of pictures. `--make` fills it first with ImageNet-like ones made of those in tar files of CLASS/NAME.jpg:
enlarged to a height of 375, padded to a width of 500, JPEG of quality 90. Both loaders read, decode and take a random part of 8 to
100 % of each picture, resized to 224 × 224, half of them mirrored. Then they differ: PyTorch's workers also mirror, and turn bytes
into normalised floats; ours leaves both to the device, which reads bytes. The medians over the turns are compared.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
NET = """
name = "loader"
data = { shape = [224, 224, 3], mean = "channel", augment = { flip = true, resized_crop = {} } }
train = { batch = 64, epochs = 1, learning_rate = 0.01 }
layer = [{ name = "fc", type = "fc", outputs = CLASSES }, { name = "p", type = "softmax" }, { name = "cost", type = "logistic-regression" }]
"""


def arguments():
    p = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    p.add_argument("folder", type=Path)
    p.add_argument("--make", nargs="+", metavar="TAR", help="fill FOLDER with pictures made of these tar files' first")
    p.add_argument("--pictures", type=int, default=2000, help="pictures to make [2000]")
    p.add_argument("--turns", type=int, default=5, help="runs of each [5]")
    p.add_argument("--seconds", type=float, default=10.0, help="seconds of a run at least [10]")
    p.add_argument("--workers", type=int, default=2, help="PyTorch's workers, and our readers [2]")
    p.add_argument("--binary", default=str(ROOT / "target/release/convnet"), help="ours [target/release/convnet]")
    p.add_argument("--torch", action="store_true", help=argparse.SUPPRESS)  # one turn of PyTorch's, as JSON
    return p.parse_args()


def make(a):
    from PIL import Image

    made = 0
    for path in a.make:
        with tarfile.open(path) as tar:
            for member in tar:
                if made == a.pictures:
                    return
                if not member.isfile():
                    continue
                picture = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB").resize((375, 375), Image.BICUBIC)
                padded = Image.new("RGB", (500, 375))
                padded.paste(picture, (62, 0))
                to = a.folder / member.name
                to.parent.mkdir(parents=True, exist_ok=True)
                padded.save(to, quality=90)
                made += 1


def of_torch(a):
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    steps = [
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
    folder = datasets.ImageFolder(a.folder, transforms.Compose(steps))
    loader = DataLoader(folder, batch_size=64, shuffle=True, num_workers=a.workers, drop_last=True, persistent_workers=True)
    images, seconds, warm = 0, 0.0, 0
    while seconds < a.seconds:
        start = time.perf_counter()
        for x, _ in loader:
            if warm < 4:  # the workers' start does not count
                warm += 1
                start = time.perf_counter()
                continue
            images += len(x)
            if seconds + time.perf_counter() - start >= a.seconds:
                break
        seconds += time.perf_counter() - start
    print(json.dumps({"images_per_second": images / seconds}))


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"error: {' '.join(command)}\nended with {done.returncode}: {done.stderr.strip()[-3000:]}")
    return json.loads(done.stdout)["images_per_second"]


def main():
    a = arguments()
    if a.torch:
        return of_torch(a)
    if a.make:
        make(a)
    classes = sum(entry.is_dir() for entry in os.scandir(a.folder))
    figures = {"ours": [], "PyTorch": []}
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(NET.replace("CLASSES", str(classes)))
        config.flush()
        ours = [a.binary, "bench", config.name, "--data", str(a.folder), "--loader", "--json", "--seconds", str(a.seconds)]
        ours += ["--set", f"data.readers={a.workers}"]
        torch = [sys.executable, __file__, str(a.folder), "--torch", "--seconds", str(a.seconds), "--workers", str(a.workers)]
        for turn in range(a.turns):
            print(f"turn {turn + 1} of {a.turns}", file=sys.stderr)
            figures["ours"].append(run(ours))
            figures["PyTorch"].append(run(torch))
    for name, values in figures.items():
        print(f"{name}: {statistics.median(values):,.0f} images/s ({min(values):,.0f}–{max(values):,.0f})")
    print(f"ratio: {statistics.median(figures['ours']) / statistics.median(figures['PyTorch']):.2f}")


if __name__ == "__main__":
    main()
