"""What makes a run this run: what it is told, and a hash of what it is made from."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from textkd.errors import HIDDEN, without_secrets
from textkd.teachers.cache.keys import VOLATILE
from textkd.teachers.cache.keys import identity as weights_and_config

if TYPE_CHECKING:
    from textkd.experiment.distiller import Distiller


def fingerprint(d: Distiller) -> str:
    """All that a run is told, as text."""
    read = "" if d.targets is None or d.recipe else d.targets.fingerprint(d.given_teacher)
    if d.cache is not None:  # where it is and how large it may be changes nothing
        read += repr(replace(d.cache, folder=None, max_gb=None))
    if d.live.precision != "auto":
        read += f"teacher in {d.live.precision}"
    if d.recipe:
        return "".join(line for line in d.recipe.splitlines(keepends=True) if not line.endswith(f": {HIDDEN}\n"))
    told = [replace(stage, training=without_secrets(stage.training)) for stage in d.stages]
    training, control = without_secrets(d.training), without_secrets(d.control)
    return _stable((d.task.fingerprint(), told, training, d.seeds, control)) + read


def inputs(d: Distiller) -> dict[str, str]:
    """A hash of each thing that may change under the same name or is no part of `fingerprint`: data, models, settings.

    A student that a function makes is known by its config: random weights differ in a last bit on other kinds of CPU.
    """
    made = {"data": d.task.fingerprint()}
    if d.targets is not None:
        made["pseudo labels"] = d.targets.fingerprint(d.teacher)
    if d.finetune is not None:
        made["teacher"] = d.finetune.folder(d.seeds[0]).name  # its head is not there yet
    elif not d.is_black_box:
        made["teacher"] = weights_and_config(d.teacher, None)
    if isinstance(d.given_student, nn.Module):
        made["student"] = weights_and_config(d.given_student, None)
    else:
        files = d.given_student.content() if hasattr(d.given_student, "content") else ""  # of a recipe's
        made["student"] = f"{files} {_config(d.models()[-1])}"
    if not d.recipe:
        tuned = d.finetune and (without_secrets(d.finetune.training), d.finetune.given, d.finetune.frozen)
        words = d.given_tokenizer and (type(d.given_tokenizer).__name__, d.given_tokenizer.name_or_path)
        made["settings"] = _stable((d.given_max_length, d.share_encoder, words, tuned))
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in made.items()}


def _config(model: Any) -> str:
    settings = {key: value for key, value in model.config.to_dict().items() if key not in VOLATILE}
    return json.dumps([type(model).__name__, settings], sort_keys=True, default=str)


def _stable(made_of: Any) -> str:
    """A function of the user's own is known by its name: its address differs in every process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(made_of))
