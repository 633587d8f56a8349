"""Images of lines to pixels with numpy and Pillow, as transformers' image processors (PIL backend) compute them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from PIL import Image

from textkd.models.images import ImageLike, not_too_flat, open_image

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Preparing:
    """How an image becomes pixels.

    Args:
        height: of the pixels.
        width: of the pixels.
        resample: Pillow's number of the filter that resizes.
        resize: whether images are resized at all.
        keeps_aspect: resized until the shorter side is that of the pixels (a `DonutImageProcessor`), else to height and
            width.
        fits: what is larger afterwards is shrunk to fit in.
        turns: an image that stands where the pixels lie is turned by 90 degrees.
        fills: what is smaller is laid in the middle, on black.
        factor: that bytes are multiplied by; None: they are not.
        mean: of each channel, taken off; None: nothing is.
        std: of each channel, divided by.
    """

    height: int
    width: int
    resample: int
    resize: bool
    keeps_aspect: bool
    fits: bool
    turns: bool
    fills: bool
    factor: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Preparing:
        """From what a manifest says. Raises ValueError where that cannot be."""
        if set(told) != {one.name for one in fields(cls)}:
            raise ValueError(f"the images have the fields {', '.join(map(str, told))}")
        made = cls(**{**told, **{name: told[name] and tuple(told[name]) for name in ("mean", "std")}})
        sides = (made.height, made.width)
        if not all(isinstance(side, int) and 0 < side < 1 << 16 for side in sides) or made.resample not in range(6):
            raise ValueError("the images: a number out of range")
        if (made.mean is None) != (made.std is None):
            raise ValueError("the images: mean without std, or std without mean")
        return made

    def pixels(self, images: Sequence[ImageLike]) -> Array:
        """[B, 3, height, width] float32 of images that `textkd.models.images.open_image` opens.

        Raises:
            TextkdError: one of them is no image.
        """
        named = (open_image(image, f"images[{number}]") for number, image in enumerate(images))
        return np.stack([self.of_image(image) for image in named])

    def of_image(self, image: Any) -> Array:
        """[3, height, width] float32 of an RGB image of Pillow."""
        if self.fits:
            image = not_too_flat(image, self.height, self.width)
        if self.turns and (image.width - image.height) * (self.width - self.height) < 0:
            image = image.transpose(Image.Transpose.ROTATE_270)
        if self.resize:
            image = image.resize(self._resized(image.width, image.height), self.resample)
        if self.fits:
            image = self._shrunk(image)
        values = np.asarray(image).transpose(2, 0, 1)
        if self.fills:
            above, left = (self.height - values.shape[1]) // 2, (self.width - values.shape[2]) // 2
            canvas = np.zeros((len(values), self.height, self.width), values.dtype)
            canvas[:, above : above + values.shape[1], left : left + values.shape[2]] = values
            values = canvas
        if self.factor is not None:
            values = (values.astype(np.float64) * self.factor).astype(np.float32)
        values = values.astype(np.float32, copy=False)
        if self.mean is not None and self.std is not None:
            mean, std = (np.array(one, np.float32)[:, None, None] for one in (self.mean, self.std))
            values = (values - mean) / std
        return np.ascontiguousarray(values)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        if not self.keeps_aspect:
            return self.width, self.height
        short = min(self.width, self.height)
        return (short, int(short * height / width)) if width <= height else (int(short * width / height), short)

    def _shrunk(self, image: Any) -> Any:
        height, width = min(image.height, self.height), min(image.width, self.width)
        if (width, height) == image.size:
            return image
        if image.height > image.width:
            width = int(image.width * height / image.height)
        elif image.width > image.height:
            height = int(image.height * width / image.width)
        return image.resize((width, height), self.resample)
