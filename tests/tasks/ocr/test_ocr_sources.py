"""`lines`: parquet, csv, tsv, json(l), folders, data sets, generators and their joins; what wrong ones are told."""

import csv
import json
import os
import pickle
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from line_files import encoded, line_image, parquet, rows_of, same
from PIL import Image

from textkd.errors import TextkdError
from textkd.tasks.ocr.images import open_image
from textkd.tasks.ocr.linetable import LineTable, spread
from textkd.tasks.ocr.sources import lines

SHARED = Path(os.environ.get("TEXTKD_SHARED", Path(__file__).parents[3].parent / "shared"))
TEXTS = ["ab", 'c "d", e', "fü ½"]


def told(spec, **options):
    with pytest.raises(TextkdError) as caught:
        lines(spec, **options)
    return str(caught.value)


def images_of(folder, texts=TEXTS):
    (folder / "scans").mkdir(parents=True)
    names = [f"scans/{number}.png" for number in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        line_image(text).save(folder / name)
    return names


def table_file(folder, suffix, texts=TEXTS, columns=("image", "text"), name="lines"):
    """A file of paths and texts, with the images beside it."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(images_of(folder, texts), texts, strict=True)]
    path = folder / f"{name}.{suffix}"
    if suffix == "parquet":
        return parquet(path, rows)
    if suffix in ("json", "jsonl"):
        made = json.dumps(rows) if suffix == "json" else "\n".join(map(json.dumps, rows))
        path.write_text(made, encoding="utf-8")
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        plain = {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None, "escapechar": None}
        writer = csv.writer(file, **(plain if suffix == "tsv" else {}))
        writer.writerows([columns, *(list(row.values()) for row in rows)])
    return path


def check(table, texts=TEXTS):
    assert isinstance(table, LineTable)
    assert len(table) == len(texts)
    assert list(table.texts) == texts
    for index, text in enumerate(texts):
        assert same(table.image(index), line_image(text, mode="RGB"))
    table.problems()


@pytest.mark.parametrize("kind", ["struct", "binary", "large_binary", "paths", "dictionary"])
def test_parquet(kind, tmp_path):
    rows = rows_of(TEXTS)
    options = {}
    if kind == "paths":
        for row, name in zip(rows, images_of(tmp_path), strict=True):
            row["image"] = {"bytes": None, "path": name}
    elif kind != "struct":
        binary = pa.binary() if kind == "binary" else pa.large_binary()
        text = pa.dictionary(pa.int32(), pa.string()) if kind == "dictionary" else pa.string()
        rows = [{**row, "image": row["image"]["bytes"]} for row in rows]
        options = {"schema": pa.schema([("image", binary), ("text", text), ("source", pa.string())])}
    path = parquet(tmp_path / "x.parquet", rows, **options)
    table = lines(path)
    check(table)
    assert table.where(1) == f"{path}, row 2"
    check(pickle.loads(pickle.dumps(table)))
    check(lines(str(path)))


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl", "parquet"])
@pytest.mark.parametrize("columns", [("image", "text"), ("file_name", "text"), ("scan", "words")])
def test_files_of_paths(suffix, columns, tmp_path, monkeypatch):
    path = table_file(tmp_path / "data", suffix, columns=columns)
    named = {"image": "scan", "text": "words"} if columns[0] == "scan" else {}
    monkeypatch.chdir(tmp_path)  # paths are relative to the file, not to where we stand
    check(lines({"path": path.relative_to(tmp_path), **named}))


def test_another_delimiter(tmp_path):
    name = images_of(tmp_path)[0]
    (tmp_path / "x.txt").write_text(f"image|text\n{name}|ab\n")
    check(lines({"path": tmp_path / "x.txt", "delimiter": "|"}), ["ab"])


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_image_folder(suffix, tmp_path):
    table_file(tmp_path, suffix, columns=("file_name", "text"), name="metadata")
    table = lines(tmp_path)
    check(table)
    loaded = datasets.load_dataset("imagefolder", data_dir=str(tmp_path), split="train", cache_dir=str(tmp_path / "c"))
    assert sorted(loaded["text"][:]) == sorted(table.texts)  # the convention is theirs


def test_a_folder_of_images_alone_has_no_texts(tmp_path):
    images_of(tmp_path)
    table = lines(tmp_path, unlabelled=True)
    assert list(table.texts) == [None] * 3
    assert same(table.image(2), line_image(TEXTS[2], mode="RGB"))
    table.problems()
    before = table.digest()
    line_image("more").save(tmp_path / "scans" / "9.png")
    assert lines(tmp_path, unlabelled=True).digest() != before
    message = told(tmp_path)
    assert f"metadata.csv or metadata.jsonl in {tmp_path}\n  found: the folder holds scans" in message
    assert "unlabelled: true" in message


def test_a_data_set_by_id_is_read_on_first_use(tmp_path):
    folder = tmp_path / "hub"
    folder.mkdir()
    rows = datasets.Dataset.from_list(
        [{"image": r["image"], "text": r["text"], "kind": i % 2} for i, r in enumerate(rows_of(TEXTS))]
    )
    rows = rows.cast_column("image", datasets.Image()).cast_column("kind", datasets.ClassLabel(names=["old", "new"]))
    rows.to_parquet(str(folder / "train.parquet"))
    table = lines({"dataset": str(folder), "split": "train"})
    check(table)
    assert table.digest() == lines({"dataset": str(folder)}).digest()
    check(lines({"dataset": str(folder), "where": {"kind": "old"}}), [TEXTS[0], TEXTS[2]])
    assert table.where(0) == f"{folder}/train, row 1"
    gone = lines({"dataset": str(folder), "image": "scan", "text": "words"})  # nothing is read yet
    with pytest.raises(TextkdError) as caught:
        len(gone)
    assert "column 'scan'" in str(caught.value)
    assert "column 'words'" in str(caught.value)
    assert list(lines({"dataset": str(folder), "text": "words", "unlabelled": True}).texts) == [None] * 3
    with pytest.raises(TextkdError, match="split 'train' of the hub's data set 'nobody/nothing'"):
        len(lines({"dataset": "nobody/nothing"}))


def test_where_limit_repeat_and_seed(tmp_path):
    texts = [f"{letter}{n}" for letter in "ab" for n in range(10)]
    path = parquet(tmp_path / "x.parquet", rows_of(texts))
    some = lines({"path": path, "where": {"source": "b"}, "limit": 2, "repeat": 2})
    check(some, ["b0", "b1", "b0", "b1"])
    assert some.where(3) == f"{path}, row 12"
    drawn = lines({"path": path, "limit": 5, "seed": 3})
    assert sorted(set(drawn.texts), key=texts.index) == list(drawn.texts) != texts[:5]
    assert list(lines({"path": path, "limit": 5, "seed": 3}).texts) == list(drawn.texts)
    assert len(lines({"path": path, "limit": 50})) == 20
    digests = {
        lines({"path": path, **more}).digest() for more in ({}, {"limit": 2}, {"repeat": 2}, {"where": {"source": "a"}})
    }
    assert len(digests) == 4


def test_joined(tmp_path):
    one = parquet(tmp_path / "one.parquet", rows_of(["a", "b"]))
    two = table_file(tmp_path / "two", "csv", ["c"])
    table = lines([one, {"path": two, "repeat": 2}, {"digits": {"n": 2}}, {"rendered": {"texts": ["d", "e", "f"]}}])
    assert list(table.texts[:4]) == ["a", "b", "c", "c"]
    assert list(table.texts[6:]) == ["d", "e", "f"]
    assert len(table) == 9
    assert same(table.image(1), line_image("b", mode="RGB"))
    assert same(table.image(3), line_image("c", mode="RGB"))
    assert table.image(8).mode == "RGB"
    assert table.where(2) == f"{two}, line 2"
    assert table.where(5) == "handwritten digits (train), line 2"
    assert table.source == f"{one} + {two} + handwritten digits (train) + rendered texts"
    table.problems()
    with pytest.raises(IndexError):
        table.image(9)
    assert table.digest() != lines([two, one]).digest()


def test_patterns_join_the_parts_of_a_data_set(tmp_path):
    for number, text in enumerate("abc"):
        parquet(tmp_path / f"train-{number}.parquet", rows_of([text]))
    check(lines(tmp_path / "train-*.parquet"), list("abc"))
    assert "no file of such a name" in told(tmp_path / "dev-*.parquet")


def test_unlabelled_lines_have_no_texts_even_where_they_could(tmp_path):
    path = parquet(tmp_path / "x.parquet", rows_of(TEXTS))
    specs = [path, {"path": path}, {"rendered": {"n": 3}}, {"digits": {"n": 3}}]
    for table in (lines(spec, unlabelled=True) for spec in specs):
        assert list(table.texts) == [None] * 3
        assert table.image(0).mode == "RGB"
    mixed = lines([path, {"path": path, "unlabelled": True}])
    assert list(mixed.texts) == [*TEXTS, None, None, None]
    bare = parquet(tmp_path / "bare.parquet", [{"image": row["image"]} for row in rows_of(TEXTS)])
    assert list(lines(bare, unlabelled=True).texts) == [None] * 3
    assert f"column 'text' in {bare}\n  found: the columns 'image'" in told(bare)
    assert "unlabelled: true" in told(bare)


def test_texts_of_rendered_lines(tmp_path):
    (tmp_path / "x.txt").write_text('first "line\n\nsecond, line\n', encoding="utf-8")
    rendered = lines({"rendered": {"texts": str(tmp_path / "x.txt"), "n": 3, "fonts": "builtin"}})
    assert list(rendered.texts) == ['first "line', "second, line", 'first "line']
    path = parquet(tmp_path / "x.parquet", rows_of(["ab", "cd"]))
    assert list(lines({"rendered": {"texts": {"path": path}, "fonts": "builtin"}}).texts) == ["ab", "cd"]
    (tmp_path / "bad.txt").write_bytes(b"good\nb\xffd\n")
    message = told({"rendered": {"texts": str(tmp_path / "bad.txt")}})
    assert f"{tmp_path / 'bad.txt'}, line 2: UTF-8 text\n  found: byte 0xFF at position 2" in message
    assert "no such folder" in told({"rendered": {"texts": str(tmp_path / "gone" / "x.txt")}})


def test_the_digest_is_of_content_not_of_place(tmp_path):
    one = table_file(tmp_path / "one", "csv")
    two = table_file(tmp_path / "two", "csv")
    assert lines(one).digest() == lines(two).digest()
    line_image("other", (60, 16)).save(two.parent / "scans" / "1.png")
    assert lines(one).digest() != lines(two).digest()
    a, b = (parquet(tmp_path / f"{n}.parquet", rows_of(t)) for n, t in (("a", ["x"]), ("b", ["y"])))
    assert lines(a).digest() != lines(b).digest()
    assert lines(a).digest() != lines(a, unlabelled=True).digest()


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (None, "no value\n  fix: correct the row"),
        ("", "no text"),
        (" \t", "white space alone"),
        ("a\nb", "a line break inside: 'a\\nb'"),
    ],
)
def test_texts_that_are_none(cell, words, tmp_path):
    rows = rows_of(["ab", "cd", "ef"])
    rows[1]["text"] = cell
    path = parquet(tmp_path / "x.parquet", rows)
    message = told(path)
    assert f"{path}, row 2: a transcription in column 'text'\n  found: {words}" in message
    assert len(lines(path, unlabelled=True)) == 3


def test_texts_are_stripped_and_numbers_are_none(tmp_path):
    rows = rows_of([" ab "])
    assert list(lines(parquet(tmp_path / "x.parquet", rows)).texts) == ["ab"]
    path = parquet(tmp_path / "n.parquet", [{"image": rows[0]["image"], "text": 12}])
    assert "a int: 12" in told(path)


def test_bytes_that_are_not_utf8_are_named_by_row(tmp_path):
    rows = [
        {"image": row["image"]["bytes"], "text": text}
        for row, text in zip(rows_of(["a", "b"]), [b"ok", b"n\xe9"], strict=True)
    ]
    path = parquet(tmp_path / "x.parquet", rows)
    assert "row 2: UTF-8 text in column 'text'\n  found: byte 0xE9 at position 2 is not UTF-8" in told(path)
    broken = pa.array([b"ok", b"n\xe9"]).view(pa.string())  # as careless writers leave it
    pa.parquet.write_table(pa.table({"image": [row["image"] for row in rows], "text": broken}), path)
    assert "row 2: UTF-8 text in column 'text'\n  found: byte 0xE9 at position 2" in told(path)
    (tmp_path / "x.csv").write_bytes(b"image,text\na.png,\xe9\n")
    assert "line 2: a whole row\n  found: byte 0xE9" in told(tmp_path / "x.csv")


def test_many_bad_texts_are_counted(tmp_path):
    path = parquet(tmp_path / "x.parquet", [{**row, "text": ""} for row in rows_of(["a"] * 20)])
    message = told(path)
    assert message.count("found: no text") == 8
    assert "12 more bad texts like these" in message


def test_files_that_are_none(tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "header.csv").write_text("image,text\n")
    (tmp_path / "none.jsonl").write_text("\n \n[]\n")
    (tmp_path / "dir").mkdir()
    parquet(tmp_path / "ints.parquet", [{"image": 5, "text": "a"}])
    parquet(tmp_path / "norows.parquet", [], schema=pa.schema([("image", pa.binary()), ("text", pa.string())]))
    assert "not a parquet file" in told(tmp_path / "bad.parquet")
    assert "the file is empty" in told(tmp_path / "empty.csv")
    assert "the file has no rows (a header alone is no data)" in told(tmp_path / "header.csv")
    assert "the file has no rows (a header alone is no data)" in told(tmp_path / "norows.parquet")
    assert "the file has no rows" in told(tmp_path / "none.jsonl")
    assert "the folder holds nothing" in told(tmp_path / "dir")
    assert "images in column 'image'" in told(tmp_path / "ints.parquet")
    assert "found: the type int64\n  fix: store encoded bytes" in told(tmp_path / "ints.parquet")
    assert "nearest: bad.parquet" in told(tmp_path / "bat.parquet")
    assert "no such file or folder\n  nearest: dir" in told(tmp_path / "dirr")
    assert "{dataset: ID, split: train}" in told("someone/some-lines")


def test_columns_that_are_not_there(tmp_path):
    path = parquet(tmp_path / "x.parquet", rows_of(["a"]))
    message = told({"path": path, "image": "imgae", "text": "txt"})
    assert "2 problems" in message
    assert "column 'imgae'" in message
    assert "nearest: image" in message
    assert "nearest: text" in message
    assert "where: 'sauce'" in told({"path": path, "where": {"sauce": "x"}})
    assert "no such row; the column holds 'a' (1 rows)" in told({"path": path, "where": {"source": "b"}})


def test_all_problems_of_a_list_at_once(tmp_path):
    path = parquet(tmp_path / "x.parquet", [{"image": b"", "text": ""}])
    message = told([path, tmp_path / "gone.csv", {"digits": {"n": 0}}, {"path": path, "limt": 3}])
    assert "4 problems" in message
    for place in ("[0]: asked:", "[1]: asked:", "[2].digits.n: asked:", "[3]: asked: key 'limt'"):
        assert place in message
    assert "nearest: limit" in message


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ([], "lines of text\n  found: []"),
        (5, "lines of text\n  found: 5"),
        ({}, "one source of lines\n  found: the keys (none)"),
        ({"renderd": {"n": 3}}, "one source of lines\n  found: the keys renderd\n  nearest: rendered"),
        ({"rendered": {"n": 3}, "digits": {"n": 3}}, "rendered and digits together"),
        ({"digits": {"n": 3}, "limit": 0}, "limit: a whole number from 1\n  found: 0"),
        ({"digits": {"n": 3}, "repeat": "2"}, "repeat: a whole number from 1\n  found: '2'"),
        ({"digits": {"n": 3}, "seed": 1}, "no limit: to draw"),
        ({"digits": {"n": 3}, "unlabelled": "yes"}, "unlabelled: true or false\n  found: 'yes'"),
        ({"digits": {"n": 3}, "text": "x"}, "key 'text'\n  found: with digits: go limit, repeat, seed, unlabelled"),
        ({"digits": 3}, "digits: options\n  found: 3\n  fix: write digits: {n: 1000}"),
        ({"path": 5}, "path: a path\n  found: 5"),
        ({"path": "x.csv", "where": "a"}, "where: {column: value, ...}\n  found: 'a'"),
        ({"path": "x.csv", "text": ["a"], "quoted": 1}, "2 problems"),
        ({"rendered": {"n": 3, "fonts": 5}}, "rendered.fonts: asked: fonts: a list of files"),
        ({"rendered": {"n": 3, "fonts": [5]}}, "rendered.fonts: asked: fonts: a list of files"),
        ({"digits": {"n": 2, "splitt": "eval"}}, "digits: asked: option 'splitt'"),
        ({"rendered": {"n": 3, "font": "x"}}, "nearest: fonts"),
        ({"rendered": {"n": 3, "texts": 5}}, "rendered.texts: asked: texts: a list of sentences\n  found: 5"),
    ],
)
def test_wrong_specs(spec, words):
    assert words in told(spec)


def test_images_that_are_none_are_found_by_their_headers(tmp_path):
    rows = rows_of([f"t{n}" for n in range(30)])
    for place, data in ((3, b""), (11, b"nothing"), (17, encoded(Image.new("L", (9, 1))))):
        rows[place]["image"]["bytes"] = data
    rows[5]["image"] = {"bytes": None, "path": "gone.png"}
    path = parquet(tmp_path / "x.parquet", rows)
    table = lines(path)
    with pytest.raises(TextkdError) as caught:
        table.problems(sample=0)
    message = str(caught.value)
    assert "4 problems" in message
    for row in (4, 6, 12, 18):
        assert f"{path}, row {row}: an image" in message or f"{path}, row {row}: the image" in message
    with pytest.raises(TextkdError, match="row 12: an image"):
        table.image(11)
    assert open_image(table.image(0)).mode == "RGB"


def test_a_cut_image_is_found_in_the_sample_or_named_when_met(tmp_path):
    rows = rows_of([f"t{n}" for n in range(200)])
    for place in (0, 150, 199):
        rows[place]["image"]["bytes"] = rows[place]["image"]["bytes"][:-30]
    path = parquet(tmp_path / "x.parquet", rows)
    table = lines(path)
    with pytest.raises(TextkdError) as caught:
        table.problems(sample=0)
    assert "row 1: a whole image" in str(caught.value)
    assert "row 200: a whole image" in str(caught.value)
    with pytest.raises(TextkdError, match="row 151: a whole image"):
        table.image(150)
    with pytest.raises(TextkdError, match="row 151: a whole image"):
        table.problems(sample=198)


def test_paths_of_csv_that_are_not_there(tmp_path):
    path = table_file(tmp_path, "csv")
    (tmp_path / "scans" / "1.png").unlink()
    with pytest.raises(TextkdError) as caught:
        lines(path).problems()
    assert f"line 3: the image {tmp_path / 'scans' / '1.png'}\n  found: no such file\n  nearest: 2.png, 0.png" in str(
        caught.value
    )


def test_a_folder_does_not_reach_outside(tmp_path):
    line_image().save(tmp_path / "secret.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "metadata.csv").write_text(f"file_name,text\n../secret.png,a\n{tmp_path / 'secret.png'},b\n")
    message = told(tmp_path / "in")
    assert "2 problems" in message
    assert "line 2: an image inside" in message


def test_only_the_chosen_images_are_checked(tmp_path):
    for number, data in enumerate((b"", b"")):
        rows = rows_of(["a", "b"])
        rows[1]["image"]["bytes"] = data
        parquet(tmp_path / f"train-{number}.parquet", rows)
    lines({"path": tmp_path / "train-*.parquet", "limit": 1, "repeat": 3}).problems(sample=0)
    with pytest.raises(TextkdError) as caught:
        lines({"path": tmp_path / "train-*.parquet", "limit": 4, "repeat": 3}).problems(sample=0)
    assert str(caught.value).startswith("2 problems")


def test_spread():
    assert spread(5, 64) == [0, 1, 2, 3, 4]
    assert spread(100, 0) == [0, 99]
    assert spread(1000, 3)[0] == 0
    assert spread(1000, 3)[-1] == 999
    assert len(spread(1000, 3)) == 5
    assert spread(0, 4) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count", "height"),
    [("ocr_oldbooks/train", 4198, 54), ("ocr_oldbooks/dev", 531, 54), ("ocr_sroie/train_6k", 6000, 30)],
)
def test_real_lines(name, count, height):
    path = SHARED / "data" / f"{name}.parquet"
    if not path.is_file():
        pytest.skip(f"{path} is not here (TEXTKD_SHARED)")
    table = lines(path)
    assert len(table) == count
    assert all(table.texts)
    table.problems()
    heights = [table.image(index).height for index in range(0, count, 10)]
    assert abs(np.median(heights) - height) < 6
    source = "a" if "oldbooks" in name else None
    if source and "train" in name:
        column = pa.parquet.read_table(path, columns=["source"]).column("source").to_pylist()
        assert len(lines({"path": path, "where": {"source": column[0]}})) == column.count(column[0])
