"""Makes pictures/: small image files of every kind that is read, and Pillow's pixels of each in pictures/expected.bin, for
tests/decode.rs. pictures/list.txt has a line a file: its name, then the width and the height of what is expected.

    python tests/golden/make_pictures.py        # needs Pillow and numpy; list.txt names Pillow's version
"""

import pathlib

import numpy as np
import PIL
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent / "pictures"
W, H = 43, 29


def picture():
    """Smooth colours with edges: no two corners alike, so that a turn shows."""
    y, x = np.mgrid[0:H, 0:W].astype(float)
    r = 128 + 100 * np.sin(x / 7) * np.cos(y / 11)
    g = 20 + 4.5 * x + y
    b = 200 - 5 * y + 30 * np.sin((x + y) / 5)
    rgb = np.stack([r, g, b], -1)
    rgb[5:12, 8:20] = [240, 30, 60]
    rgb[18:25, 25:38] = [10, 200, 220]
    return rgb.clip(0, 255).astype(np.uint8)


def save():
    rgb = Image.fromarray(picture())
    grey = rgb.convert("L")
    cmyk = rgb.convert("CMYK")
    turned = {}
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned[f"exif-{orientation}.jpg"] = exif.tobytes()
    rgb.save(HERE / "baseline.jpg", quality=90, subsampling=0)
    rgb.save(HERE / "subsampled.jpg", quality=90, subsampling=2)
    rgb.save(HERE / "subsampled-422.jpg", quality=90, subsampling=1)
    rgb.save(HERE / "progressive.jpg", quality=90, progressive=True, subsampling=0)
    rgb.save(HERE / "restarts.jpg", quality=90, restart_marker_blocks=2)
    grey.save(HERE / "grey.jpg", quality=90)
    grey.save(HERE / "grey-progressive.jpg", quality=90, progressive=True)
    cmyk.save(HERE / "cmyk.jpg", quality=90)
    for name, exif in turned.items():
        rgb.save(HERE / name, quality=85, exif=exif)
    rgb.save(HERE / "rgb.png")
    rgb.save(HERE / "exif-6.png", exif=turned["exif-6.jpg"])
    grey.save(HERE / "grey.png")
    rgb.quantize(32).save(HERE / "palette.png")
    rgba = rgb.convert("RGBA")
    rgba.putalpha(grey)
    rgba.save(HERE / "alpha.png")
    Image.fromarray(picture()[..., 1].astype(np.uint16) * 257).save(HERE / "grey-16.png")
    grey.convert("1").save(HERE / "one-bit.png")
    rgb.save(HERE / "lossless.webp", lossless=True)
    rgb.save(HERE / "lossy.webp", quality=90)
    rgb.save(HERE / "rgb.bmp")
    frames = [rgb.quantize(64), rgb.transpose(Image.Transpose.ROTATE_180).quantize(64)]
    frames[0].save(HERE / "frames.gif", save_all=True, append_images=frames[1:])


def pixels(path):
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I;16"):
        # Pillow clips these where it should shift them.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")


HERE.mkdir(exist_ok=True)
save()
lines, expected = [f"# Pillow {PIL.__version__}"], b""
for path in sorted(p for p in HERE.iterdir() if p.suffix not in (".txt", ".bin")):
    image = pixels(path)
    lines.append(f"{path.name} {image.width} {image.height}")
    expected += image.tobytes()
# The middle of a picture, resized: the box is that of a 17×17 image of a picture whose shorter side is resized to 20.
scale = 20 / H
room = (round(W * scale, 6) - 17) // 2, (20 - 17) // 2
box = (room[0] / scale, room[1] / scale, room[0] / scale + 17 / scale, room[1] / scale + 17 / scale)
image = pixels(HERE / "rgb.png").resize((17, 17), Image.Resampling.BILINEAR, box=box)
lines.append("resized 17 17")
expected += image.tobytes()
(HERE / "list.txt").write_text("\n".join(lines) + "\n")
(HERE / "expected.bin").write_bytes(expected)
