#!/usr/bin/env python3
"""Times a training step and a forward pass of one net, or of one single layer, in PyTorch: `convnet bench`'s twin.

Prints one JSON document with the keys of `convnet bench --json`: device, batch, step_ms, forward_ms, images_per_second and so
on; for a single layer the passes apart, in `layers`. A variant is words with a + between them: `nchw` or `nhwc` (the layout of
images), and on a GPU `compile` (torch.compile), `graph` (the step as one CUDA graph), `f32` (no tensor cores; the default is
tf32) or `bf16` (autocast).
"""

import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

import nets


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("net", help="a net or a single layer: " + ", ".join([*nets.NETS, *nets.singles()]))
    p.add_argument("--batch", type=int, help="images a step (a net needs it, a single layer has its own)")
    p.add_argument("--repeats", type=int, default=10, help="times each thing is measured at least [10]")
    p.add_argument("--seconds", type=float, default=0.0, help="seconds for which each thing is measured at least [0]")
    p.add_argument("--threads", type=int, default=0, help="CPU threads [PyTorch's choice]")
    p.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    p.add_argument("--variant", default="nchw", help="see above [nchw]")
    return p.parse_args()


class Clock:
    """Times calls: two that do not count, and then the median of those of `repeats` times or `seconds`."""

    def __init__(self, a):
        self.repeats, self.seconds, self.cuda = a.repeats, a.seconds, a.device == "cuda"

    def wait(self):
        if self.cuda:
            torch.cuda.synchronize()

    def median_ms(self, work):
        times = []
        for i in range(1_000_000):
            start = time.perf_counter()
            work()
            self.wait()
            if i >= 2:
                times.append(time.perf_counter() - start)
            if len(times) >= max(1, self.repeats) and sum(times) >= self.seconds:
                break
        return statistics.median(times) * 1e3


def captured(step):
    """The step as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def loss_of(scores, labels):
    costs = scores if isinstance(scores, list) else [(scores, 1.0)]
    return sum(coefficient * F.cross_entropy(s.float(), labels) for s, coefficient in costs)


def place(module, image, a, words):
    """The module and a batch of images on the device, in the layout."""
    layout = torch.channels_last if "nhwc" in words else torch.contiguous_format
    x = torch.randn(a.batch, *image).to(a.device).contiguous(memory_format=layout)
    return module.to(a.device, memory_format=layout), x


def time_net(a, words, clock):
    model, image, classes = nets.NETS[a.net]()
    model, x = place(model, image, a, words)
    labels = torch.randint(0, classes, (a.batch,)).to(a.device)
    parameters = sum(p.numel() for p in model.parameters())
    run = torch.compile(model) if "compile" in words else model
    rule = torch.optim.SGD(model.parameters(), 1e-6, momentum=0.9, weight_decay=5e-4)
    half = lambda: torch.autocast(a.device, torch.bfloat16, enabled="bf16" in words)

    def step():
        rule.zero_grad(set_to_none="graph" not in words)
        with half():
            loss = loss_of(run(x), labels)
        loss.backward()
        rule.step()

    def forward():
        with torch.no_grad(), half():
            run(x)

    model.train()
    step_ms = clock.median_ms(captured(step) if "graph" in words else step)
    model.eval()
    return {"step_ms": step_ms, "forward_ms": clock.median_ms(forward), "parameters": parameters, "layers": []}


def time_single(a, words, clock):
    own_batch, image, keys = nets.singles()[a.net]
    a.batch = a.batch or own_batch
    layer, x = place(nets.single(keys, image), image, a, words)
    run = torch.compile(layer) if "compile" in words else layer
    half = lambda: torch.autocast(a.device, torch.bfloat16, enabled="bf16" in words)
    x.requires_grad_()
    with half():
        y = run(x)
    dy = torch.randn_like(y)
    weights = list(layer.parameters())
    times = {}

    def forward():
        with torch.no_grad(), half():
            run(x)

    # What a pass of its own costs, on the graph that one forward pass left.
    def gradient(of):
        return lambda: torch.autograd.grad(y, of, dy, retain_graph=True)

    def step():
        with half():
            out = run(x)
        torch.autograd.grad(out, [x, *weights], dy)

    times["forward"] = clock.median_ms(forward)
    times["image gradient"] = clock.median_ms(gradient([x]))
    if weights:
        times["weight gradient"] = clock.median_ms(gradient(weights))
    step_ms = clock.median_ms(step)
    layers = [{"name": a.net, "pass": p, "ms": ms} for p, ms in times.items()]
    count = sum(p.numel() for p in weights)
    return {"step_ms": step_ms, "forward_ms": times["forward"], "parameters": count, "layers": layers}


def main():
    a = arguments()
    words = set(a.variant.split("+"))
    unknown = words - {"nchw", "nhwc", "compile", "graph", "f32", "tf32", "bf16"}
    if unknown:
        raise SystemExit(f"error: unknown words in --variant: {' '.join(sorted(unknown))}")
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    if a.device == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = "f32" not in words
    if a.net in nets.NETS:
        if not a.batch:
            raise SystemExit("error: a net needs --batch N")
        times = time_net(a, words, Clock(a))
    elif a.net in nets.singles():
        times = time_single(a, words, Clock(a))
    else:
        raise SystemExit(f"error: no twin of '{a.net}'; there are: {', '.join([*nets.NETS, *nets.singles()])}")
    cuda = a.device == "cuda"
    device = torch.cuda.get_device_name() if cuda else f"cpu ({torch.get_num_threads()} threads)"
    peak = torch.cuda.max_memory_allocated() if cuda else None
    head = {"name": a.net, "device": device, "torch": torch.__version__, "variant": a.variant, "batch": a.batch}
    rate = a.batch / times["step_ms"] * 1e3
    print(json.dumps({**head, "images_per_second": rate, "peak_bytes": peak, **times}))


main()
