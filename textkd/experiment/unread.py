"""What is said of how a teacher is read, where nothing reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields

from textkd.errors import Problem, TextkdError, problem
from textkd.experiment.collect_results import Bound
from textkd.experiment.look import Look
from textkd.experiment.plan import Experiment, ModelSpec
from textkd.objective.match_checks import needs_teacher
from textkd.objective.tap_pairs import written_ends
from textkd.teachers import LiveOptions


def problems(look: Look, bound: Sequence[Bound]) -> list[Problem]:
    """Options of teachers without effect: no match reads the teacher, or not what the option is about. Nothing where
    anything else is wrong: then it is not known what will be read.

    Args:
        look: the experiment.
        bound: the pairs of all stages that compare models.
    """
    if look.found.problems or look.places:
        return []
    pairs = [pair for one in bound for pair in one.pairs if pair.targets]
    found = list[Problem]()
    for name, spec in look.experiment.models.items():
        families = {pair.loss.family for pair in pairs if name in pair.models}
        if spec.teaches and not families:
            found += _unread(spec)
            found += _alone(look, spec)
        elif spec.cache is not None and spec.cache.logits != "dense" and "logits" not in families:
            what, where = f"no match reads the logits of {name}", f"{spec.where}.cache.logits"
            found.append(problem(f"cache.logits: {spec.cache.logits}", what, fix="leave it out", where=where))
    return found


def places(experiment: Experiment) -> list[str]:
    """The places in the recipe of the teachers that no match reads, told by the words of the matches alone.

    Args:
        experiment: it need not have been looked at.
    """
    named = set[str]()
    for training in experiment.trainings:
        for match in [match for stage in training.stages for match in stage.matches if needs_teacher(match)]:
            ends = []
            with suppress(TextkdError):  # what is wrong with its words is told by the check
                ends = [tap.model for tap in written_ends(match)[1]]
            named |= {name for one in ends or [""] for name in ([one] if one else match.teachers or training.reads)}
    return [spec.where for name, spec in experiment.models.items() if spec.teaches and name not in named]


def _unread(spec: ModelSpec) -> Iterator[Problem]:
    usual = LiveOptions()
    given = [one.name for one in fields(usual) if getattr(spec.live, one.name) != getattr(usual, one.name)]
    what = f"no match reads {spec.name}: it has no part in the training of the student"
    fix = "leave it out, or add a match, as {tap: logits}"
    for name in [*given, *(["cache"] if spec.cache is not None else [])]:
        yield problem(f"{spec.where}.{name}", what, fix=fix, where=f"{spec.where}.{name}")


def _alone(look: Look, spec: ModelSpec) -> Iterator[Problem]:
    """A teacher of a cohort that neither teaches nor gives a student its blocks: it is not in the report either."""
    made_from = {name for one in look.experiment.models.values() for name in one.source.reads}
    if spec.name not in {*made_from, *look.experiment.report.rows}:
        what = "no match reads it, and no student is made of it"
        yield problem(f"the teacher {spec.name}", what, fix="leave it out, or name it in a match", where=spec.where)
