"""A folder of tiny models and files of every kind, and what is seen of a recipe or of its data."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import yaml
from graph_lab import save_teacher
from ocr_lab import Reading, make_reader, processor
from PIL import Image
from tiny_lab import Tiny, make_teacher, make_tokenizer, sentences, write_tsv

from textkd.config import build
from textkd.errors import TextkdError
from textkd.experiment.distiller import Run
from textkd.tasks.ocr.processor import line_processor

Options = dict[str, Any]
Seen = tuple[Any, Any]  # with one value, and with another
Trial = Callable[["OptionLab"], Seen]
WORDS = ["12", "3", "455", "07", "9 1", "68", "2", "31"]
ROWS = [{"text": f"{'good' if i % 2 else 'bad'} film, part {i % 5}", "other": f"plot {i}", "label": "ab"[i % 2],
         "tag": "xyz"[i % 3], "number": str(i % 4), "part": str(i % 2), "first": str(i % 2), "second": str(i // 6),
         "both": ["a", "b,e", "b;d", "c"][i % 4]} for i in range(12)]  # fmt: skip
CONLL = [("Ada", "Bo", "B-x", "B-person"), ("sings", "Cy", "O", "O"), (), ("Dan", "Ed", "B-y", "B-place"), (),
         ("Bo", "Al", "O", "B-person"), (), ("go", "Al", "O", "O"), ()]  # fmt: skip


class OptionLab:
    """The folder, and recipes over it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.text, self.ocr = folder, Tiny(folder).recipe, Reading(folder, folder / "reader").recipe
        self.words = {"train": self.file("lines.parquet"), "eval": self.file("dev.parquet")}
        self.ocr["task"] = {"name": "ocr", **self.words}
        self.known: dict[str, Any] = {}
        self._models()
        self._texts()
        self._lines()

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def run(self, base: Mapping[str, Any], changes: Mapping[str, Any]) -> Run:
        """The run of a recipe with dotted changes; None takes a key out."""
        values = yaml.safe_load(yaml.safe_dump(dict(base)))
        for path, value in changes.items():
            *parents, last = path.split(".")
            at = values
            for part in parents:
                at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
            if value is None:
                at.pop(last, None)
            else:
                at[int(last) if isinstance(at, list) else last] = self.made(value)
        file = self.folder / "recipe.yaml"
        file.write_text(yaml.safe_dump(values, sort_keys=False))
        return build.from_recipe(file)

    def made(self, value: Any) -> Any:
        """A copy of a value, its functions called with this folder."""
        if isinstance(value, dict):
            return {key: self.made(one) for key, one in value.items()}
        if isinstance(value, list):
            return [self.made(one) for one in value]
        return self.made(value(self)) if callable(value) else value

    def once(self, see: Callable[..., Any], *given: Any) -> Any:
        """What `see` says, asked once for the same words."""
        key = f"{see.__module__}.{see.__qualname__} {given!r}"
        if key not in self.known:
            self.known[key] = see(*given)
        return self.known[key]

    def _models(self) -> None:
        make_teacher().save_pretrained(self.folder / "teacher")
        make_tokenizer().save_pretrained(self.folder / "teacher")
        save_teacher(self.folder / "second", 5)
        make_reader().save_pretrained(self.folder / "reader")
        processor().save_pretrained(self.folder / "reader")
        line_processor([*WORDS, "abc"], height=16, width=64).save_pretrained(self.folder / "reader2")
        for name, seed in (("data", 0), ("data2", 7)):
            write_tsv(self.folder / name / "train.tsv", sentences(24, seed))
            write_tsv(self.folder / name / "dev.tsv", sentences(12, seed + 1))
        with (self.folder / "data2" / "train.tsv").open("a") as file:
            file.write("torn\n")

    def _texts(self) -> None:
        for name, sign, word in (("a.csv", ",", "film"), ("b.csv", ",", "scene"), ("semi.csv", ";", "film")):
            body = io.StringIO()
            table = csv.DictWriter(body, list(ROWS[0]), delimiter=sign)
            table.writeheader()
            table.writerows(ROWS)
            (self.folder / name).write_text(body.getvalue().replace("film", word))
        plain = (self.folder / "a.csv").read_text()
        (self.folder / "gb.csv").write_bytes(plain.replace("film", "电影").encode("gb18030"))
        (self.folder / "torn.csv").write_text(plain + "torn\n")
        (self.folder / "q.tsv").write_text('text\tlabel\n"a ""b"""\ta\nc\tb\n')
        (self.folder / "a.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
        conll = "\n".join("\t".join(row) for row in CONLL)
        (self.folder / "w.conll").write_text(conll)
        (self.folder / "w2.conll").write_text(conll.replace("Ada", "Eve"))
        (self.folder / "gb.conll").write_bytes(conll.replace("Ada", "电影").encode("gb18030"))
        (self.folder / "torn.conll").write_text(f"{conll}\nEve\tB-person\n")
        row = {"words": ["Ada", "sings"], "tags": ["B-person", "O"]}
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row, row]), self.folder / "w.parquet")
        (self.folder / "pieces.json").write_text(json.dumps({"x": [{"data": [{"text": "a", "entity": "b"}]}]}))
        datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(self.file("saved"))

    def _lines(self) -> None:
        (self.folder / "images").mkdir()
        rng = np.random.default_rng(0)
        for name, count in (("lines.parquet", 8), ("dev.parquet", 4)):
            rows = []
            for i, text in enumerate(WORDS[:count]):
                image = Image.fromarray(rng.integers(0, 255, (16, 40 + 4 * i, 3), dtype=np.uint8))
                image.save(held := io.BytesIO(), "PNG")
                image.save(self.folder / "images" / f"{i}.png")
                cells = {"text": text, "other": text[::-1], "part": str(i % 2)}
                rows.append({"image": {"bytes": held.getvalue(), "path": None}, **cells})
            again = [{**row, "scan": row["image"]} for row in reversed(rows)]
            for row, twin in zip(rows, again, strict=True):
                row["scan"] = twin["image"]
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), self.folder / name)
        for name, sign, encoding in (("l.csv", ",", "utf-8"), ("l2.csv", ";", "utf-8"), ("lg.csv", ",", "gb18030")):
            more = "电" if encoding != "utf-8" else "é"
            body = "".join(f'images/{i}.png{sign}"{text}{more}"\n' for i, text in enumerate(WORDS))
            (self.folder / name).write_bytes(f"image{sign}text\n{body}".encode(encoding))
        bare = "".join(f'images/{i}.png\t"{text}"\n' for i, text in enumerate(WORDS))
        (self.folder / "l.tsv").write_text(f"image\ttext\n{bare}")


def filled(lab: OptionLab, options: Options) -> Options:
    """The options with FILES by their names."""
    return {key: file_of(lab, value) for key, value in options.items()}


def file_of(lab: OptionLab, value: Any) -> Any:
    if isinstance(value, dict):
        return filled(lab, value)
    if isinstance(value, list):
        return [file_of(lab, one) for one in value]
    return lab.file(value[1:]) if isinstance(value, str) and value.startswith("@") else value


def table_of(table: Any) -> Any:
    images = [hashlib.sha256(table.image(i).tobytes()).hexdigest() for i in range(min(3, len(table)))]
    return list(table.texts), images


def said(see: Any, *given: Any) -> Any:
    """What is seen; of what is refused, the message."""
    try:
        return see(*given)
    except TextkdError as error:
        return f"refused: {error}"


def graph(made: Run) -> dict[str, Any]:
    """All that a run is told to do, without the words of its identity."""
    experiment = made.experiment
    nodes = []
    for node in experiment.nodes():
        training = node.training
        stages = [(stage.name, dict(training.arguments(stage)), list(stage.frozen), list(map(repr, stage.matches)),
                   list(stage.quantised))
                  for stage in training.stages]  # fmt: skip
        targets = None if training.targets is None else training.targets.pseudo
        kept = None if training.kept is None else str(training.kept)
        nodes.append((node.name, node.seed, training.trains, training.reads, stages, kept, training.share_encoder,
                      training.update, repr(targets)))  # fmt: skip
    models = {name: (spec.source.kind, spec.source.reads, repr(spec.source.told), spec.is_black_box,
                     None if spec.cache is None else asdict(spec.cache), asdict(spec.live))
              for name, spec in experiment.models.items()}  # fmt: skip
    return {"nodes": nodes, "models": models, "report": experiment.report, "seeds": experiment.seeds,
            "folder": str(made.folder.path), "task": experiment.task.name,
            "artifacts": experiment.artifacts}  # fmt: skip


def shown(made: Any) -> list[str]:
    """What is logged while a recipe is read."""
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("textkd")
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        made()
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    return heard
