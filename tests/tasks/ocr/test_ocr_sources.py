"""`lines`: parquet, csv, tsv, json(l), folders, data sets, generators and their joins."""

import pickle

import datasets
import numpy as np
import pyarrow as pa
import pytest
from line_files import line_image, parquet, rows_of, same
from line_sources import TEXTS, check, images_of, table_file, told
from places import SHARED

from textkd.errors import TextkdError
from textkd.tasks.ocr.linetable import spread
from textkd.tasks.ocr.sources import lines


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


@pytest.mark.long
def test_a_data_set_by_id_is_read_on_first_use(tmp_path, monkeypatch):
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
    rows.save_to_disk(str(tmp_path / "saved"))
    check(lines({"dataset": str(tmp_path / "saved")}))
    datasets.DatasetDict({"scans": rows}).save_to_disk(str(tmp_path / "splits"))
    check(lines({"dataset": str(tmp_path / "splits"), "split": "scans"}))
    with pytest.raises(TextkdError, match=r"split 'train' of the data set .*splits"):
        len(lines({"dataset": str(tmp_path / "splits")}))
    gone = lines({"dataset": str(folder), "image": "scan", "text": "words"})  # nothing is read yet
    with pytest.raises(TextkdError) as caught:
        len(gone)
    assert "column 'scan'" in str(caught.value)
    assert "column 'words'" in str(caught.value)
    assert list(lines({"dataset": str(folder), "unlabelled": True}).texts) == [None] * 3
    wrong = [{"image": {"bytes": b"none", "path": None}, "text": "a"}, {**rows_of(["b"])[0], "text": " "}]
    parquet(folder / "train.parquet", [{"image": r["image"], "text": r["text"]} for r in wrong])
    with pytest.raises(TextkdError) as caught:
        lines({"dataset": str(folder)}).problems()
    assert "2 problems" in str(caught.value)
    asked, original = [], datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: asked.append(a) or original(*a, **k))
    table = lines({"dataset": "nobody/nothing"})
    for look in (table.problems, lambda: len(table), lambda: table.texts):
        with pytest.raises(TextkdError, match="split 'train' of the hub's data set 'nobody/nothing'") as caught:
            look()
        assert len(caught.value.problems) == 1
    assert len(asked) == 1  # trying takes minutes where there is no network


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


def test_the_digest_is_of_the_images_in_files_too(tmp_path):
    names = images_of(tmp_path)
    (tmp_path / "metadata.csv").write_text("file_name,text\n" + "".join(f"{name},a\n" for name in names))
    specs = [tmp_path, {"path": tmp_path / "scans", "unlabelled": True}]
    before = [lines(spec).digest() for spec in specs]
    assert before == [lines(spec).digest() for spec in specs]
    data = bytearray((tmp_path / names[0]).read_bytes())
    data[-20] ^= 1  # as long as it was
    (tmp_path / names[0]).write_bytes(data)
    assert all(old != lines(spec).digest() for old, spec in zip(before, specs, strict=True))


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
