"""Makes batches/: the data sets of tests/batches.rs, as Python's pickle, numpy and LMDB write them.

    python tests/golden/make_batches.py        # needs numpy, Pillow and lmdb

Image i of every set has the byte (7 i + 3 y + 5 x + 11 c) mod 256 at row y, column x, channel c (red, green, blue), and the label i mod 3.
"""

import io
import pathlib
import pickle
import shutil

import lmdb
import numpy as np
from PIL import Image

HERE = pathlib.Path(__file__).parent / "batches"


def image(i, h, w, c=3):
    y, x, k = np.mgrid[0:h, 0:w, 0:c]
    return ((7 * i + 3 * y + 5 * x + 11 * k) % 256).astype(np.uint8)


def rows(indices, side):
    return np.stack([image(i, side, side).transpose(2, 0, 1).reshape(-1) for i in indices])


def save(folder, name, value, protocol):
    path = HERE / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol))


def batches():
    # CIFAR-10's Python version: an image a row. Protocols 0, 2 and 5 write the bytes of an array in three ways.
    for number, protocol in [(1, 0), (2, 2), (3, 5)]:
        indices = range(4 * number - 4, 4 * number)
        batch = {"data": rows(indices, 4), "labels": [i % 3 for i in indices], "batch_label": "a batch"}
        save("rows", f"data_batch_{number}", batch, protocol)
    save("rows", "test_batch", {"data": rows(range(12, 15), 4), "labels": [i % 3 for i in range(12, 15)]}, 4)
    save("rows", "batches.meta", {"label_names": ["ape", "bee", "cat"], "num_vis": 48}, 0)
    # cuda-convnet's: an image a column, in C's order and in Fortran's; the last batch is tested on.
    for number, order in [(1, "C"), (2, "F"), (3, "C")]:
        indices = range(4 * number - 4, 4 * number)
        data = np.array(rows(indices, 4).T, order=order)
        save("columns", f"data_batch_{number}", {"data": data, "labels": np.array([i % 3 for i in indices], np.uint8)}, 2)
    # cuda-convnet2's: JPEGs (here PNG, so that pixels are exact), a list of labels each.
    for number, indices in [(0, range(5)), (1, range(5, 8))]:
        files = []
        for i in indices:
            file = io.BytesIO()
            Image.fromarray(image(i, 6, 5)).save(file, "png")
            files.append(file.getvalue())
        save("files", f"data_batch_{number}", {"data": files, "labels": [[i % 3] for i in indices]}, 3)

    # What a pickle would run, if it were loaded.
    class Evil:
        def __reduce__(self):
            import os

            return os.system, ("touch /tmp/a-pickle-has-run",)

    save("evil", "data_batch_1", {"data": Evil(), "labels": [0]}, 2)
    save("evil", "data_batch_2", {"data": rows([0], 4), "labels": [0]}, 2)


def varint(n):
    out = b""
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def datum(pixels, label, encoded=False):
    if encoded:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        body = file.getvalue()
        return b"\x22" + varint(len(body)) + body + b"\x28" + varint(label) + b"\x38\x01"
    h, w, c = pixels.shape
    planes = pixels[..., ::-1].transpose(2, 0, 1).tobytes()
    return b"\x08" + varint(c) + b"\x10" + varint(h) + b"\x18" + varint(w) + b"\x22" + varint(len(planes)) + planes + b"\x28" + varint(label)


def database(name, values):
    path = HERE / name
    path.mkdir(parents=True)
    env = lmdb.open(str(path), map_size=1 << 22)
    with env.begin(write=True) as txn:
        for i, value in values:
            txn.put(f"{i:08d}".encode(), value)
    env.close()
    (path / "lock.mdb").unlink()


shutil.rmtree(HERE, ignore_errors=True)
batches()
# Small values lie on leaf pages, 60 of them under a branch page; those of 36×32 on overflow pages.
database("pixels/x_train_lmdb", ((i, datum(image(i, 6, 5), i % 3)) for i in range(60)))
database("pixels/x_val_lmdb", ((i, datum(image(i, 6, 5), i % 3)) for i in range(60, 63)))
database("large/train_lmdb", ((i, datum(image(i, 36, 32), i % 3)) for i in range(3)))
database("large/test_lmdb", ((i, datum(image(i, 36, 32, 1), i % 3)) for i in range(3, 5)))
database("encoded", ((i, datum(image(i, 9, 8), i % 3, True)) for i in range(6)))
