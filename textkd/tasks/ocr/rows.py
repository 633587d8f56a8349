"""Lines of a split as rows (decoded when asked for, augmented in training) and the collator that batches them."""

from __future__ import annotations

import copy
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, overload

import torch
from PIL import Image
from torch import Tensor

from textkd.errors import fail
from textkd.models.conventions import IGNORED
from textkd.tasks.ocr.linetable import LineTable
from textkd.tasks.ocr.marks import ink_of, token_marks
from textkd.tasks.ocr.processor import lead_of, pixels

Augment = Callable[[Image.Image, tuple[int, ...]], Image.Image]


class Lines:
    """A split as it is: [i] -> {"image": PIL RGB, "text": str or None, "example_id": int}; ["text"] and
    ["example_id"] are columns, made without decoding an image. example_id: the row number in the split."""

    def __init__(self, table: LineTable) -> None:
        self.table = table
        self.column_names = ["image", "text", "example_id"]

    def __len__(self) -> int:
        return len(self.table)

    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return _column(key, {"text": lambda: self.table.texts, "example_id": lambda: range(len(self))})
        place = _place(key, len(self))
        return {"image": self.table.image(place), "text": self.table.texts[place], "example_id": place}


class LineRows:
    """An encoded split: a map-style data set that PyTorch's DataLoader and transformers' Trainer take.

    [i] -> {"image": PIL RGB, "labels": list of ids that ends in eos (empty: no transcription), "example_id": i,
    "place": row number in the split, of which lines may be left out, "length": number of labels}; rows["labels"],
    ["length"], ["text"], ["example_id"], ["place"] are columns, made without decoding an image. Nothing is cached:
    decoding and processing a line of a book takes about 1.2 ms.

    places: the rows of `table` that are kept. augment: changes each image of training by the seed
    (seed, epoch, place), so that a line looks different in each epoch and the same in a resumed run, in every
    process and with every number of workers. The epoch stands in shared memory: `set_epoch` reaches workers that are
    already running (persistent ones). Note that accelerate's loader does not call `set_epoch` of a data set whose
    sampler has one too and is sharded or skipped forward (several processes, a resumed epoch): a trainer calls it
    itself at the start of every epoch.
    """

    def __init__(
        self,
        table: LineTable,
        labels: Sequence[Sequence[int]],
        places: Sequence[int] | None = None,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        self.table, self.augment, self.seed = table, augment, seed
        self.places = list(range(len(table)) if places is None else places)
        self._labels = [list(row) for row in labels]
        if len(self._labels) != len(self.places):
            raise ValueError(f"{len(self.places)} rows and {len(self._labels)} rows of labels")
        self.column_names = ["image", "text", "example_id", "place", "labels", "length"]
        self._more: dict[str, list[Any]] = {}
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.places)

    def __repr__(self) -> str:
        return f"LineRows({len(self)} of {self.table.source}, augmented={self.augment is not None})"

    def add_column(self, name: str, values: Sequence[Any]) -> LineRows:
        """The same rows with one column more.

        Args:
            name: of the column.
            values: one for each row.
        """
        if len(values) != len(self):
            raise ValueError(f"{len(self)} rows and {len(values)} values of {name}")
        twin = copy.copy(self)  # of one epoch with this one
        twin._more = {**self._more, name: list(values)}
        twin.column_names = [*self.column_names, name]
        return twin

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """From now on images are augmented as those of this epoch (from 0)."""
        self._epoch.fill_(int(epoch))

    @overload
    def __getitem__(self, key: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            makers: dict[str, Callable[[], Iterable[Any]]] = {
                "text": lambda: [self.table.texts[place] for place in self.places],
                "example_id": lambda: range(len(self)),
                "place": lambda: self.places,
                "labels": lambda: self._labels,
                "length": lambda: [len(row) for row in self._labels],
                **{name: lambda name=name: self._more[name] for name in self._more},  # type: ignore[misc]
            }
            return _column(key, makers)
        index = _place(key, len(self))
        place, labels = self.places[index], self._labels[index]
        image = self.table.image(place)
        if self.augment is not None:
            image = self.augment(image, (self.seed, self.epoch, place))
        more = {name: values[index] for name, values in self._more.items()}
        return {"image": image, "labels": list(labels), "example_id": index, "place": place, "length": len(labels),
                **more}  # fmt: skip


def texts_of(labels: Iterable[Sequence[int]], known: Iterable[Sequence[int]], texts: Iterable[str]) -> list[str]:
    """The text of each row of `labels`, which are `known` in some order. Rows that share their labels take turns, and
    begin anew where a sampler repeats some."""
    places: dict[tuple[int, ...], deque[str]] = defaultdict(deque)
    for row, text in zip(known, texts, strict=True):
        places[tuple(row)].append(text)
    found = []
    for row in labels:
        place = places[tuple(row)]
        found.append(place[0])
        place.rotate(-1)
    return found


def _column(name: str, makers: Mapping[str, Callable[[], Iterable[Any]]]) -> list[Any]:
    if name not in makers:
        raise fail(f"column {name!r}", f"the columns are {', '.join(makers)}", near=(name, makers))
    return list(makers[name]())


def _place(index: int, length: int) -> int:
    if not -length <= index < length:
        raise IndexError(f"row {index} of {length}")
    return int(index) % length


class LineCollator:
    """Rows -> {"pixel_values": float32 [B, 3, H, W], "labels": int64 [B, T] padded with -100, "decoder_input_ids":
    int64 [B, T], the labels shifted right behind `decoder_start_token_id` with pads where labels are -100,
    "example_id": int64 [B], "marks": float32 [B, T], where each label stands (`marks.token_marks`)}. T
    is the longest row of the batch, at least 1.

    decoder_start_token_id: the tokenizer's eos, as in every TrOCR, unless another is given. Of rows without an image
    only labels and decoder_input_ids are made.
    """

    def __init__(self, processor: Any, decoder_start_token_id: int | None = None) -> None:
        tokenizer = processor.tokenizer
        if tokenizer.pad_token_id is None or tokenizer.eos_token_id is None:
            raise fail("batches of lines", "the tokenizer has no pad or no eos token", fix="set both on the tokenizer")
        start = tokenizer.eos_token_id if decoder_start_token_id is None else decoder_start_token_id
        self.processor, self.pad, self.start = processor, int(tokenizer.pad_token_id), int(start)

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        longest = max(1, *(len(row["labels"]) for row in features))
        labels = torch.full((len(features), longest), IGNORED, dtype=torch.int64)
        inputs = torch.full((len(features), longest), self.pad, dtype=torch.int64)
        for i, row in enumerate(features):
            ids = torch.as_tensor(row["labels"], dtype=torch.int64)
            labels[i, : len(ids)] = ids
            inputs[i, 0] = self.start
            inputs[i, 1 : len(ids)] = ids[:-1]
        texts = {"labels": labels, "decoder_input_ids": inputs}
        if "image" not in features[0]:  # the texts of a model with words of its own, beside everybody's images
            return texts
        images = self._pixels(features)
        return {
            "pixel_values": images,
            **texts,
            "example_id": torch.tensor([row["example_id"] for row in features], dtype=torch.int64),
            "marks": self._marks(images, [row["labels"] for row in features], longest),
        }

    def _marks(self, images: Tensor, labels: Sequence[Sequence[int]], longest: int) -> Tensor:
        """[B, longest]: see `token_marks`."""
        marks = torch.full((len(labels), longest), torch.nan)
        tokenizer = self.processor.tokenizer
        for i, ids in enumerate(labels):
            front = len(lead_of(tokenizer, ids))  # places of no piece
            pieces = tokenizer.convert_ids_to_tokens(list(ids[front:-1]))
            marks[i, front : front + len(pieces)] = torch.from_numpy(token_marks(ink_of(images[i, 0].numpy()), pieces))
        return marks

    def _pixels(self, features: Sequence[dict[str, Any]]) -> Tensor:
        try:
            return torch.from_numpy(pixels(self.processor, [row["image"] for row in features]))
        except ValueError as error:
            raise self._blame(features, error) from error

    def _blame(self, features: Sequence[dict[str, Any]], error: Exception) -> Exception:
        """The row that the processor fails on; if it takes each alone, their sizes differ."""
        for row in features:
            try:
                pixels(self.processor, [row["image"]])
            except ValueError as own:
                width, height = row["image"].size
                asked = f"line {row.get('place', row['example_id']) + 1}: an image that the processor takes"
                return fail(asked, f"{width} x {height} pixels: {own}", fix="leave the row out")
        return fail("images of one size", f"the processor's sizes differ ({error})", fix="a processor that pads")
