"""GLUE (Wang et al. 2019, arXiv 1804.07461) from the hub, or from local TSV folders; the subsets are data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textkd.errors import Collector, fail
from textkd.models.files import at_home
from textkd.tasks.data.holdout import limit_of
from textkd.tasks.data.sources import HubSource, Source, file_source
from textkd.tasks.text.rows import Layout
from textkd.tasks.text.task import TaskSpec, TextTask

HUB = "nyu-mll/glue"
NLI = ("entailment", "neutral", "contradiction")
ENTAILMENT = ("entailment", "not_entailment")


@dataclass(frozen=True)
class Subset:
    """One GLUE task. folder: its official name; columns of the hub and of the official TSVs (MRPC: "#1 String");
    labels in the hub's order of ids; metrics, the main one first; extra: more eval splits (name, hub split, file)."""

    folder: str
    hub: tuple[str, ...]
    labels: tuple[str, ...] | None
    metrics: tuple[str, ...] = ("accuracy",)
    official: tuple[str, ...] = ()
    label: str = "label"
    eval_hub: str = "validation"
    eval_files: tuple[str, ...] = ("dev.tsv",)
    extra: tuple[tuple[str, str, str], ...] = ()
    limits: tuple[float, float] | None = None
    undefined: tuple[str, ...] = ()
    headerless: tuple[str, ...] = ()
    dataset: str = HUB


SUBSETS = {
    "cola": Subset(
        "CoLA", ("sentence",), ("unacceptable", "acceptable"), ("matthews_correlation",),
        headerless=("source", "label", "mark", "sentence"),
    ),
    "sst2": Subset("SST-2", ("sentence",), ("negative", "positive")),
    "mrpc": Subset(
        "MRPC", ("sentence1", "sentence2"), ("not_equivalent", "equivalent"), ("accuracy", "f1"),
        official=("#1 String", "#2 String"), label="Quality",
    ),
    "stsb": Subset(
        "STS-B", ("sentence1", "sentence2"), None, ("pearson", "spearmanr"), label="score", limits=(0.0, 5.0),
    ),
    "qqp": Subset(
        "QQP", ("question1", "question2"), ("not_duplicate", "duplicate"), ("accuracy", "f1"), label="is_duplicate",
    ),
    "mnli": Subset(
        "MNLI", ("sentence1", "sentence2"), NLI, label="gold_label", undefined=("-",), eval_hub="validation_matched",
        eval_files=("dev_matched.tsv", "dev.tsv"),
        extra=(("eval_mismatched", "validation_mismatched", "dev_mismatched.tsv"),),
    ),
    "qnli": Subset("QNLI", ("question", "sentence"), ENTAILMENT),
    "rte": Subset("RTE", ("sentence1", "sentence2"), ENTAILMENT),
    "wnli": Subset("WNLI", ("sentence1", "sentence2"), ("not_entailment", "entailment")),
    "snli": Subset(
        "SNLI", ("sentence1", "sentence2"), NLI, label="gold_label", undefined=("-", "-1"), dataset="stanfordnlp/snli",
    ),
}  # fmt: skip
# the hub calls MNLI's and SNLI's columns by another name than the official files
HUB_PAIRS = {"mnli": ("premise", "hypothesis"), "snli": ("premise", "hypothesis")}


def glue(
    subset: str,
    path: str | Path | None = None,
    *,
    skip_damaged: bool = False,
    limit: int | Mapping[str, Any] | None = None,
) -> TextTask:
    """A GLUE task: cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli, and snli.

    The eval split is the official dev set; MNLI has eval_mismatched too. Labels are names or the hub's ids. Data is
    read on first use; see `TextTask.problems`.

    Args:
        subset: a name of those above.
        path: a folder with train.tsv and dev.tsv (tabs, no quoting) in the official layout or as index, text_a, text_b,
            label; or the folder above it (`glue_data`, holding SST-2/ ...). None: it comes from the hub.
        skip_damaged: leaves rows of a wrong shape out, with a warning (the official QQP files hold some).
        limit: so many train rows, drawn at random; or {"rows": 10000, "seed": 0}.

    Returns:
        A task with the metrics of GLUE.

    Raises:
        TextkdError: an unknown subset or folder, or a limit that cannot be.

    Source:
        Wang et al. 2019, arXiv:1804.07461. snli: Bowman et al. 2015, arXiv:1508.05326.

    Example:
        >>> glue("sst2", limit=1000).labels
        ['negative', 'positive']
    """
    if subset not in SUBSETS:
        raise fail(f"GLUE subset {subset!r}", f"the subsets are {', '.join(SUBSETS)}", near=(subset.lower(), SUBSETS))
    row = SUBSETS[subset]
    collector, part, sources = Collector(), None, dict[str, Source]()
    with collector.collecting("limit"):
        part = limit_of(limit)
    spec = TaskSpec(
        name=f"glue/{subset}",
        type="classification" if row.labels else "regression",
        layouts=_layouts(subset, row),
        metric=("glue", subset),
        metric_names=row.metrics,
        labels=row.labels,
        limits=row.limits,
        undefined=row.undefined,
        skip_damaged=skip_damaged,
        limit=part,
        headerless=row.headerless,
    )
    folder = None
    with collector.collecting("path"):
        folder = None if path is None else at_home(path)
    with collector.collecting():
        sources = _hub(subset, row) if folder is None else _local(row, spec, folder)
    collector.raise_any()
    return TextTask(spec, sources)


def _layouts(subset: str, row: Subset) -> tuple[Layout, ...]:
    """The official columns first (they are named in errors), then the hub's, then text_a, text_b, label."""
    pair = len(row.hub) == 2
    columns = [
        (row.official or row.hub, row.label),
        (row.hub, "label"),
        (("text_a", "text_b")[: len(row.hub)], "label"),
    ]
    if subset in HUB_PAIRS:
        columns.append((HUB_PAIRS[subset], "label"))
    if row.label == "score":
        columns.append((("text_a", "text_b"), "score"))
    return tuple(dict.fromkeys(Layout(texts[0], texts[1] if pair else None, label) for texts, label in columns))


def _hub(subset: str, row: Subset) -> dict[str, Source]:
    splits = {"train": "train", "eval": row.eval_hub, **{name: hub for name, hub, _ in row.extra}}
    config = subset if row.dataset == HUB else None
    fix = "connect to https://huggingface.co, or read the official TSV files with path: FOLDER"
    return {name: HubSource(row.dataset, config, split, fix) for name, split in splits.items()}


def _local(row: Subset, spec: TaskSpec, folder: Path) -> dict[str, Source]:
    if not folder.is_dir():
        siblings = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise fail(
            f"folder {folder} of {spec.name}", "no such folder", near=(folder.name, siblings), fix="correct task.path"
        )
    inner = folder / row.folder
    if inner.is_dir() and not any((folder / name).is_file() for name in ("train.tsv", *row.eval_files)):
        folder = inner
    dev = next((name for name in row.eval_files if (folder / name).is_file()), row.eval_files[0])
    files = {"train": "train.tsv", "eval": dev}
    files |= {name: file for name, _, file in row.extra if (folder / file).is_file()}
    options = {"headerless": spec.headerless, "headers": tuple(layout.columns for layout in spec.layouts)}
    collector, sources = Collector(), dict[str, Source]()
    for split, name in files.items():
        with collector.collecting():
            sources[split] = file_source(folder / name, **options)
    collector.raise_any()
    return sources
