"""Every option that a recipe can have, as the code itself lists them."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any, get_args

from pydantic import BaseModel

from textkd import tasks
from textkd.config.schema import Recipe
from textkd.models.own import rebuilt_words
from textkd.models.students import growth, recurrent, spec, wanted
from textkd.models.students.widths import SIDED_WIDTHS, WIDTHS
from textkd.objective import schedules
from textkd.tasks.data import holdout
from textkd.tasks.ocr import sources
from textkd.tasks.ocr.digits import DigitLines
from textkd.tasks.ocr.generate import Generation
from textkd.tasks.ocr.render import RenderedLines
from textkd.teachers import CacheOptions
from textkd.teachers.cache import options as cache_options
from textkd.training import arguments


def blocks(model: type[BaseModel], known: dict[str, type[BaseModel]] | None = None) -> dict[str, type[BaseModel]]:
    """The kinds of blocks that a block may hold, and itself, by name."""
    known = {} if known is None else known
    if model.__name__ not in known:
        known[model.__name__] = model
        for field in model.model_fields.values():
            for inner in _classes(field.annotation):
                blocks(inner, known)
    return known


def _classes(annotation: Any) -> list[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [one for inner in get_args(annotation) for one in _classes(inner)]


def options() -> list[str]:
    """All of them, as "BLOCK.option"."""
    found = [f"{name}.{field.alias or key}" for name, block in blocks(Recipe).items()
             for key, field in block.model_fields.items()]  # fmt: skip
    found += [f"student.{name}" for name in (*spec.KINDS, *spec.MORE, *spec.BESIDE, *spec.PATH_OPTIONS)]
    found += [f"shrink.{name}" for name in spec.SHRINK_OPTIONS]
    found += [f"recurrent.{name}" for name in recurrent.OPTIONS]
    found += [f"grow.{name}" for name in (*growth.KEYS, *(f"wider.{one}" for one in (*WIDTHS, *SIDED_WIDTHS)))]
    found += [f"grow.deeper.{name}" for name in growth.DEEPER]
    found += [f"vocabulary.{name}" for name in wanted.OPTIONS]
    found += [f"factorise.{name}" for name in (*rebuilt_words.FACTORISED, *rebuilt_words.SIDES)]
    found += [f"cheap.{name}" for name in (*rebuilt_words.PLACES, "groups", "rank", *rebuilt_words.SIDES)]
    found += [f"training.{name}" for name in (*arguments.OWN, "output_dir", "seed")]
    found += [f"cache.{field.name}" for field in dataclasses.fields(CacheOptions)]
    found += [f"cache.logits.{name}" for name in cache_options.LOGITS]
    for kind in schedules.NAMES:
        found += [f"schedule {kind}.{field.name}" for field in dataclasses.fields(schedules._KINDS[kind])]
    for name in ("glue/sst2", *(one for one in tasks.names() if "/" not in one)):  # the subsets of glue are alike
        found += [f"{name}.{option}" for option in tasks.kind(name).options]
        found += [f"eval {name}.{option}" for option in tasks.kind(name).eval_options]
    found += [f"limit.{name}" for name in holdout.OF_LIMIT] + [f"eval.{name}" for name in holdout.OF_EVAL]
    found += [f"lines.{name}" for name in (*sources.KINDS, *sources.PART)]
    found += [f"lines {kind}.{name}" for kind, names in sources.KINDS.items() for name in names]
    for name, make in (("rendered", RenderedLines), ("digits", DigitLines)):
        found += [f"{name}.{option}" for option in inspect.signature(make).parameters]
    found += [f"generation.{field.name}" for field in dataclasses.fields(Generation)]
    return sorted(set(found))
