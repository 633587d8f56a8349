"""Pictures small enough to live inside the page: data: addresses of PNGs."""

from __future__ import annotations

import base64
import io

from PIL import Image, ImageChops

from textkd.report.evidence import IMAGE_CHARACTERS

HEIGHT, WIDTH = 64, 4096
_HEAD = "data:image/png;base64,"


def thumbnail(image: Image.Image, most: int = IMAGE_CHARACTERS) -> str:
    """The picture as a PNG in a data: address of at most `most` characters, at most 64 pixels high, never enlarged.

    What shines through is laid on white and grey pictures lose their unused colours. Where the PNG is still too large
    it gets 16 shades, then fewer pixels.
    """
    small = _grey_if_grey(_on_white(image))
    small.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    address = _address(small)
    if len(address) > most:
        address = _address(small.quantize(16))
    while len(address) > most and max(small.size) > 1:
        small = small.resize((max(1, small.width * 4 // 5), max(1, small.height * 4 // 5)), Image.Resampling.LANCZOS)
        address = _address(small.quantize(16))
    return address


def _on_white(image: Image.Image) -> Image.Image:
    """A new picture in mode L or RGB."""
    if image.mode.startswith(("I", "F")):
        return _to_8_bits(image)
    if image.mode == "1":
        return image.convert("L")
    if "A" in image.mode or "transparency" in image.info:
        above = image.convert("RGBA")
        white = Image.new("RGBA", above.size, "white")
        return Image.alpha_composite(white, above).convert("RGB")
    return image.copy() if image.mode in ("L", "RGB") else image.convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """16 bit, 32 bit or floating point, by its own darkest and brightest pixel: such files do not say their range."""
    values = image.convert("F")
    low, high = values.getextrema()
    if not isinstance(low, float) or not isinstance(high, float) or high <= low:
        return values.convert("L")
    scale = 255.0 / (high - low)
    return values.point(lambda value: value * scale + (-low * scale)).convert("L")


def _grey_if_grey(image: Image.Image) -> Image.Image:
    if image.mode == "L":
        return image
    red, green, blue = image.split()
    grey = not (ImageChops.difference(red, green).getbbox() or ImageChops.difference(red, blue).getbbox())
    return red if grey else image


def _address(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return _HEAD + base64.b64encode(file.getvalue()).decode()
