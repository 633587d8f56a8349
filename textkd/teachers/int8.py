"""A teacher whose linear layers compute in int8, through onnxruntime."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textkd.errors import Problem, TextkdError, problem, reading
from textkd.models.architectures import SIDED
from textkd.models.forward import forward_inputs
from textkd.models.loading import clone
from textkd.models.onnx.graph import columns_of, exporters, texts, write_module
from textkd.models.onnx.int8 import quantise
from textkd.models.onnx.session import session
from textkd.models.taps import Address, Capture, anatomy
from textkd.models.taps.address import GRADIENT_KINDS
from textkd.teachers.cache.keys import identity
from textkd.teachers.length_buckets import Pieces

WHERE = "runtime"
TORCH_FIX = "runtime: torch (the default)"
_GRAPHS: dict[str, tuple[Path, tempfile.TemporaryDirectory[str]]] = {}  # of this process, by what they were made of


class Int8Teacher:
    """Runs a text encoder as an ONNX graph whose linear layers and embeddings are int8; the taps are its outputs.

    The weights are int8 per output channel, the activations 8 bits per tensor (`textkd.models.onnx.int8`): a row's taps
    differ a little beside other rows, as the range is that of the batch. The graph holds what a `LiveTeacher` reads,
    and nothing above its last tap. Writing it takes about a minute for 12 blocks of 768; it is written once for a model
    and its taps, and is gone with the process.

    Args:
        model: the teacher; it is not changed.
        addresses: the taps to read.
        in_pieces: as of `LiveTeacher`.

    Raises:
        TextkdError: a model that reads no texts, a tap that takes a backward, a package is missing.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> teacher = Int8Teacher(BertModel(BertConfig(num_hidden_layers=2, **sizes)), ["hidden:2"])
        >>> teacher.taps({"input_ids": torch.ones(3, 5, dtype=torch.long)})["hidden:2"].shape
        torch.Size([3, 5, 8])
        >>> teacher.close()
    """

    def __init__(self, model: nn.Module, addresses: Sequence[str], in_pieces: bool = True) -> None:
        resolve = anatomy(model).resolve
        self.addresses = tuple(dict.fromkeys(map(resolve, addresses)))
        if wrong := list(problems(model, self.addresses)):
            raise TextkdError(*wrong)
        self.model, self.columns = model, columns_of(model)
        self.names = [str(address) for address in self.addresses]
        self._pieces = Pieces(self.addresses, in_pieces)
        self._session = session(_graph(model, self.names), torch.get_num_threads(), spinning=False)

    def taps(self, batch: Mapping[str, Tensor], example_id: Tensor | None = None) -> Mapping[str, Tensor]:
        """The asked taps of `batch` by address, float32, on the device of the batch; as `LiveTeacher.taps`.

        Args:
            batch: the columns, [B, ...].
            example_id: not looked at.
        """
        home = batch["input_ids"].device
        inputs = {name: column.cpu() for name, column in batch.items() if name in self.columns}
        taps = self._pieces.run(self._answer, inputs) or self._answer(inputs)
        return {name: tap.to(home) for name, tap in taps.items()}

    def close(self) -> None:
        """Nothing is to be taken off the model."""

    def _answer(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        ids = inputs["input_ids"]
        usual = {"attention_mask": torch.ones_like, "token_type_ids": torch.zeros_like}
        given = {name: inputs[name] if name in inputs else usual[name](ids) for name in self.columns}
        answers = self._session.run(None, {name: column.numpy() for name, column in given.items()})
        return dict(zip(self.names, map(torch.from_numpy, answers), strict=True))


def problems(model: nn.Module, addresses: Sequence[Address]) -> list[Problem]:
    """Why a teacher cannot compute in int8.

    Args:
        model: the teacher.
        addresses: what is read of it.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> model = BertModel(BertConfig(num_hidden_layers=2, **sizes))
        >>> print(*problems(model, [Address.parse("gradient:1")]))
        runtime: asked: gradient:1 of a teacher in int8
          found: it takes a backward, and onnxruntime has none
          fix: runtime: torch (the default), or other taps
    """
    kind = str(getattr(getattr(model, "config", None), "model_type", ""))
    if "input_ids" not in forward_inputs(model) or kind in SIDED:
        what = f"{type(model).__name__} reads no texts"
        return [problem("a teacher in int8", what, fix=TORCH_FIX, where=WHERE)]
    why = dict.fromkeys(GRADIENT_KINDS, "it takes a backward, and onnxruntime has none")
    why["labels"] = "its graph gets no labels"
    fix, wrong = f"{TORCH_FIX}, or other taps", [address for address in addresses if address.kind in why]
    return [problem(f"{one} of a teacher in int8", why[one.kind], fix=fix, where=WHERE) for one in wrong]


def _graph(model: Any, names: list[str]) -> Path:
    """The int8 graph of a model, of which these taps are the outputs."""
    key = " ".join([identity(model, None), *names])
    if key not in _GRAPHS:
        exporters()
        folder = tempfile.TemporaryDirectory(prefix="textkd-int8-")
        whole, small = (Path(folder.name) / name for name in ("float.onnx", "int8.onnx"))
        with reading("a teacher in int8", fix=f"room for it in {tempfile.gettempdir()} (TMPDIR), or {TORCH_FIX}"):
            copy = clone(model).float().cpu().eval()
            write_module(_Taps(copy, names), texts(copy, names), whole, f"{type(model).__name__} as a teacher in int8")
            quantise(whole, small, "dynamic")
            whole.unlink()
        _GRAPHS[key] = small, folder
    return _GRAPHS[key][0]


class _Taps(nn.Module):
    """A model that takes its columns in an order and gives its taps."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names, self.columns = model, tuple(names), columns_of(model)
        # not stopped early, by an exception that torch.export cannot follow: what nobody reads is left out anyway
        self._capture = [Capture(model, list(names))]

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """The taps, in the order of the names."""
        taps = self._capture[0].run(self.model, **dict(zip(self.columns, given, strict=True)))["taps"]
        return tuple(taps[name] for name in self.names)
