"""Makes norms.json: what PyTorch on the CPU, in double, computes for the normalisations and pools that
tests/operations/norms.rs compares. Tensors are NHWC.

    python tests/golden/make_norms.py        # needs torch; made with the version that the file names
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def values(t):
    """A tensor as a flat list, NCHW turned to NHWC."""
    return (t.detach().permute(0, 2, 3, 1) if t.dim() == 4 else t.detach()).reshape(-1).tolist()


def random(*shape):
    # Multiples of 1/64 keep the file small; they are exact in every type.
    return torch.randint(-128, 129, shape).double() / 64


def with_gradient(x, y):
    dy = random(*y.shape)
    y.backward(dy)
    return {"x": values(x), "y": values(y), "dy": values(dy), "dx": values(x.grad)}


def lrn(n, h, w, c, size, region, alpha, beta, k):
    """PyTorch's window starts at c − size//2 too, pads with zeros and divides by size. Within a map the windows are of size
    rows and columns: the mean square by an average pool over zeros. Blocks of channels by themselves."""
    x = random(n, c, h, w).requires_grad_()
    if region == "across":
        y = F.local_response_norm(x, size, alpha, beta, k)
    elif region == "blocked":
        mean = torch.cat([(b * b).sum(1, keepdim=True).expand_as(b) / size for b in x.split(size, 1)], 1)
        y = x / (k + alpha * mean) ** beta
    else:
        before = size // 2
        square = F.pad(x * x, (before, size - 1 - before) * 2)
        y = x / (k + alpha * F.avg_pool2d(square, size, 1)) ** beta
    geometry = [n, h, w, c, size, int(region == "within"), int(region == "blocked")]
    numbers = dict(alpha=alpha / (size**2 if region == "within" else size), beta=beta, k=k)
    return {"geometry": geometry, **numbers, **with_gradient(x, y)}


def batch_norm(n, h, w, c, around, epsilon, momentum):
    """Two batches one after the other, then a test of the second with the running moments."""
    norm = torch.nn.BatchNorm2d(c, eps=epsilon, momentum=momentum)
    norm.weight.data, norm.bias.data = random(c), random(c)
    start = {"gamma": values(norm.weight), "beta": values(norm.bias)}
    norm(random(n, c, h, w) + around)
    norm.zero_grad()
    running = {"mean": values(norm.running_mean), "variance": values(norm.running_var)}
    x = (random(n, c, h, w) + around).requires_grad_()
    pass_ = with_gradient(x, norm(x))
    after = {"mean_after": values(norm.running_mean), "variance_after": values(norm.running_var)}
    gradients = {"dgamma": values(norm.weight.grad), "dbeta": values(norm.bias.grad)}
    tested = {"tested": values(norm.eval()(x))}
    shape = {"shape": [n, h, w, c], "epsilon": epsilon, "momentum": momentum}
    return {**shape, **start, **running, **pass_, **after, **gradients, **tested}


def pool(kind, n, h, w, c, p, q, size=None, stride=None):
    """L2 over whole windows, and windows that divide the image evenly (adaptive: no size and stride, which are 0 then)."""
    x = random(n, c, h, w).requires_grad_()
    if size:
        y = F.lp_pool2d(x, 2, size, stride)
        assert y.shape[2:] == (p, q)
    elif kind == "l2":
        # A mean of as many squares as the window has, times their number.
        rows, columns = (
            torch.tensor([math.ceil((i + 1) * cells / windows) - i * cells // windows for i in range(windows)]).double()
            for cells, windows in ((h, p), (w, q))
        )
        y = (F.adaptive_avg_pool2d(x * x, (p, q)) * rows[:, None] * columns).sqrt()
    else:
        y = {"max": F.adaptive_max_pool2d, "avg": F.adaptive_avg_pool2d}[kind](x, (p, q))
    geometry = [n, h, w, c, p, q, *(size or (1, 1)), *(stride or (0, 0)), 0, 0]
    return {"kind": kind, "geometry": geometry, **with_gradient(x, y)}


def local(x, size, of):
    """of(the cells of the window around each place), channel by channel: windows start at place − size//2 and are clipped."""
    y = torch.empty_like(x)
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            top, left = i - size // 2, j - size // 2
            y[:, :, i, j] = of(x[:, :, max(0, top) : top + size, max(0, left) : left + size])
    return y


def mean_subtraction(x, size):
    return x - local(x, size, lambda cells: cells.mean((2, 3)))


def contrast_norm(x, size, alpha, beta, k):
    squares = local(mean_subtraction(x, size) ** 2, size, lambda cells: cells.sum((2, 3)))
    return x / (k + alpha / size**2 * squares) ** beta


def pyramid(x, pool, levels):
    # NHWC, level by level.
    bins = [pool(x, (level, level)).permute(0, 2, 3, 1).reshape(len(x), -1) for level in levels]
    return torch.cat(bins, 1)[:, :, None, None]


def across(x, of, windows):
    return torch.stack([of(x[:, window]) for window in windows], 1)


def layer(keys, n, h, w, c, of):
    """A layer alone, its config and its output."""
    x = torch.randint(-128, 128, (n, c, h, w)).double() / 64
    return {"layer": keys, "shape": [n, h, w, c], "x": values(x), "y": values(of(x))}


def made(*makers):
    """Each kind from a seed of its own, so that adding one changes no other."""
    out = {"made_with": f"torch {torch.__version__}"}
    for name, make, cases in makers:
        torch.manual_seed(1)
        out[name] = [make(*case) for case in cases]
    return out


out = made(
    (
        "lrn",
        lrn,
        [
            (2, 2, 3, 9, 5, "across", 1e-4, 0.75, 1.0),
            (1, 3, 2, 8, 4, "across", 2.0, 0.75, 2.0),
            (1, 2, 2, 40, 35, "across", 9.0, 0.5, 0.5),
            (2, 2, 2, 7, 3, "blocked", 1.5, 0.6, 1.0),
            (2, 5, 6, 3, 3, "within", 1.0, 0.75, 1.0),
            (1, 4, 5, 4, 4, "within", 2.0, 1.0, 0.5),
        ],
    ),
    (
        "pool",
        pool,
        [
            ("l2", 2, 6, 7, 3, 3, 3, (2, 3), (2, 2)),
            ("l2", 1, 5, 5, 2, 3, 3, (3, 3), (1, 1)),
            ("l2", 1, 5, 7, 2, 2, 3),
            ("max", 2, 7, 5, 2, 3, 4),
            ("avg", 2, 7, 5, 2, 3, 4),
            ("avg", 1, 2, 3, 3, 4, 4),
            ("max", 1, 5, 4, 3, 1, 1),
        ],
    ),
    (
        "layer",
        layer,
        [
            ('type = "mean-subtraction", size = 3', 2, 5, 6, 3, lambda x: mean_subtraction(x, 3)),
            ('type = "mean-subtraction", size = 4', 1, 6, 5, 2, lambda x: mean_subtraction(x, 4)),
            (
                'type = "contrast-norm", size = 5, alpha = 4, beta = 0.75, k = 2',
                *(2, 6, 5, 3),
                lambda x: contrast_norm(x, 5, 4, 0.75, 2),
            ),
            (
                'type = "contrast-norm", size = 2, alpha = 3, beta = 0.5, k = 1',
                *(1, 4, 5, 4),
                lambda x: contrast_norm(x, 2, 3, 0.5, 1),
            ),
            ('type = "lrn", size = 5, alpha = 2, k = 2', 1, 3, 4, 7, lambda x: F.local_response_norm(x, 5, 2, 0.75, 2)),
            ('type = "spatial-pyramid"', 2, 7, 6, 3, lambda x: pyramid(x, F.adaptive_max_pool2d, [1, 2, 4])),
            (
                'type = "spatial-pyramid", pool = "avg", levels = [3, 2]',
                *(1, 5, 7, 2),
                lambda x: pyramid(x, F.adaptive_avg_pool2d, [3, 2]),
            ),
            (
                'type = "cross-map-pool", pool = "max", size = 3, stride = 2',
                *(2, 2, 3, 8),
                lambda x: across(x, lambda cells: cells.amax(1), [slice(0, 3), slice(2, 5), slice(4, 7), slice(6, 8)]),
            ),
            (
                'type = "cross-map-pool", pool = "avg", size = 4, start = -1',
                *(1, 2, 2, 8),
                lambda x: across(x, lambda cells: cells.mean(1), [slice(0, 3), slice(3, 7), slice(7, 8)]),
            ),
            (
                'type = "cross-map-pool", pool = "l2", size = 2',
                *(1, 3, 2, 6),
                lambda x: across(x, lambda cells: cells.norm(dim=1), [slice(0, 2), slice(2, 4), slice(4, 6)]),
            ),
        ],
    ),
    ("batch_norm", batch_norm, [(3, 4, 3, 5, 0, 1e-5, 0.1), (6, 1, 1, 4, 30, 0.125, 0.25)]),
)
path = pathlib.Path(__file__).with_name("norms.json")
path.write_text(json.dumps(out, separators=(",", ":")) + "\n")
print(path, path.stat().st_size, "bytes")
