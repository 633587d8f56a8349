"""GLUE: every layout of the files, the hub's rows, the order of labels, and what bad files are told."""

import datasets
import pytest
from places import SHARED
from task_files import tsv, write

from textkd import tasks
from textkd.errors import TextkdError

MNLI = ["index", "promptID", "sentence1", "sentence2", "label1", "gold_label"]

LAYOUTS = {  # (subset, header and rows, the first row read)
    "sst2": ("sst2", [("sentence", "label"), ('a "good film', 1), ("bad", 0)], ('a "good film', None, 1)),
    "cola without header": ("cola", [("gj04", 1, "", "it was"), ("gj04", 0, "*", "was it")], ("it was", None, 1)),
    "cola with header": ("cola", [("sentence", "label"), ("it was", 0), ("it", 1)], ("it was", None, 0)),
    "mrpc": (
        "mrpc",
        [("\ufeffQuality", "#1 ID", "#2 ID", "#1 String", "#2 String"), (1, 7, 8, '" a', "b"), (0, 7, 8, "c", "d")],
        ('" a', "b", 1),
    ),
    "stsb": (
        "stsb",
        [("index", "sentence1", "sentence2", "score"), (0, "a", "b", "3.800")],
        ("a", "b", pytest.approx(3.8)),
    ),
    "qqp": ("qqp", [("id", "question1", "question2", "is_duplicate"), (0, "a", "b", 1)], ("a", "b", 1)),
    "qnli": ("qnli", [("index", "question", "sentence", "label"), (0, "a", "b", "not_entailment")], ("a", "b", 1)),
    "rte": ("rte", [("index", "sentence1", "sentence2", "label"), (0, "a", "b", "entailment")], ("a", "b", 0)),
    "wnli": ("wnli", [("index", "sentence1", "sentence2", "label"), (0, "a", "b", 1)], ("a", "b", 1)),
    "mnli": ("mnli", [MNLI, (0, 1, "a", "b", "neutral", "contradiction")], ("a", "b", 2)),
    "mnli 10k": ("mnli", [("index", "text_a", "text_b", "label"), (0, "a", "b", "neutral")], ("a", "b", 1)),
    "qnli 10k": ("qnli", [("index", "text_a", "text_b", "label"), (0, "a", "b", "entailment")], ("a", "b", 0)),
    "snli hub names": ("snli", [("premise", "hypothesis", "label"), ("a", "b", "2")], ("a", "b", 2)),
    "line breaks that are no row ends": (
        "sst2",
        [("sentence", "label"), ("a\u2028b\x85c\rd", 1)],
        ("a\u2028b\x85c\rd", None, 1),
    ),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_layouts(case, tmp_path):
    subset, rows, first = LAYOUTS[case]
    for name in ("train.tsv", "dev.tsv"):
        write(tmp_path, name, tsv(*rows))
    task = tasks.glue(subset, tmp_path)
    task.problems()
    for split in ("train", "eval"):
        row = task.load(split)[0]
        assert (row["text_a"], row.get("text_b"), row["label"]) == first
        assert row["example_id"] == 0
    assert len(task.load("train")) == len(rows) - (case != "cola without header")


def test_windows_line_ends(tmp_path):
    file = write(tmp_path, "x.tsv", tsv(("sentence", "label"), ("good", 1)).replace("\n", "\r\n"))
    assert tasks.glue("sst2").load_file(file)[0]["text_a"] == "good"


def test_the_folder_above_and_mnli_splits(tmp_path):
    folder = tmp_path / "MNLI"
    row = (0, 1, "a", "b", "neutral", "neutral")
    write(folder, "train.tsv", tsv(MNLI, row, (1, 1, "c", "d", "neutral", "-")))
    write(folder, "dev_matched.tsv", tsv(MNLI, row))
    write(folder, "dev_mismatched.tsv", tsv(MNLI, row, row))
    task = tasks.get("glue/mnli", path=tmp_path)
    assert task.eval_splits == ("eval", "eval_mismatched")
    assert [len(task.load(split)) for split in task.splits] == [1, 1, 2]
    assert any("1 rows without a label (-)" in note for note in task.warnings())
    assert any("eval_mismatched: 2 of 2 texts also stand in train" in note for note in task.warnings())


def test_labels_are_in_the_order_of_the_hub():
    assert tasks.glue("rte").labels == ["entailment", "not_entailment"]
    assert tasks.glue("mnli").labels == ["entailment", "neutral", "contradiction"]
    assert tasks.glue("cola").output.head() == {
        "num_labels": 2,
        "id2label": {0: "unacceptable", 1: "acceptable"},
        "label2id": {"unacceptable": 0, "acceptable": 1},
        "problem_type": "single_label_classification",
    }
    assert tasks.glue("stsb").labels is None
    assert tasks.glue("stsb").output.head()["problem_type"] == "regression"
    assert tasks.glue("stsb").output.head()["num_labels"] == 1


MAIN = {"cola": "matthews_correlation", "stsb": "pearson"}


@pytest.mark.parametrize("name", [n for n in tasks.names() if n.startswith("glue/")])
def test_every_subset_is_judged_by_its_metrics(name):
    task = tasks.get(name)
    logits = [[0.1], [4.0], [2.0]] if task.labels is None else [[2.0, 1.0], [1.0, 2.0], [3.0, 1.0]]
    values = task.output.compute_metrics(logits, [0.0, 5.0, 1.0] if task.labels is None else [0, 1, 0])
    assert list(values) == task.output.metric_names
    assert task.output.main_metric == MAIN.get(name.removeprefix("glue/"), "accuracy") == task.output.metric_names[0]
    assert values[task.output.main_metric] > 0.9


def test_rows_of_the_hub(monkeypatch):
    asked = []

    def load_dataset(path, config, split):
        asked.append((path, config, split))
        names = datasets.ClassLabel(names=["entailment", "not_entailment"])
        features = {"sentence1": datasets.Value("string"), "sentence2": datasets.Value("string"), "label": names}
        columns = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [1, 0]}
        return datasets.Dataset.from_dict(columns, features=datasets.Features(features))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    task = tasks.glue("rte")
    assert task.load("eval")["label"][:] == [1, 0]
    assert task.load("eval")["text_b"][:] == ["c", "d"]
    assert asked == [("nyu-mll/glue", "rte", "validation")]
    assert len(task.fingerprint()) == 64


def test_a_hub_out_of_reach_names_the_local_way(monkeypatch):
    def load_dataset(*_, **__):
        raise ConnectionError("Couldn't reach 'nyu-mll/glue' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(TextkdError, match=r"(?s)the hub cannot be reached.*path: FOLDER") as error:
        tasks.glue("sst2").problems()
    assert len(error.value.problems) == 2  # both splits at once


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda p: tasks.glue("sst-2"), "nearest: sst2"),
        (lambda p: tasks.get("glue/sst-2"), "nearest: glue/sst2"),
        (lambda p: tasks.get("sst2"), "nearest: glue/sst2"),
        (lambda p: tasks.glue("sst2", p / "nowhere"), "no such folder"),
        (lambda p: tasks.glue("sst2", p).problems(), "train.tsv"),
        (lambda p: tasks.glue("sst2", p).load("dev"), "it has train, eval"),
    ],
)
def test_wrong_names(call, told, tmp_path):
    with pytest.raises(TextkdError, match=told):
        call(tmp_path)


HEADER = ("sentence", "label")
BAD_FILES = {  # content of an SST-2 file, and what must be told
    "empty": (b"", ["the file is empty"]),
    "header only": (tsv(HEADER), ["no rows"]),
    "missing column": (tsv(("sentense", "label"), ("a", 1)), ["column 'sentence'", "nearest: sentense"]),
    "official test file": (tsv(("index", "sentence"), (0, "a")), ["column 'label'", "without labels"]),
    "label outside": (
        tsv(HEADER, ("a", 1), ("b", "postive")),
        ["line 3", "'postive'", "negative, positive", "nearest: positive"],
    ),
    "id outside": (tsv(HEADER, ("a", 2)), ["line 2", "'2'", "ids 0..1"]),
    "empty label": (tsv(HEADER, ("a", "")), ["line 2", "no label"]),
    "too few columns": (tsv(HEADER, ("a", 1), ("lost",)), ["line 3", "1 columns where 2 are due", "skip_damaged"]),
    "too many columns": (tsv(HEADER, ("a", "b", 1)), ["line 2", "3 columns where 2 are due"]),
    "not UTF-8": (tsv(HEADER, ("a", 1)).encode() + b"caf\xe9\t1\n", ["line 3", "byte 0xE9 at position 4"]),
    "UTF-16": (tsv(HEADER, ("a", 1)).encode("utf-16"), ["UTF-16"]),
    "a name twice": (
        tsv(("sentence", "label", "label"), ("a", 1, 1)),
        ["names 'label' more than once", "rename or remove"],
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files(case, tmp_path):
    content, told = BAD_FILES[case]
    with pytest.raises(TextkdError) as error:
        tasks.glue("sst2").load_file(write(tmp_path, "bad.tsv", content))
    for part in [*told, "bad.tsv"]:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("score", "told"), [("nan", "not finite"), ("", "no label"), ("7.2", "outside 0..5"), ("x", "no number")]
)
def test_bad_scores(score, told, tmp_path):
    file = write(tmp_path, "bad.tsv", tsv(("sentence1", "sentence2", "score"), ("a", "b", 1.0), ("a", "b", score)))
    with pytest.raises(TextkdError, match=f"(?s)line 3.*{told}"):
        tasks.glue("stsb").load_file(file)


def test_everything_at_once_and_capped(tmp_path):
    rows = [("a", "pos")] * 30 + [("lost",)]
    write(tmp_path, "train.tsv", tsv(HEADER, *rows))
    write(tmp_path, "dev.tsv", tsv(HEADER, ("a", "neg")))
    with pytest.raises(TextkdError) as error:
        tasks.glue("sst2", tmp_path).problems()
    told = str(error.value)
    assert "(in 30 rows)" in told
    assert "line 32" in told  # the one row of another shape is not hidden by 30 bad labels
    assert "dev.tsv, line 2" in told
    assert len(error.value.problems) == 1 + 1 + 1


def test_skip_damaged_leaves_rows_out_and_says_so(tmp_path):
    for name in ("train.tsv", "dev.tsv"):
        write(tmp_path, name, tsv(HEADER, ("a", 1), ("lost",), ("b", 0)).encode() + b"\xff\t1\n")
    task = tasks.glue("sst2", tmp_path, skip_damaged=True)
    assert task.load("train")["text_a"][:] == ["a", "b"]
    assert "2 damaged rows were left out (line 3, 5)" in task.warnings()[0]


REAL = {
    ("cola", "glue/CoLA"): (8551, 1043),
    ("sst2", "glue/SST-2"): (67349, 872),
    ("mrpc", "glue/MRPC"): (3668, 408),
    ("stsb", "glue/STS-B"): (5749, 1500),
    ("rte", "glue/RTE"): (2490, 277),
    ("wnli", "glue/WNLI"): (635, 71),
    ("qnli", "glue/QNLI"): (None, 5463),
    ("mnli", "glue_10k/MNLI"): (8999, 1000),
    ("qqp", "glue_10k/QQP"): (8999, 1000),
    ("qnli", "glue_10k/QNLI"): (8999, 1000),
    ("snli", "glue_10k/SNLI"): (8999, 1000),
}


@pytest.mark.slow
@pytest.mark.parametrize(("subset", "folder"), REAL)
def test_rows_of_the_real_files(subset, folder):
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real data in {SHARED}")
    task = tasks.glue(subset, SHARED / "data" / folder)
    train, dev = REAL[(subset, folder)]
    assert len(task.load("eval")) == dev
    assert task.labels is None or len(set(task.load("eval")["label"])) == len(task.labels)
    if train is None:
        with pytest.raises(TextkdError, match=r"train\.tsv"):
            task.load("train")
    else:
        assert len(task.load("train")) == train
        task.problems()
