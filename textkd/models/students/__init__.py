"""How a small model is made: from the teacher's blocks, from a folder or hub id, or from a config (random weights)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from textkd.errors import fail, said
from textkd.models.fixes import repair_positions
from textkd.models.loading import load_model
from textkd.models.own.rebuilt import change, rebuild
from textkd.models.own.rebuilt_words import words_of
from textkd.models.students.composing import compose
from textkd.models.students.copying import block_list, is_two_sided
from textkd.models.students.from_config import from_config
from textkd.models.students.grow import deepen, grow, random_copies, widen
from textkd.models.students.importance import LEARNT as BY_LOSS
from textkd.models.students.layers import LAYER_CHOICES, choose_layers, first_layers, last_layers, uniform_layers
from textkd.models.students.positions import fit_image_size
from textkd.models.students.random_init import RANDOM_INIT_WARNING, random_init_warning
from textkd.models.students.recurrent import from_recurrent
from textkd.models.students.sharing import shares_encoder
from textkd.models.students.shrink import shrink, shrink_beside, whole
from textkd.models.students.spec import MORE, check_spec, is_mixed, sound_part, taken
from textkd.models.students.widths import HOW, ROWS, SIDED_WIDTHS
from textkd.models.students.widths import WIDTHS as PLAIN_WIDTHS

WIDTHS = (*PLAIN_WIDTHS, *SIDED_WIDTHS)

__all__ = [
    "BY_LOSS",
    "HOW",
    "LAYER_CHOICES",
    "MORE",
    "RANDOM_INIT_WARNING",
    "ROWS",
    "WIDTHS",
    "begin",
    "block_list",
    "build",
    "check_spec",
    "choose_layers",
    "compose",
    "deepen",
    "first_layers",
    "fit_image_size",
    "from_config",
    "from_path",
    "from_recurrent",
    "grow",
    "last_layers",
    "random_copies",
    "random_init_warning",
    "rebuild",
    "repair_positions",
    "shares_encoder",
    "shrink",
    "sound_part",
    "taken",
    "uniform_layers",
    "widen",
]


def from_path(path_or_id: str | os.PathLike[str], auto_class: Any, **kwargs: Any) -> PreTrainedModel:
    """A pretrained student. See `textkd.models.loading.load_model`.

    Args:
        path_or_id: a folder, `package:NAME/FOLDER` inside an installed Python package, or a hub id.
        auto_class: what builds it, as `AutoModelForSequenceClassification`.
        kwargs: those of `load_model` (allow_pickle, expect_sha256) and of `from_pretrained` (num_labels, ...).

    Returns:
        A model in eval mode, float32 unless `dtype=` says otherwise.

    Raises:
        TextkdError: the files are missing, damaged or refused, or hold another model.
    """
    return load_model(path_or_id, auto_class, **kwargs)


def build(
    spec: Mapping[str, Any],
    teacher: PreTrainedModel,
    auto_class: Any,
    *,
    examples: Iterable[Mapping[str, Tensor]] | None = None,
    **labels: Any,
) -> PreTrainedModel:
    """The student of a recipe's block `student`.

    Args:
        spec: exactly one of {"shrink": {"layers": [2, 4, 6]}} (or {"layers": "uniform", "n_layers": 3}), {"path": ...,
            "allow_pickle": ..., "sha256": ...} (the last two optional) and {"config": {"hidden_size": 128}}. For a
            teacher of two sides: {"shrink": {"encoder_layers": 6, "decoder_layers": [1, 2]}}, {"config": {"decoder":
            {...}}}, or one side each. Beside layers, widths: {"heads": 8, "ffn": 768, "by": "fisher"}, see `shrink`.
            {"share_encoder": True} beside them promises that the student's encoder is the teacher's. {"grow": {"wider":
            {"ffn": 2048}, "deeper": {"after": [3]}}}, alone or beside shrink: see `grow`. {"recurrent": {"kind":
            "bilstm"}}: see `from_recurrent`.
            {"factorise": ...} and {"cheap": ...}, of `rebuild`, may stand beside any of them but `recurrent`, or alone:
            then all of the teacher is copied.
        teacher: what the student is made of, unless it has a path.
        auto_class: for loading from a path.
        examples: batches with labels, on which a narrower student's parts are chosen; None: by their weights.
        labels: num_labels, id2label, label2id, problem_type, for loading from a path; a shrunk student and one from a
            config have the teacher's.

    Returns:
        A model in eval mode; `shrink`, `from_config` and `from_path` say more.

    Raises:
        TextkdError: with every problem of the block; a teacher with another number of labels; a shared encoder that is
            not the teacher's.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> teacher = BertModel(BertConfig(num_hidden_layers=4, **sizes))
        >>> build({"shrink": {"layers": [2, 4]}}, teacher, None).config.num_hidden_layers
        2
    """
    student = begin(spec, teacher, auto_class, examples=examples, **labels)
    if words := words_of(spec):
        change(student, words)
    return student.eval()


def begin(
    spec: Mapping[str, Any], teacher: PreTrainedModel, auto_class: Any, *,
    examples: Iterable[Mapping[str, Tensor]] | None = None, **labels: Any,
) -> PreTrainedModel:  # fmt: skip
    """`build` without what `factorise` and `cheap` ask for; arguments and errors are the same."""
    check_spec(spec)
    try:
        student = _made(spec, teacher, auto_class, examples, labels)
        if "grow" in spec:
            student = grow(student, **spec["grow"])
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate" not in str(error):  # torch has no kind of its own for it
            raise
        what = f"no memory for it: {said(error)}"
        raise fail(f"a student of {dict(spec)}", what, fix="give smaller sizes") from error
    if spec.get("share_encoder") and not shares_encoder(student, teacher):
        if is_two_sided(teacher):
            found = "the student's encoder is another one than the teacher's"
            fix = "make the student from the teacher: {shrink: {decoder_layers: ...}, share_encoder: true}"
        else:
            found, fix = f"{type(teacher).__name__} is an encoder and no more", "leave share_encoder out"
        raise fail("student share_encoder: true", found, fix=fix, where="share_encoder")
    return student


def _made(
    spec: Mapping[str, Any], teacher: Any, auto_class: Any, examples: Any, labels: Mapping[str, Any]
) -> PreTrainedModel:
    if "path" in spec:
        loading = {"allow_pickle": spec.get("allow_pickle", False), "expect_sha256": spec.get("sha256")}
        return from_path(spec["path"], auto_class, **loading, **labels)
    have, want = getattr(teacher.config, "num_labels", None), labels.get("num_labels")
    if want is not None and have != want:
        fix = "finetune the teacher on this task first, or load the student from a path"
        raise fail(f"a student for {want} labels", f"the teacher, which it is made of, has {have}", fix=fix)
    if is_mixed(spec):
        if not is_two_sided(teacher):
            fix = "keep shrink: {layers: ...} or config"
            raise fail("a student of two sides", f"{type(teacher).__name__} has none", fix=fix)
        return shrink_beside(teacher, spec["config"], spec["shrink"], examples)
    if "shrink" in spec:
        return shrink_beside(teacher, None, spec["shrink"], examples)
    if "recurrent" in spec:
        return from_recurrent(teacher, spec["recurrent"])
    if "config" not in spec:
        return whole(teacher)
    return from_config(teacher, **spec["config"])
