"""What is told of files that are written in another way than they are read: the fix that is offered works."""

from __future__ import annotations

import csv
import io
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from task_files import tsv, write

from textkd import TextkdError, tasks
from textkd.tasks.data.damaged import READ_QUOTES
from textkd.tasks.data.formats import Table
from textkd.tasks.text.where import select


def said(*files: Path, **options: Any) -> TextkdError:
    with pytest.raises(TextkdError) as caught:
        tasks.text(*files, **options).problems()
    return caught.value


SPEECH = [('"Great" movie', "x"), ('"Great"', "y"), ('says "no"', "x"), ('"a" and "b"', "y")]
IN_QUOTES: dict[str, tuple[list[tuple[str, str]], int]] = {  # rows, cells that csv wrote in quotes for their quotes
    "quotes": ([('He said "no"', "x"), ("plain", "y")], 1),
    "a tab": ([("a\tb", "x"), ("plain", "y"), ("more", "x")], 0),
    "a newline": ([("a\nb", "x"), ("plain", "y"), ("more", "x")], 0),
    "all": ([('"Great" movie', "x"), ("a\nb", "y"), ("plain", "x")], 1),
}


@pytest.mark.parametrize("name", IN_QUOTES)
def test_cells_of_a_tsv_that_csv_wrote_in_quotes(name: str, tmp_path: Path) -> None:
    rows, count = IN_QUOTES[name]
    made = io.StringIO()
    csv.writer(made, delimiter="\t", lineterminator="\n").writerows([("text", "label"), *rows])
    file = write(tmp_path, "x.tsv", made.getvalue())
    if name == "quotes":
        (note,) = [note for note in tasks.text(file, file).warnings() if READ_QUOTES in note]
        assert f"{count} cells are in quotes" in note
        assert "line 2" in note
    else:
        assert all(one.fix.startswith(READ_QUOTES) for one in said(file, file).problems)
        left = tasks.text(file, file, skip_damaged=True, labels=["x", "y"]).warnings()
        assert any("left out" in note and note.endswith(f"{READ_QUOTES} reads more of them") for note in left)
    task = tasks.text(file, file, **yaml.safe_load(READ_QUOTES))
    assert task.load("train")["text_a"][:] == [text for text, _ in rows]
    assert not [note for note in task.warnings() if READ_QUOTES in note]


@pytest.mark.parametrize(
    "rows", [SPEECH, [*SPEECH, ('"It ""is"""', "x")], [*SPEECH, ("lost",)], [("6'2\"", "x"), ("b", "y")]]
)
def test_quotes_of_speech_are_no_alarm(rows: list[tuple[str, ...]], tmp_path: Path) -> None:
    """Also where a cell happens to be like those of csv: read with quoting, the others would be damaged."""
    file = write(tmp_path, "x.tsv", tsv(("text", "label"), *rows))
    assert READ_QUOTES not in str(tasks.text(file, file, skip_damaged=True).warnings())


def test_the_tsv_of_a_benchmark_is_read_as_it_stands(tmp_path: Path) -> None:
    for name in ("train.tsv", "dev.tsv"):
        write(tmp_path, name, tsv(("sentence", "label"), ('"It ""is"""', "1"), ("b", "0")))
    assert READ_QUOTES not in str(tasks.glue("sst2", tmp_path).warnings())


JOINED = "text,label\na,billing\nb,damage\nc,billing{0}damage\n"


@pytest.mark.parametrize("sign", [";", "|", "/"])
def test_classes_that_are_made_of_others_are_told(sign: str, tmp_path: Path) -> None:
    file = write(tmp_path, "x.csv", JOINED.format(sign))
    plain = write(tmp_path, "y.csv", "text,label\na,billing\nb,damage\n")
    (note,) = [note for note in tasks.text(file, file).warnings() if "made of" in note]
    many = yaml.safe_load(note.split(" with ")[-1])
    assert many == {"label_separator": sign}
    (told,) = said(file, file, type="multi_label").problems
    assert yaml.safe_load(told.fix.split("; or")[0]) == many
    assert f"multi_label with label_separator: {sign!r}" in str(said(plain, file))
    task = tasks.text(file, file, type="multi_label", **many)
    assert (task.labels, task.load("eval")["label"][2]) == (["billing", "damage"], [1, 1])
    kept = tasks.text(file, file, labels=["billing", "damage", f"billing{sign}damage"])
    assert not [note for note in kept.warnings() if "made of" in note]


@pytest.mark.parametrize("names", [["red, hot", "red", "blue"], ["a/b", "a", "c"], ["c++", "c", "d"], ["-", "a;", "a"]])
def test_names_with_a_sign_are_no_alarm(names: list[str], tmp_path: Path) -> None:
    file = write(tmp_path, "x.csv", "text,label\n" + "".join(f'a,"{name}"\n' for name in names))
    assert not [note for note in tasks.text(file, file).warnings() if "made of" in note]


@pytest.mark.parametrize(
    ("header", "options", "due"),
    [
        ("text,opinion,id", {}, {"label": "opinion"}),
        ("review,label,id", {}, {"text": "review"}),
        ("text,opinion,id", {"label": "sentiment"}, {"label": "opinion"}),
    ],
)
def test_a_missing_column_is_told_with_the_one_that_looks_like_it(
    header: str, options: dict[str, Any], due: dict[str, str], tmp_path: Path
) -> None:
    rows = "".join(f"a film of {i},{'good' if i % 2 else 'bad'},{i}\n" for i in range(6))
    file = write(tmp_path, "x.csv", f"{header}\n{rows}")
    (told,) = said(file, file, **options).problems
    found = re.match(r"write `(.*?)` under `task:`", told.fix)
    assert found is not None
    assert yaml.safe_load(found[1]) == due
    tasks.text(file, file, **{**options, **due}).problems()


def test_a_wrong_label_is_told_once(tmp_path: Path) -> None:
    train = write(tmp_path, "train.csv", "text,label\na,x\nb,y\n")
    dev = write(tmp_path, "dev.csv", "text,label\n" + "a,z\n" * 9 + "a,x\n")
    (told,) = said(train, dev).problems
    assert "dev.csv, lines 2, 3, 4, 5, 6, ...: a label" in told.asked
    assert told.found.endswith("(in 9 rows)")
    many = write(tmp_path, "many.csv", "text,label\n" + "".join(f"a,z{i}\n" * 3 for i in range(40)))
    assert len(said(train, many).problems) == 6
    assert "35 more bad labels" in str(said(train, many))
    null = write(tmp_path, "null.jsonl", '{"text": null, "label": "x"}\n' * 9)
    (told,) = said(train, null).problems
    assert "no value (in 9 rows)" in told.found


def test_too_few_classes_are_not_told_beside_their_cause(tmp_path: Path) -> None:
    file = write(tmp_path, "x.jsonl", '{"text": "a", "label": "x"}\n' + '{"text": "a", "label": null}\n' * 3)
    (told,) = said(file, file).problems
    assert told.found == "no label (in 3 rows)"
    block = write(tmp_path, "y.jsonl", '{"text": "a", "label": {"a": 1}}\n' * 3)
    (told,) = said(block, block, type="multi_label").problems
    assert told.found == "a dict: {'a': 1} (in 3 rows)"
    none = write(tmp_path, "z.csv", "text,label\na,\nb,\n")
    assert "ids 0..-1" not in str(said(none, none, type="multi_label"))


WHERE: list[tuple[list[Any], Any, int]] = [
    (["1.0", "2.0"], 1, 1), ([1.0, 2.0], 1, 1), ([1, 2], 1.0, 1), (["True", "False"], True, 1),
    (["true", "x"], True, 1), ([True, False], True, 1), ([True, 1, "1"], 1, 2),
    ([1, 2], "1.0", 1), ([True, False], "true", 1),
    (["01", "1"], 1, 1), (["1.10", "1.1"], "1.1", 1), (["1.10", "1.1", "2"], 1.1, 2), (["a", "A"], "a", 1),
    ([10**20, 10**20 + 1], 10**20, 1), (["a", "b", 1.0], ["a", 1], 2), ([None, "a"], None, 1), (["1e3", "x"], 1000, 1),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "wanted", "count"), WHERE)
def test_where_compares_numbers_as_numbers(cells: list[Any], wanted: Any, count: int) -> None:
    table = Table(("k",), [[cell] for cell in cells], list(range(len(cells))), reads_as="cp1252")
    found = select(table, {"k": wanted}, "x")
    assert (len(found.rows), found.reads_as) == (count, "cp1252")


def test_where_without_a_row_lists_the_values(tmp_path: Path) -> None:
    file = write(tmp_path, "x.csv", "text,label,k\na,x,1.0\nb,y,2.0\n" + "".join(f"c,y,v{i}\n" for i in range(20)))
    told = str(said(file, file, where={"k": 3}))
    assert "'1.0' (1 rows), '2.0' (1 rows)" in told
    assert "and 14 other values" in told


def test_one_fault_of_all_rows_is_told_once(tmp_path: Path) -> None:
    """Wherever in a line it stands; and a file of such rows alone is not empty."""
    text = "text,label\nna\xefve,x\ncaf\xe9,y\n"
    west = write(tmp_path, "west.csv", text.encode("cp1252"))
    (told,) = said(west, west).problems
    assert told.found == "byte 0xEF at position 3 is not UTF-8 (in 2 rows)"
    assert tasks.text(west, west, encoding="cp1252").labels == ["x", "y"]


def test_the_cause_of_bad_columns_and_labels_is_told(tmp_path: Path) -> None:
    plain = write(tmp_path, "plain.csv", "text,label\na,x\nb,y\n")
    (told,) = said(plain, plain, encoding="utf-16").problems  # letters of ASCII are Chinese in it
    assert "its letters are UTF-8" in told.found
    wide = write(tmp_path, "wide.csv", "text,label\na,x\nb,y\n".encode("utf-16-le"))
    assert tasks.text(wide, wide, encoding="utf-16-le").labels == ["x", "y"]
    assert all("type: classification" in one.fix for one in said(plain, plain, type="regression").problems)
    assert all(one.fix for one in said(plain, plain, where={"tex": "a"}).problems)
    quoted = write(tmp_path, "quoted.tsv", '"text"\t"label"\n"a b"\t"x"\n"c d"\t"y"\n')
    assert {one.fix for one in said(quoted, quoted).problems} == {f"{READ_QUOTES}, as its cells are in quotes"}
    assert "a device" in str(said(Path("/dev/null"), plain))
    assert "suffix" not in str(said(Path("/dev/null"), plain))


def test_a_western_file_beside_one_in_utf_8(tmp_path: Path) -> None:
    """Read as cp1252, every file of UTF-8 is a text, of other letters."""
    text = "text,label\nna\xefve caf\xe9,x\nb,y\n"
    west, plain = write(tmp_path, "west.csv", text.encode("cp1252")), write(tmp_path, "plain.csv", text)
    assert "encoding: cp1252" in str(said(west, plain))
    for encoding in ("cp1252", "latin-1", "latin_1"):
        (told,) = said(west, plain, encoding=encoding).problems
        assert "plain.csv" in told.asked
        assert "its letters are UTF-8" in told.found
        line = re.search(r"iconv .* > ", told.fix)
        assert line is not None
    new = tmp_path / "new.csv"
    (told,) = said(west, plain).problems
    line = re.search(r"iconv .* > ", told.fix)
    assert line is not None
    subprocess.run(line[0] + str(new), shell=True, check=True)
    assert tasks.text(new, plain).load("train")["text_a"][0] == "na\xefve caf\xe9"
    signed = write(tmp_path, "signed.csv", "\ufeff" + text + "caf\xe9,x\n" * 40)
    assert tasks.text(signed, signed, encoding="utf-8-sig").load("train")["text_a"][0] == "na\xefve caf\xe9"
