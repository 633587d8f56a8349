"""An exported reader of lines as a module: it prepares images, searches and writes texts by its own runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from textkd.deploy.as_module import Exported
from textkd.deploy.runtime.lines_search import Search
from textkd.models.no_code import from_pretrained
from textkd.models.onnx.file import weights

SETTINGS = ("num_beams", "length_penalty", "early_stopping", "no_repeat_ngram_size", "repetition_penalty",
            "max_new_tokens")  # fmt: skip


class ExportedLines(Exported):
    """What an exported reader writes. It searches by `generation_config`, as a model of transformers does.

    Args:
        folder: that `textkd export --format onnx` wrote.
        threads: of the CPU; None: all cores.
        one_by_one: images that are read run one at a time; else together.
    """

    def __init__(self, folder: Path, threads: int | None = None, one_by_one: bool = False) -> None:
        super().__init__(folder, threads, one_by_one)
        self.generation_config = from_pretrained(transformers.GenerationConfig, str(folder))
        self.encoder = _Encoder(self.runtime.decoding)

    @property
    def weights(self) -> int | None:
        """How many weights both graphs hold."""
        counts = [weights(self.folder / name) for name in self.runtime.manifest.graphs]
        return None if None in counts else sum(count or 0 for count in counts)

    def read_images(self, images: Sequence[Any]) -> list[tuple[str, int, bool]]:
        """Reads images of lines as a server would: from the image to the text by the runtime alone.

        Args:
            images: what `textkd.models.images.open_image` opens.

        Returns:
            Of each the text, the number of its tokens, and whether its end came before the limit.
        """
        search, size, found = self._search(), 1 if self.one_by_one else len(images), list[tuple[str, int, bool]]()
        for start in range(0, len(images), max(1, size)):
            pixels = self.runtime.pixels(images[start : start + size])
            for row in self.runtime.decoding.search(pixels, search):
                found.append((self.runtime.text(row), len(row), row[-1] in search.ends))
        return found

    def generate(self, pixel_values: Tensor) -> Any:
        """Token ids [B, 1 + T] behind the start token, padded, as transformers' `generate` gives them.

        Args:
            pixel_values: [B, C, H, W].
        """
        search = self._search()
        rows = self.runtime.decoding.search(pixel_values.cpu().numpy(), search)
        pad = self.generation_config.pad_token_id
        width = max(map(len, rows))
        fill = search.ends[0] if pad is None else pad
        ids = torch.tensor([[search.start, *row, *[fill] * (width - len(row))] for row in rows])
        return SimpleNamespace(sequences=ids) if self.generation_config.return_dict_in_generate else ids

    def _search(self) -> Search:
        """The search that `generation_config` asks for; what it leaves open is the folder's own."""
        own, known = self.generation_config, self.runtime.search
        told = {name: getattr(own, name) for name in SETTINGS if getattr(own, name) is not None}
        start, ends = own.decoder_start_token_id, own.eos_token_id
        if start is not None:
            told["start"] = start
        if ends is not None:
            told["ends"] = tuple(ends) if isinstance(ends, list | tuple) else (ends,)
        return Search(**{**vars(known), **told})


class _Encoder(nn.Module):
    """The graph of images, to be timed."""

    def __init__(self, decoding: Any) -> None:
        super().__init__()
        self.decoding = decoding

    def forward(self, pixel_values: Tensor) -> Any:
        return self.decoding.begin(pixel_values.cpu().numpy())
