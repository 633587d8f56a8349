"""Parts of a model that a training leaves as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from textkd.errors import Problem, TextkdError, fail, problem


@contextmanager
def frozen(model: nn.Module, asked: Sequence[str], more: Sequence[str] = ()) -> Iterator[None]:
    """Inside, the parameters of these modules take no gradient. asked: what somebody asked for, more: what the kind of
    training needs beside it. Raises `TextkdError` for names that `model` lacks, and where nothing is left to train."""
    if problems := frozen_problems(model, asked):
        raise TextkdError(*problems)
    prefixes = [*asked, *more]
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    changed = [p for name, p in trained if any(_is_within(name, part) for part in prefixes)]
    if len(changed) == len(trained):
        raise fail(f"frozen {', '.join(prefixes)}", "no parameter is left to train", fix="freeze less")
    for parameter in changed:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in changed:
            parameter.requires_grad_(True)


def frozen_problems(model: nn.Module | None, names: Any) -> list[Problem]:
    """What is wrong with the names of frozen parts: no list, modules that `model` lacks, nothing left to train. None:
    the model is not there."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        fix = f"frozen: [{names}]" if isinstance(names, str) and names else "frozen: [bert.embeddings], or leave it out"
        return [problem(f"frozen: {names!r}", "no list of module names", fix=fix, where="frozen")]
    if model is None:
        return []
    known = dict(model.named_modules()).keys() | dict(model.named_parameters()).keys()
    within = {str(name): [own for own, _ in model.named_parameters() if _is_within(own, str(name))] for name in names}
    found = []
    for name, own in within.items():
        if not name or name not in known:
            fix = "names as model.named_modules() has them, such as bert.encoder.layer.0"
            near = (name, known)
            found.append(
                problem(f"frozen {name!r}", "the model has no such module", near=near, fix=fix, where="frozen")
            )
        elif not own:
            what = "this module has no parameters, so nothing would be frozen"
            found.append(problem(f"frozen {name!r}", what, fix="leave it out", where="frozen"))
    if {own for one in within.values() for own in one} == {name for name, _ in model.named_parameters()}:
        asked = f"frozen {', '.join(map(str, names))}"
        found.append(problem(asked, "no parameter is left to train", fix="freeze less", where="frozen"))
    return found


def head_modules(student: nn.Module) -> list[str]:
    """The top-level modules beside the base model (and beside projections): the task's head."""
    base = getattr(student, "base_model_prefix", "")
    if not base or not hasattr(student, base):
        return []
    return [name for name, _ in student.named_children() if name != base and not name.startswith("textkd_")]


def idle_parts(models: Mapping[str, nn.Module], uses_head: Callable[[str], bool], share_encoder: bool) -> list[str]:
    """Parts without a gradient, which DDP would have to search for in every step: a head that nobody reads, an encoder
    that is the teacher's. uses_head: f(name of a model) -> whether a match reads its head."""
    parts = list[str]()
    for name, model in models.items():
        prefix = f"{name}." if len(models) > 1 else ""
        head = [] if uses_head(name) else head_modules(model)
        parts += [f"{prefix}{part}" for part in [*(["encoder"] if share_encoder else []), *head]]
    return parts


def _is_within(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")
