"""`LineModel`: reads images of lines with an exported reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from textkd.deploy.manifest import Manifest
from textkd.deploy.runtime.asked import Answering, batch_of
from textkd.deploy.runtime.lines_search import Decoding, Search
from textkd.errors import reading
from textkd.models.onnx.session import package

if TYPE_CHECKING:
    from textkd.deploy.runtime.lines_images import Preparing

Array = np.ndarray[Any, Any]


class LineModel(Answering):
    """An exported reader of lines with its tokenizer; `textkd.deploy.load` makes one. It needs Pillow to read images.

    Args:
        manifest: what the folder holds.
        encoder: session of the graph of images.
        decoder: session of the graph of one step.
        tokenizer: of the package tokenizers.
    """

    models = "readers of lines"

    def __init__(self, manifest: Manifest, encoder: Any, decoder: Any, tokenizer: Any) -> None:
        self.manifest, self.tokenizer = manifest, tokenizer
        self.decoding = Decoding(encoder, decoder)
        with reading("the search of an exported reader", fix="export the model again"):
            self.search = Search.of(manifest.lines["search"])

    @property
    def labels(self) -> list[str]:
        """None: it writes texts."""
        return []

    @property
    def preparing(self) -> Preparing:
        """How images become pixels."""
        package("PIL", "pillow")
        from textkd.deploy.runtime.lines_images import Preparing  # needs Pillow

        with reading("the images of an exported reader", fix="export the model again"):
            return Preparing.of(self.manifest.lines["images"])

    def predict(self, images: Any, batch_size: int = 8) -> list[str]:
        """The text of each image: see `read`."""
        return self.read(images, batch_size)

    def read(self, images: Any, batch_size: int = 8) -> list[str]:
        """The text of each image of a line.

        Args:
            images: paths, images of Pillow, encoded bytes, or arrays [H, W] or [H, W, 3]; one of them is a list of one.
            batch_size: images that run together.

        Returns:
            Their texts, in their order.

        Raises:
            TextkdError: one of them is no image, Pillow is not installed, `batch_size` is no number from 1.
        """
        batch_of(batch_size, "images")
        is_one = isinstance(images, str | bytes | bytearray | Mapping | np.ndarray) or not hasattr(images, "__iter__")
        given = [images] if is_one else list(images)
        found = list[str]()
        for start in range(0, len(given), batch_size):
            pixels = self.pixels(given[start : start + batch_size])
            found += [self.text(tokens) for tokens in self.decoding.search(pixels, self.search)]
        return found

    def pixels(self, images: Sequence[Any]) -> Array:
        """The images as the encoder takes them, float32 [B, 3, height, width]."""
        return self.preparing.pixels(images)

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))
