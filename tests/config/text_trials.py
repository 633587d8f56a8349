"""For every option of tasks of texts and tagged words, and of `textkd eval`: files in which it makes sense,
another value, and the rows that are read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from option_lab import OptionLab, Options, Trial, filled, said, table_of

from textkd import tasks


def of_task(name: str, usual: Options, before: Options, after: Options) -> Trial:
    """The rows of a task with two sets of options over the usual ones; None takes one out."""

    def rows(lab: OptionLab, options: Options) -> Any:
        given = {key: value for key, value in {**usual, **options}.items() if value is not None}
        task = tasks.get(name, **filled(lab, given))
        read = {split: vars(task.rows(split)) for split in task.splits}
        return read, task.output.labels, task.output.metric_names

    return lambda lab: (lab.once(lambda *_: said(rows, lab, before), name, usual, before), rows(lab, after))


def text(before: Options, after: Options) -> Trial:
    return of_task("text", {"train": "@a.csv", "eval": "@b.csv"}, before, after)


def words(before: Options, after: Options) -> Trial:
    return of_task("tokens", {"train": "@w.conll", "eval": "@w.conll"}, before, after)


HUB = {"train": None, "eval": None, "dataset": "@saved", "splits": {"train": "train", "eval": "train"}}
FRACTION = {"eval": {"fraction": 0.25}}
NUMBERS = {"label": "number"}
LISTS = {"label": "both", "type": "multi_label"}
TEXTS: dict[str, Trial] = {
    "text.train": text({}, {"train": "@b.csv"}),
    "text.eval": text({}, {"eval": "@a.csv"}),
    "text.text": text({}, {"text": "other"}),
    "text.text_pair": text({}, {"text_pair": "other"}),
    "text.label": text({}, {"label": "tag"}),
    "text.type": text(NUMBERS, {**NUMBERS, "type": "regression"}),
    "text.labels": text({}, {"labels": ["b", "a"]}),
    "text.where": text({"label": "tag"}, {"label": "tag", "where": {"part": "1"}}),
    "text.dataset": text({}, HUB),
    "text.splits": text({**HUB, "splits": None, **FRACTION}, {**HUB, "splits": {"train": "train", "eval_x": "train"},
                                                              **FRACTION}),
    "text.delimiter": text({"train": "@semi.csv"}, {"train": "@semi.csv", "eval": "@semi.csv", "delimiter": ";"}),
    "text.quoted": text({"train": "@q.tsv", "eval": "@q.tsv"}, {"train": "@q.tsv", "eval": "@q.tsv", "quoted": True}),
    "text.encoding": text({"train": "@gb.csv", "eval": "@gb.csv"}, {"train": "@gb.csv", "eval": "@gb.csv",
                                                                  "encoding": "gb18030"}),
    "text.label_separator": text(LISTS, {**LISTS, "label_separator": ";"}),
    "text.extra_evals": text({}, {"extra_evals": {"more": "@b.csv"}}),
    "text.skip_damaged": text({"train": "@torn.csv"}, {"train": "@torn.csv", "skip_damaged": True}),
    "text.limit": text({}, {"limit": 6}),
    "limit.rows": text({"limit": {"rows": 6}}, {"limit": {"rows": 8}}),
    "limit.seed": text({"limit": {"rows": 6}}, {"limit": {"rows": 6, "seed": 1}}),
    "eval.fraction": text(FRACTION, {"eval": {"fraction": 0.5}}),
    "eval.seed": text(FRACTION, {"eval": {"fraction": 0.25, "seed": 1}}),
    "tokens.train": words({}, {"train": "@w2.conll"}),
    "tokens.eval": words({}, {"eval": "@w2.conll"}),
    "tokens.word": words({}, {"word": 1}),
    "tokens.tag": words({}, {"tag": 2}),
    "tokens.encoding": words({"eval": "@gb.conll"}, {"train": "@gb.conll", "eval": "@gb.conll",
                                                     "encoding": "gb18030"}),
    "tokens.labels": words({}, {"labels": ["place", "person"]}),
    "tokens.extra_evals": words({}, {"extra_evals": {"more": "@w2.conll"}}),
    "tokens.limit": words({}, {"limit": 2}),
    "tokens.skip_damaged": words({"train": "@torn.conll"}, {"train": "@torn.conll", "skip_damaged": True}),
    "glue/sst2.path": of_task("glue/sst2", {}, {"path": "@data"}, {"path": "@data2", "skip_damaged": True}),
    "glue/sst2.limit": of_task("glue/sst2", {"path": "@data"}, {}, {"limit": 6}),
    "glue/sst2.skip_damaged": of_task("glue/sst2", {"path": "@data2"}, {}, {"skip_damaged": True}),
}  # fmt: skip


def of_model(name: str, labels: list[str], file: str, before: Options, after: Options) -> Trial:
    """What `textkd eval` reads of a file for a finished model."""
    known = dict(enumerate(labels))
    model = SimpleNamespace(config=SimpleNamespace(id2label=known, problem_type=None), num_labels=len(labels))

    def seen(lab: OptionLab, options: Options) -> Any:
        if name == "ocr":
            task = tasks.kind(name).read(model, lab.file("reader"), lab.file(file), filled(lab, options))
            return table_of(task.table("eval")), task.generation, len(task.processor.tokenizer)
        task = tasks.kind(name).read(model, "folder", lab.file(file), options)
        return vars(task.rows("eval"))

    return lambda lab: (lab.once(lambda *_: said(seen, lab, before), name, file, before), seen(lab, after))


AB, TAGS = ["a", "b"], ["O", "B-person", "I-person", "B-place", "I-place"]
XY = ["O", "B-x", "I-x", "B-y", "I-y"]
EVALS: dict[str, Trial] = {
    "eval text.text": of_model("text", AB, "a.csv", {}, {"text": "other"}),
    "eval text.text_pair": of_model("text", AB, "a.csv", {}, {"text_pair": "other"}),
    "eval text.label": of_model("text", ["x", "y", "z"], "a.csv", {}, {"label": "tag"}),
    "eval text.skip_damaged": of_model("text", AB, "torn.csv", {}, {"skip_damaged": True}),
    "eval text.delimiter": of_model("text", AB, "semi.csv", {}, {"delimiter": ";"}),
    "eval text.quoted": of_model("text", AB, "q.tsv", {}, {"quoted": True}),
    "eval text.encoding": of_model("text", AB, "gb.csv", {}, {"encoding": "gb18030"}),
    "eval tokens.word": of_model("tokens", TAGS, "w.conll", {}, {"word": "1"}),
    "eval tokens.tag": of_model("tokens", XY, "w.conll", {}, {"tag": "2"}),
    "eval tokens.skip_damaged": of_model("tokens", TAGS, "torn.conll", {}, {"skip_damaged": True}),
    "eval tokens.encoding": of_model("tokens", TAGS, "gb.conll", {}, {"encoding": "gb18030"}),
    "eval ocr.image": of_model("ocr", [], "lines.parquet", {}, {"image": "scan"}),
    "eval ocr.text": of_model("ocr", [], "lines.parquet", {}, {"text": "other"}),
    "eval ocr.num_beams": of_model("ocr", [], "lines.parquet", {}, {"num_beams": 2}),
    "eval ocr.delimiter": of_model("ocr", [], "l2.csv", {}, {"delimiter": ";"}),
    "eval ocr.encoding": of_model("ocr", [], "lg.csv", {}, {"encoding": "gb18030"}),
    "eval ocr.processor": of_model("ocr", [], "lines.parquet", {}, {"processor": "@reader2"}),
}
