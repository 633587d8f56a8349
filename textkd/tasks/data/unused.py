"""Options of files that have no effect on the files that are there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from textkd.errors import Problem, problem
from textkd.tasks.data.encodings import UTF_8

# what an option is about, by the kinds of files of which a table is made
OF_KINDS = {
    "delimiter": ("csv", "tsv"),
    "quoted": ("csv", "tsv"),
    "encoding": ("csv", "tsv", "json", "jsonl", "conll"),
}


DATA_SET = "a data set"  # what is no file


def unused_options(
    options: Mapping[str, Any], kinds: Iterable[str], known: Collection[str] = tuple(OF_KINDS)
) -> list[Problem]:
    """A problem for each option that was given and concerns none of the files.

    Args:
        options: by name, as of `text`; None, and UTF-8 as encoding, is not given.
        kinds: of the files, as of `Dialect.kind`; `DATA_SET` among them.
        known: the options that are looked at.
    """
    there, found = dict.fromkeys(kinds), list[Problem]()
    for name in known:
        given = options.get(name) not in (None, UTF_8)
        if given and there and not any(kind in OF_KINDS[name] for kind in there):
            what = f"it is about files of {', '.join(OF_KINDS[name])}, and the rows come from {', '.join(there)}"
            found.append(problem(f"{name}: {options[name]!r}", what, fix="leave it out", where=name))
    return found
