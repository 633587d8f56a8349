"""What an entry is known by: a hash of the teacher, and one of each row's own inputs, without its padding."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from textkd.models.conventions import IGNORED

VERSION = 1  # of what is stored and how: a cache of another version is not read
Keys = NDArray[np.uint64]
"""[rows, 2]: 128 bits a row."""
# token by token along [B, T] of the attention mask, and of the targets; a decoder is causal, so what stands behind the
# last target changes nothing before it
TOKENS = frozenset({"input_ids", "token_type_ids", "position_ids", "inputs_embeds", "attention_mask"})
TARGETS = frozenset({"decoder_input_ids", "decoder_attention_mask", "decoder_inputs_embeds"})
VOLATILE = ("_name_or_path", "transformers_version", "_commit_hash")


def identity(model: nn.Module, autocast: torch.dtype | str | None) -> str:
    """32 hex digits that change with the weights, the config, the class or the precision of a teacher, wherever it was
    loaded from. autocast: the precision, or another word for how it computes."""
    digest = hashlib.blake2b(digest_size=16)
    config: Any = getattr(model, "config", None)
    settings = {} if config is None else {k: v for k, v in config.to_dict().items() if k not in VOLATILE}
    made_of = [VERSION, type(model).__name__, settings, str(autocast)]
    digest.update(json.dumps(made_of, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(_array(tensor).data)
    return digest.hexdigest()


def row_keys(batch: Mapping[str, Tensor], accepted: Collection[str], with_labels: bool = False) -> Keys:
    """A key per row of `batch`: over the columns that the teacher takes (`accepted`), cut to the row's own length, and
    over which positions count. with_labels: over the labels too, for taps that depend on them."""
    labels = batch.get("labels")
    names = sorted(name for name in batch if name in {*accepted, "attention_mask"} and name != "labels")
    columns = {name: _array(batch[name]) for name in names}
    rows = len(next(iter(batch.values())))
    attended = columns.get("attention_mask")
    tokens = _lengths(attended, rows)
    counted = None
    if labels is not None and labels.dim() == 2 and not labels.is_floating_point():
        counted = _array(labels) != IGNORED
    targets = _lengths(counted if counted is not None else columns.get("decoder_attention_mask"), rows)
    if counted is not None:
        columns["counted"] = counted
    if with_labels and labels is not None:
        columns["labels"] = _array(labels)
    cut = [_cut(name, column, attended, counted, tokens, targets) for name, column in columns.items()]
    start = hashlib.blake2b(digest_size=16)
    start.update(repr([(name, column.dtype.str, column.shape[1 if own is None else 2 :])
                       for (name, column), own in zip(columns.items(), cut, strict=True)]).encode())  # fmt: skip
    made = b"".join(_row(start.copy(), list(columns.values()), cut, i) for i in range(rows))
    return np.frombuffer(made, dtype=np.uint64).reshape(rows, 2)


def _row(digest: Any, columns: list[NDArray[Any]], cut: list[NDArray[np.int64] | None], i: int) -> bytes:
    for column, lengths in zip(columns, cut, strict=True):
        part = column[i] if lengths is None else column[i, : lengths[i]]
        digest.update(b"%d:" % part.size)
        digest.update(part.data if part.ndim else part.tobytes())
    made: bytes = digest.digest()
    return made


def _cut(
    name: str, column: NDArray[Any], attended: NDArray[Any] | None, counted: NDArray[Any] | None,
    tokens: NDArray[np.int64] | None, targets: NDArray[np.int64] | None,
) -> NDArray[np.int64] | None:  # fmt: skip
    """The lengths that rows of this column are cut to; None: they are whole."""
    if name in TOKENS and attended is not None and column.shape[:2] == attended.shape:
        return tokens
    if name in ("labels", "counted"):
        return targets if counted is not None else None
    return targets if name in TARGETS and (counted is None or column.shape[:2] == counted.shape) else None


def _lengths(mask: NDArray[Any] | None, rows: int) -> NDArray[np.int64] | None:
    """Up to the last position that counts, with it."""
    if mask is None or mask.ndim != 2:
        return None
    length = mask.shape[1]
    counts = mask != 0
    return np.where(counts.any(1), length - counts[:, ::-1].argmax(1), 0).astype(np.int64)


def as_numpy(tensor: Tensor) -> NDArray[Any]:
    """The same numbers as an array; bfloat16, which numpy does not have, as its bits in int16."""
    tensor = tensor.detach().cpu().contiguous()
    array: NDArray[Any] = (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _array(tensor: Tensor) -> NDArray[Any]:
    array = as_numpy(tensor)
    return array if tensor.is_floating_point() or tensor.dtype == torch.bool else array.astype(np.int64)
