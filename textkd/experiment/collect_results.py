"""From finished models to results.json: metrics, sizes, speed, which block learnt from which, disagreements."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from textkd import report
from textkd.experiment.benchmark import speed
from textkd.experiment.examples import examples
from textkd.models import loading
from textkd.models.files import saving, write_json
from textkd.models.processes import processes
from textkd.models.taps import anatomy
from textkd.objective.pair import Pair
from textkd.tasks import Task
from textkd.tasks.metrics.directions import falls

if TYPE_CHECKING:
    from textkd.experiment.distiller import Distiller

RECORD = "textkd.json"
SIDES = ("student", "teacher")
# the record of a model that was trained elsewhere
NOT_TRAINED: dict[str, Any] = {"train_s": None, "peak_mb": None, "steps": None, "seed": None, "history": []}


@dataclass(frozen=True)
class Result:
    """What a run ends in. metrics: means over seeds by model. student: the first seed's student folder."""

    metrics: dict[str, dict[str, float]]
    report: Path
    student: Path
    summary: dict[str, Any]


@dataclass(frozen=True)
class Finished:
    """A trained (or given) model: where it is, what it cost, how good it is. `load` gives the model itself."""

    folder: Path | None
    record: Mapping[str, Any]
    load: Callable[[], nn.Module]

    @classmethod
    def read(cls, folder: Path, task: Task) -> Finished | None:
        """The model that `folder` holds, or None if its training has not ended."""
        if not (folder / RECORD).is_file():
            return None
        record = json.loads((folder / RECORD).read_text())
        return cls(folder, record, lambda: loading.load_model(str(folder), task.output.auto_class))

    def complete(self, data: Any, task: Task) -> Finished:
        """With the metrics of every evaluation: a model of before one was asked for is evaluated once more."""
        wanted = {_named(split, name) for split in _evaluated(data) for name in task.output.metric_names}
        if self.folder is None or not processes().is_main_process or wanted <= set(self.record["metrics"]):
            return self
        model = self.load().to(processes().device).eval()
        record = {**self.record, **_measured(task, data, lambda rows: task.output.predict(model, rows, data.collator))}
        write_json(self.folder / RECORD, record)
        return replace(self, record=record)

    @classmethod
    def given(cls, model: nn.Module, data: Any, task: Task) -> Finished:
        """A model that was trained elsewhere, evaluated here."""
        measured = _measured(task, data, lambda rows: task.output.predict(model, rows, data.collator))
        folder = Path(str(getattr(model, "name_or_path", "")))
        record = {**NOT_TRAINED, **measured}
        return cls(folder if (folder / "config.json").is_file() else None, record, lambda: model)

    @classmethod
    def publish(cls, folder: Path, model: Any, record: dict[str, Any], tokenizer: Any, data: Any, task: Task) -> None:
        """A plain Hugging Face folder with textkd.json beside, which appears in one rename; the metrics are those of
        the reloaded weights."""
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        task.output.configure(model, tokenizer)
        with saving(part):
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
        reloaded = loading.load_model(str(part), task.output.auto_class).to(next(model.parameters()).device)
        measured = _measured(task, data, lambda rows: task.output.predict(reloaded, rows, data.collator))
        write_json(part / RECORD, {**record, **measured})
        os.replace(part, folder)

    @classmethod
    def reading(cls, reader: Any, said: Mapping[str, list[str]], data: Any, task: Task) -> Finished:
        """A black box that read the lines of each evaluation split as `said`."""
        texts = {id(rows): said[split] for split, rows in _evaluated(data).items()}
        measured = _measured(task, data, lambda rows: texts[id(rows)])
        return cls(None, {**NOT_TRAINED, **measured, "said": said["eval"]}, lambda: reader)


def _evaluated(data: Any) -> dict[str, Any]:
    """The rows of every evaluation split."""
    return {"eval": data.eval, **{f"eval_{name}": rows for name, rows in data.extra.items()}}


def _measured(task: Task, data: Any, answer: Callable[[Any], Any]) -> dict[str, Any]:
    """The metrics of all evaluation splits, those of further ones by names such as mismatched_accuracy; and what is
    doubtful about them."""
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


def gather(distiller: Distiller, finished: list[dict[str, Finished]], seconds: float, pairs: list[list[Pair]]) -> None:
    """Measures the first seed's models side by side and writes results.json and the student's model card."""
    first = finished[0]
    loaded = {role: _copy(one, distiller) for role, one in first.items()}
    readers = {role: one for role, one in loaded.items() if not isinstance(one, nn.Module)}
    sizes = {role: _disk_mb(one, loaded[role]) for role, one in first.items()}  # before they become float32
    models = {role: one.float().eval().to(processes().device) for role, one in loaded.items() if role not in readers}
    task, data = distiller.task, distiller.data
    speeds, measure = speed(task, models, data, readers)
    shown = examples(task, data, models, {role: first[role].record["said"] for role in readers})
    roles = {role: _unique([seed[role] for seed in finished]) for role in first}
    trained = [seed[role].record["train_s"] or 0.0 for seed in finished for role in seed if role != "teacher"]
    models_told = {role: _model(distiller, role, loaded[role], runs, sizes[role], speeds[role])
                   for role, runs in roles.items()}  # fmt: skip
    results = report.Results.model_validate(
        {
            "name": distiller.name, "recipe": distiller.recipe, "seeds": distiller.seeds,
            "seconds_total": max(seconds, sum(trained)),  # a run that went on began before this process
            "task": task.name, "main_metric": task.output.main_metric, "metrics_order": list(task.output.metric_names),
            "greater_is_better": task.output.greater_is_better,
            "falling": [name for name in first["student"].record["metrics"] if falls(name)],
            "models": models_told,
            "layer_maps": [row for i, stage in enumerate(pairs, 1) for row in _layer_maps(stage, i, models)],
            **shown,
            "measure": measure, "versions": report.versions(*task.output.packages),
            "hardware": report.hardware(),
            "warnings": [*task.warnings(), *distiller.warnings, *_told(finished), *_doubts(task, roles)],
        }
    )  # fmt: skip
    for role in ("student", "control"):
        for seed in finished:
            if role in seed and (folder := seed[role].folder) is not None:
                (folder / "README.md").write_text(report.model_card(results, role), encoding="utf-8")
    report.save(distiller.folder.path, results)  # the run is finished from here on


def _told(finished: list[dict[str, Finished]]) -> list[str]:
    """What the records of the students say of their training texts and caches, once what holds for all seeds."""
    records = [seed["student"].record for seed in finished]
    every = [(record["seed"], note) for record in records for key in ("targets", "notes")
             for note in record.get(key, [])]  # fmt: skip
    counts = Counter(note for _, note in every)
    shared = len(records)
    return list(dict.fromkeys(note if counts[note] == shared else f"seed {seed}: {note}" for seed, note in every))


def _doubts(task: Task, roles: Mapping[str, list[Finished]]) -> list[str]:
    """What is doubtful about the figures of each model."""
    found = []
    for role, runs in roles.items():
        for run in runs:
            seed = f", seed {run.record['seed']}" if len(runs) > 1 else ""
            found += [f"{task.name} {doubt} (the {role}{seed})" for doubt in run.record.get("doubts", [])]
    return found


def _copy(one: Finished, distiller: Distiller) -> Any:
    """The model, to be changed at will; a teacher that the user gave stays as it is. It computes attention as models
    that are loaded do, so that their speeds can be compared."""
    model = one.load()
    if model is not distiller.teacher or not isinstance(model, nn.Module):
        return model
    twin = loading.clone(model)
    for part in (getattr(twin, "encoder", None), getattr(twin, "decoder", None), twin):
        with suppress(ValueError, ImportError, AttributeError, NotImplementedError):  # some know eager alone
            part.set_attn_implementation("sdpa")  # type: ignore[union-attr]
    return twin


def _disk_mb(one: Finished, model: Any) -> float | None:
    """Size of the weights in MB (1e6 bytes): of its safetensors, or what they would have."""
    if not isinstance(model, nn.Module):
        return getattr(model, "disk_mb", None)
    if one.folder is not None and any(one.folder.glob("*.safetensors")):
        return report.disk_mb(one.folder)
    return report.weights_mb(model)


def _unique(runs: list[Finished]) -> list[Finished]:
    """One teacher for all seeds is one run, not three."""
    return list({str(run.folder): run for run in runs}.values())


def _model(
    distiller: Distiller, role: str, model: Any, runs: list[Finished], size: float | None, speed: dict[str, float]
) -> dict[str, Any]:
    folder = runs[0].folder
    if isinstance(model, nn.Module):
        count: int | None = report.parameters(model)
        shape = f"{type(model).__name__} {anatomy(model).size}"
    else:  # it says of itself what can be known
        count = getattr(model, "parameters", None)
        shape = f"{type(model).__name__} {getattr(getattr(model, 'path', None), 'name', '')}".strip()
    record_keys = ("seed", "metrics", "train_s", "peak_mb", "steps", "history")
    return {
        "description": distiller.describe(role),
        "architecture": shape,
        "path": None if folder is None else _shown(folder, distiller.folder.path),
        "parameters": count, "disk_mb": size, **speed,
        "runs": [{key: run.record[key] for key in record_keys} for run in runs],
    }  # fmt: skip


def _shown(folder: Path, run: Path) -> str:
    """A folder inside the run by its way from there, another one by its name."""
    inside = run.resolve() in folder.resolve().parents
    return str(folder.resolve().relative_to(run.resolve())) if inside else folder.name


def _layer_maps(pairs: list[Pair], stage: int, models: Mapping[str, nn.Module]) -> list[dict[str, Any]]:
    rows: dict[tuple[str, str, int, int], list[tuple[int, int]]] = {}
    for pair in pairs:
        if pair.blocks and pair.target is not None:
            ends = pair.source, pair.target
            tap = str(pair.source.at(None).address)
            mine, theirs = (anatomy(models[end.model]).on(end.address).num_blocks for end in ends)
            rows.setdefault((tap, pair.loss.name, mine, theirs), []).extend(pair.blocks)
    return [
        {"stage": stage, "tap": tap, "loss": loss, "pairs": found, "student_blocks": mine, "teacher_blocks": theirs}
        for (tap, loss, mine, theirs), found in rows.items()
    ]
