"""Ways in which images are copied, for docs/benchmarks/copies.py: each makes a copy of an image."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

Copy = Callable[[Image.Image, np.random.Generator], Image.Image]
CUBIC = Image.Resampling.BICUBIC


def _cut(image: Image.Image, random: np.random.Generator, low: float, high: float) -> Image.Image:
    """Return a part, of one share of both sides, at the size of the whole."""
    width, height = image.size
    share = random.uniform(low, high)
    w, h = share * width, share * height
    x, y = random.uniform(0, width - w), random.uniform(0, height - h)
    return image.resize(image.size, CUBIC, box=(x, y, x + w, y + h))


def encoded(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Re-encode as a JPEG of quality 30 to 80."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=int(random.integers(30, 81)))
    return Image.open(stream).convert(image.mode)


def mirrored(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Mirror."""
    return ImageOps.mirror(image)


def cropped(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Cut 75 to 95 % of each side out."""
    return _cut(image, random, 0.75, 0.95)


def halved(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Cut 50 to 70 % of each side out."""
    return _cut(image, random, 0.5, 0.7)


def mirrored_crop(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Mirror, and cut 70 to 90 % of each side out."""
    return _cut(ImageOps.mirror(image), random, 0.7, 0.9)


def banded(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Cut 60 to 85 % of one side out: another aspect."""
    width, height = image.size
    share = random.uniform(0.6, 0.85)
    w, h = (share * width, height) if random.random() < 0.5 else (width, share * height)
    x, y = random.uniform(0, width - w), random.uniform(0, height - h)
    return image.resize(image.size, CUBIC, box=(x, y, x + w, y + h))


def turned(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Turn by 2 to 8 degrees, and cut the corners that this leaves empty off."""
    angle = random.uniform(2, 8) * (1 if random.random() < 0.5 else -1)
    width, height = image.size
    around = image.rotate(angle, CUBIC)
    return around.resize(
        image.size, CUBIC, box=(0.07 * width, 0.07 * height, 0.93 * width, 0.93 * height)
    )


def brightened(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Multiply brightness by 0.5 to 0.8 or 1.2 to 1.5."""
    low, high = (0.5, 0.8) if random.random() < 0.5 else (1.2, 1.5)
    return ImageEnhance.Brightness(image).enhance(random.uniform(low, high))


def recoloured(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Turn the hue by 60 to 300 degrees, and change contrast by a third up or down."""
    hue, saturation, value = image.convert("RGB").convert("HSV").split()
    turn = int(random.integers(43, 213))
    hue = hue.point(lambda v: (v + turn) % 256)
    other = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    return ImageEnhance.Contrast(other).enhance(random.uniform(0.67, 1.33))


def grey(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Take the colours away."""
    return image.convert("L").convert("RGB")


def framed(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Shrink into a frame of one colour, of 5 to 15 % of each side."""
    width, height = image.size
    x, y = (round(random.uniform(0.05, 0.15) * side) or 1 for side in (width, height))
    ground = Image.new("RGB", image.size, tuple(random.integers(0, 256, 3).tolist()))
    ground.paste(image.convert("RGB").resize((width - 2 * x, height - 2 * y), CUBIC), (x, y))
    return ground


def captioned(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Lay a bar with strokes, like a line of text, upon 10 to 25 % of the height."""
    out = image.convert("RGB")
    width, height = out.size
    tall = max(3, round(random.uniform(0.1, 0.25) * height))
    top = 0 if random.random() < 0.5 else height - tall
    dark, light = (0, 0, 0), (255, 255, 255)
    paper, ink = (dark, light) if random.random() < 0.5 else (light, dark)
    draw = ImageDraw.Draw(out)
    draw.rectangle((0, top, width, top + tall - 1), fill=paper)
    place = 1.0
    while place < 0.9 * width:
        wide = random.uniform(0.02, 0.08) * width
        draw.rectangle(
            (place, top + tall // 4, place + wide / 2, top + 3 * tall // 4 - 1), fill=ink
        )
        place += wide
    return out


def shrunk(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Shrink to 40 to 60 % and enlarge again."""
    share = random.uniform(0.4, 0.6)
    less = tuple(max(1, round(share * side)) for side in image.size)
    return image.resize(less, CUBIC).resize(image.size, CUBIC)


KINDS: dict[str, Copy] = {
    "re-encoded": encoded,
    "shrunk": shrunk,
    "mirrored": mirrored,
    "brightness": brightened,
    "recoloured": recoloured,
    "grey": grey,
    "crop 75-95 %": cropped,
    "crop 50-70 %": halved,
    "mirrored crop": mirrored_crop,
    "band 60-85 %": banded,
    "turned 2-8°": turned,
    "frame": framed,
    "caption": captioned,
}
