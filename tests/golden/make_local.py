"""Makes local.json: locally connected layers as PyTorch's unfold and einsum compute them, in double, for
tests/operations/golden.rs. Tensors are NHWC and weights [P·Q][K][R][S][C/groups], as convnet has them.

    python tests/golden/make_local.py        # needs torch; made with the version that the file names
"""

import json
import pathlib

import torch
import torch.nn.functional as F

torch.manual_seed(2)
torch.set_default_dtype(torch.float64)


def random(*shape):
    # Multiples of 1/64 keep the file small; they are exact in every type.
    return torch.randint(-128, 129, shape).double() / 64


def local(n, h, w, c, k, r, s, stride, padding, dilation, groups):
    x = random(n, c, h, w).requires_grad_()
    windows = F.unfold(x, (r, s), dilation, padding, stride)
    places = windows.shape[2]
    p = (h + 2 * padding[0] - dilation[0] * (r - 1) - 1) // stride[0] + 1
    q = places // p
    f = random(places, k, r, s, c // groups).requires_grad_()
    b = random(places, k).requires_grad_()
    windows = windows.reshape(n, groups, c // groups, r, s, places)
    y = torch.einsum("ngcrsl,lgkrsc->nlgk", windows, f.reshape(places, groups, k // groups, r, s, c // groups))
    y = y.reshape(n, places, k) + b
    dy = random(*y.shape)
    y.backward(dy)
    nhwc = lambda t: t.detach().permute(0, 2, 3, 1)
    tensors = dict(x=nhwc(x), w=f, b=b, y=y, dy=dy, dx=nhwc(x.grad), dw=f.grad, db=b.grad)
    geometry = [n, h, w, c, k, r, s, p, q, *stride, *padding, *dilation, groups]
    return {"geometry": geometry, **{name: t.detach().reshape(-1).tolist() for name, t in tensors.items()}}


out = {
    "made_with": f"torch {torch.__version__}",
    "local": [
        local(2, 5, 4, 3, 4, 3, 2, (1, 1), (0, 0), (1, 1), 1),
        local(2, 6, 5, 4, 6, 3, 3, (2, 1), (1, 2), (1, 1), 2),
        local(1, 7, 8, 2, 3, 2, 3, (2, 3), (1, 0), (2, 1), 1),
        local(3, 3, 2, 6, 4, 3, 2, (1, 1), (0, 0), (1, 1), 2),
    ],
}
path = pathlib.Path(__file__).with_name("local.json")
path.write_text(json.dumps(out, separators=(",", ":")) + "\n")
print(path, path.stat().st_size, "bytes")
