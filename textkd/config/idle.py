"""Keys of a recipe that would do nothing, because of another key. Known without torch, so they are told at once."""

from __future__ import annotations

from collections.abc import Iterator

from textkd.config.schema import LinkBlock, Recipe, TeacherBlock
from textkd.errors import Problem, problem
from textkd.teachers.generation.recipe_keys import BLACK_BOX

OF_FILES = ("sha256", "allow_pickle")  # keys of a teacher that is loaded


def idle_problems(recipe: Recipe) -> list[Problem]:
    """Keys that were given and would change nothing."""
    parts = (_seeds, _teachers, _students, _links, _pseudo)
    return [found for part in parts for found in part(recipe)]


def teachers_of(recipe: Recipe) -> dict[str, TeacherBlock]:
    """The teachers by their places in the recipe."""
    named = {f"teachers.{name}": one for name, one in (recipe.teachers or {}).items()}
    return {**({} if recipe.teacher is None else {"teacher": recipe.teacher}), **named}


def _seeds(recipe: Recipe) -> Iterator[Problem]:
    if recipe.seeds is not None and "seed" in recipe.training:
        asked, seed = f"training.seed: {recipe.training['seed']!r} beside seeds", recipe.training["seed"]
        yield problem(asked, f"every seed of seeds: {recipe.seeds} makes a run of its own", fix=f"seeds: [{seed}]",
                      where="training.seed")  # fmt: skip


def _teachers(recipe: Recipe) -> Iterator[Problem]:
    first, links = next(iter(teachers_of(recipe)), ""), len(recipe.chain or ())
    for where, block in teachers_of(recipe).items():
        for key in OF_FILES if block.config is not None else ():
            if key in block.model_fields_set:
                asked, what = f"{where}.{key} beside {where}.config", "a new model is read from no file"
                yield problem(asked, what, fix="leave it out", where=f"{where}.{key}")
        keeps = where == first and (recipe.pseudo is not None or links > 1)  # what it reads, the links that it leads to
        own_folder = isinstance(block.cache, dict) and block.cache.get("folder")
        if block.keep and not (keeps or block.finetune is not None or (block.cache and not own_folder)):
            what = "nothing of this teacher is kept: it is neither fine-tuned nor cached, and writes no texts"
            yield problem(f"{where}.keep: {block.keep}", what, fix="leave it out", where=f"{where}.keep")


def _students(recipe: Recipe) -> Iterator[Problem]:
    if recipe.cohort is not None and recipe.cohort.students and recipe.student is not None:
        what, fix = "each student of the cohort has a block of its own", "leave student out, or cohort: {size: 2}"
        yield problem("student beside cohort.students", what, fix=fix, where="student")
    blocks = {
        "student": recipe.student,
        **{f"chain[{i}].student": one.student for i, one in enumerate(recipe.chain or ())},
    }
    named = {} if recipe.cohort is None else recipe.cohort.students or {}
    blocks |= {f"cohort.students.{name}": one for name, one in named.items()}
    several = recipe.cohort is not None or recipe.chain is not None or len(teachers_of(recipe)) > 1
    several = several or recipe.prune is not None
    boxes = any(block.is_black_box for block in teachers_of(recipe).values())
    for where, block in blocks.items():
        if several and block and block.get("share_encoder") is True:
            what = "the encoder is shared by one teacher and one student alone"
            yield problem(f"{where}.share_encoder", what, fix="leave it out, or take one teacher and one student",
                          where=f"{where}.share_encoder")  # fmt: skip
        if boxes and block and "config" in block and "from" in block:
            what = "beside a black box a student of a config is made from nothing"
            yield problem(f"{where}.from beside config", what, fix="leave from out", where=f"{where}.from")


def _links(recipe: Recipe) -> Iterator[Problem]:
    links = recipe.chain or []
    for number, link in enumerate(links):
        if link.matches is not None and link.stages is not None:
            fix, where = "put the matches into the stages", f"chain[{number}].matches"
            yield problem("matches and stages", "both are given", fix=fix, where=where)
    for key in ("matches", "stages"):
        if links and getattr(recipe, key) and all(map(_has_own, links)):
            what, fix = "every link of the chain has matches or stages of its own", "leave one of them out"
            yield problem(f"{key} beside chain", what, fix=fix, where=key)


def _has_own(link: LinkBlock) -> bool:
    return link.matches is not None or link.stages is not None


def _pseudo(recipe: Recipe) -> Iterator[Problem]:
    blocks = teachers_of(recipe)
    first = next(iter(blocks.values()), None)
    for where, block in list(blocks.items())[1:]:
        if block.is_black_box:
            what = "the first of several teachers writes the texts, and a black box gives nothing else"
            yield problem(f"{where}.{BLACK_BOX}", what, fix="name it first", where=f"{where}.{BLACK_BOX}")
    if first is not None and first.is_black_box and recipe.pseudo is not None:
        yield from recipe.pseudo.beside_black_box("pseudo")
