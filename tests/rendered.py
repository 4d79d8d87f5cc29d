"""Images made for tests: smooth pictures of any size, and one of every mode that files come in."""

import io

import numpy as np
from PIL import Image


def picture(seed, width, height):
    """Return a smooth (H, W, 3) uint8 picture with a bright corner, so that turns show."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    coarse[0, 0] = 255
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(image, kind, **options):
    """Return a PIL image, or what one is made of, as a file's bytes."""
    stream = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def _alpha(height, width):
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


def _on_white(pixels, alpha):
    a = alpha[..., None] / 255
    return np.rint(pixels * a + 255 * (1 - a))


def every_mode(width=40, height=30):
    """Return {name: (bytes, expected (H, W, 3) or (H, W), tolerance)} for many kinds of file."""
    rgb = picture(1, width, height)
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    alpha = _alpha(height, width)
    wide = (grey.astype(np.uint16) * 257) ^ np.uint16(0x0015)
    narrow = np.rint(wide / 257.0)
    cut = (np.asarray(grey) > 127) * np.uint8(255)
    palette = Image.fromarray(rgb).quantize(16)
    colours = np.asarray(palette.convert("RGB"))
    clear = np.asarray(palette) == 3
    other = Image.fromarray(picture(2, width, height)).convert("P")
    first = Image.fromarray(rgb).convert("P")
    keyed = np.where((grey == grey[0, 0])[..., None], 255, np.repeat(grey[..., None], 3, 2))
    return {
        "rgb.png": (encoded(rgb, "PNG"), rgb, 0),
        "rgb.bmp": (encoded(rgb, "BMP"), rgb, 0),
        "rgb.tif": (encoded(rgb, "TIFF"), rgb, 0),
        "rgb.ppm": (encoded(rgb, "PPM"), rgb, 0),
        "rgb.webp": (encoded(rgb, "WEBP", lossless=True), rgb, 0),
        "rgb.jpg": (encoded(rgb, "JPEG", quality=95), rgb, 20),
        "progressive.jpg": (encoded(rgb, "JPEG", quality=95, progressive=True), rgb, 20),
        "grey.png": (encoded(grey, "PNG"), grey, 0),
        "grey.jpg": (encoded(grey, "JPEG", quality=95), grey, 8),
        "bit.png": (encoded(Image.fromarray(cut).convert("1"), "PNG"), cut, 0),
        "bit.tif": (encoded(Image.fromarray(cut).convert("1"), "TIFF"), cut, 0),
        "rgba.png": (encoded(np.dstack([rgb, alpha]), "PNG"), _on_white(rgb, alpha), 1),
        "rgba.webp": (
            encoded(np.dstack([rgb, alpha]), "WEBP", lossless=True, exact=True),
            _on_white(rgb, alpha),
            1,
        ),
        "la.png": (
            encoded(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), "PNG"),
            _on_white(grey[..., None], alpha)[..., 0],
            1,
        ),
        "grey-key.png": (encoded(grey, "PNG", transparency=int(grey[0, 0])), keyed[..., 0], 0),
        "palette.png": (encoded(palette, "PNG"), colours, 0),
        "palette-clear.png": (
            encoded(palette, "PNG", transparency=3),
            np.where(clear[..., None], 255, colours),
            0,
        ),
        "palette-alpha.png": (
            encoded(palette, "PNG", transparency=bytes(16 * i for i in range(16))),
            _on_white(colours, (np.asarray(palette) * 16).astype(np.uint8)),
            1,
        ),
        "cmyk.jpg": (encoded(Image.fromarray(rgb).convert("CMYK"), "JPEG", quality=95), rgb, 20),
        "cmyk.tif": (encoded(Image.fromarray(rgb).convert("CMYK"), "TIFF"), rgb, 1),
        "grey16.png": (encoded(Image.fromarray(wide), "PNG"), narrow, 0),
        "grey16.tif": (encoded(Image.fromarray(wide), "TIFF"), narrow, 0),
        "grey16.pgm": (_pgm(wide), narrow, 0),
        "grey32.tif": (encoded(Image.fromarray(wide.astype(np.int32)), "TIFF"), narrow, 0),
        "unit-float.tif": (encoded(Image.fromarray((grey / 255).astype("f4")), "TIFF"), grey, 0),
        "float.tif": (encoded(Image.fromarray(grey.astype("f4")), "TIFF"), grey, 0),
        "first-frame.gif": (
            encoded(first, "GIF", save_all=True, append_images=[other], duration=50),
            np.asarray(first.convert("RGB")),
            0,
        ),
        "first-frame.webp": (
            encoded(
                Image.fromarray(rgb),
                "WEBP",
                save_all=True,
                append_images=[other.convert("RGB")],
                lossless=True,
            ),
            rgb,
            0,
        ),
        "two-pictures.jpg": (
            encoded(
                Image.fromarray(rgb),
                "MPO",
                save_all=True,
                append_images=[other.convert("RGB")],
                quality=95,
            ),
            rgb,
            20,
        ),
    }


def _pgm(wide):
    height, width = wide.shape
    return b"P5 %d %d 65535\n" % (width, height) + wide.astype(">u2").tobytes()


def turned(orientation, width=40, height=30):
    """Return a JPEG with an EXIF orientation, and the upright picture it stands for."""
    upright = Image.fromarray(picture(5, width, height))
    back = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if back is None else upright.transpose(back)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(stored, "JPEG", quality=95, exif=exif), np.asarray(upright)


def mixed(n, seed=0):
    """Yield (file name, bytes) of images of mixed sizes, modes and formats, all different."""
    random = np.random.default_rng(seed)
    for i in range(n):
        width, height = (int(v) for v in random.integers(20, 90, 2))
        image = Image.fromarray(picture(seed * 100_000 + i + 10, width, height))
        kind = i % 6
        if kind == 1:
            yield f"{i:04d}.png", encoded(image.convert("L"), "PNG")
        elif kind == 2:
            image.putalpha(128)
            yield f"{i:04d}.png", encoded(image, "PNG")
        elif kind == 3:
            yield f"{i:04d}.JPEG", encoded(image.convert("CMYK"), "JPEG")
        elif kind == 4:
            yield f"{i:04d}.gif", encoded(image.convert("P"), "GIF")
        else:
            yield f"{i:04d}.jpg", encoded(image, "JPEG")
