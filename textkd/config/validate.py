"""What is wrong with a recipe's keys and types: all at once, with the path of each."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from textkd.config.idle import idle_problems, teachers_of
from textkd.config.schema import (
    ArtifactBlock,
    CohortBlock,
    FinetuneBlock,
    LinkBlock,
    MatchBlock,
    PruneBlock,
    QuantiseBlock,
    Recipe,
    SearchBlock,
    StageBlock,
    TeacherBlock,
)
from textkd.errors import Problem, nearest, problem
from textkd.teachers.generation import recipe_keys

BLOCKS: dict[str, type[BaseModel]] = {
    "": Recipe, "teacher": TeacherBlock, "finetune": FinetuneBlock, "stages": StageBlock, "matches": MatchBlock,
    "pseudo": recipe_keys.PseudoBlock, "chain": LinkBlock, "cohort": CohortBlock, "teachers": TeacherBlock,
    "artifacts": ArtifactBlock, "search": SearchBlock, "quantise": QuantiseBlock,
    "prune": PruneBlock,
}  # fmt: skip
# what a value of a wrong type should have been; a union of types says it badly
EXPECTED = {
    "about": "a text", "task": "a block, as {name: glue, subset: sst2}", "teacher": "a block, as {path: FOLDER}",
    "student": "a block, as {shrink: {layers: [2, 4, 6]}}", "training": "a block, as {num_train_epochs: 3}",
    "matches": "a list, as [{tap: labels}, {tap: logits}]", "stages": "a list of {matches: [...]}",
    "preset": "a name of `textkd ls presets`, or {name: hinton, matches.1.weight: 0.5}",
    "control": "true, false, or a block, as {learning_rate: 5.0e-5}",
    "seeds": "a list of whole numbers, as [1, 2, 3]", "max_length": "a whole number",
    "layers": "the name of a layer map, {student: teacher}, or pairs", "weight": "a number",
    "temperature": "a number or a schedule", "schedule": "a schedule, as {kind: linear}", "options": "a block",
    "fused": "true or false",
    "projection": "auto, none, or a kind of projection", "loss": "the name of a loss",
    "tap": 'an address, as "hidden", or a list',
    "finetune": "a block, as {num_train_epochs: 3}", "allow_pickle": "true or false",
    "cache": "true, false or a block, as {precision: bf16, max_gb: 20}", "precision": "auto, bf16 or float32",
    "device": "the name of a device, as cuda:1", "sharded": "true or false", "runtime": "torch or int8",
    "frozen": "a list of module names", "teachers": "blocks by name, as {big: {path: FOLDER}, other: {path: FOLDER}}",
    "chain": "a list of links, as [{name: assistant, student: {shrink: {...}}}, ...]",
    "cohort": "a block, as {size: 2, update: together}", "size": "a whole number from 2",
    "update": "together, or in_turn",
    "students": "blocks by name, as {small: {...}, tiny: {...}}", "from": "the name of a teacher, or a list of names",
    "combine": "mean_probabilities, mean_logits or gate", "weights": "a list of numbers, as [0.7, 0.3]",
    "target_gradient": "true or false", "name": "a name", "config": "a block of fields",
    "keep": "a folder", "path": "a folder, or a hub id", "sha256": "a text, in quotes",
    "artifacts": "a list, as [{format: onnx, int8: dynamic}]", "format": "onnx", "int8": "dynamic or static",
    "rows": "a whole number", "of": "the name of a model",
    "search": "a block, as {budget: {latency_ms: 5}, over: {student.shrink.n_layers: [2, 3]}}",
    "budget": "a block, as {latency_ms: 5, size_mb: 10}", "over": "lists by key, as {student.shrink.n_layers: [2, 3]}",
    "trials": "a whole number", "steps": "a whole number",
    "quantise": "a block, as {weights: 8, activations: 8, scheme: b}", "scheme": "a, b or c",
    "prune": "a block, as {target: {parameters: 0.5}}", "target": "a block, as {parameters: 0.5}",
    "kind": "a list, as [ffn, heads]", "rounds": "a whole number", "recover": "a number of epochs",
    "by": "magnitude, activation, gradient or fisher",
    **recipe_keys.EXPECTED,
}  # fmt: skip
# what a member of a list should have been
_EXPECTED_MEMBER = {
    "matches": "a block, as {tap: logits}", "stages": "a block, as {matches: [...]}",
    "chain": "a block, as {name: assistant, student: {shrink: {...}}}", "artifacts": "a block, as {format: onnx}",
}  # fmt: skip
# what a block under a name of its own should have been
_NAMED = {
    ("search", "over"): "a list of values",
    ("search", "budget"): "a number",
    ("prune", "target"): "a number, or a share as 50%",
    ("cohort", "students"): EXPECTED["student"],
    ("teachers",): EXPECTED["teacher"],
}
# a key whose name stands elsewhere, too
_AT: dict[tuple[str, ...], str] = {
    ("quantise", "weights"): "a whole number: 8", ("quantise", "activations"): "a whole number: 8",
    ("prune", "schedule"): "cubic, linear or one_shot", ("artifacts", "keep"): "a number, as 0.99",
}  # fmt: skip
# stands for a required value that is absent or of a wrong type, so that the rest can still be looked at
_STAND_INS: dict[str, Any] = {
    "task": {},
    "teacher": {},
    "student": {},
    "stages.matches": [],
    "teacher.finetune.stages.matches": [],
    "prune.target": {},
}

# stands for a member of a list that is of a wrong type
_MEMBERS: dict[Any, Any] = {
    "matches": {"tap": "labels"}, "stages": {"matches": []}, "chain": {"name": "link", "student": {}},
    "artifacts": {"format": "onnx"},
}  # fmt: skip


def validate(values: Mapping[str, Any]) -> tuple[Recipe | None, list[Problem]]:
    """(recipe, problems). The recipe of bad values leaves out what is bad, so that the rest can be looked at; values
    that a reported place needs and lacks are empty. None where even that cannot be."""
    values, problems = copy.deepcopy(dict(values)), dict[str, Problem]()
    for _ in range(4):  # dropping a value of a wrong type can make a required one absent
        try:
            recipe = Recipe.model_validate(values)
            told = {_first(place) for place in problems}  # what of them is left is not what was written
            problems.update({p.where: p for p in _who_problems(recipe) if _first(p.where) not in told})
            return recipe, list(problems.values())
        except ValidationError as error:
            wrong = _without_echoes(error)
            for one in wrong:
                problems.setdefault((found := _problem(one)).where, found)
            if not all([_mend(values, one) for one in wrong]):
                return None, list(problems.values())
    return None, list(problems.values())


def _first(place: str) -> str:
    return place.partition(".")[0]


def _who_problems(recipe: Recipe) -> list[Problem]:
    """Who teaches and who learns: exactly one way of saying each."""
    found = list[Problem]()
    for words, whos, needed in (
        (("teacher", "teachers"), (recipe.teacher, recipe.teachers), recipe.cohort is None),
        (("student", "chain"), (recipe.student, recipe.chain), _needs_student(recipe)),
    ):
        given = [word for word, block in zip(words, whos, strict=True) if block is not None and block != {}]
        if len(given) > 1:
            found.append(problem(" and ".join(given), "both are given", fix="keep one", where=given[-1]))
        if not given and needed:
            found.append(problem(words[0], "not given", fix=f"add {words[0]}: {EXPECTED[words[0]]}", where=words[0]))
    if recipe.chain is not None and len(recipe.teachers or {}) > 1:
        what = "a link learns from the one before, the first from one teacher"
        found.append(problem("chain with several teachers", what, fix="keep one teacher", where="teachers"))
    if recipe.cohort is not None and recipe.chain is not None:
        found.append(problem("cohort and chain", "both are given", fix="keep one", where="cohort"))
    found += [*_prune_problems(recipe), *_text_problems(recipe)]
    found += [p for where, one in teachers_of(recipe).items() for p in _teacher_problems(one, where)]
    return found + idle_problems(recipe)


def _needs_student(recipe: Recipe) -> bool:
    """Whether a student has to be written: one that is pruned may be the teacher's own."""
    return recipe.prune is None and (recipe.cohort is None or not recipe.cohort.students)


def _prune_problems(recipe: Recipe) -> list[Problem]:
    """One student is pruned, to sizes that its target says."""
    others = {"chain": recipe.chain, "cohort": recipe.cohort, "search": recipe.search}
    given = [name for name, block in others.items() if recipe.prune is not None and block is not None]
    what, fix = "one student is pruned, to the sizes that its target says", "keep one of them"
    return [problem(f"prune beside {' and '.join(given)}", what, fix=fix, where="prune")] if given else []


def _text_problems(recipe: Recipe) -> list[Problem]:
    """What a teacher writes is for one student: the models of a cohort and of a chain learn what others say of each
    row."""
    found = list[Problem]()
    for shape, block in (("cohort", recipe.cohort), ("chain", recipe.chain), ("prune", recipe.prune)):
        boxes = [where for where, one in teachers_of(recipe).items() if one.is_black_box]
        if block is None:
            continue
        if recipe.pseudo is not None and not boxes:
            what, fix = f"the students of a {shape} learn from what models say of each row", "leave one of them out"
            found.append(problem(f"pseudo beside {shape}", what, fix=fix, where="pseudo"))
        what = f"it gives texts alone, and a {shape} learns from what models say of each row"
        fix = f"path: FOLDER, or a student in place of the {shape}"
        found += [problem(f"a black box beside {shape}", what, fix=fix, where=where) for where in boxes]
    return found


def _teacher_problems(block: TeacherBlock, where: str) -> list[Problem]:
    """A teacher is loaded or made, never both; a made one has to be trained."""
    example = "path: FOLDER_OR_HUB_ID"
    if block.is_black_box:
        return block.beside(where, block.model_fields_set - {"keep"})
    if not block.path.strip() and block.config is None:
        return [problem("a teacher", "no path", fix=f"add {example}", where=f"{where}.path")]
    if block.path and block.config is not None:
        both = f"{where}.path and {where}.config"
        return [problem(both, "both are given", fix="keep one", where=f"{where}.config")]
    if block.config is not None and block.finetune is None:
        fix = "add finetune: {num_train_epochs: 30}"
        return [problem(f"{where}.config", "random weights teach nothing", fix=fix, where=f"{where}.config")]
    return []


def _mend(values: Any, error: Any) -> bool:
    *parents, last = error["loc"]
    if isinstance(last, int) and (not parents or parents[-1] not in _MEMBERS):
        return False  # without a member of a list all later ones would have other numbers
    try:
        for part in parents:
            values = values[part]
    except (KeyError, IndexError, TypeError):
        return False  # a key such as "[" is told from an alternative of a type by nothing
    path = ".".join(part for part in error["loc"] if isinstance(part, str))
    if isinstance(last, int):
        values[last] = copy.deepcopy(_MEMBERS[parents[-1]])
    elif path in _STAND_INS:
        values[last] = copy.deepcopy(_STAND_INS[path])
    else:
        values.pop(last, None)
    return True


LISTS, ENDS = ("layers", "seeds", "frozen", "kind"), ("tap", "student", "teacher")  # of which a part can be wrong


def _without_echoes(error: ValidationError) -> list[Any]:
    """One error per place: a union reports every alternative that failed."""
    first: dict[tuple[Any, ...], Any] = {}
    for one in error.errors():
        place = tuple(part for part in one["loc"] if not _is_alternative(part))
        inside = next((i for i, part in enumerate(place) if part in LISTS or (i and part in ENDS)), len(place))
        is_key = (one["loc"][-1] == "[key]" and inside == len(place)) or one["type"] == "invalid_key"
        first.setdefault(place[: inside + 1], {**one, "loc": place[: inside + 1], "is_key": is_key})
    return list(first.values())


def _is_alternative(part: Any) -> bool:
    return isinstance(part, str) and ("[" in part or part in ("int", "float", "str", "bool"))


def _block_at(owner: list[str]) -> type[BaseModel]:
    """The kind of block that stands at a path; teachers stand there by names of their own."""
    if len(owner) > 1 and owner[-2] == "teachers":
        return TeacherBlock
    return BLOCKS[owner[-1] if owner else ""]


def _where(loc: Sequence[Any]) -> str:
    """A place in the recipe as messages name it."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")


def _problem(error: Any) -> Problem:
    loc = error["loc"]
    where = _where(loc)
    name = next((str(part) for part in reversed(loc) if isinstance(part, str)), "")
    if error["type"] == "extra_forbidden":
        owner = [part for part in loc[:-1] if isinstance(part, str)]
        known = [field.alias or key for key, field in _block_at(owner).model_fields.items()]
        fix = f"one of {', '.join(known)}"
        return Problem(f"{name}: {error['input']!r}", "unknown key", nearest(name, known), fix, where)
    if error["type"] == "missing":
        return Problem(f"{where}", "not given", (), f"add {name}: {EXPECTED.get(name, '...')}", where)
    if error["is_key"]:
        place = _where(loc[:-1])
        return Problem(f"{place}: a block", f"the key {loc[-1]}, which is no text", (), "leave it out", place)
    expected = EXPECTED["tap"] if "matches" in loc and name in ("student", "teacher") else EXPECTED.get(name, "")
    if isinstance(loc[-1], int):
        expected = _EXPECTED_MEMBER.get(name, expected)
    expected = _AT.get(tuple(part for part in loc if isinstance(part, str)), _NAMED.get(loc[:-1], expected))
    fix = f"give {expected}" if expected else ""
    value = error["input"]
    if quoted := name == "layers" and _quoted(value):
        return Problem(
            f"{name}: {value!r}", f"the number {quoted} is a text", (), f"write {quoted} without quotes", where
        )
    what = "not a whole number" if isinstance(value, float) and "whole number" in expected else _kind_of(value)
    if error["type"] in ("int_type", "float_type") and expected.startswith("a number"):
        what = "not a number"
    if error["type"] == "model_type":
        what = "not a block"
    return Problem(f"{name}: {value!r}", what, (), fix, where)


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"), ((int, float), "a number"), (str, "a text"), (Mapping, "a block"),
    ((list, tuple), "a list"), (type(None), "no value"),
)  # fmt: skip


def _kind_of(value: Any) -> str:
    """What a value of a wrong type is, as somebody who writes YAML calls it."""
    kind = next((words for one, words in _KINDS if isinstance(value, one)), f"a {type(value).__name__}")
    return f"{kind}, as it stands in quotes" if isinstance(value, str) and _is_number(value) else kind


def _is_number(text: str) -> bool:
    return bool(re.fullmatch(r"[+-]?[0-9][0-9.eE_+-]*", text.strip()))


def _quoted(layers: Any) -> str:
    """The first number of a layer map, or of pairs, that is written as a text; "" where none is."""
    pairs = layers.items() if isinstance(layers, Mapping) else layers if isinstance(layers, list) else ()
    ends = [end for pair in pairs if isinstance(pair, list | tuple) for end in pair]
    return next((end.strip() for end in ends if isinstance(end, str) and _is_number(end)), "")
