"""From finished models to results.json: metrics, sizes, speed, which block learnt from which, examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from textkd import report
from textkd.deploy.as_module import Exported
from textkd.experiment.artifacts import Shipped, asked_for
from textkd.experiment.benchmark import speed
from textkd.experiment.examples import examples
from textkd.experiment.finished import Finished
from textkd.experiment.plan import Experiment
from textkd.experiment.setup import Setup
from textkd.models import loading
from textkd.models.files import write_atomic
from textkd.models.own import marks
from textkd.models.own.door import Own
from textkd.models.processes import processes
from textkd.models.taps import anatomy
from textkd.objective.pair import Pair
from textkd.report.words import spoken
from textkd.tasks import Task
from textkd.tasks.metrics.directions import falls
from textkd.teachers.generation import words

KEPT = ("seed", "metrics", "train_s", "peak_mb", "steps", "history")  # of a record, for the report


@dataclass(frozen=True)
class Bound:
    """The pairs of one stage of a training, for the drawings of the report."""

    stage: int
    pairs: Sequence[Pair]


def collect_results(
    setup: Setup, finished: Sequence[Mapping[str, Finished]], shipped: Shipped, seconds: float, bound: Sequence[Bound]
) -> None:
    """Measures the first seed's models side by side, writes model cards and results.json: then the run is finished.

    Args:
        setup: the experiment, its folder, and what its models were judged on, as each reads it.
        finished: of every seed, the models of the report's rows by name.
        shipped: what was exported of the first seed's models.
        seconds: that this process worked.
        bound: which taps were compared.
    """
    experiment, data, folder = setup.experiment, setup.rows, setup.folder.path
    finished = [{**finished[0], **shipped.models}, *finished[1:]]
    first, task, output = finished[0], experiment.task, experiment.task.output
    compared = experiment.report
    loaded = {name: _copy(one) for name, one in first.items()}
    readers = {name: one for name, one in loaded.items() if not isinstance(one, nn.Module)}
    sizes = {name: _disk_mb(one, loaded[name]) for name, one in first.items()}  # before they become float32
    models = {name: one.float().eval().to(processes().device) for name, one in loaded.items() if name not in readers}
    # what is shipped of a model reads as that model does
    own = {**data.own, **{name: data.own[of] for name, of in shipped.of.items() if of in data.own}}
    speeds, measure = speed(task, models, data.data, readers, own)
    others = [
        name for name in (compared.teacher, compared.control, *compared.rows) if name and name != compared.student
    ]
    between = (others[0] if others else compared.student, compared.student)
    known = {name: first[name].record["said"] for name in readers}
    shown = examples(task, data.data, models, between, known, own)
    runs = {name: _unique([seed[name] for seed in finished if name in seed]) for name in first}
    here = {str(one.folder): one.record["train_s"] or 0.0 for name, every in runs.items() for one in every
            if _is_of_this_run(experiment, name)}  # fmt: skip
    rows = {
        name: _row(experiment, name, loaded[name], runs[name], folder)
        | {"taught_by": _teachers(experiment, name, bound), "disk_mb": sizes[name], **speeds[name]}
        for name in first
    }
    results = report.Results.model_validate(
        {
            "name": experiment.name, "seeds": list(experiment.seeds),
            "recipe": experiment.recipe + asked_for(experiment.artifacts),
            "seconds_total": max(seconds, sum(here.values())),  # a run that went on began before this process
            "task": task.name, "main_metric": output.main_metric, "metrics_order": list(output.metric_names),
            "greater_is_better": output.greater_is_better,
            "falling": [name for name in first[compared.student].record["metrics"] if falls(name)],
            "compare": {"student": compared.student, "teacher": compared.teacher or None,
                        "control": compared.control or None},
            "models": rows,
            "layer_maps": [row for one in bound for row in _layer_maps(one, models)],
            **shown,
            "measure": measure, "versions": report.versions(*output.packages), "hardware": report.hardware(),
            "max_length": None if output.writes else data.room[1],
            "warnings": [*_doubts(task, runs), *data.notes, *experiment.warnings, *shipped.told,
                         *_told(experiment, finished)],
        }
    )  # fmt: skip
    for seed in finished:
        for name, one in seed.items():
            if one.folder is not None and one.folder.resolve().is_relative_to(folder.resolve()):
                write_atomic(one.folder / "README.md", report.model_card(results, name))
    report.save(folder, results)  # the run is finished from here on


def _is_of_this_run(experiment: Experiment, model: str) -> bool:
    """Whether the run trained a model for itself, and not for others too."""
    training = experiment.trainer_of(model)
    return training is not None and training.kept is None


def _told(experiment: Experiment, finished: Sequence[Mapping[str, Finished]]) -> list[str]:
    """What the records say of training texts and caches, once what holds for all seeds."""
    told = []
    for name in finished[0]:
        if not _is_of_this_run(experiment, name) or name == experiment.report.control:
            continue
        records = [seed[name].record for seed in finished]
        every = [(one["seed"], note) for one in records for key in ("targets", "notes") for note in one.get(key, [])]
        counts = Counter(note for _, note in every)
        told += [note if counts[note] == len(records) else f"seed {seed}: {note}" for seed, note in every]
    return list(dict.fromkeys(told))


def _doubts(task: Task, rows: Mapping[str, list[Finished]]) -> list[str]:
    """What is doubtful about the figures of each model."""
    found = []
    for name, runs in rows.items():
        for run in runs:
            seed = f", seed {run.record['seed']}" if len(runs) > 1 else ""
            found += [f"{task.name} {doubt} ({spoken(name)}{seed})" for doubt in run.record.get("doubts", [])]
    return found


def _copy(one: Finished) -> Any:
    """The model, to be changed at will; one that the user gave stays as it is. It computes attention as models that
    are loaded do, so that their speeds can be compared."""
    model = one.load()
    if not one.is_given or not isinstance(model, nn.Module):
        return model
    twin = loading.clone(model)
    for part in (getattr(twin, "encoder", None), getattr(twin, "decoder", None), twin):
        with suppress(ValueError, ImportError, AttributeError, NotImplementedError):  # some know eager alone
            part.set_attn_implementation("sdpa")  # type: ignore[union-attr]
    return twin


def _disk_mb(one: Finished, model: Any) -> float | None:
    """Size of the weights in MB (1e6 bytes): of its safetensors, or what they would have."""
    if isinstance(model, Exported) or not isinstance(model, nn.Module):
        return getattr(model, "disk_mb", None)
    if one.folder is not None and any(one.folder.glob("*.safetensors")):
        return report.disk_mb(one.folder)
    return report.weights_mb(model)


def _unique(runs: list[Finished]) -> list[Finished]:
    """One teacher for all seeds is one run, not three."""
    return list({str(run.folder): run for run in runs}.values())


def _row(experiment: Experiment, name: str, model: Any, runs: list[Finished], run: Path) -> dict[str, Any]:
    folder, runtime = runs[0].folder, None
    if isinstance(model, Exported):
        count, shape, runtime = model.weights, model.architecture, model.runtime_name
    elif isinstance(model, nn.Module):
        count, shape = report.parameters(model), f"{type(model).__name__} {anatomy(model).size}"
    else:  # it says of itself what can be known
        count, shape = getattr(model, "parameters", None), words.name(model)
    return {
        "description": runs[0].record.get("about") or experiment.models[name].about(model),
        "architecture": shape,
        "runtime": runtime,
        "loads_with": marks.TYPE if isinstance(model, Own) else None,
        "path": None if folder is None else _shown(folder, run),
        "parameters": count,
        "runs": [{key: one.record[key] for key in KEPT} for one in runs],
    }


def _teachers(experiment: Experiment, model: str, bound: Sequence[Bound]) -> list[str]:
    """The models that one learned from: those that its matches compare it with, and the one that wrote its texts."""
    training = experiment.trainer_of(model)
    if training is None:
        return []
    writer = training.reads[:1] if training.targets is not None else ()
    compared = [name for one in bound for pair in one.pairs if pair.source.model == model for name in pair.models]
    order = (*training.reads, *training.trains)
    return [name for name in order if name in {*writer, *compared} - {model}]


def _shown(folder: Path, run: Path) -> str:
    """A folder inside the run by its way from there, another one by its name."""
    inside = run.resolve() in folder.resolve().parents
    return str(folder.resolve().relative_to(run.resolve())) if inside else folder.name


def _layer_maps(bound: Bound, models: Mapping[str, nn.Module]) -> list[dict[str, Any]]:
    rows: dict[tuple[Any, ...], list[tuple[int, int]]] = {}
    for pair in bound.pairs:
        if pair.blocks and pair.target is not None and {pair.source.model, pair.target.model} <= set(models):
            ends = pair.source, pair.target
            tap = str(pair.source.at(None).address)
            own_blocks, other_blocks = (anatomy(models[end.model]).on(end.address).num_blocks for end in ends)
            rows.setdefault((tap, pair.loss.name, own_blocks, other_blocks, *(e.model for e in ends)), []).extend(
                pair.blocks
            )
    return [
        {"stage": bound.stage, "tap": tap, "loss": loss, "pairs": found, "source_blocks": own_blocks,
         "target_blocks": other_blocks, "source": source, "target": target}
        for (tap, loss, own_blocks, other_blocks, source, target), found in rows.items()
    ]  # fmt: skip
