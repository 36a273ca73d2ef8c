#!/usr/bin/env python3
"""Runs `convnet bench` and its twin in PyTorch in turn, and prints how many times as fast ours is.

usage: benches/peer/run.py [CASE…] [--device cpu|cuda] [--turns 5] …

A case is NET:BATCH (a config's name), a single layer of benches/singles.toml (optionally :BATCH), or a suite: `goals` (the
default), `convnet-benchmarks`, `kernels`. Each turn runs ours and then every variant of the peer, each in a process of its own;
the medians over the turns are compared, ours with the peer's fastest variant, and so is the memory: the largest resident size of
the process on the CPU, what is allocated on a GPU. Needs a release build, and a Python with torch and torchvision for the peer.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SINGLES = tomllib.loads((HERE.parent / "singles.toml").read_text())
SUITES = {
    "goals": "lenet:64 cifar10-quick:128 alexnet:32 alexnet-one-weird-trick:128 resnet-18:16 vgg-d:8".split(),
    "convnet-benchmarks": "alexnet-one-weird-trick:128 overfeat-fast:128 vgg-a:64 googlenet:128".split()
    + list(SINGLES["convnet-benchmarks"]),
    "kernels": list(SINGLES["kernels"]),
}
VARIANTS = {"cpu": "nchw nhwc", "cuda": "nhwc+compile nhwc+graph nhwc+compile+bf16"}


def arguments():
    p = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    p.add_argument("cases", nargs="*", metavar="CASE", default=["goals"])
    p.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    p.add_argument("--threads", type=int, default=0, help="CPU threads of both [one for each core]")
    p.add_argument("--turns", type=int, default=5, help="runs of each [5]")
    p.add_argument("--repeats", type=int, default=6, help="steps that a run times at least [6]")
    p.add_argument("--seconds", type=float, default=2.0, help="seconds for which a run times steps at least [2]")
    p.add_argument("--batch", type=int, help="this batch in every case")
    p.add_argument("--variants", help="variants of the peer: see torch_bench.py [nchw nhwc; on a GPU others]")
    p.add_argument("--binary", default=str(ROOT / "target/release/convnet"), help="ours [target/release/convnet]")
    p.add_argument("--python", default=sys.executable, help="a Python with torch [this one]")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="changes our configs")
    p.add_argument("-o", "--out", help="also write every measurement to this JSON file")
    return p.parse_args()


def cases(a):
    """(name, batch or None) of every case."""
    for word in a.cases:
        for case in SUITES.get(word, [word]):
            name, _, batch = case.partition(":")
            single = any(name in layers for layers in SINGLES.values())
            if batch and not batch.isdigit():
                raise SystemExit(f"error: '{case}': the batch after the colon is no number")
            if not single and not batch and not a.batch:
                raise SystemExit(f"error: '{case}' is no suite ({', '.join(SUITES)}) nor NET:BATCH")
            yield name, a.batch or (int(batch) if batch else None)


def ran(command):
    """The JSON document that a command prints, and the largest resident size that it had, in bytes."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as messages:
        child = subprocess.Popen(command, stdout=out, stderr=messages, cwd=ROOT)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        messages.seek(0)
        if child.returncode != 0:
            text = messages.read().decode(errors="replace").strip()
            raise SystemExit(f"error: {' '.join(command)}\nended with {child.returncode}: {text[-3000:]}")
        return json.loads(out.read()), usage.ru_maxrss * 1024


def ours(a, name, batch):
    single = any(name in layers for layers in SINGLES.values())
    command = [a.binary, "bench", name if single else str(ROOT / f"configs/{name}.toml"), "--json", "--device", a.device]
    command += ["--step-only"] if not single else []
    command += ["--batch", str(batch)] if batch else []
    command += ["--repeats", str(a.repeats), "--seconds", str(a.seconds), "--threads", str(a.threads)]
    for change in a.set if not single else []:
        command += ["--set", change]
    return ran(command)


def peers(a, name, batch, variant):
    command = [a.python, str(HERE / "torch_bench.py"), name, "--device", a.device, "--variant", variant]
    command += ["--batch", str(batch)] if batch else []
    command += ["--repeats", str(a.repeats), "--seconds", str(a.seconds), "--threads", str(a.threads)]
    return ran(command)


def measure(a, name, batch):
    """Every run of a case: who → a list of (document, memory)."""
    runs = {}
    variants = (a.variants or VARIANTS[a.device]).split()
    for turn in range(a.turns):
        print(f"{name}: turn {turn + 1} of {a.turns}", file=sys.stderr)
        runs.setdefault("ours", []).append(ours(a, name, batch))
        for variant in variants:
            runs.setdefault(variant, []).append(peers(a, name, batch, variant))
    documents = {who: r[0][0] for who, r in runs.items()}
    counts = {d.get("parameters") for d in documents.values() if d.get("parameters") is not None}
    if len(counts) > 1:
        raise SystemExit(f"error: {name}: ours and its twin have different numbers of parameters: {sorted(counts)}")
    return runs


def summary(a, runs):
    """Medians by who ran: images/s with their range, step and forward in ms, memory."""
    found = {}
    for who, results in runs.items():
        rates = [d["images_per_second"] for d, _ in results]
        on_device = a.device == "cuda"
        found[who] = {
            "images_per_second": statistics.median(rates),
            "range": [min(rates), max(rates)],
            "step_ms": statistics.median(d["step_ms"] for d, _ in results),
            "forward_ms": statistics.median(d["forward_ms"] for d, _ in results),
            "memory": statistics.median(d["peak_bytes"] if on_device else rss for d, rss in results),
        }
    return found


def number(v):
    return f"{v:,.0f}" if v >= 100 else f"{v:.3g}"


def table(header, rows):
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
    line = lambda r: "| " + " | ".join(t.ljust(w) if i == 0 else t.rjust(w) for i, (t, w) in enumerate(zip(r, widths))) + " |"
    print("\n".join([line(header), "|" + "|".join("-" * (w + 2) for w in widths) + "|", *map(line, rows)]), flush=True)


def step_row(name, batch, found):
    mine = found["ours"]
    who = max((w for w in found if w != "ours"), key=lambda w: found[w]["images_per_second"])
    peer = found[who]
    shown = lambda f: f"{number(f['images_per_second'])} ({number(f['range'][0])}–{number(f['range'][1])})"
    memory = lambda f: f"{f['memory'] / 2**20:,.0f}"
    ratio = mine["images_per_second"] / peer["images_per_second"]
    forward = min(found[w]["forward_ms"] for w in found if w != "ours") / mine["forward_ms"]
    least = min(found[w]["memory"] for w in found if w != "ours")
    times = [shown(mine), shown(peer), who, f"{ratio:.2f}", f"{forward:.2f}"]
    return [name, str(batch), *times, memory(mine), memory(peer), f"{mine['memory'] / least:.2f}"]


def pass_rows(name, runs):
    """Of a single layer: each pass in ms, ours and the peer's fastest variant."""
    key = lambda d: {row["pass"]: row["ms"] for row in d["layers"]}
    medians = {who: {p: statistics.median(key(d)[p] for d, _ in r) for p in key(r[0][0])} for who, r in runs.items()}
    mine = medians.pop("ours")
    for p in mine:
        theirs = {who: m[p] for who, m in medians.items() if p in m}
        if theirs:
            who = min(theirs, key=theirs.get)
            yield [name, p, f"{mine[p]:.3f}", f"{theirs[who]:.3f}", who, f"{theirs[who] / mine[p]:.2f}"]


def main():
    a = arguments()
    if not Path(a.binary).is_file():
        raise SystemExit(f"error: {a.binary} is not there; build it with `cargo build --release`, or give --binary FILE")
    rows, passes, everything = [], [], {}
    for name, batch in cases(a):
        runs = measure(a, name, batch)
        found = summary(a, runs)
        batch = runs["ours"][0][0]["batch"]
        rows.append(step_row(name, batch, found))
        passes += pass_rows(name, runs)
        everything[f"{name}:{batch}"] = {"medians": found, "runs": runs}
        if a.out:
            Path(a.out).write_text(json.dumps({"ratios": rows, "cases": everything}, indent=1))
    header = ["net", "batch", "ours images/s", "PyTorch images/s", "its variant", "step ×", "forward ×"]
    table([*header, "ours MiB", "PyTorch MiB", "memory ×"], rows)
    if passes:
        print()
        table(["layer", "pass", "ours ms", "PyTorch ms", "its variant", "×"], passes)
    first = next(iter(everything.values()))["runs"]
    theirs = next(r[0][0] for who, r in first.items() if who != "ours")
    print(f"\nours on {first['ours'][0][0]['device']}; PyTorch {theirs['torch']} on {theirs['device']}; medians of {a.turns} turns.")
    print("× is PyTorch's time over ours: above 1 ours is faster; memory × is ours over its least: below 1 ours takes less.")


main()
