"""Files of tagged words: CoNLL columns, lists, pieces; what is damaged in them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from places import SHARED
from tagged import LINES, SENTENCES, TAGS, sentences, write

from textkd import tasks
from textkd.errors import TextkdError
from textkd.tasks.tokens.bio import repaired, tags_of, type_of


def file(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_bytes(text.encode("utf-8"))
    return folder / name


def read(path: Path | list[Path], **options: object) -> tuple[list[list[str]], list[list[str]]]:
    task = tasks.tokens(path, path, **options)
    rows = task.load("eval")
    return rows["words"][:], rows["tags"][:]


def said(path: Path, **options: object) -> str:
    with pytest.raises(TextkdError) as caught:
        tasks.tokens(path, path, **options).problems(["train"])
    return str(caught.value)


def test_eval_data_without_an_entity_are_told(tmp_path: Path) -> None:
    train, held = file(tmp_path, "a.conll", LINES), file(tmp_path, "b.conll", "old\tO\nmap\tO\n")
    (told,) = tasks.tokens(train, held).warnings()
    assert told.startswith("tokens eval: no entity at all: precision, recall and f1 are 0")


def test_columns(tmp_path: Path) -> None:
    for name in ("a.conll", "a.annotated", "a.tsv", "a.txt"):
        assert read(file(tmp_path, name, LINES)) == (SENTENCES, TAGS)
    assert read(file(tmp_path, "crlf.conll", LINES.replace("\n", "\r\n"))) == (SENTENCES, TAGS)
    old = "-DOCSTART- -X- O O\n\nEmpire NNP B-NP B-place\nState NNP I-NP I-place\nis VBZ O O\n\n" \
          "-DOCSTART- -X- O O\n\nold JJ O O\n\nBob NNP B-NP B-who"  # fmt: skip
    assert read(file(tmp_path, "old.conll", old)) == (SENTENCES, TAGS)
    chunks = read(file(tmp_path, "old.conll", old), word=0, tag=2)[1]
    assert chunks == [["B-NP", "I-NP", "O"], ["O"], ["B-NP"]]
    assert read(file(tmp_path, "turned.conll", "O\tof\nB-x\tBob\n"), word="1", tag=0) == (
        [["of", "Bob"]],
        [["O", "B-x"]],
    )


def test_lists(tmp_path: Path) -> None:
    rows = [{"tokens": w, "ner_tags": t} for w, t in zip(SENTENCES, TAGS, strict=True)]
    for name, text in (("a.json", json.dumps(rows)), ("a.jsonl", "\n".join(map(json.dumps, rows)))):
        assert read(file(tmp_path, name, text)) == (SENTENCES, TAGS)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == (SENTENCES, TAGS)
    assert read(tmp_path / "a.parquet", word="tokens", tag="ner_tags") == (SENTENCES, TAGS)
    assert "nearest: tokens" in said(tmp_path / "a.parquet", word="token")
    assert "column 'tags' or 'ner_tags' or 'labels'" in said(file(tmp_path, "b.json", '[{"words": ["a"]}]'))


def test_pieces_of_text_with_an_entity_each(tmp_path: Path) -> None:
    data = [{"text": "play "}, {"text": "kind of blue", "entity": "album"}, {"text": "!"}]
    path = file(tmp_path, "a.json", json.dumps({"PlayMusic": [{"data": data}]}))
    words, tags = ["play", "kind", "of", "blue", "!"], ["O", "B-album", "I-album", "I-album", "O"]
    assert read(path) == ([words], [tags])
    assert read([path, path]) == ([words, words], [tags, tags])
    bad = json.dumps({"PlayMusic": [{"data": data}, {"data": [{"text": "Caf?"}]}]}).encode().replace(b"?", b"\xe9")
    (tmp_path / "b.json").write_bytes(bad)
    assert "record 2" in said(tmp_path / "b.json")
    assert read(tmp_path / "b.json", skip_damaged=True) == ([words], [tags])


DAMAGED = {
    "ragged": ("a\tB-x\nb\nc\tO\n\nd\tO\n", "line 2", "1 columns where 2 are due ('b')"),
    "wide": ("a\tNN\tB-x\nb\tO\n", "line 2", "2 columns where 3 are due"),
    "words alone": ("a\nb\n", "lines 1, 2", "1 columns where 2 are due"),
    "not UTF-8": ("a\tB-x\n\ncaf\udce9\tO\n", "line 3", "not UTF-8"),
    "BIOES": ("a\tB-x\nb\tE-x\n", "BIOES tags, first 'E-x'", "(E- is I-)"),
    "no tag": ("a\tperson\nb\tO\n", "no B- or I- tag", "tag:"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged(name: str, tmp_path: Path) -> None:
    text, *due = DAMAGED[name]
    (tmp_path / "a.conll").write_bytes(text.encode("utf-8", "surrogateescape"))
    found = said(tmp_path / "a.conll")
    assert all(word in found for word in due), found


def test_ragged_sentences_may_be_left_out_and_are_counted(tmp_path: Path) -> None:
    path = file(tmp_path, "a.conll", "a\tB-x\nb\nc\tO\n\nd\tI-x\n")
    task = tasks.tokens(path, path, skip_damaged=True)
    assert task.load("train")["words"][:] == [["d"]]
    assert any("1 damaged sentence was left out (line 2)" in note for note in task.warnings())


def test_the_usual_width_of_the_file_is_due(tmp_path: Path) -> None:
    """A line that is too wide is named, not the good ones beside it; one sentence is left out once."""
    good = "a\tB-x\nb\tO\n\n" * 11 + "c\tB-x\n"  # the last sentence begins on line 34
    path = file(tmp_path, "a.conll", good + "foo\tB-x\textra\nbar\n")
    found = said(path)
    assert found.startswith("2 problems")
    assert "line 35: a whole row\n  found: 3 columns where 2 are due ('foo B-x extra')" in found
    assert "line 36: a whole row\n  found: 1 columns where 2 are due ('bar')" in found
    assert "leave such sentences out" in found
    task = tasks.tokens(path, path, skip_damaged=True)
    assert len(task.load("train")) == 11
    assert any("1 damaged sentence was left out (line 35)" in note for note in task.warnings())
    more = file(tmp_path, "b.conll", good + "foo\n\n" + good + "bar\n")
    task = tasks.tokens(more, more, skip_damaged=True)
    assert any("2 damaged sentences were left out (line 35, 71)" in note for note in task.warnings())
    every = file(tmp_path, "c.conll", good * 3 + "foo\n" * 10)
    assert "lines 103, 104, 105, 106, 107, ...: a whole row" in said(every)
    assert "('foo') (in 10 rows)" in said(every)
    other = file(tmp_path, "d.conll", good * 3 + "".join(f"foo{i}\n" for i in range(10)))
    assert "('foo0') (in 10 rows)" in said(other)  # one fault, whatever the words are


@pytest.mark.parametrize(("option", "place"), [("tag", 5), ("word", -7)])
def test_a_column_that_no_line_has_is_no_damage(option: str, place: int, tmp_path: Path) -> None:
    found = said(file(tmp_path, "a.conll", LINES), **{option: place})
    assert found.startswith(f"{option}: asked: {option}: {place} of ")
    assert "its lines have 2 columns\n  fix: a number from 0 to 1" in found


def test_an_i_without_a_b_begins_an_entity_and_is_counted(tmp_path: Path) -> None:
    text = "a\tI-x\nb\tI-x\nc\tO\nd\tB-x\ne\tI-y\n\nf\tI-y\n"  # the second sentence does not go on the first one's y
    path = file(tmp_path, "a.conll", text)
    task = tasks.tokens(path, path)
    assert task.load("train")["tags"][:] == [["B-x", "I-x", "O", "B-x", "B-y"], ["B-y"]]
    assert any("3 I- tags without a B- before them" in note for note in task.warnings())
    assert repaired(["B-x", "I-x", "O", "B-y"]) == (["B-x", "I-x", "O", "B-y"], 0)
    assert [type_of(tag) for tag in ("O", "B-a-b", "I-", "x", "B")] == ["", "a-b", None, None, None]


def test_tags_that_only_the_dev_file_has(tmp_path: Path) -> None:
    train = write(tmp_path / "train.conll", sentences(8, 0))
    dev = file(tmp_path, "dev.conll", "good\tO\n\nfilm\tB-thnig\nplot\tI-thnig\nBob\tB-who\n")
    with pytest.raises(TextkdError) as caught:
        tasks.tokens(train, dev).problems()
    words = ("'B-thnig' in 1 words", "'I-thnig' in 1 words", "line 3", "nearest: thing", "labels: [...]")
    assert all(word in str(caught.value) for word in words), caught.value
    task = tasks.tokens(train, dev, labels=["thing", "who", "thnig"])
    task.problems()
    assert task.labels == tags_of(["thing", "who", "thnig"])
    assert "tokens train: no entity of type thnig" in task.warnings()


def test_options(tmp_path: Path) -> None:
    train = write(tmp_path / "train.conll", sentences(20, 0))
    wrong = {
        "eval: a file": ({"eval": None}, "a file of eval sentences"),
        "labels": ({"labels": ["O", "person"]}, "tags O, B-TYPE and I-TYPE"),
        "twice": ({"labels": ["a", "a"]}, "different names"),
        "fraction": ({"eval": {"fraction": 2}}, "between 0 and 1"),
        "limit": ({"limit": 0}, "whole number from 1"),
        "csv": ({"train": "a.csv"}, "a csv file has one row for a text"),
    }  # fmt: skip
    for change, due in wrong.values():
        with pytest.raises(TextkdError, match=due):
            tasks.tokens(**{"train": train, "eval": train, **change})
    with pytest.raises(TextkdError, match="numbers, no names"):
        tasks.tokens(train, train, word="words").problems()
    held = tasks.tokens(train, {"fraction": 0.25, "seed": 1}, limit=10)
    assert [len(held.load(split)) for split in held.splits] == [10, 5]
    more = tasks.tokens(train, train, extra_evals={"other": [train, train]})
    assert (more.splits, len(more.load("eval_other"))) == (("train", "eval", "eval_other"), 40)
    assert any("20 of 20 sentences also stand in train (leak)" in note for note in more.warnings())
    assert (
        held.fingerprint()
        != more.fingerprint()
        == tasks.tokens(train, train, extra_evals={"other": [train, train]}).fingerprint()
    )


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real data in {SHARED}")
def test_real_files() -> None:
    folder = SHARED / "data" / "wnut17"
    wnut = tasks.tokens(folder / "wnut17train.conll", folder / "emerging.dev.conll",
                        extra_evals={"test": folder / "emerging.test.annotated"})  # fmt: skip
    assert [len(wnut.load(split)) for split in wnut.splits] == [3394, 1009, 1287]
    assert len(wnut.labels) == 13
    every = {part: sorted((SHARED / "data" / "snips").glob(f"*/{part}*.json")) for part in ("train", "validate")}
    snips = tasks.tokens(every["train"], every["validate"], skip_damaged=True)
    assert [len(snips.load(split)) for split in snips.splits] == [13_783, 700]  # one record of PlayMusic is not UTF-8
    assert len(snips.labels) == 2 * 39 + 1


def test_types_that_look_alike_are_told(tmp_path):
    text = "good\tB-item\nfilm\tO\n\nbad\tB-Item\n"
    task = tasks.tokens(file(tmp_path, "a.conll", text), file(tmp_path, "b.conll", text))
    assert any("types 'Item' and 'item' differ in nothing but case" in note for note in task.warnings())
