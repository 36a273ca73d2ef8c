"""Makes operations.json: what PyTorch on the CPU, in double, computes for the operations that tests/operations/golden.rs
compares. Tensors are NHWC and filters [K][R][S][C/groups], as convnet has them.

    python tests/golden/make_operations.py        # needs torch; made with the version that the file names
"""

import json
import pathlib

import torch
import torch.nn.functional as F

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)


def values(t):
    """A tensor as a flat list, NCHW turned to NHWC."""
    return (t.detach().permute(0, 2, 3, 1) if t.dim() == 4 else t.detach()).reshape(-1).tolist()


def random(*shape):
    # Multiples of 1/64 keep the file small; they are exact in every type.
    return torch.randint(-128, 129, shape).double() / 64


def conv(n, h, w, c, k, r, s, stride, padding, dilation, groups):
    x = random(n, c, h, w).requires_grad_()
    f = random(k, c // groups, r, s).requires_grad_()
    b = random(k).requires_grad_()
    y = F.conv2d(x, f, b, stride, padding, dilation, groups)
    dy = random(*y.shape)
    y.backward(dy)
    geometry = [n, h, w, c, k, r, s, *y.shape[2:], *stride, *padding, *dilation, groups]
    tensors = dict(x=x, w=f, b=b, y=y, dy=dy, dx=x.grad, dw=f.grad, db=b.grad)
    return {"geometry": geometry, **{name: values(t) for name, t in tensors.items()}}


def pool(kind, n, h, w, c, size, stride, padding, ceil):
    x = random(n, c, h, w).requires_grad_()
    if kind == "max":
        y = F.max_pool2d(x, size, stride, padding, ceil_mode=ceil)
    else:
        y = F.avg_pool2d(x, size, stride, padding, ceil_mode=ceil, count_include_pad=False)
    dy = random(*y.shape)
    y.backward(dy)
    geometry = [n, h, w, c, *y.shape[2:], *size, *stride, *(-p for p in padding)]
    return {"kind": kind, "geometry": geometry, "x": values(x), "y": values(y), "dy": values(dy), "dx": values(x.grad)}


def cost(n, classes, scale):
    x = (random(n, classes) * scale).requires_grad_()
    labels = torch.randint(0, classes, (n,))
    y = torch.softmax(x, 1)
    dy = random(n, classes)
    (softmax_dx,) = torch.autograd.grad(y, x, dy)
    loss = F.cross_entropy(x, labels, reduction="sum")
    (dx,) = torch.autograd.grad(loss / n, x)
    top = x.topk(min(5, classes)).indices == labels[:, None]
    errors = [int(n - top[:, :1].sum()), int(n - top.sum())]
    tensors = dict(x=x, labels=labels, y=y, dy=dy, softmax_dx=softmax_dx, loss=loss.reshape(1), dx=dx)
    return {"n": n, "classes": classes, "errors": errors, **{name: values(t) for name, t in tensors.items()}}


def smoothed(n, classes, scale, smoothing):
    """Label smoothing and soft targets, of scores and of their probabilities."""
    x = (random(n, classes) * scale).requires_grad_()
    labels = torch.randint(0, classes, (n,))
    loss = F.cross_entropy(x, labels, reduction="sum", label_smoothing=smoothing)
    (dx,) = torch.autograd.grad(loss / n, x)
    one_hot = F.one_hot(labels, classes).double() * (1 - smoothing) + smoothing / classes
    # Targets that do not add up to 1 too.
    t = random(n, classes).abs()
    soft = F.cross_entropy(x, t, reduction="sum")
    (soft_dx,) = torch.autograd.grad(soft / n, x)
    tensors = dict(x=x, labels=labels, loss=loss.reshape(1), dx=dx, one_hot=one_hot)
    tensors.update(t=t, soft=soft.reshape(1), soft_dx=soft_dx)
    return {"n": n, "classes": classes, "smoothing": smoothing, **{name: values(v) for name, v in tensors.items()}}


def binary(n, outputs, scale, weight):
    x = (random(n, outputs) * scale).requires_grad_()
    t = torch.randint(0, 3, (n, outputs)).double() / 2
    w = torch.full((outputs,), weight)
    loss = F.binary_cross_entropy_with_logits(x, t, reduction="sum", pos_weight=w)
    (dx,) = torch.autograd.grad(loss / n, x)
    p = torch.sigmoid(x).detach().requires_grad_()
    apart = F.binary_cross_entropy(p, t, reduction="sum")
    (dp,) = torch.autograd.grad(apart / n, p)
    tensors = dict(x=x, t=t, loss=loss.reshape(1), dx=dx, p=p, apart=apart.reshape(1), dp=dp)
    return {"n": n, "outputs": outputs, "weight": weight, **{name: values(v) for name, v in tensors.items()}}


def hinge(n, classes, norm, margin):
    """PyTorch divides by the number of classes; that is undone here."""
    x = random(n, classes).requires_grad_()
    labels = torch.randint(0, classes, (n,))
    loss = F.multi_margin_loss(x, labels, p=norm, margin=margin, reduction="sum") * classes
    (dx,) = torch.autograd.grad(loss / n, x)
    tensors = dict(x=x, labels=labels, loss=loss.reshape(1), dx=dx)
    return {"n": n, "classes": classes, "norm": norm, "margin": margin, **{name: values(v) for name, v in tensors.items()}}


def contrastive(n, elements, margin):
    """Hadsell et al. 2006, out of PyTorch's distance and autograd."""
    a, b = random(n, elements).requires_grad_(), random(n, elements).requires_grad_()
    labels = torch.randint(0, 2, (n,))
    y, d = labels.double(), (a - b).square().sum(1).sqrt()
    loss = (0.5 * (y * d**2 + (1 - y) * F.relu(margin - d) ** 2)).sum()
    da, db = torch.autograd.grad(loss / n, (a, b))
    errors = [int(((d > margin / 2) == labels.bool()).sum())]
    tensors = dict(a=a, b=b, labels=labels, loss=loss.reshape(1), da=da, db=db)
    out = {"n": n, "elements": elements, "margin": margin, "errors": errors}
    return {**out, **{name: values(v) for name, v in tensors.items()}}


def sgd(elements, steps, rate, momentum, decay):
    """PyTorch keeps v ← m·v + g and w ← w − lr·v: at a constant rate the same w as v ← m·v − lr·g, w ← w + v."""
    w = random(elements).requires_grad_()
    optimizer = torch.optim.SGD([w], lr=rate, momentum=momentum, weight_decay=decay)
    start, gradients, after = values(w), [], []
    for _ in range(steps):
        w.grad = random(elements)
        gradients.append(values(w.grad))
        optimizer.step()
        after.append(values(w))
    return {"rate": rate, "momentum": momentum, "decay": decay, "w": start, "gradients": gradients, "after": after}


def neuron(name, a, f):
    x = random(3, 5, 4, 6).requires_grad_()
    y = f(x)
    dy = random(*y.shape)
    y.backward(dy)
    return {"neuron": name, "a": a, "x": values(x), "y": values(y), "dy": values(dy), "dx": values(x.grad)}


def prelu(n, c, h, w, slopes):
    x, slope = random(n, c, h, w).requires_grad_(), random(slopes).requires_grad_()
    y = F.prelu(x, slope)
    dy = random(*y.shape)
    y.backward(dy)
    tensors = dict(x=x, slope=slope, y=y, dy=dy, dx=x.grad, dslope=slope.grad)
    return {"shape": [n, h, w, c], **{name: values(t) for name, t in tensors.items()}}


def resize(n, h, w, c, p, q):
    x = random(n, c, h, w).requires_grad_()
    y = F.interpolate(x, (p, q), mode="bilinear", align_corners=False)
    dy = random(*y.shape)
    y.backward(dy)
    return {"geometry": [n, h, w, c, p, q], "x": values(x), "y": values(y), "dy": values(dy), "dx": values(x.grad)}


out = {
    "made_with": f"torch {torch.__version__}",
    "conv": [
        conv(2, 7, 6, 3, 4, 3, 2, (1, 1), (0, 0), (1, 1), 1),
        conv(2, 8, 7, 3, 4, 3, 3, (2, 3), (1, 2), (1, 1), 1),
        conv(1, 7, 7, 4, 6, 3, 3, (1, 1), (1, 1), (1, 1), 2),
        conv(2, 6, 5, 4, 4, 3, 3, (1, 1), (1, 1), (1, 1), 4),
        conv(1, 9, 10, 2, 3, 3, 2, (2, 1), (2, 1), (2, 3), 1),
        conv(1, 12, 11, 4, 4, 5, 3, (2, 2), (2, 1), (2, 1), 2),
        conv(3, 5, 5, 3, 5, 1, 1, (1, 1), (0, 0), (1, 1), 1),
    ],
    "pool": [
        pool(kind, *geometry)
        for kind in ("max", "avg")
        for geometry in (
            (2, 6, 6, 3, (2, 2), (2, 2), (0, 0), False),
            (2, 7, 6, 3, (2, 2), (2, 2), (0, 0), True),
            (1, 8, 9, 4, (3, 3), (2, 2), (0, 0), True),
            (1, 7, 7, 3, (3, 2), (2, 1), (1, 1), True),
            (2, 5, 6, 2, (3, 3), (1, 1), (1, 1), False),
        )
    ],
    "cost": [cost(6, 10, 2.0), cost(3, 37, 1.0), cost(4, 3, 100.0)],
    "sgd": [sgd(20, 6, 0.125, 0.9, 0.0005), sgd(7, 4, 0.5, 0.0, 0.1)],
    "smoothed": [smoothed(5, 10, 2.0, 0.1), smoothed(3, 21, 1.0, 0.25)],
    "binary": [binary(5, 7, 2.0, 1.0), binary(2, 33, 4.0, 3.0)],
    "hinge": [hinge(6, 10, norm, margin) for norm in (1, 2) for margin in (1.0, 0.5)],
    "contrastive": [contrastive(8, 5, 3.0), contrastive(6, 37, 9.0)],
    "neuron": [
        neuron("leaky", 0.125, lambda x: F.leaky_relu(x, 0.125)),
        neuron("elu", 0.75, lambda x: F.elu(x, 0.75)),
        neuron("swish", 0, F.silu),
    ],
    "resize": [resize(2, 5, 7, 3, 10, 9), resize(1, 9, 8, 4, 4, 3), resize(2, 3, 4, 2, 7, 1), resize(1, 6, 6, 3, 6, 6)],
    "prelu": [prelu(3, 5, 4, 6, 5), prelu(2, 3, 7, 5, 1)],
}
path = pathlib.Path(__file__).with_name("operations.json")
path.write_text(json.dumps(out, separators=(",", ":")) + "\n")
print(path, path.stat().st_size, "bytes")
