"""Results of a run that never was, realistic enough to look at: seeds, stages, named parts, curves, texts."""

from __future__ import annotations

import copy
import math
import random
from typing import Any

from textkd.report.results import Results

RECIPE = """\
task: {name: glue, subset: sst2, path: data/SST-2}
teacher: {path: MiniLM-L6-H384, finetune: {num_train_epochs: 2}}
student: {shrink: {layers: [2, 4, 6]}}
stages:
  - matches:
      - {tap: hidden, loss: mse, layers: uniform}
      - {tap: attention, loss: mse, layers: uniform}
    training: {num_train_epochs: 1, learning_rate: 1.0e-4}
  - matches:
      - {tap: labels, weight: 0.1}
      - {tap: logits, loss: kl, temperature: 4, weight: 0.9}
    training: {num_train_epochs: 2, learning_rate: 5.0e-5}
control: true
seeds: [1, 2, 3]
"""
PARTS_1 = {
    **{f"hidden:{s}<-{t}/mse": 0.9 + 0.4 * s for s, t in ((0, 0), (1, 2), (2, 4), (3, 6))},
    **{f"attention:{s}<-{t}/mse": 0.02 * s for s, t in ((1, 2), (2, 4), (3, 6))},
    **{f"hidden:{s}<-{t}/cosine": 0.5 - 0.1 * s for s, t in ((1, 2), (2, 4), (3, 6))},
}
PARTS_2 = {"labels/cross_entropy": 0.65, "logits/kl": 3.2}


def history(seed: int, steps: int, base: float, parts: bool, every: int = 10) -> list[dict[str, Any]]:
    """Two stages with falling, noisy losses; an evaluation every 20 rows."""
    noise = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for step in range(every, steps + 1, every):
        stage = 1 if parts and step <= steps * 2 // 5 else 2
        names = PARTS_1 if stage == 1 else PARTS_2
        age = step - steps * 2 // 5 if parts and stage == 2 else step
        fall = 0.15 + 0.85 * math.exp(-age / 250)
        now = {name: start * fall * noise.uniform(0.85, 1.15) for name, start in names.items()}
        row: dict[str, Any] = {"step": step, "epoch": step / 700, "stage": stage if parts else 1}
        row["loss"] = sum(now.values()) if parts else 0.69 * fall * noise.uniform(0.8, 1.2)
        row["parts"] = now if parts else {"labels/cross_entropy": row["loss"]}
        if step % (20 * every) == 0:
            level = base * (1 - 0.25 * math.exp(-step / 500))
            row["eval"] = {"accuracy": level + noise.uniform(-0.005, 0.005), "f1": level}
        rows.append(row)
    return rows


def run(seed: int | None, accuracy: float, train_s: float | None = 412.5, **more: Any) -> dict[str, Any]:
    metrics = {"accuracy": accuracy, "f1": accuracy + 0.004}
    return {
        "seed": seed,
        "metrics": metrics,
        "train_s": train_s,
        "peak_mb": 2210.4,
        "steps": 2000,
        "history": [],
        **more,
    }


def model(
    description: str, architecture: str, parameters: int, latency: float, runs: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "description": description,
        "architecture": architecture,
        "path": description.split()[0],
        "parameters": parameters,
        "disk_mb": parameters * 4 / 1e6,
        "latency_ms": latency,
        "samples_per_s": 9400 / latency,
        "runs": runs,
    }


def plain(steps: int = 2000) -> dict[str, Any]:
    """results.json as a dict: three seeds, two stages, twelve parts."""
    teacher = [run(None, 0.9128, None, steps=None, peak_mb=None)]
    student = [run(s, a, history=history(s, steps, a, True)) for s, a in ((1, 0.8968), (2, 0.9014), (3, 0.8991))]
    control = [
        run(s, a, 255.0, history=history(s + 9, steps, a, False)) for s, a in ((1, 0.8761), (2, 0.8807), (3, 0.8716))
    ]
    small = "BertForSequenceClassification 3x384"
    return {
        "name": "sst2_minilm6_to_3",
        "task": "glue/sst2",
        "main_metric": "accuracy",
        "metrics_order": ["accuracy", "f1"],
        "greater_is_better": True,
        "seeds": [1, 2, 3],
        "recipe": RECIPE,
        "seconds_total": 2431.7,
        "models": {
            "teacher": model(
                "MiniLM-L6-H384 fine-tuned on SST-2", "BertForSequenceClassification 6x384", 22713986, 21.4, teacher
            ),
            "student": model("student blocks 2, 4, 6 of the teacher", small, 17391746, 11.2, student),
            "control": model("control the same student, labels only", small, 17391746, 11.3, control),
        },
        "layer_maps": [
            layer_map(1, "hidden", "mse", [[0, 0], [1, 2], [2, 4], [3, 6]]),
            layer_map(1, "attention", "mse", [[1, 2], [2, 4], [3, 6]]),
            layer_map(1, "hidden", "cosine", [[1, 2], [2, 4], [3, 6]]),
            layer_map(2, "query", "mse", [[3, 6]]),
        ],
        "compare": {"student": "student", "teacher": "teacher", "control": "control"},
        "disagreements": {
            "counts": {"both_right": 761, "only_reference": 35, "only_student": 24, "both_wrong": 52},
            "examples": copy.deepcopy(EXAMPLES),
        },
        "measure": {
            "device": "cpu",
            "threads": 2,
            "dtype": "float32",
            "batch": {"latency": 1, "throughput": 32},
            "repeats": 30,
            "sequence_length": 64,
        },
        "versions": {
            "textkd": "0.1.0",
            "python": "3.11.9",
            "torch": "2.13.0",
            "transformers": "5.23.0",
            "datasets": "5.2.0",
        },
        "hardware": {"cpu": "Imaginary Xeon @ 2.60GHz", "cores": 2, "gpu": []},
        "warnings": ["The evaluation set is also the one the checkpoints were looked at on."],
    }


def alone(steps: int = 100) -> dict[str, Any]:
    """The same without a control."""
    data = plain(steps)
    del data["models"]["control"], data["compare"]["control"]
    for example in data["disagreements"]["examples"]:
        del example["said"]["control"]
    return data


def layer_map(stage: int, tap: str, loss: str, pairs: list[list[int]]) -> dict[str, Any]:
    return {"stage": stage, "tap": tap, "loss": loss, "pairs": pairs, "source_blocks": 3, "target_blocks": 6}


EXAMPLES: list[dict[str, Any]] = [
    {
        "text_a": "it 's a charming and often affecting journey , though not one that asks to be taken twice .",
        "label": "positive",
        "said": {"teacher": "positive", "student": "negative", "control": "negative"},
        "sure": {"teacher": 0.97, "student": 0.64},
    },
    {
        "text_a": "unflinchingly bleak and desperate",
        "label": "negative",
        "said": {"teacher": "positive", "student": "negative", "control": "negative"},
        "sure": {"teacher": 0.55, "student": 0.81},
    },
    {
        "text_a": "<script>alert('x')</script> a sometimes tedious film with <b>one</b> good joke & many bad ones "
        + "very " * 120,
        "label": "negative",
        "said": {"teacher": "negative", "student": "positive", "control": "positive"},
        "sure": {"teacher": 0.93, "student": 0.51},
    },
]


def results(**changes: Any) -> Results:
    """The fake as an object, with top-level keys replaced."""
    return Results.model_validate({**plain(600), **changes})
