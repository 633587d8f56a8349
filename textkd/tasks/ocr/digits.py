"""Strings of real handwritten digits: scikit-learn's 1,797 scans of 8 x 8 pixels, joined to lines.

The digits are the test part of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits" (UCI, 1998), as
scikit-learn ships them. train and eval share no scan.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from textkd.errors import Collector, problem
from textkd.tasks.ocr.augment import augment
from textkd.tasks.ocr.linetable import LineTable, digest_of
from textkd.tasks.ocr.options import check_range, check_strength, check_whole

SPLITS = ("train", "eval")
EVAL_PART = 5  # every fifth scan of each digit belongs to eval


class DigitLines(LineTable):
    """`n` lines of `digits[0]` to `digits[1]` handwritten digits, `height` pixels high, dark on white; line i is the
    same for the same (split, seed, i).

    split: "train" (1,442 scans) or "eval" (355 others). strength: of `augment` on top, 0 by default. Raises
    `TextkdError` with all options that cannot work.
    """

    def __init__(
        self,
        split: str = "train",
        n: int = 1000,
        seed: int = 0,
        digits: Sequence[int] = (1, 8),
        height: int = 32,
        strength: float = 0.0,
    ) -> None:
        collector = Collector()
        if split not in SPLITS:
            found, fix = f"the splits are {', '.join(SPLITS)}", f"split: {' or '.join(SPLITS)}"
            collector.add(problem(f"split {split!r}", found, near=(str(split), SPLITS), fix=fix, where="split"))
        check_whole(collector, n=(n, 1), seed=(seed, 0), height=(height, 8))
        check_range(collector, "digits", digits)
        check_strength(collector, strength)
        collector.raise_any()
        self.n, self.split, self.seed, self.digits = n, split, seed, (int(digits[0]), int(digits[1]))
        self.height, self.strength = height, float(strength)
        self.source = f"handwritten digits ({split})"

    def _rng(self, index: int) -> np.random.Generator:
        if not 0 <= index < self.n:
            raise IndexError(f"{self.source}: line {index} of {self.n}")
        return np.random.default_rng((self.seed, SPLITS.index(self.split), index))

    def _scans(self, rng: np.random.Generator) -> Any:
        """Numbers of the scans of one line."""
        chosen, _ = _pool(self.split)
        return chosen[rng.integers(0, len(chosen), rng.integers(self.digits[0], self.digits[1] + 1))]

    @functools.cached_property
    def texts(self) -> Sequence[str | None]:
        _, labels = _pool(self.split)
        return ["".join(map(str, labels[self._scans(self._rng(index))])) for index in range(self.n)]

    def __len__(self) -> int:
        return self.n

    def image(self, index: int) -> Image.Image:
        rng = self._rng(index)
        scans = self._scans(rng)
        size = max(8, round(self.height * rng.uniform(0.72, 0.92)))
        gap = rng.uniform(-0.15, 0.15) * size  # some neighbours touch: the scans have white sides
        ink = int(rng.integers(0, 80))
        images = [_scan(int(scan)).resize((size, size), Image.Resampling.BICUBIC) for scan in scans]
        starts = np.cumsum([0.25 * size, *[size * 0.85 + gap + j for j in rng.uniform(-2, 2, len(scans) - 1)]])
        page = np.zeros((self.height, int(starts[-1] + size * 1.25) + 1), dtype=np.uint8)
        for start, image in zip(starts.astype(int), images, strict=True):
            top = int(rng.integers(0, self.height - size + 1))
            area = page[top : top + size, start : start + size]
            np.maximum(area, np.asarray(image), out=area)
        tones = 255 - (page.astype(np.uint16) * (255 - ink) // 255).astype(np.uint8)
        made = Image.fromarray(tones).convert("RGB")
        return augment(made, (self.seed, SPLITS.index(self.split), index, 1), self.strength)

    def digest(self) -> str:
        return digest_of("digits", 1, self.n, self.split, self.seed, self.digits, self.height, self.strength)


@functools.cache
def _data() -> Any:
    from sklearn.datasets import load_digits  # slow to import, and only needed here

    return load_digits()


@functools.cache
def _pool(split: str) -> tuple[Any, Any]:
    """(numbers of the scans of a split, labels of all scans); the same share of each digit goes to eval."""
    labels = _data().target
    rank = np.zeros(len(labels), dtype=int)
    for digit in range(10):
        places = np.flatnonzero(labels == digit)
        rank[places] = np.random.default_rng((1797, digit)).permutation(len(places))
    held_out = rank % EVAL_PART == 0
    return np.flatnonzero(held_out if split == "eval" else ~held_out), labels


@functools.cache
def _scan(number: int) -> Image.Image:
    """One scan, ink as 0..255."""
    return Image.fromarray(np.rint(_data().images[number] * (255 / 16)).astype(np.uint8))
