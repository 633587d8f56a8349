"""Searches the text of each image with two ONNX graphs: greedily, or with beams as transformers' `generate` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
NONE = np.float32(-1e9)  # the score of what is no candidate


@dataclass(frozen=True)
class Search:
    """How texts are searched.

    Args:
        start: the token in front of each text.
        ends: the tokens that end one.
        max_new_tokens: of a text, its end counted in.
        num_beams: 1: greedily.
        length_penalty: the power of its length that a text's score is divided by.
        early_stopping: whether a search ends with `num_beams` whole texts; "never": not before none can be better.
        no_repeat_ngram_size: no sequence of so many tokens comes twice; 0: any may.
        repetition_penalty: that tokens which were written get; 1: none.
    """

    start: int
    ends: tuple[int, ...]
    max_new_tokens: int
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Search:
        """From what a manifest says. Raises ValueError where that cannot be."""
        if set(told) != {one.name for one in fields(cls)}:
            raise ValueError(f"the search has the fields {', '.join(map(str, told))}")
        made = cls(**{**told, "ends": tuple(told["ends"])})
        whole = (made.start, *made.ends, made.max_new_tokens, made.num_beams, made.no_repeat_ngram_size)
        if any(isinstance(one, bool) or not isinstance(one, int) or one < 0 for one in whole):
            raise ValueError("the search: a number that is none")
        if made.max_new_tokens < 1 or made.num_beams < 1 or not made.ends or not made.repetition_penalty > 0:
            raise ValueError("the search: a number out of range")
        return made

    def adjusted(self, written: Array, scores: Array) -> Array:
        """Scores of the next token [R, V], as the tokens before [R, T] change them."""
        rows = np.arange(len(scores))[:, None]
        if self.repetition_penalty != 1:
            scores, penalty = scores.copy(), np.float32(self.repetition_penalty)
            old = scores[rows, written]
            scores[rows, written] = np.where(old < 0, old * penalty, old / penalty)
        size = self.no_repeat_ngram_size
        if size and written.shape[1] >= size:
            windows = np.lib.stride_tricks.sliding_window_view(written, size, axis=1)
            again = (windows[..., :-1] == written[:, None, written.shape[1] + 1 - size :]).all(-1)
            scores = scores.copy()
            where, place = np.nonzero(again)
            scores[where, windows[where, place, -1]] = -np.inf
        return scores


@dataclass
class State:
    """A batch of texts that are being written.

    Args:
        cross: keys and values of the images, by the names of the decoder's inputs.
        past: those of the tokens that were written.
        position: how many these are.
    """

    cross: dict[str, Array]
    past: dict[str, Array] = field(default_factory=dict)
    position: int = 0

    def pick(self, rows: Array) -> None:
        """Keeps these rows, in this order; one may come several times."""
        self.past = {name: value[rows] for name, value in self.past.items()}
        if not np.array_equal(rows, np.arange(len(next(iter(self.cross.values()))))):
            self.cross = {name: value[rows] for name, value in self.cross.items()}


class Decoding:
    """The two graphs of a reader.

    Args:
        encoder: session of the graph of images.
        decoder: session of the graph of one step.
    """

    def __init__(self, encoder: Any, decoder: Any) -> None:
        self.encoder, self.decoder = encoder, decoder
        self._shapes = {one.name: one.shape for one in decoder.get_inputs() if one.name.startswith("past_")}
        self._outputs = [one.name for one in decoder.get_outputs()]
        self._cross = [one.name for one in encoder.get_outputs()]

    def begin(self, pixels: Array) -> State:
        """Looks at images, float32 [B, C, H, W]."""
        found = self.encoder.run(None, {"pixel_values": pixels})
        past = {name: np.zeros((len(pixels), heads, 0, head), np.float32)
                for name, (_, heads, _, head) in self._shapes.items()}  # fmt: skip
        return State(dict(zip(self._cross, found, strict=True)), past)

    def step(self, state: State, tokens: Array) -> Array:
        """Takes tokens [B, T] and gives the logits behind the last of them, float32 [B, V]."""
        given = {"input_ids": tokens, "position": np.array([state.position], np.int64), **state.cross, **state.past}
        logits, *present = self.decoder.run(None, given)
        state.past = {name.replace("present", "past"): value
                      for name, value in zip(self._outputs[1:], present, strict=True)}  # fmt: skip
        state.position += tokens.shape[1]
        found: Array = logits
        return found

    def search(self, pixels: Array, search: Search) -> list[list[int]]:
        """The tokens of each image's text, the start token left out, an end counted in where one was reached.

        Args:
            pixels: float32 [B, C, H, W].
            search: how.
        """
        return self._greedy(pixels, search) if search.num_beams == 1 else self._with_beams(pixels, search)

    def _greedy(self, pixels: Array, search: Search) -> list[list[int]]:
        state, rows = self.begin(pixels), np.arange(len(pixels))
        found = np.full((len(pixels), 1 + search.max_new_tokens), search.start, np.int64)
        counts = np.full(len(pixels), search.max_new_tokens)
        for place in range(1, 1 + search.max_new_tokens):
            logits = self.step(state, found[rows, place - 1 : place])
            tokens = search.adjusted(found[rows, :place], logits).argmax(-1)
            found[rows, place] = tokens
            ended = np.isin(tokens, search.ends)
            if ended.any():
                counts[rows[ended]] = place
                rows = rows[~ended]
                if not len(rows):
                    break
                state.pick(np.nonzero(~ended)[0])
        return [row[1 : 1 + count].tolist() for row, count in zip(found, counts, strict=True)]

    def _with_beams(self, pixels: Array, search: Search) -> list[list[int]]:
        """Scores are float32 and candidates are taken as in `GenerationMixin._beam_search`; an image that is finished
        leaves the batch, which changes nothing for the others."""
        images, width, limit = np.arange(len(pixels)), search.num_beams, search.max_new_tokens
        state = self.begin(pixels)
        state.pick(np.repeat(images, width))
        running = np.full((len(pixels), width, 1 + limit), search.start, np.int64)
        scores = np.zeros((len(pixels), width), np.float32)
        scores[:, 1:] = NONE
        whole, best, ended = running, np.full_like(scores, NONE), np.zeros(scores.shape, bool)
        found: dict[int, list[int]] = {}
        for place in range(1, 1 + limit):
            count = len(images)
            chances = _log_softmax(self.step(state, running[:, :, place - 1].reshape(-1, 1)))
            chances = search.adjusted(running.reshape(count * width, -1)[:, :place], chances)
            size = chances.shape[-1]
            sums = (chances.reshape(count, width, size) + scores[:, :, None]).reshape(count, -1)
            top, where = _best(sums, max(2, 1 + len(search.ends)) * width)
            beams, tokens = where // size, where % size
            grown = _taken(running, beams)
            grown[:, :, place] = tokens
            over = np.isin(tokens, search.ends) | (place == limit)
            scores, order = _best(top + over * NONE, width)
            running, beams = _taken(grown, order), _taken(beams, order)
            new = over & (np.arange(top.shape[1]) < width)
            texts, flags = np.concatenate([whole, grown], 1), np.concatenate([ended, new], 1)
            best, order = _best(np.concatenate([best, top / np.float32(place**search.length_penalty) + ~new * NONE], 1),
                                width)  # fmt: skip
            whole, ended = _taken(texts, order), _taken(flags, order)
            reach = limit if search.early_stopping == "never" and search.length_penalty > 0 else place
            hoped = scores[:, :1] / np.float32(reach**search.length_penalty)
            is_open = (hoped > np.where(ended, best.min(1, keepdims=True), NONE)).any(1)
            if search.early_stopping is True:
                is_open &= ~ended.all(1)
            is_open &= place < limit
            found.update((int(images[row]), _cut(whole[row, 0, 1:], search.ends)) for row in np.nonzero(~is_open)[0])
            if not is_open.any():
                break
            state.pick((np.arange(count)[:, None] * width + beams)[is_open].reshape(-1))
            images, running, scores, whole, best, ended = (
                one[is_open] for one in (images, running, scores, whole, best, ended)
            )
        return [found[number] for number in range(len(pixels))]


def _best(scores: Array, count: int) -> tuple[Array, Array]:
    """The largest scores of each row, from the largest down, and their places."""
    count = min(count, scores.shape[1])
    some = np.argpartition(-scores, count - 1, axis=1)[:, :count] if count < scores.shape[1] else None
    if some is None:
        order = np.argsort(-scores, axis=1, kind="stable")
    else:
        some.sort(axis=1)
        order = np.take_along_axis(some, np.argsort(-_taken(scores, some), axis=1, kind="stable"), 1)
    return _taken(scores, order), order


def _taken(rows: Array, places: Array) -> Array:
    """Of each row [B, K, ...] the parts [B, N]."""
    found: Array = np.take_along_axis(rows, places.reshape(*places.shape, *[1] * (rows.ndim - 2)), 1)
    return found


def _log_softmax(logits: Array) -> Array:
    raised = logits - logits.max(-1, keepdims=True)
    found: Array = raised - np.log(np.exp(raised).sum(-1, keepdims=True))
    return found


def _cut(tokens: Array, ends: Sequence[int]) -> list[int]:
    """Tokens up to the first end and with it."""
    places = np.nonzero(np.isin(tokens, ends))[0]
    row: list[int] = tokens[: places[0] + 1 if len(places) else len(tokens)].tolist()
    return row
