"""Sentences of tagged words, and a problem for everything that cannot be one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from textkd.errors import Problem, problem
from textkd.tasks.data.damaged import capped, note_damaged
from textkd.tasks.data.formats import Table
from textkd.tasks.tokens.bio import repaired, type_of
from textkd.tasks.tokens.schemes import is_id, others_of


@dataclass
class Sentences:
    """words: of each sentence; label: their tags. problems: what is wrong with others; notes: what was changed or left
    out."""

    words: list[list[str]] = field(default_factory=list)
    label: list[Any] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def take(self, places: Sequence[int]) -> Sentences:
        """The sentences at `places`, in that order."""
        words, label = ([part[i] for i in places] for part in (self.words, self.label))
        return Sentences(words, label, self.problems, list(self.notes))

    def add(self, other: Sentences) -> None:
        """Those of another file behind these."""
        for mine, more in ((self.words, other.words), (self.label, other.label), (self.notes, other.notes)):
            mine.extend(more)  # type: ignore[arg-type]
        self.problems.extend(other.problems)


def clean(table: Table, shown: str, known: Sequence[str] | None, skip_damaged: bool) -> Sentences:
    """Reads every sentence. known: the tags that there may be; None: nothing is said of them. With `skip_damaged`,
    sentences of a wrong shape are left out with a note instead of a problem. I- tags that go on nothing are repaired,
    with a note."""
    rows, changed, strange = Sentences(), 0, dict[str, list[int]]()
    note_damaged(rows, table, shown, skip_damaged)
    rows.problems += table.problems
    for (words, tags), line in zip(table.rows, table.lines, strict=True):
        fixed, count = repaired(tags)
        changed += count
        for tag in fixed:
            if known is not None and tag not in known and not (table.problems and others_of([tag])):
                strange.setdefault(tag, []).append(line)
        rows.words.append(list(words))
        rows.label.append(fixed)
    if changed:
        rows.notes.append(f"{shown}: {changed:,} I- tags without a B- before them begin an entity and are read as B-")
    rows.problems += capped(
        [_unknown(tag, lines, shown, table.unit, known or ()) for tag, lines in strange.items()], shown, "tags"
    )
    if not rows.words and not rows.problems:
        rows.problems.append(problem(f"sentences in {shown}", "there are none"))
    return rows


def _unknown(tag: str, lines: list[int], shown: str, unit: str, known: Sequence[str]) -> Problem:
    """A tag that the task does not have."""
    where = f"in {len(lines):,} words, first in the sentence of {unit} {lines[0]}"
    if is_id(tag):
        fix = "labels: [...] names every tag in the order of its id"
        return problem(f"ids 0 to {len(known) - 1} as tags in {shown}", f"{tag} {where}", fix=fix)
    if type_of(tag) is None:
        fix = "write the tags in BIO: O, B-TYPE, I-TYPE"
        return problem(f"tags O, B-TYPE or I-TYPE in {shown}", f"{tag!r} {where}", fix=fix)
    types = dict.fromkeys(name for name in map(type_of, known) if name)
    fix = "correct the tag, or list every type: labels: [...]; one without train rows is never learnt"
    found = f"{tag!r} {where}; the types are {', '.join(types)}"
    return problem(f"known types of entities in {shown}", found, near=(type_of(tag) or "", types), fix=fix)
