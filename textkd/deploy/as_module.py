"""An exported folder as a module, so that tasks judge it as they judge any model."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn

from textkd.deploy.manifest import MODEL
from textkd.deploy.runtime.opening import opened
from textkd.errors import fail
from textkd.models.no_code import from_pretrained
from textkd.models.onnx.file import weights
from textkd.models.own.door import class_meant


class Exported(nn.Module):
    """What an exported folder answers, through onnxruntime, as a module.

    An int8 model answers a row a little differently beside others, because all rows of a batch share one scale. Quality
    is measured one by one, as a server answers that is asked for one text at a time; speed of batches, of batches.

    Args:
        folder: that `textkd export --format onnx` wrote.
        threads: of the CPU; None: all cores.
        one_by_one: rows of a batch run one at a time, without padding; else together.
    """

    def __init__(self, folder: Path, threads: int | None = None, one_by_one: bool = False) -> None:
        super().__init__()
        self.folder, self.one_by_one = folder, one_by_one
        self.runtime = opened(folder, threads)
        self.config: Any = from_pretrained(transformers.AutoConfig, str(folder))
        self.anchor = nn.Parameter(torch.zeros(0), requires_grad=False)  # says on which device it is: the CPU

    @property
    def num_labels(self) -> int:
        """How many classes it has."""
        return len(self.runtime.labels)

    def refuse_other(self, auto_class: Any) -> None:
        """Raises `TextkdError` where the folder holds another kind of model than a task needs.

        Args:
            auto_class: what loads the models of the task.
        """
        name = self.architecture
        if getattr(class_meant(auto_class, self.config), "__name__", "") != name:
            fix = "the task that it was trained on"
            raise fail(f"{auto_class.__name__} of an exported folder", f"it holds a {name}", fix=fix)

    @property
    def weights(self) -> int | None:
        """How many weights the graph holds."""
        return weights(self.folder / MODEL)

    @property
    def architecture(self) -> str:
        """The class that it was exported from."""
        return str((self.config.architectures or [type(self.config).__name__])[0])

    @property
    def runtime_name(self) -> str:
        """What runs it."""
        form = f", int8 ({self.runtime.manifest.int8})" if self.runtime.manifest.int8 else ""
        return f"onnxruntime {version('onnxruntime')}{form}"

    @property
    def disk_mb(self) -> float:
        """Size of the graph with its weights, in MB (1e6 bytes)."""
        return float(self.runtime.manifest.model_mb)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The logits of encoded rows.

        Args:
            input_ids: [B, T].
            attention_mask: [B, T], 1 where there is a token; each row begins with one.
            token_type_ids: [B, T], of models that read them.

        Returns:
            {"logits": float32 [B, C], of a token classifier [B, T, C]}.
        """
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        columns = {"input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": types}
        manifest, found = self.runtime.manifest, []
        if not self.one_by_one:
            (answer,) = self.runtime.session.run(None, {name: columns[name].cpu().numpy() for name in manifest.inputs})
            return {"logits": torch.from_numpy(answer)}
        for row, count in enumerate(attention_mask.sum(1).tolist()):
            given = {name: columns[name][row : row + 1, :count].cpu().numpy() for name in manifest.inputs}
            (answer,) = self.runtime.session.run(None, given)
            if answer.ndim == 3:
                answer = np.pad(answer, ((0, 0), (0, input_ids.shape[1] - count), (0, 0)))
            found.append(torch.from_numpy(answer))
        return {"logits": torch.cat(found)}
