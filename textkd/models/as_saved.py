"""A model as it lies in a folder: of the class that its config names, every weight from the file."""

from __future__ import annotations

import os
from typing import Any

from textkd.errors import fail
from textkd.models.loading import load_with_report
from textkd.models.no_code import from_pretrained, saved_class

PROJECTIONS = "textkd_projections"  # helpers of a training


def load(path_or_id: str | os.PathLike[str], *, asked: str = "") -> Any:
    """Loads a model that textkd made, or any of transformers, whether plain transformers could or not.

    Args:
        path_or_id: a folder (that a run, `textkd export` or `save_pretrained` wrote), `package:NAME/FOLDER` inside an
            installed Python package, or a hub id.
        asked: how a message calls it.

    Returns:
        The model in eval mode, of the class that its config.json names and in the dtype in which it was saved. Every
        weight is that of the file, and every weight of the file is in it.

    Raises:
        TextkdError: a file is missing or damaged, config.json names no class, or file and class have not the same
            weights.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> import tempfile, textkd
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> model = textkd.rebuild(BertModel(BertConfig(num_hidden_layers=1, **sizes)), factorise={"embeddings": 4})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save_pretrained(folder)
        ...     type(textkd.load(folder)).__name__
        'BertModel'
    """
    asked = asked or f"the model {path_or_id}"
    model, info = load_with_report(path_or_id, _Architecture(asked), dtype="auto")
    if info["missing_keys"]:
        names = ", ".join(sorted(info["missing_keys"])[:3])
        raise fail(
            asked, f"weights that are not in the file: {names}", fix="finish the training, or give another folder"
        )
    lost = sorted(key for key in info["unexpected_keys"] if PROJECTIONS not in key)
    if lost:
        found = f"{len(lost)} weights have no place in {type(model).__name__}, among them {lost[0]}"
        raise fail(asked, found, fix="correct architectures in config.json")
    return model


class _Architecture:
    """Loads the class that a config names in `architectures`."""

    def __init__(self, asked: str) -> None:
        self.asked = asked

    def from_pretrained(self, source: str, trust_remote_code: bool, **kwargs: Any) -> Any:
        named, model_class = saved_class(source)
        if model_class is None:
            found = f"config.json names {named or 'nothing'} in architectures, and there is no model of this name"
            fix = "copy config.json again from where the model came from, or name the model's class there"
            raise fail(self.asked, found, fix=fix)
        return from_pretrained(model_class, source, **kwargs)  # which says again that no code is trusted
