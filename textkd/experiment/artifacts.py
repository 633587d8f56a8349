"""What is shipped of a run's models: exported, measured through the runtime that runs it, kept if it is good enough.

An artifact is made of the first seed's model: its speed and size are those that the report shows.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from textkd.deploy import manifest
from textkd.deploy.artifact import Artifact
from textkd.deploy.modules import module_of
from textkd.deploy.to_onnx import export_onnx
from textkd.errors import Collector, Problem, TextkdError, problem
from textkd.experiment.finished import NOT_TRAINED, Finished, measured
from textkd.experiment.setup import Setup
from textkd.models.files import read_record, write_json
from textkd.models.model_files import fingerprint_of

log = logging.getLogger("textkd")
RECORD = "textkd.json"  # beside the graph: what it was made of and how good it is
PART = ".part"  # behind the name of a folder that is not whole yet
ASKED = "artifacts.json"  # in the run folder: what its results are about


def folder_of(setup: Setup, name: str) -> Path:
    """Where an artifact lies."""
    return setup.folder.path / "artifacts" / name


def problems(
    artifacts: Sequence[Artifact], models: Sequence[str], trained: Sequence[str], writes: bool = False
) -> list[Problem]:
    """What is wrong with artifacts: their names, what they are made of, their form.

    Args:
        artifacts: of an experiment.
        models: the names of all its models.
        trained: those of them that it trains.
        writes: whether the models write texts.
    """
    found = Collector()
    names = [one.name for one in artifacts]
    for number, one in enumerate(artifacts):
        with found.collecting(f"artifacts[{number}]"):
            if one.of not in trained:
                what, fix = "no such model", f"of: {' or '.join(trained)}"
                if one.of in models:
                    what = "it lies beside the run, for other runs too: this one exports what it trains for itself"
                    fix += "; else textkd export FOLDER OUT --format onnx (textkd plan says which folder)"
                found.add(problem(f"an artifact of {one.of}", what, near=(one.of, trained), fix=fix, where="of"))
            if writes and one.int8 == "static":
                what = "the weights of models that write are quantised without rows"
                found.add(problem("int8: static", what, fix="int8: dynamic", where="int8"))
            if names.index(one.name) != number or one.name in models:
                what = "another artifact, or a model, has this name"
                found.add(problem(f"the artifact {one.name}", what, fix="name: another one", where="name"))
    return found.problems


@dataclass(frozen=True)
class Shipped:
    """What was exported of a run's models.

    Args:
        models: those that were written, by name.
        of: the models that they were made of, by the same names.
        told: a sentence on each that was not written, because it loses too much.
    """

    models: Mapping[str, Finished]
    of: Mapping[str, str]
    told: Sequence[str] = ()


def is_wanting(setup: Setup) -> bool:
    """Whether a finished run has other artifacts than its recipe asks for now, or has lost one."""
    file, asked = setup.folder.path / ASKED, [asdict(one) for one in setup.experiment.artifacts]
    if not file.is_file():
        return bool(asked)
    known = read_record(file, "the artifacts of", "delete it: the same command makes them again")
    lost = [name for name in known.get("written", []) if not manifest.is_exported(folder_of(setup, name))]
    return known.get("asked") != asked or bool(lost)


def note(setup: Setup, shipped: Shipped) -> None:
    """Writes down which artifacts the results are about."""
    asked = [asdict(one) for one in setup.experiment.artifacts]
    if asked or (setup.folder.path / ASKED).is_file():
        write_json(setup.folder.path / ASKED, {"asked": asked, "written": list(shipped.models)})


def ship(setup: Setup, finished: Mapping[str, Finished]) -> Shipped:
    """Exports and measures all artifacts; those that are there already are read.

    Args:
        setup: of the run.
        finished: the models of the first seed, by name.
    """
    shipped, told = dict[str, Finished](), left_over(setup)
    for one in setup.experiment.artifacts:
        row, refused = _shipped(setup, one, finished[one.of])
        if refused:
            told.append(refused)
            log.warning(refused)
        else:
            shipped[one.name] = row
    return Shipped(shipped, {one.name: one.of for one in setup.experiment.artifacts}, told)


def left_over(setup: Setup) -> list[str]:
    """A sentence on each artifact in the run folder that the recipe does not ask for: it may be of other weights."""
    asked = {one.name for one in setup.experiment.artifacts}
    there = sorted(file.parent for file in folder_of(setup, "x").parent.glob(f"*/{manifest.FILE}"))
    return [
        f"artifacts/{folder.name} is of an earlier recipe: this report is not about it"
        for folder in there if folder.name not in asked and folder.suffix != PART
    ]  # fmt: skip


def _shipped(setup: Setup, artifact: Artifact, of: Finished) -> tuple[Finished, str]:
    """An artifact, and why it was not kept ("" where it was)."""
    assert of.folder is not None
    folder, made_of = folder_of(setup, artifact.name), _made_of(artifact, of.folder)
    record = _known(folder, made_of)
    is_new = record is None
    part = folder.with_name(folder.name + PART) if is_new else folder  # nothing is at its place before it is judged
    if record is None:
        log.info("%s: %s as %s", artifact.name, artifact.of, spoken(artifact))
        rows, told = _calibration(setup, artifact)
        shutil.rmtree(part, ignore_errors=True)
        export_onnx(of.folder, part, int8=artifact.int8, rows=rows, rows_from=told)
        record = _judged(setup, artifact, part, of, made_of)
        write_json(part / RECORD, record)
    refused = refusal(setup.experiment.task.output, artifact, record, of)
    if refused or is_new:
        shutil.rmtree(folder, ignore_errors=True)
    if refused:
        shutil.rmtree(part, ignore_errors=True)
    elif is_new:
        os.replace(part, folder)
    return Finished(folder, record, lambda: module_of(folder, threads())), refused


def threads() -> int:
    """Threads of the runtime: as many as torch has, so that speeds can be compared."""
    return torch.get_num_threads()


def spoken(artifact: Artifact) -> str:
    """The form of an artifact, as "onnx, int8 (dynamic)"."""
    return f"{artifact.format}, int8 ({artifact.int8})" if artifact.int8 else artifact.format


def _made_of(artifact: Artifact, folder: Path) -> str:
    words = {name: value for name, value in asdict(artifact).items() if name not in ("name", "keep")}
    weights = fingerprint_of(sorted(folder.glob("*.safetensors")))
    return hashlib.sha256(json.dumps([words, weights, manifest.EDITION], sort_keys=True).encode()).hexdigest()


def _known(folder: Path, made_of: str) -> dict[str, Any] | None:
    """The record of an artifact that is there already, whole, and of this model; None where there is none."""
    if not manifest.is_exported(folder) or not (folder / RECORD).is_file():
        return None
    try:
        manifest.read(folder)
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (TextkdError, ValueError, OSError):
        return None
    return record if isinstance(record, dict) and record.get("made_of") == made_of else None


def _calibration(setup: Setup, artifact: Artifact) -> tuple[list[Any], str]:
    """Texts of the training data for the ranges of static activations, and what they are."""
    if artifact.int8 != "static":
        return [], ""
    shown = setup.experiment.task.load("train")
    count = min(artifact.rows, len(shown))
    places = [round(i * (len(shown) - 1) / max(1, count - 1)) for i in range(count)]
    return [_text(shown[place]) for place in places], f"the {len(shown):,} training rows"


def _text(row: Mapping[str, Any]) -> Any:
    if "words" in row:
        return " ".join(row["words"])
    return row["text_a"] if row.get("text_b") is None else (row["text_a"], row["text_b"])


def _judged(setup: Setup, artifact: Artifact, folder: Path, of: Finished, made_of: str) -> dict[str, Any]:
    """The metrics of an artifact, text by text, through its runtime; and how often it answers as its model does."""
    task, data = setup.experiment.task, setup.rows.seen_by(artifact.of)
    exported, model, said = module_of(folder, threads(), one_by_one=True), of.load(), dict[int, Any]()

    def answer(rows: Any) -> Any:
        said[id(rows)] = task.output.predict(exported, rows, data.collator)
        return said[id(rows)]

    told = measured(task, data, answer)
    before = task.output.predict(model, data.eval, data.collator)
    after = said[id(data.eval)]
    lost = task.output.lost(before, after, task.output.references(data.eval))
    same = task.output.same(before, after)
    alike = "" if same is None else f", the same answer in {same:.2%} of the evaluation rows"
    about = f"{artifact.of} as {spoken(artifact)}{alike}"
    return {**NOT_TRAINED, **told, "made_of": made_of, "lost": lost, "about": about}


def refusal(output: Any, artifact: Artifact, record: Mapping[str, Any], of: Any) -> str:
    """Why an artifact is not kept; "" where it is good enough, or nothing is asked of it.

    Args:
        output: of the task.
        artifact: with the share that it has to keep.
        record: its metrics, and what it lost.
        of: the model that it was made of, with its record.
    """
    if artifact.keep is None:
        return ""
    name = output.main_metric
    whole, here = of.record["metrics"][name], record["metrics"][name]
    if output.greater_is_better:
        least = artifact.keep * whole
        is_bad, limit = here < least, f"at least {artifact.keep:g} of {whole:.4f}"
    else:
        is_bad, limit = here > whole / artifact.keep, f"at most {whole:.4f} / {artifact.keep:g}"
    if not is_bad:
        return ""
    lost = f"; {record['lost']}" if record.get("lost") else ""
    return f"{artifact.name} was not written: {name} {here:.4f}, where keep asks for {limit} of {artifact.of}{lost}"


def asked_for(artifacts: Sequence[Artifact]) -> str:
    """The block of a recipe that asks for them; "" without any."""
    blocks = [{name: value for name, value in asdict(one).items() if value not in ("", None)} for one in artifacts]
    return yaml.safe_dump({"artifacts": blocks}, sort_keys=False) if blocks else ""
