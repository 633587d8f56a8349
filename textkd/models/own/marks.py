"""By what a folder is known that textkd alone loads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TYPE = "textkd"  # its model_type on the disk; in memory a config has that of its architecture
VARIANT = "textkd"  # in the names of its weights
WEIGHTS = (f"model.{VARIANT}.safetensors", f"model.safetensors.index.{VARIANT}.json")  # one file; the list of several
WORDS = "textkd"  # the field of a config that says what the model is
LOADS = "loaded with textkd (textkd.load) or, as ONNX, with textkd.deploy.load, not with plain transformers"


def is_own(told: Any) -> bool:
    """Whether a config, as its config.json says it, is one of a model that textkd alone loads.

    Example:
        >>> is_own({"model_type": "bert"}), is_own({"model_type": "textkd", "textkd": {"kind": "rebuilt"}})
        (False, True)
    """
    return isinstance(told, Mapping) and told.get("model_type") == TYPE
