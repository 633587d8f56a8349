"""A black-box teacher: a PP-OCR line recogniser (CTC) in ONNX. It gives text and how sure it is, and nothing else.

Preprocessing and decoding follow PaddleOCR (`PPOCRV6SmallRecImageProcessor` in transformers): height 48, aspect kept,
BGR, (x / 255 - 0.5) / 0.5, padded on the right with 0; greedy CTC, the blank is class 0.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from textkd.errors import TextkdError, fail
from textkd.models.files import at_home
from textkd.models.onnx.file import weights
from textkd.models.onnx.session import session as open_session

log = logging.getLogger("textkd")
INSTALL = "pip install 'textkd[ppocr]' (or: pip install onnxruntime)"
HEIGHT = 48
LEAST_WIDTH = 320  # short lines are padded to what the model was trained with
STEP = 32  # padded widths, so that lines of about one width share a batch
MOST_WIDTH = 16_384  # at height 48; an image wider than this is no line of text
VERSION = "1"  # of preprocessing and decoding: readings of another version are not reused


class Reading(NamedTuple):
    """What was read. confidence: mean probability of the emitted characters; lowest: that of the least sure one.
    Both are 0 where nothing was emitted."""

    text: str
    confidence: float
    lowest: float


NOTHING = Reading("", 0.0, 0.0)


class Recogniser:
    """Reads images of text lines with an ONNX model, on the CPU. A black box: it gives texts and how sure it is.

    Called with images it gives (text, confidence) pairs: a `reader` of `textkd.teachers.generation.labelling`. As the
    teacher of a `Distiller` it needs `Pseudo`. It takes ``pip install 'textkd[ppocr]'``.

    Args:
        path: a PP-OCR line recogniser (CTC), such as PP-OCRv6_rec_small, an .onnx file.
        batch_size: lines of one padded width that run together.
        threads: of onnxruntime; None: as many as torch has.

    Raises:
        TextkdError: onnxruntime is missing; the file is missing or damaged, or holds another kind of model; a number
            below 1.
    """

    def __init__(self, path: str | Path, batch_size: int = 16, threads: int | None = None) -> None:
        for name, number in (("batch_size", batch_size), ("threads", threads)):
            if number is not None and number < 1:
                raise fail(f"{name} {number} of a recogniser", "not a number from 1", fix=f"{name}=1 or more")
        self.path, self.batch_size = at_home(path), batch_size
        self._session = _session(self.path, threads or torch.get_num_threads())
        self._input = _check_input(self._session, self.path)
        self._characters = _characters(self._session, self.path)
        self._check_output()

    def __call__(self, images: Sequence[Image.Image]) -> list[tuple[str, float]]:
        """The text and the confidence (0 to 1) of every image.

        Args:
            images: of one line each.
        """
        return [(reading.text, reading.confidence) for reading in self.read(images)]

    def read(self, images: Sequence[Image.Image]) -> list[Reading]:
        """The reading of every line image, in their order.

        A line keeps its aspect however wide it is; how lines fall into batches does not change what is read. Of an
        image wider than 341 times its height, which is no line of text, nothing is read (as a log line says): one stray
        scan ends no reading of thousands.

        Args:
            images: of one line each, of any height.

        Returns:
            Text, confidence and the confidence of the least sure character, for each image.

        Raises:
            TextkdError: an image of a mode that has no plain brightness (transparency, more than 8 bits), or without
                pixels.
        """
        return self._readings(self._pixels(images), len(images))

    def prepared(self, images: Sequence[Image.Image]) -> Callable[[], list[Reading]]:
        """`read` in two parts, to be timed.

        Args:
            images: of one line each; they are resized now.

        Returns:
            A function whose every call reads the images.
        """
        pixels = list(self._pixels(images))
        return lambda: self._readings(pixels, len(images))

    def _pixels(self, images: Sequence[Image.Image]) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """(places of the images, [B, 3, 48, W]) of every batch."""
        widths = [_width(image, place) for place, image in enumerate(images)]
        padded = {
            place: max(LEAST_WIDTH, -(-width // STEP) * STEP)
            for place, width in enumerate(widths)
            if width <= MOST_WIDTH
        }
        for place in (place for place in range(len(images)) if place not in padded):
            log.warning("no line of text, nothing is read in it: an image %d pixels wide, %d high", *images[place].size)
        for batch in _batches(padded, self.batch_size):
            pixels = np.zeros((len(batch), 3, HEIGHT, padded[batch[0]]), np.float32)
            for row, place in enumerate(batch):
                pixels[row, :, :, : widths[place]] = _pixels(images[place], widths[place])
            yield batch, pixels

    def _readings(self, batches: Iterable[tuple[list[int], NDArray[np.float32]]], count: int) -> list[Reading]:
        readings: dict[int, Reading] = {}
        for batch, pixels in batches:
            for place, probabilities in zip(batch, self._run(pixels), strict=True):
                readings[place] = decode(probabilities, self._characters)
        return [readings.get(place, NOTHING) for place in range(count)]

    @property
    def parameters(self) -> int | None:
        """Weights in the file; None where it does not say."""
        return weights(self.path)

    @property
    def disk_mb(self) -> float:
        """Size of the file in MB (1e6 bytes)."""
        return self.path.stat().st_size / 1e6

    def fingerprint(self) -> str:
        """sha256 of the model file and of how it is used here."""
        digest = hashlib.sha256(f"recogniser {VERSION}".encode())
        digest.update(self.path.read_bytes())
        return digest.hexdigest()

    def _run(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """[B, 3, 48, W] -> probabilities [B, T, classes]."""
        outputs: list[NDArray[np.float32]] = self._session.run(None, {self._input: pixels})
        return outputs[0]

    def _check_output(self) -> None:
        asked = f"a line recogniser in {self.path}"
        try:
            out = self._run(np.zeros((1, 3, HEIGHT, LEAST_WIDTH), np.float32))
        except Exception as error:  # onnxruntime's errors have no common base class
            raise fail(
                asked, f"it does not run on a line of {HEIGHT} x {LEAST_WIDTH} pixels: {_line(error)}"
            ) from error
        if out.ndim != 3 or out.shape[2] != len(self._characters):
            found = f"it puts out {list(out.shape)} with {len(self._characters)} classes (blank, characters, space)"
            raise fail(asked, found, fix="give a PP-OCR recognition model whose character list fits")
        if abs(float(out.sum(-1).mean()) - 1) > 1e-2:
            fix = "export the model with its softmax"
            raise fail(asked, "its outputs are not probabilities: they do not sum to 1", fix=fix)


def decode(probabilities: NDArray[np.float32], characters: Sequence[str]) -> Reading:
    """[T, classes] -> greedy CTC: repeated classes are one character, class 0 is none. A character's probability is
    that of its first frame, as in PaddleOCR."""
    best = probabilities.argmax(-1)
    emitted = best != 0
    emitted[1:] &= best[1:] != best[:-1]
    sure = probabilities.max(-1)[emitted].astype(np.float64)
    text = "".join(characters[number] for number in best[emitted])
    return Reading(text, min(float(sure.mean()), 1.0), min(float(sure.min()), 1.0)) if text else NOTHING


def _batches(padded: Mapping[int, int], size: int) -> Iterator[list[int]]:
    """Places of lines that have one padded width, at most `size` together."""
    for _, same in groupby(sorted(padded, key=padded.__getitem__), key=padded.__getitem__):
        places = list(same)
        yield from (places[start : start + size] for start in range(0, len(places), size))


def _width(image: Image.Image, place: int) -> int:
    """The width of the line at height 48."""
    asked = f"image {place + 1}: a line of text"
    if image.has_transparency_data or image.mode[0] in "IF":
        fix = "textkd.models.images.open_image(image) makes an RGB image of any mode"
        raise fail(asked, f"an image of mode {image.mode} (transparency, or more than 8 bits)", fix=fix)
    if min(image.size) < 1:
        raise fail(asked, f"{image.width} pixels wide, {image.height} high", fix="leave it out")
    return math.ceil(HEIGHT * image.width / image.height)


def _pixels(image: Image.Image, width: int) -> NDArray[np.float32]:
    """[3, 48, width], BGR, -1..1."""
    small = image.convert("RGB").resize((width, HEIGHT), Image.Resampling.BILINEAR)
    return np.asarray((np.asarray(small, np.float32).transpose(2, 0, 1)[::-1] / 255 - 0.5) / 0.5)


def _session(path: Path, threads: int) -> Any:
    if not path.is_file():
        siblings = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
        found = "a folder" if path.is_dir() else "no such file"
        raise fail(f"the recogniser {path}", found, near=(path.name, siblings), fix="give the path of an .onnx file")
    again = "download or copy the file again; all its weights have to be in this one file"
    return open_session(path, threads, known_as="recogniser", fix=again, install=INSTALL)


def _check_input(session: Any, path: Path) -> str:
    """The name of the one input, [B, 3, 48, W] float32 with a free batch and width."""
    inputs = session.get_inputs()
    if len(inputs) == 1 and inputs[0].type == "tensor(float)" and len(inputs[0].shape) == 4:
        fits = zip(inputs[0].shape, (None, 3, HEIGHT, None), strict=True)
        if all(isinstance(size, str | None) or size == wanted for size, wanted in fits):
            return str(inputs[0].name)
    found = ", ".join(f"{one.name} {one.shape} {one.type}" for one in inputs) or "no input"
    raise _other(path, f"its inputs are {found}; asked is one [batch, 3, {HEIGHT}, width] of float")


def _characters(session: Any, path: Path) -> list[str]:
    """What every class stands for: blank, the list in the file's metadata, space."""
    metadata = session.get_modelmeta().custom_metadata_map
    if "character" not in metadata:
        names = ", ".join(metadata) or "none"
        raise _other(path, f"its metadata has no 'character' list (it has: {names})")
    return ["", *metadata["character"].split("\n"), " "]


def _other(path: Path, found: str) -> TextkdError:
    return fail(
        f"a line recogniser in {path}", found, fix="give a PP-OCR recognition model, such as PP-OCRv6_rec_small"
    )


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__
