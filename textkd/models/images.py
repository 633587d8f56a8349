"""Anything that holds an image -> an upright RGB image, or a message that says which row is bad and why.

Pixels mean brightness afterwards: transparent parts become white paper, more than 8 bits are scaled, never clipped.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from textkd.errors import TextkdError, fail, is_own_defect
from textkd.models.regular import special

MAX_PIXELS = 64_000_000
"""Width x height above which an image is refused before it is decoded (an A4 page at 800 dpi has 62 million)."""

BAND = 1_000_000
"""Pixels that are converted at a time: at 64 million, copies in wider numbers would take gigabytes."""

MIN_SIDE = 2
"""A line image has at least this many pixels in height and in width."""

# EPS, WMF and their like start other programs; formats of stars, fonts and films hold no lines of text
FORMATS = ("PNG", "JPEG", "MPO", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000", "AVIF", "TGA", "ICO")
END_MARKS = {"PNG": b"IEND", "JPEG": b"\xff\xd9", "MPO": b"\xff\xd9"}
ORIENTATION = 0x0112  # of EXIF
DEPTHS = (255, 1023, 4095, 16383, 65535)  # 8, 10, 12, 14, 16 bits

ImageLike = bytes | str | Path | Image.Image | Mapping[str, Any] | np.ndarray[Any, Any]
"""Encoded bytes, a path, a Pillow image, a {"bytes", "path"} struct of `datasets`, or an array [H, W] or [H, W, C]."""


def open_image(data: ImageLike, where: str = "an image", *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """`data` as an RGB image of its own (the source is left as it is), turned upright by its EXIF orientation.

    Of several frames the first is taken. Transparency is laid over white. Integers above 8 bits are divided by the
    largest value of the smallest usual depth (8, 10, 12, 14, 16 bits) that holds them; floats by 1, 255 or such a
    depth, whichever holds them; other ranges run from their least to their greatest value. LAB keeps its lightness.
    Raises `TextkdError` that names `where`: no such file, no image, damaged, cut short, a side under 2 pixels, more
    than `max_pixels` (or twice Pillow's own `Image.MAX_IMAGE_PIXELS`), an array of another shape or with NaN.
    """
    named = _named(data, where)
    with _told(named):
        image = _opened(data, where)
        _check_size(image.size, named, max_pixels)
        image.load()
        return _rgb(_upright(image), named)


def image_size(data: ImageLike, where: str = "an image", *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(width, height) as stored, read from the header alone (about 20 us): what `open_image` refuses by size or kind
    is refused here too; pixels that are damaged or cut short are not seen, EXIF orientation does not count."""
    named = _named(data, where)
    with _told(named):
        size = _opened(data, where).size
        _check_size(size, named, max_pixels)
        return size


def not_too_flat(image: Image.Image, height: int, width: int) -> Image.Image:
    """The image, but high and wide enough that it keeps two pixels of each when it is shrunk to fit.

    Args:
        image: of a line.
        height: that it has to fit in; 0: it is not shrunk.
        width: the same.
    """
    if not height or not width:
        return image
    share = max(image.width / width, image.height / height, 1.0)
    least = math.ceil(2 * share)
    if min(image.size) >= least:
        return image
    return image.resize((max(image.width, least), max(image.height, least)))


def check_image(data: ImageLike, where: str = "an image") -> None:
    """`image_size`, and a PNG or JPEG without its end mark is decoded, so that files cut short are refused here too.
    About 20 us for a good image."""
    named = _named(data, where)
    with _told(named):
        image = _opened(data, where)
        _check_size(image.size, named, MAX_PIXELS)
        mark, source = END_MARKS.get(str(image.format)), getattr(image, "fp", None)
        if mark is not None and isinstance(source, io.BytesIO) and mark not in bytes(source.getbuffer()[-64:]):
            image.load()


def _named(data: ImageLike, where: str) -> str:
    """Where an image is, with the name of its file."""
    inner = data.get("path") if isinstance(data, Mapping) and not data.get("bytes") else data
    name = Path(inner).name if isinstance(inner, str | Path) else ""
    return f"{where} ({name})" if name and name not in where else where


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Whatever a decoder raises on damaged bytes (OSError, SyntaxError, struct.error, zlib.error, ...) as one kind."""
    fix = "replace the file, or leave the row out"
    try:
        yield
    except TextkdError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise fail(f"{where}: an image of a line", f"a decompression bomb: {error}", fix=fix) from error
    except UnidentifiedImageError as error:
        found = "bytes of no known image format"
        raise fail(f"{where}: an image", found, fix=f"formats that are read: {', '.join(FORMATS)}") from error
    except Exception as error:  # decoders know no common base class
        if is_own_defect(error):
            raise
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise fail(f"{where}: a whole image", f"it is damaged or cut short: {reason}", fix=fix) from error


def _opened(data: ImageLike, where: str) -> Image.Image:
    """The image, its pixels not yet decoded where they come from a file."""
    if isinstance(data, Image.Image):
        return data
    if isinstance(data, np.ndarray):
        return _from_array(data, where)
    if isinstance(data, Mapping):
        inner = data.get("bytes") or data.get("path")
        if not inner:
            raise fail(f"{where}: an image", f"neither bytes nor a path, but the keys {', '.join(map(str, data))}")
        return _opened(inner, where)
    if isinstance(data, bytes | bytearray | memoryview):
        if not len(data):
            raise fail(f"{where}: an image", "0 bytes", fix="replace the image, or leave the row out")
        return Image.open(io.BytesIO(data), formats=_formats())
    if isinstance(data, str | Path):
        return Image.open(io.BytesIO(_read(Path(data), where)), formats=_formats())
    found = "no value" if data is None else f"a {type(data).__name__}"
    raise fail(f"{where}: an image", found, fix="give encoded bytes, a path, a Pillow image or an array")


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _read(path: Path, where: str) -> bytes:
    asked = f"{where}: the image {path}"
    if path.is_dir():
        raise fail(asked, "a folder", fix="give the path of an image")
    if kind := special(path):
        raise fail(asked, f"{kind}, no file", fix="give the path of an image")
    if not path.is_file():
        web = str(path).startswith(("http:", "https:"))
        fix = "download it first: only files are read" if web else "correct the path"
        siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        found = "no such file" if path.parent.is_dir() else f"no such folder as {path.parent}"
        raise fail(asked, found, near=(path.name, siblings), fix=fix)
    data = path.read_bytes()
    if not data:
        raise fail(asked, "the file has 0 bytes", fix="replace the file, or leave the row out")
    return data


def _check_size(size: tuple[int, int], where: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        found = f"{width:,} x {height:,} = {width * height:,} pixels (a decompression bomb, or a whole page?)"
        raise fail(f"{where}: an image of at most {max_pixels:,} pixels", found, fix="cut the lines out, or scale down")
    if min(size) < MIN_SIDE:
        found = f"{width} pixels wide, {height} high"
        asked = f"{where}: an image of {MIN_SIDE} x {MIN_SIDE} pixels or more"
        raise fail(asked, found, fix="replace the image, or leave the row out")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION, 1) != 1 else image
    except Exception:  # an EXIF block that cannot be read says nothing about orientation; the pixels are whole
        return image


def _rgb(image: Image.Image, where: str) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image.copy()
    made = Image.new("RGB", image.size)
    top = 0
    for band in _flat(image, where):
        made.paste(band, (0, top))
        top += band.height
    return made


def _flat(image: Image.Image, where: str) -> Iterator[Image.Image]:
    """The image from top to bottom, without depth and transparency."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        yield from map(Image.fromarray, _to_bytes(lambda: map(np.asarray, _bands(image)), where))
        return
    for band in _bands(image):
        if band.mode in ("La", "RGBa"):  # premultiplied: Pillow converts them to their plain kin alone
            band = band.convert(band.mode.upper())
        if band.mode == "LAB":
            band = band.getchannel("L")
        elif band.has_transparency_data:
            clear = band.convert("RGBA")
            band = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
        yield band.convert("RGB")


def _bands(image: Image.Image) -> Iterator[Image.Image]:
    """The image from top to bottom, `BAND` pixels at a time."""
    rows = max(1, BAND // image.width)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def _from_array(array: np.ndarray[Any, Any], where: str) -> Image.Image:
    shape = array.shape
    if array.ndim not in (2, 3) or (array.ndim == 3 and shape[2] not in (1, 3, 4)):
        fix = "give [height, width] or [height, width, 1, 3 or 4]"
        raise fail(f"{where}: an array of pixels", f"the shape {list(shape)}", fix=fix)
    if not array.size:
        raise fail(f"{where}: an array of pixels", f"the shape {list(shape)}: no pixels", fix="leave the row out")
    if array.dtype.kind not in "buif":
        raise fail(f"{where}: an array of numbers", f"dtype {array.dtype}")
    rows = max(1, BAND * array.shape[0] // array.size)
    parts = lambda: (array[top : top + rows] for top in range(0, len(array), rows))  # noqa: E731
    pixels = array if array.dtype == np.uint8 else np.concatenate(list(_to_bytes(parts, where)))
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if array.ndim == 3 and shape[2] == 1 else pixels))


Pixels = np.ndarray[Any, Any]


def _to_bytes(parts: Callable[[], Iterable[Pixels]], where: str) -> Iterator[Pixels]:
    """Brightness of any number type -> 0..255 (see `open_image` for how a range is read), part by part of an image.
    parts: gives them, from the first to the last, each time that it is called."""
    ends = [(float(part.min()), float(part.max()), part.dtype.kind) for part in parts()]
    least, greatest = float(np.min([one[0] for one in ends])), float(np.max([one[1] for one in ends]))
    if not np.isfinite([least, greatest]).all():
        raise fail(f"{where}: finite pixels", "NaN or infinite values", fix="replace the image, or leave the row out")
    kind = ends[0][2]
    full = next((float(d) for d in DEPTHS if greatest <= d), 0.0)
    if kind in "bf" and greatest <= 1:
        full = 1.0
    start = 0.0
    if least < 0 or not full:
        start, full = least, max(greatest - least, 1e-12)
    for part in parts():
        yield np.asarray(np.rint((part.astype(np.float64) - start) * (255.0 / full)), dtype=np.uint8)
