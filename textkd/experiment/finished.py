"""A finished model: where it is, what it cost, how good it is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from textkd.errors import TextkdError, fail
from textkd.experiment.plainly import plain_doubts
from textkd.models import loading
from textkd.models.files import read_record, saving, write_json
from textkd.models.model_files import fingerprint_of
from textkd.models.processes import processes
from textkd.models.regular import special
from textkd.tasks import Task

RECORD = "textkd.json"
# the record of a model that was trained elsewhere
NOT_TRAINED: dict[str, Any] = {"train_s": None, "peak_mb": None, "steps": None, "seed": None, "history": []}


@dataclass(frozen=True)
class Finished:
    """A trained (or given) model: where it is, what it cost, how good it is. `load` gives the model itself."""

    folder: Path | None
    record: Mapping[str, Any]
    load: Callable[[], nn.Module]
    is_given: bool = False  # `load` gives the very object that somebody gave

    @staticmethod
    def is_there(folder: Path) -> bool:
        """Whether `folder` holds a finished model."""
        return (folder / RECORD).exists()

    @classmethod
    def read(cls, folder: Path, task: Task) -> Finished | None:
        """The model that `folder` holds, or None if its training has not ended."""
        if not cls.is_there(folder):
            return None
        fix = "delete this folder: the same command trains it again"
        record = read_record(folder / RECORD, "the finished model", fix)
        lost = [name for name in ("metrics", "history", "steps") if name not in record]
        if lost or not isinstance(record["metrics"], dict):
            what = f"{RECORD} is damaged: it holds no {' or '.join(lost or ['metrics'])}"
            raise fail(f"the finished model {folder}", what, fix=fix)
        if not is_sound(folder, record):
            what = f"its weights are other ones than those that {RECORD} has measured"
            raise fail(f"the finished model {folder}", what, fix=fix)
        return cls(folder, record, lambda: loading.load_model(str(folder), task.output.auto_class))

    def complete(self, data: Any, task: Task) -> Finished:
        """With the metrics of every evaluation: a model of before one was asked for is evaluated once more."""
        wanted = {_named(split, name) for split in _evaluated(data) for name in task.output.metric_names}
        if self.folder is None or not processes().is_main_process or wanted <= set(self.record["metrics"]):
            return self
        model = self.load().to(processes().device).eval()
        record = {**self.record, **measured(task, data, lambda rows: task.output.predict(model, rows, data.collator))}
        write_json(self.folder / RECORD, record)
        return replace(self, record=record)

    @classmethod
    def given(cls, model: nn.Module, data: Any, task: Task) -> Finished:
        """A model that was trained elsewhere, evaluated here."""
        told = measured(task, data, lambda rows: task.output.predict(model, rows, data.collator))
        folder = Path(str(getattr(model, "name_or_path", "")))
        record = {**NOT_TRAINED, **told, "doubts": [*task.output.on_trust(model), *told["doubts"]]}
        return cls(folder if (folder / "config.json").is_file() else None, record, lambda: model, is_given=True)

    @classmethod
    def publish(
        cls, folder: Path, model: Any, record: dict[str, Any], tokenizer: Any, data: Any, task: Task, length: int
    ) -> None:
        """A plain Hugging Face folder with textkd.json beside, which appears in one rename; the metrics are those of
        the reloaded weights. length: tokens per row, at which its tokenizer cuts texts too."""
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        longest = max(_evaluated(data).values(), key=lambda rows: max(rows["length"], default=0))
        task.output.configure(model, tokenizer, longest)
        with saving(part), _cutting_at(tokenizer, length):
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
        device, said = next(model.parameters()).device, dict[int, Any]()
        reloaded = loading.load_model(str(part), task.output.auto_class).to(device)

        def answer(rows: Any) -> Any:
            said[id(rows)] = task.output.predict(reloaded, rows, data.collator)
            return said[id(rows)]

        told = measured(task, data, answer)
        doubts = [*plain_doubts(part, task, data.eval, said[id(data.eval)], device), *told["doubts"]]
        write_json(part / RECORD, {**record, **told, "doubts": doubts, "weights": fingerprint_of(_weights(part))})
        os.replace(part, folder)

    @classmethod
    def reading(cls, reader: Any, said: Mapping[str, list[str]], data: Any, task: Task) -> Finished:
        """A black box that read the lines of each evaluation split as `said`."""
        texts = {id(rows): said[split] for split, rows in _evaluated(data).items()}
        told = measured(task, data, lambda rows: texts[id(rows)])
        return cls(None, {**NOT_TRAINED, **told, "said": said["eval"]}, lambda: reader, is_given=True)


@contextmanager
def _cutting_at(tokenizer: Any, length: int) -> Iterator[None]:
    """Inside, a tokenizer says that its model takes `length` tokens."""
    before = getattr(tokenizer, "model_max_length", None)
    if before is None:  # a processor of images
        yield
        return
    tokenizer.model_max_length = length
    try:
        yield
    finally:
        tokenizer.model_max_length = before


def is_sound(folder: Path, record: Mapping[str, Any]) -> bool:
    """Whether the weights in a folder are those that its record is about; early records do not say so."""
    files = _weights(folder)
    if any(map(special, files)):  # pipes and the like, which nobody opens
        return False
    return "weights" not in record or record["weights"] == _hash_of(*map(_state, files))


def lost(folder: Path) -> str:
    """What has become of a model that once lay in a folder; "" where it is as it was published."""
    if not (folder / RECORD).exists() or not _weights(folder):
        gone = "it is" if not (folder / RECORD).exists() else "its weights are"
        return f"{gone} not there any more"
    try:
        sound = is_sound(folder, read_record(folder / RECORD, "the finished model", ""))
    except (TextkdError, OSError):
        return f"{RECORD} or its weights cannot be read"
    return "" if sound else "its weights are other ones than those that were measured"


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _state(file: Path) -> tuple[Path, int, int]:
    about = file.stat()
    return file, about.st_mtime_ns, about.st_size


@lru_cache(maxsize=64)
def _hash_of(*files: tuple[Path, int, int]) -> str:
    """A hash of files, read once for each of their states."""
    return fingerprint_of([file for file, *_ in files])


def _evaluated(data: Any) -> dict[str, Any]:
    """The rows of every evaluation split."""
    return {"eval": data.eval, **{f"eval_{name}": rows for name, rows in data.extra.items()}}


def measured(task: Task, data: Any, answer: Callable[[Any], Any]) -> dict[str, Any]:
    """The metrics of all evaluation splits, those of further ones by names such as mismatched_accuracy; and what is
    doubtful about them.

    Args:
        task: whose output judges.
        data: with the rows of every split.
        answer: f(rows) -> what the model predicts.
    """
    metrics, doubts = dict[str, float](), list[str]()
    for split, rows in _evaluated(data).items():
        said, wanted = answer(rows), task.output.references(rows)
        for name, value in task.output.compute_metrics(said, wanted).items():
            metrics[_named(split, name)] = value
        doubts += [f"{split}: {doubt}" for doubt in task.output.doubts(said, wanted)]
    return {"metrics": metrics, "doubts": doubts}


def _named(split: str, metric: str) -> str:
    """A metric of an evaluation split as reports call it."""
    front = split.removeprefix("eval").lstrip("_")
    return f"{front}_{metric}" if front else metric
