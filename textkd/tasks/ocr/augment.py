"""Changes that a scanned line may go through and stay readable: geometry, ink, blur, noise, exposure.

Made for line images of about 15 to 100 pixels in height: amounts grow with the height, and nothing is cut off (the
canvas grows by what a rotation needs), so the transcription stays true.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

MOST_ANGLE = 1.5  # degrees
MOST_RISE = 0.22  # of the height: a long line may not climb more from its start to its end
MOST_SLANT = 0.12  # horizontal shift from the top to the bottom, of the height
FULL_HEIGHT = 48  # pixels; strokes of lower lines are thinner, and ink is changed less


def augment(image: Image.Image, seed: Sequence[int], strength: float = 1.0) -> Image.Image:
    """A degraded copy of a line image (RGB in, RGB out; the size changes a little), the same for the same `seed`
    (whole numbers from 0, such as (run seed, epoch, row)).

    Rotation up to 1.5 degrees (less for long lines), slant, scale, margins; thicker or thinner ink; blur or lost
    resolution; contrast and brightness; noise and specks; for images of two tones half of the results are brought back
    to two. New paper takes the tone of the border. strength scales both amounts and chances: 0 returns a plain copy,
    1 is the default, 2 is rough. Images without colour are worked on in grey (about 1 ms for 53 x 1500 pixels).
    """
    if strength <= 0:
        return image.convert("RGB") if image.mode != "RGB" else image.copy()
    rng = np.random.default_rng(tuple(seed))
    image, two_tones = _simplest(image.convert("RGB"))
    image = _ink(image, rng, strength)
    image = _move(image, rng, strength)
    image = _blur(image, rng, strength)
    pixels = np.asarray(image)
    if two_tones and rng.random() < 0.5:
        pixels = _noise(pixels, rng, min(strength, 1.0))  # of faint contrast a threshold would leave nothing
        pixels = _two_tones(pixels, rng)
    else:
        pixels = _noise(_expose(pixels, rng, strength), rng, strength)
    return Image.fromarray(_specks(pixels, rng, strength)).convert("RGB")


def _simplest(image: Image.Image) -> tuple[Image.Image, bool]:
    """In grey if it has no colour: a third of the work. And whether it has two tones, black and white."""
    red, green, blue = image.split()
    if red.tobytes() != green.tobytes() or red.tobytes() != blue.tobytes():
        return image, False
    counts = red.histogram()
    return red, counts[0] + counts[255] == image.width * image.height


def _often(rng: np.random.Generator, chance: float, strength: float) -> bool:
    return bool(rng.random() < min(chance * strength, 0.95))


def _ink(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Thicker or thinner strokes: a mix with the darkest or the lightest of each pixel and its four neighbours."""
    thicker, amount = rng.random() < 0.5, rng.uniform(0.2, 0.9) * min(1.0, strength)
    if not _often(rng, 0.4, strength):
        return image
    pixels = np.asarray(image)
    edge = np.pad(pixels, ((1, 1), (1, 1), (0, 0))[: pixels.ndim], mode="edge")
    choose = np.minimum if thicker else np.maximum
    changed = pixels
    for near in (edge[:-2, 1:-1], edge[2:, 1:-1], edge[1:-1, :-2], edge[1:-1, 2:]):
        changed = choose(changed, near)
    amount *= min(1.0, image.height / FULL_HEIGHT) * (1.0 if thicker else 0.6)
    return Image.blend(image, Image.fromarray(changed), amount)


def _move(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Rotation, slant, scale and margins in one pass."""
    width, height = image.size
    slope = np.tan(np.radians(rng.uniform(-MOST_ANGLE, MOST_ANGLE))) * strength
    rise = float(np.clip(slope * width, -MOST_RISE * height * strength, MOST_RISE * height * strength))
    slant = float(rng.uniform(-MOST_SLANT, MOST_SLANT)) * strength
    scale_x, scale_y = (1 + 0.07 * strength * rng.uniform(-1, 1, 2)).tolist()
    left, right = (0.25 * strength * height * rng.random(2)).tolist()
    top, bottom = (0.08 * strength * height * rng.random(2)).tolist()
    if not _often(rng, 0.85, strength):
        return image
    new_width = scale_x * width + abs(slant) * height + left + right
    new_height = scale_y * height + abs(rise) + top + bottom
    size = max(2, round(new_width)), max(2, round(new_height))
    tilt = rise / width
    # the middle of the line lands in the middle of what the margins leave
    middle_x, middle_y = (size[0] + left - right) / 2, (size[1] + top - bottom) / 2
    a, b, d, e = 1 / scale_x, -slant / scale_y, -tilt / scale_x, 1 / scale_y
    c = width / 2 - a * middle_x - b * middle_y
    f = height / 2 - d * middle_x - e * middle_y
    return image.transform(
        size, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR, fillcolor=_paper(image)
    )


def _paper(image: Image.Image) -> Any:
    """The tone of the paper: the upper quartile of the border, where ink is rare."""
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    tone = np.quantile(border, 0.75, axis=0).astype(int).tolist()
    return tuple(tone) if isinstance(tone, list) else tone


def _blur(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Out of focus, or scanned at a lower resolution."""
    amount, coarse = float(rng.uniform(0.3, 1.0)), rng.random() < 0.35
    if not _often(rng, 0.55, strength):
        return image
    if coarse and image.height >= 24:
        factor = 1 - 0.5 * amount * min(strength, 1.2) * min(1.0, (image.height - 16) / 32)
        low = max(2, round(image.width * factor)), max(2, round(image.height * factor))
        return image.resize(low, Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BILINEAR)
    return image.filter(ImageFilter.GaussianBlur(amount * strength * image.height * 0.022))


def _expose(pixels: Pixels, rng: np.random.Generator, strength: float) -> Pixels:
    """Contrast, brightness and gamma as one table of 256 values; the ink stays 80 grey levels from the paper."""
    contrast, brightness = 1 - 0.5 * strength * rng.random(), 45 * strength * rng.uniform(-1, 1)
    gamma = float(np.exp(0.35 * strength * rng.uniform(-1, 1)))
    if not _often(rng, 0.6, strength):
        return pixels
    least, greatest = float(pixels.min()), float(pixels.max())
    span = max(greatest - least, 1.0)
    contrast = max(contrast, min(1.0, 80 / span))
    tones = np.clip((np.arange(256) - least) / span, 0, 1) ** gamma
    base = np.clip(least + (1 - contrast) * span / 2 + brightness, 0, 255 - contrast * span)
    table = np.clip(base + contrast * span * tones, 0, 255).astype(np.uint8)
    return np.asarray(table[pixels], dtype=np.uint8)


def _noise(pixels: Pixels, rng: np.random.Generator, strength: float) -> Pixels:
    """Noise of every pixel, of triangular shape (two uniform draws are ten times as fast as a normal one)."""
    sigma = float(rng.uniform(2, 13)) * strength
    if not _often(rng, 0.5, strength):
        return pixels
    draws = rng.integers(0, 256, (2, *pixels.shape[:2]), dtype=np.uint8).astype(np.int16)
    noise = ((draws[0] + draws[1] - 255) * np.float32(sigma / 104.5)).astype(np.int16)
    if pixels.ndim == 3:
        noise = noise[..., None]
    return np.asarray(np.clip(pixels + noise, 0, 255), dtype=np.uint8)


def _specks(pixels: Pixels, rng: np.random.Generator, strength: float) -> Pixels:
    """Dust: a few dots of 1 to 2 pixels, dark on the paper or light in the ink."""
    height, width = pixels.shape[:2]
    count = int(rng.integers(1, 2 + int(strength * width * height / 4000)))
    rows, columns = rng.integers(0, height, count), rng.integers(0, width, count)
    tones = rng.choice(np.array([pixels.min(), pixels.max()]), count)
    wide = rng.random(count) < 0.4
    if not _often(rng, 0.25, strength):
        return pixels
    pixels = pixels.copy()
    for row, column, tone, more in zip(rows, columns, tones, wide, strict=True):
        pixels[row : row + 1 + more, column : column + 1 + more] = tone
    return pixels


def _two_tones(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Black and white, with as many black pixels as there was ink, 20% more or less: a cut half way between the tones
    would wipe thin strokes out once they are blurred."""
    ink = (255.0 - float(pixels.mean())) / 255 * float(np.exp(rng.uniform(-0.2, 0.2)))
    darker = np.cumsum(np.bincount(pixels.ravel(), minlength=256)) / pixels.size
    cut = int(np.clip(np.searchsorted(darker, ink), 40, 215))
    return np.asarray(np.where(pixels > cut, 255, 0), dtype=np.uint8)
