"""Tags as ids, and tags of BIOES and BILOU: what is told, and that the fix works."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from textkd import TextkdError, tasks
from textkd.errors import Problem

WORDS = [["Ada", "sings"], ["E-mail", "S-Bahn", "of", "Eve"]]


def wrong(*files: Path, **options: Any) -> tuple[Problem, ...]:
    with pytest.raises(TextkdError) as caught:
        tasks.tokens(*files, **options).problems()
    return caught.value.problems


def written(file: Path, tags: list[list[Any]], columns: str = "{word}\t{tag}") -> Path:
    """A file of the form that its suffix says."""
    rows = [{"tokens": words, "ner_tags": some} for words, some in zip(WORDS, tags, strict=True)]
    if file.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    elif file.suffix == ".conll":
        lines = [[columns.format(word=w, tag=t) for w, t in zip(row["tokens"], row["ner_tags"], strict=True)]
                 for row in rows]  # fmt: skip
        file.write_text("\n\n".join(map("\n".join, lines)) + "\n")
    else:
        file.write_text(json.dumps(rows) if file.suffix == ".json" else "\n".join(map(json.dumps, rows)))
    return file


IDS, NAMES = [[1, 0], [0, 2, 0, 1]], ["O", "B-who", "B-thing", "I-thing", "I-who"]
NAMED = [["B-who", "O"], ["O", "B-thing", "O", "B-who"]]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".conll"])
def test_ids_are_read_by_the_list_of_labels(suffix: str, tmp_path: Path) -> None:
    file = written(tmp_path / f"a{suffix}", IDS)
    (told,) = wrong(file, file)
    assert told.where == "labels"
    assert "write `labels: [O, B-PER, ...]`" in told.fix
    assert "ids up to 2" in told.found
    task = tasks.tokens(file, file, labels=NAMES)
    assert (task.load("eval")["tags"][:], task.labels) == (NAMED, tuple(NAMES))
    assert "ids 0 to 1 as tags" in str(wrong(file, file, labels=NAMES[:2]))
    assert all(
        "write `labels: [O" in one.fix for one in wrong(file, file, labels=["thing", "who"])
    )  # types have no ids
    assert task.with_file(file).load("eval")["tags"][:] == NAMED
    by_name = written(tmp_path / f"b{suffix}", NAMED)
    assert "write `labels: [O" in str(wrong(by_name, file))


def test_tags_that_are_neither_names_nor_ids(tmp_path: Path) -> None:
    for tags in ([[1.5, 0], [0, 0, 0, 0]], [[True, False], [True] * 4], [[None, "O"], ["O"] * 4], [["O", 1], [0] * 4]):
        file = written(tmp_path / "a.jsonl", tags)
        assert "not both lists of strings" in str(wrong(file, file, labels=NAMES))


SCHEMES = {
    "BIOES": [["S-who", "O"], ["B-thing", "E-thing", "O", "S-who"]],
    "BILOU": [["U-who", "O"], ["B-thing", "L-thing", "O", "U-who"]],
    "BMES": [["S-who", "O"], ["B-thing", "M-thing", "E-thing", "O"]],
}
FILES = {
    "x.jsonl": "", "x.json": "", "x.parquet": "", "last.conll": "{word}\t{tag}", "spaces.conll": "{word} NN {tag} ",
    "first.conll": "{tag} {word}", "middle.conll": "{word}\t{tag}\tS-x", "end.conll": "{word} {tag} E-x",
}  # fmt: skip
PLACES: dict[str, dict[str, int]] = {
    "first.conll": {"tag": 0, "word": 1}, "middle.conll": {"tag": 1}, "end.conll": {"tag": -2},
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith("conll")])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_line_that_writes_columns_of_another_scheme_in_bio(scheme: str, name: str, tmp_path: Path) -> None:
    rewritten(scheme, name, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith("conll")])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_line_that_writes_lists_of_another_scheme_in_bio(scheme: str, name: str, tmp_path: Path) -> None:
    rewritten(scheme, name, tmp_path)


def rewritten(scheme: str, name: str, folder: Path) -> None:
    """Follows the fix: the problem is gone, and nothing but the tags is another."""
    tags, options = SCHEMES[scheme], PLACES.get(name, {})
    file = written(folder / name, tags, FILES[name])
    (told,) = wrong(file, file, **options)
    assert told.found.startswith(f"{scheme} tags")
    line = told.fix.partition(": ")[2]
    subprocess.run(line, shell=True, check=True)
    new = file.with_name(f"{file.stem}-bio{file.suffix}")
    rows = tasks.tokens(new, new, **options).load("train")
    due = [[re.sub("^[ELM]-", "I-", re.sub("^[SU]-", "B-", tag)) for tag in some] for some in tags]
    assert (rows["words"][:], rows["tags"][:]) == (WORDS, due)


def test_every_file_of_another_scheme_is_told_and_labels_too(tmp_path: Path) -> None:
    one, two = (written(tmp_path / name, SCHEMES["BIOES"]) for name in ("a.jsonl", "b.jsonl"))
    assert [file.name in problem.asked for problem, file in zip(wrong(one, two), (one, two), strict=True)] == [True] * 2
    good = written(tmp_path / "c.jsonl", NAMED)
    assert len(wrong(good, two)) == 1
    with pytest.raises(TextkdError, match="BIOES tags are not read"):
        tasks.tokens(good, good, labels=["O", "B-who", "S-who", "E-who"])


def test_damaged_train_files_are_told_alone(tmp_path: Path) -> None:
    good, bad = written(tmp_path / "good.jsonl", NAMED), tmp_path / "bad.jsonl"
    bad.write_text('{"tokens": ["a", "b"], "ner_tags": ["B-x"]}\n{"tokens": ["a"], "ner_tags": ["B-y"]}\n')
    task = tasks.tokens(bad, good)
    with pytest.raises(TextkdError) as caught:
        task.problems()
    (told,) = caught.value.problems
    assert told.found == "2 words and 1 tags"
    with pytest.raises(TextkdError):
        task.output.head()  # no head of one class, which a model would not fit
    lost = tmp_path / "lost.jsonl"
    lost.write_text('{"tokens": ["a", "b"], "ner_tags": ["B-x"]}\n')
    (told,) = wrong(lost, lost, skip_damaged=True)
    assert told.found == "there are none"
