"""Rows with their padding in front: whether a model answers a row alone as it does beside a longer one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from textkd.errors import Problem, problem
from textkd.experiment.encodings import own_tokenizers
from textkd.experiment.look import Look
from textkd.models.forward import inputs_of, positions, try_rows
from textkd.tasks.outputs.named import is_close

LENGTHS = (7, 4, 2)  # tokens of the rows that are tried


def check(look: Look) -> None:
    """Tries all models whose tokenizer pads on the left; what is wrong with a tokenizer is told once, of the model that
    has brought it."""
    told = set[str]()
    for name, model in look.loaded.items():
        own = own_tokenizers(look.tokenizer, {name: model}) if look.experiment.models[name].teaches else {}
        owner, words = (name, own[name]) if own else (next(iter(look.loaded)), look.tokenizer)
        if owner not in told and (wrong := padding_problem(words, model)):
            told.add(owner)
            with look.found.collecting(look.experiment.models[owner].where):
                look.found.add(wrong)
    if not told:
        _caches(look)


def _caches(look: Look) -> None:
    """A row behind padding stands at other places in every batch, so what is kept of it would never be found."""
    side = getattr(getattr(look.tokenizer, "tokenizer", look.tokenizer), "padding_side", "right")
    for spec in look.experiment.models.values():
        if spec.cache is not None and side == "left":
            what = "its tokenizer puts the padding before the text, so a row differs from batch to batch"
            fix = 'padding_side: "right" in its tokenizer_config.json, or cache: false'
            look.found.add(problem("a cache of the teacher", what, fix=fix, where=f"{spec.where}.cache"))


def padding_problem(tokenizer: Any, model: Any) -> Problem | None:
    """What is wrong with a model and a tokenizer that pads on the left.

    Args:
        tokenizer: of texts; what has no padding side, as a processor of images, is not looked at.
        model: it is tried with made-up rows of different lengths, alone and together.

    Returns:
        None where the answers are the same, or nothing is padded in front.

    Example:
        >>> from types import SimpleNamespace
        >>> padding_problem(SimpleNamespace(padding_side="right"), torch.nn.Linear(2, 2)) is None
        True
    """
    if getattr(tokenizer, "padding_side", "right") != "left" or positions(model) < max(LENGTHS):
        return None
    rows = _rows(tokenizer)
    alone, failed = try_rows(model, lambda one: [_answer(one, _batch(tokenizer, [row])) for row in rows])
    together, failed_too = try_rows(model, lambda one: _answer(one, _batch(tokenizer, rows)))
    if failed or failed_too:
        return None  # told where its answers are looked at
    far = sum(not is_close(one[0].numpy(), _of_row(other, one[0])) for one, other in zip(alone, together, strict=True))
    if not far:
        return None
    what = f"its tokenizer puts the padding in front, and {type(model).__name__} then answers otherwise beside a longer"
    return problem("the same answer to a row in every batch", f"{what} row",
                   fix='padding_side: "right" in its tokenizer_config.json')  # fmt: skip


def _answer(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """The logits, on the CPU: [B, C], or [B, T, C]."""
    logits: Tensor = model(**inputs_of(model, batch))["logits"]
    return logits.float().cpu()


def _of_row(together: Tensor, alone: Tensor) -> Any:
    """What was answered to a row of a batch: of each of its tokens, where it is told of tokens."""
    return (together if together.dim() == alone.dim() < 2 else together[-len(alone) :]).numpy()


def _rows(tokenizer: Any) -> list[list[int]]:
    """Ids of rows of different lengths."""
    known = [one for one in range(len(tokenizer)) if one not in tokenizer.all_special_ids] or [0]
    return [[known[(7 * i + length) % len(known)] for i in range(length)] for length in LENGTHS]


def _batch(tokenizer: Any, rows: list[list[int]]) -> dict[str, Tensor]:
    """The rows, their padding in front."""
    most = max(map(len, rows))
    ids = torch.full((len(rows), most), tokenizer.pad_token_id or 0)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, most - len(row) :] = torch.tensor(row)
        mask[i, most - len(row) :] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
