"""Cells and labels of all kinds: read as what they say, by one rule in all files, or refused; never another error."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textkd import TextkdError, tasks
from textkd.tasks.data.formats import dialect_of, read_table


def labelled(folder: Path, train: list[Any], dev: list[Any], **options: Any) -> tuple[list[str], list[Any], list[Any]]:
    """(names, train labels, dev labels) of a task whose files hold these cells."""
    files = []
    for name, cells in (("train", train), ("dev", dev)):
        files.append(folder / f"{name}.jsonl")
        files[-1].write_text(
            "".join(json.dumps({"text": f"{name} {i}", "label": c}) + "\n" for i, c in enumerate(cells))
        )
    task = tasks.text(*files, **options)
    task.problems()
    return list(task.labels or ()), task.load("train")["label"][:], task.load("eval")["label"][:]


MANY: dict[str, Any] = {"type": "multi_label"}
XYZ: dict[str, Any] = {**MANY, "labels": ["x", "y", "z"]}
READ: dict[str, tuple[list[Any], list[Any], dict[str, Any], list[str], list[Any]]] = {
    "1.0 and 1": (["1.0", "2.0", "3.0"], ["1", "2"], {}, ["1.0", "2.0", "3.0"], [0, 1]),
    "numbers and texts": ([1, 2, 3], ["3.0", 2.0], {}, ["1", "2", "3"], [2, 1]),
    "names and ids": (["bad", "good"], [1, "0", 1.0], {}, ["bad", "good"], [1, 0, 1]),
    "names that are their ids": (["LABEL_0", "LABEL_1"], ["1", "LABEL_0"], {}, ["LABEL_0", "LABEL_1"], [1, 0]),
    "two ways to write an accent": (["caf\u00e9", "tea"], ["cafe\u0301"], {}, ["caf\u00e9", "tea"], [0]),
    "lists of one": ([["a"], ["b"]], [["b"]], {}, ["a", "b"], [1]),
    "lists of one as text": (["['a']", "['b']"], ["b"], {}, ["a", "b"], [1]),
    "Python's lists as text": (["['a', 'b']", "[]"], ["['b']"], MANY, ["a", "b"], [[0, 1]]),
    "JSON's lists as text": (['["a", "b"]', "[]"], ['["b"]'], MANY, ["a", "b"], [[0, 1]]),
    "numpy's lists as text": (["['a' 'b']", "[]"], ["['b']"], MANY, ["a", "b"], [[0, 1]]),
    "vectors": ([[1, 0, 1], [0, 0, 0]], ["[0 1. 0]", "1,1,0"], XYZ, ["x", "y", "z"], [[0, 1, 0], [1, 1, 0]]),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_labels_are_read_by_one_rule(name: str, tmp_path: Path) -> None:
    train, dev, options, names, due = READ[name]
    found = labelled(tmp_path, train, dev, **options)
    assert found[0] == names
    assert found[2] == due


REFUSED: dict[str, tuple[list[Any], list[Any], dict[str, Any], str]] = {
    "1 star beside 1": (["1 star", "2 stars", "3 stars"], ["1", "2"], {}, "'1'; the classes are 1 star"),
    "v1 beside 1": (["v1", "v2"], ["1"], {}, "'1'; the classes are v1"),
    "several labels": ([["a", "b"], ["a"]], [["a"]], {}, "type: multi_label"),
    "vectors of two": ([["1", "0"], ["0", "1"]], [["1", "0"]], MANY, "nothing but 0 and 1"),
    "vectors of two as text": (["1,0", "0,1"], ["1,0"], MANY, "nothing but 0 and 1"),
    "vectors of two with names": ([[1, 0]], [[1, 0]], {**MANY, "labels": ["x", "y"]}, "a 0/1 vector, or two ids"),
    "a list without quotes": (["[a, b]", "c"], ["c"], MANY, "a list that cannot be read"),
    "a block": ([{"a": 1}], [{"a": 0}], MANY, "a dict"),
    "inf": ([math.inf, 1, 2], [1], {}, "not a finite number"),
    "6,000 digits": (["9" * 6000, "8" * 6000], ["7"], {}, "'7'; the classes are"),
    "half a character": (["\ud800", "a"], ["a"], {}, "half of a character"),
    "more than float32 holds": ([1e39, 1], [1], {"type": "regression"}, "larger than any number"),
    "a number of Python's": (["1_0", 1], [1], {"type": "regression"}, "'1_0' is no number"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_labels_that_are_refused(name: str, tmp_path: Path) -> None:
    train, dev, options, due = REFUSED[name]
    with pytest.raises(TextkdError, match="(?s)" + due.replace("(", r"\(")) as raised:
        labelled(tmp_path, train, dev, **options)
    assert len(str(raised.value)) < 10_000


def test_the_fix_for_vectors_works(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,first,second\na,1,0\nb,0,1\n")
    task = tasks.text(tmp_path / "x.csv", tmp_path / "x.csv", type="multi_label", label=["first", "second"])
    assert task.load("train")["label"][:] == [[1, 0], [0, 1]]


def test_classes_that_look_alike_are_told(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "text,label\na,Positive\nb,positive\nc,not_good\nd,not good\ne,spam\u200b\nf,spam\n"
    )
    told = tasks.text(tmp_path / "x.csv", tmp_path / "x.csv").warnings()
    assert any("'Positive' and 'positive'" in note for note in told)
    assert any("'not good' and 'not_good'" in note for note in told)
    assert any("'spam' and 'spam\\u200b'" in note for note in told)


FILES: dict[str, tuple[str, str, str]] = {
    "3,000 deep": ("x.jsonl", '{"text": ' + "[" * 3000 + "]" * 3000 + "}", "nested too deep"),
    "digits": ("x.jsonl", '{"text": ' + "1" * 5000 + "}", "4,300 digits"),
    "half a character": ("x.jsonl", '{"text": "\\ud800"}', "half of a character"),
    "a list 3,000 deep": ("x.json", "[" * 3000 + "]" * 3000, "nested too deep"),
    "columns without a name": ("x.csv", "text,label,,\na,b,,\n", "2 of the 4 columns have no name: 3, 4"),
    "a name twice": ("x.csv", "text,label,text\na,b,c\n", "'text' more than once"),
    "packed": ("x.csv", "\x1f\x8b\x08 and more", "packed by gzip(.|\n)*unpack it"),
    "a sheet": ("x.csv", "PK\x03\x04 and more", "save the sheet as CSV"),
    "a sheet by its name": ("x.xlsx", "PK", "save the sheet as CSV"),
    "packed, by its name": ("x.csv.gz", "x", "unpack it"),
    "parquet under another name": ("x.jsonl", "PAR1\x15\x04", "rename it to .parquet"),
    "no parquet": ("x.parquet", "PAR1" + "\0" * 90 + "PAR1", "not a parquet file"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_holds_no_rows(name: str, tmp_path: Path) -> None:
    file, text, due = FILES[name]
    (tmp_path / file).write_bytes(text.encode("latin-1"))
    with pytest.raises(TextkdError, match=due):
        tasks.text(tmp_path / file, tmp_path / file, labels=["a", "b"]).problems()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_lines_of_old_macs(name: str, encoding: str, tmp_path: Path) -> None:
    text = "text,label\ra,x\rb,y\r".replace(",", "\t" if name == "x.tsv" else ",")
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert read_table(tmp_path / name, dialect_of(tmp_path / name, encoding=encoding)).rows == [["a", "x"], ["b", "y"]]


def test_a_small_parquet_file_of_gigabytes(tmp_path: Path) -> None:
    count = 300_000
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array(["x" * 5000]))
    file = tmp_path / "bomb.parquet"
    pyarrow.parquet.write_table(pa.table({"text": texts}), file)
    assert file.stat().st_size < 20_000
    with pytest.raises(TextkdError, match="rows of a sensible size"):
        read_table(file, dialect_of(file))


def test_parquet_cells_are_what_was_written(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "n": 1, "list": ["x"]},
        {"text": None, "n": 2, "list": []},
        {"text": "a", "n": 3, "list": None},
    ]
    file = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), file)
    table = read_table(file, dialect_of(file))
    assert [dict(zip(table.names, row, strict=True)) for row in table.rows] == rows


WORDS = st.text(st.characters(codec=None), max_size=8)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.sampled_from(["['a']", "1.0", "[1", "1,0"])
)
CELLS = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(WORDS, SCALARS, max_size=2)
TYPES = st.sampled_from(["classification", "regression", "multi_label"])


def right_or_refused(folder: Path, cells: list[Any], kind: str) -> None:
    file = folder / "any.jsonl"
    file.write_text("".join(json.dumps({"text": f"t{i}", "label": cell}) + "\n" for i, cell in enumerate(cells)))
    with suppress(TextkdError):
        task = tasks.text(file, file, type=kind)
        task.problems()
        assert len(task.load("train")) == len(cells)
        task.warnings()


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.lists(CELLS, min_size=1, max_size=4), TYPES)
def test_any_labels(tmp_path_factory: pytest.TempPathFactory, cells: list[Any], kind: str) -> None:
    right_or_refused(tmp_path_factory.getbasetemp(), cells, kind)


@pytest.mark.long
@settings(max_examples=800, derandomize=True, deadline=None)
@given(st.lists(CELLS, min_size=1, max_size=5), TYPES)
def test_many_labels(tmp_path_factory: pytest.TempPathFactory, cells: list[Any], kind: str) -> None:
    right_or_refused(tmp_path_factory.getbasetemp(), cells, kind)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["csv", "tsv", "json", "jsonl", "parquet"]))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str) -> None:
    file = tmp_path_factory.getbasetemp() / f"any.{suffix}"
    file.write_bytes(content)
    with suppress(TextkdError):
        tasks.text(file, file, labels=["a", "b"]).problems()
