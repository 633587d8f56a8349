"""How a small model is made: from the teacher's blocks, from a folder or hub id, or from a config (random weights)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel

from textkd.errors import Collector, fail, problem
from textkd.pretrained import load_model
from textkd.students.from_config import RANDOM_INIT_WARNING, from_config
from textkd.students.layers import LAYER_CHOICES, choose_layers, first_layers, last_layers, uniform_layers
from textkd.students.shrink import block_list, shrink

__all__ = [
    "LAYER_CHOICES",
    "RANDOM_INIT_WARNING",
    "block_list",
    "build",
    "choose_layers",
    "first_layers",
    "from_config",
    "from_path",
    "last_layers",
    "shrink",
    "uniform_layers",
]

KINDS = ("shrink", "path", "config")
PATH_OPTIONS = ("allow_pickle", "sha256")


def from_path(path_or_id: str | os.PathLike[str], auto_class: Any, **kwargs: Any) -> PreTrainedModel:
    """A pretrained student from a folder, `package:NAME/FOLDER` or hub id. See `textkd.pretrained.load_model`."""
    return load_model(path_or_id, auto_class, **kwargs)


def build(spec: Mapping[str, Any], teacher: PreTrainedModel, auto_class: Any, **labels: Any) -> PreTrainedModel:
    """The student of a recipe's block `student`.

    spec: exactly one of {"shrink": {"layers": [2, 4, 6]}} (or {"layers": "uniform", "n_layers": 3}),
    {"path": ..., "allow_pickle": ..., "sha256": ...} (the last two optional) and {"config": {"hidden_size": 128}}.
    auto_class and labels (num_labels, id2label, label2id, problem_type) are for loading from a path; a shrunk student
    and one from a config have the teacher's. Raises `TextkdError` with every problem of the block.
    """
    check_spec(spec)
    if "path" in spec:
        loading = {"allow_pickle": spec.get("allow_pickle", False), "expect_sha256": spec.get("sha256")}
        return from_path(spec["path"], auto_class, **loading, **labels)
    have, want = getattr(teacher.config, "num_labels", None), labels.get("num_labels")
    if want is not None and have != want:
        fix = "finetune the teacher on this task first, or load the student from a path"
        raise fail(f"a student for {want} labels", f"the teacher, which it is made of, has {have}", fix=fix)
    if "shrink" in spec:
        return shrink(teacher, **spec["shrink"])
    return from_config(teacher, **spec["config"])


def check_spec(spec: Mapping[str, Any]) -> None:
    """Raises `TextkdError` with every problem of a recipe's block `student`, before any model is there."""
    wrong = Collector()
    if not isinstance(spec, Mapping):
        example = "{shrink: {layers: [2, 4, 6]}}"
        raise fail(f"student: {spec!r}", "not a block of keys", fix=f"for example student: {example}")
    kinds = [kind for kind in KINDS if kind in spec]
    if len(kinds) != 1:
        found = f"{' and '.join(kinds)} together" if kinds else f"none of {', '.join(KINDS)}"
        wrong.add(problem("a student", found, fix=f"give exactly one of {', '.join(KINDS)}"))
    allowed = [*KINDS, *(PATH_OPTIONS if "path" in spec else ())]
    for key in (str(key) for key in spec if key not in allowed):
        wrong.add(
            problem(
                f"student key {key}", "no such key", near=(key, allowed), fix=f"keys: {', '.join(allowed)}", where=key
            )
        )
    for kind in ("shrink", "config"):
        if kind in spec and not isinstance(spec[kind], Mapping):
            fix = "layers: [2, 4, 6]" if kind == "shrink" else "hidden_size: 128"
            wrong.add(
                problem(f"student {kind}: {spec[kind]!r}", "not a block of keys", fix=f"for example {fix}", where=kind)
            )
    options = ("layers", "n_layers")
    if isinstance(spec.get("shrink"), Mapping):
        for key in (str(key) for key in spec["shrink"] if key not in options):
            where, fix = f"shrink.{key}", f"keys: {', '.join(options)}"
            wrong.add(problem(f"student shrink key {key}", "no such key", near=(key, options), fix=fix, where=where))
    if "path" in spec and not (isinstance(spec["path"], str | os.PathLike) and str(spec["path"])):
        wrong.add(
            problem(f"student path: {spec['path']!r}", "not a path", fix="give a folder or a hub id", where="path")
        )
    wrong.raise_any()
