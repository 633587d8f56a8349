"""Rendered lines: sentences drawn with free fonts and degraded, as many as wanted. Nothing from outside is needed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from textkd.errors import Collector, fail, problem
from textkd.tasks.ocr.augment import augment
from textkd.tasks.ocr.fonts import Face, find_faces
from textkd.tasks.ocr.linetable import LineTable, digest_of
from textkd.tasks.ocr.options import check_range, check_strength, check_whole
from textkd.tasks.ocr.phrases import STYLES, phrase

VERSION = 1  # of the drawing: another number where the same options give other images
WORDS = (2, 12)  # of a made-up line, at least and at most
SIZES = (20, 46)  # pixels of a letter's height with what hangs above and below


class RenderedLines(LineTable):
    """`n` rendered lines; line i is the same for the same (texts, fonts, seed, i), whatever n is.

    texts: the sentences, in order and over again until there are n (n None: each once); None: lines made of the word
    list of this package, of `words[0]` to `words[1]` words (2 to 12), style "mixed" (as by default), "prose" or
    "receipt". fonts: files, folders,
    or "builtin", "matplotlib", "debian" (see `find_faces`; by default all that are installed: name some, and the lines
    are the same on other machines). strength: of the degradation by `augment`; 0 leaves clean print.
    A font draws only texts whose characters it has; texts that no font can draw are left out with a note.
    Raises `TextkdError` with all options that cannot work, and where no text can be drawn.
    """

    def __init__(
        self,
        texts: Sequence[str] | None = None,
        n: int | None = None,
        seed: int = 0,
        fonts: Sequence[str | Path] | str | Path | None = None,
        strength: float = 1.0,
        words: Sequence[int] | None = None,
        style: str | None = None,
    ) -> None:
        collector = Collector()
        for name, value in (("words", words), ("style", style)):
            if value is not None and texts is not None:
                found, fix = "it is about lines that are made up, and the texts are given", "leave it out, or texts"
                collector.add(problem(f"{name}: {value!r} beside texts", found, fix=fix, where=name))
        words, style = WORDS if words is None else words, STYLES[0] if style is None else style
        check_whole(collector, seed=(seed, 0), **({} if n is None else {"n": (n, 1)}))
        check_range(collector, "words", words)
        check_strength(collector, strength)
        if style not in STYLES:
            near, found = (str(style), STYLES), f"the styles are {', '.join(STYLES)}"
            collector.add(
                problem(f"style {style!r}", found, near=near, fix=f"one of {', '.join(STYLES)}", where="style")
            )
        if n is None and texts is None:
            collector.add(problem("n: how many lines", "neither n nor texts", fix="n: 10000, say", where="n"))
        faces: list[Face] = []
        with collector.collecting("fonts"):
            faces = find_faces(fonts)
        with collector.collecting("texts"):
            _check_texts(texts)
        collector.raise_any()
        self.seed, self.strength, self.style = seed, float(strength), style
        self.words, self.faces = (int(words[0]), int(words[1])), faces
        self._given, self._notes = self._drawable(texts)
        self.n = n or len(self._given or ())
        self.source = "rendered lines" if texts is None else "rendered texts"

    def _drawable(self, texts: Sequence[str] | None) -> tuple[list[str] | None, list[str]]:
        if texts is None:
            return None, []
        kept = [text for text in texts if any(face.draws(text) for face in self.faces)]
        lost = len(texts) - len(kept)
        if not lost:
            return kept, []
        absent = sorted({c for text in texts for c in text if not any(face.draws(c) for face in self.faces)})
        shown = " ".join(f"{c!r}" for c in absent[:12]) or "characters that no single font has together"
        if not kept:
            found = f"none of {len(texts)} texts: no font has {shown}"
            raise fail("texts that the fonts can draw", found, fix="give fonts: with these characters", where="texts")
        return kept, [f"rendered texts: {lost} of {len(texts)} were left out, no font draws {shown}"]

    @property
    def notes(self) -> list[str]:
        return self._notes

    def __len__(self) -> int:
        return self.n

    @functools.cached_property
    def texts(self) -> Sequence[str | None]:
        return [self.text(index) for index in range(self.n)]

    def text(self, index: int) -> str:
        """The text of one line, without making those of the others."""
        if not 0 <= index < self.n:
            raise IndexError(f"{self.source}: line {index} of {self.n}")
        if self._given is not None:
            return self._given[index % len(self._given)]
        for attempt in range(100):
            made = phrase(f"{self.seed} {index} {attempt}", self.words, self.style)
            if any(face.draws(made) for face in self.faces):
                return made
        raise fail("lines that the fonts can draw", "no English ones", fix="give texts: of their script", where="fonts")

    def image(self, index: int) -> Image.Image:
        text = self.text(index)
        rng = np.random.default_rng((self.seed, index))
        face = self.faces[int(rng.integers(len(self.faces)))]
        if not face.draws(text):
            able = [face for face in self.faces if face.draws(text)]
            face = able[int(rng.integers(len(able)))]
        image = draw(text, face, rng)
        if self.strength > 0:
            image = _print(image, rng)
        return augment(image.convert("RGB"), (self.seed, index, 1), self.strength)

    def digest(self) -> str:
        given = None if self._given is None else digest_of(self._given)
        faces = [[face.name, face.digest()] for face in self.faces]
        return digest_of("rendered", VERSION, given, self.n, self.seed, faces, self.strength, self.words, self.style)


def _check_texts(texts: Any) -> None:
    if texts is None:
        return
    if isinstance(texts, str) or not isinstance(texts, Sequence) or not len(texts):
        raise fail("texts: a list of sentences", repr(texts), fix="texts: [..., ...], or a file with one a line")
    bad = [text for text in texts if not isinstance(text, str) or not text.strip() or len(text.splitlines()) > 1]
    if bad:
        raise fail("texts: sentences of one line each", f"{len(bad)} of {len(texts)} are none, such as {bad[0]!r}")


def draw(text: str, face: Face, rng: np.random.Generator) -> Image.Image:
    """Dark text on light paper (mode L), word by word, with spaces as wide as a justified line has them."""
    font = face.at(int(rng.integers(*SIZES)))
    space = font.getlength(" ") * float(rng.uniform(0.8, 1.5))
    starts, words, x = [], [], 0.0
    for word in text.split(" "):
        starts.append(x)
        words.append(word)
        x += font.getlength(word) + space
    box = font.getbbox(text, anchor="ls")
    above, below = max(-box[1], 1), max(box[3], 0)
    left, right, top, bottom = (rng.uniform(0.04, (0.6, 0.6, 0.3, 0.3)) * font.size).astype(int).tolist()
    ink, paper = int(rng.integers(0, 90)), int(rng.integers(200, 256))
    overhang = int(0.25 * font.size)  # of slanted letters beyond their advance
    page = Image.new(
        "L", (left + overhang + int(x - space) + right + overhang, int(top + above + below + bottom)), paper
    )
    pen = ImageDraw.Draw(page)
    for start, word in zip(starts, words, strict=True):
        pen.text((left + overhang + start, top + above), word, fill=ink, font=font, anchor="ls")
    return page


def _print(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """What press and scanner do before anything else: letters wider or narrower, paper that is not evenly lit, and
    often only black and white, with the ragged edges that a threshold leaves."""
    width = max(8, round(image.width * float(rng.uniform(0.85, 1.12))))
    image = image.resize((width, image.height), Image.Resampling.BILINEAR)
    black_and_white, roughness, cut = rng.random() < 0.4, float(rng.uniform(0.04, 0.14)), float(rng.uniform(0.4, 0.6))
    tilt = rng.uniform(-18, 18, 2)
    if not black_and_white:
        light = np.linspace(-tilt[0], tilt[0], width)[None, :] + np.linspace(-tilt[1], tilt[1], image.height)[:, None]
        return Image.fromarray(np.clip(np.asarray(image) + light.astype(np.int16), 0, 255).astype(np.uint8))
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(0.016 * image.height))).astype(np.float32)
    grain = rng.standard_normal((image.height // 2 + 1, width // 2 + 1), dtype=np.float32)
    coarse = grain.repeat(2, axis=0).repeat(2, axis=1)[: image.height, :width]
    least, greatest = float(soft.min()), float(soft.max())
    return Image.fromarray(
        np.where((soft - least) / max(greatest - least, 1.0) + coarse * roughness > cut, 255, 0).astype(np.uint8)
    )
