"""Results of runs that never were, of more models than three: a chain, a cohort, several teachers, what is shipped."""

from __future__ import annotations

from typing import Any

from report_fakes import history, layer_map, model, plain, run

from textkd.report.results import Results

SMALL, MIDDLE, LARGE = (f"BertForSequenceClassification {shape}" for shape in ("3x384", "4x384", "12x768"))


def trained(
    words: str, shape: str, size: int, latency: float, scores: list[float], taught_by: list[str], seed: int = 0
) -> dict[str, Any]:
    """A model trained with seeds 1, 2, ...; one that nobody taught has no parts in its history."""
    runs = [run(s, a, history=history(s + seed, 800, a, bool(taught_by))) for s, a in enumerate(scores, 1)]
    return {**model(words, shape, size, latency, runs), "taught_by": taught_by}


def told(models: dict[str, Any], compare: dict[str, str | None], **changes: Any) -> dict[str, Any]:
    """results.json of text classifiers with these models; every example is said by all of them."""
    data = plain(20)
    say = {name: "positive" if i % 2 else "negative" for i, name in enumerate(models)}
    examples = [
        {
            "text_a": one["text_a"], "label": one["label"], "said": dict(say),
            "sure": {name: 0.6 + 0.05 * i for i, name in enumerate(models)},
        }
        for one in data["disagreements"]["examples"]
    ]  # fmt: skip
    counts = {"both_right": 761, "only_reference": 35, "only_student": 24, "both_wrong": 52}
    return {
        **data, "models": models, "compare": compare, "falling": [], "layer_maps": [], "warnings": [],
        "disagreements": {"counts": counts, "examples": examples}, **changes,
    }  # fmt: skip


def mapped(source: str, target: str, blocks: tuple[int, int], pairs: list[list[int]]) -> dict[str, Any]:
    row = layer_map(1, "hidden", "mse", pairs)
    return {**row, "source": source, "target": target, "source_blocks": blocks[0], "target_blocks": blocks[1]}


def plain_teacher(words: str, score: float, shape: str = "6x384") -> dict[str, Any]:
    given = [run(None, score, None, steps=None, peak_mb=None)]
    return model(words, f"BertForSequenceClassification {shape}", 22_713_986, 21.4, given)


def chain() -> dict[str, Any]:
    """teacher -> assistant -> student, and a control."""
    models = {
        "teacher": plain_teacher("MiniLM-L6-H384 fine-tuned on SST-2", 0.9128),
        "assistant": trained("blocks 1, 2, 4, 6 of the teacher", MIDDLE, 19_166_210, 14.8, [0.9064, 0.9081, 0.9055],
                             ["teacher"]),
        "student": trained("blocks 1, 2, 4 of the assistant", SMALL, 17_391_746, 11.2, [0.8998, 0.9031, 0.9010],
                           ["assistant"], 5),
        "control": trained("the same student, labels only", SMALL, 17_391_746, 11.3, [0.8761, 0.8807, 0.8716], [], 9),
    }  # fmt: skip
    maps = [mapped("assistant", "teacher", (4, 6), [[1, 1], [2, 2], [3, 4], [4, 6]]),
            mapped("student", "assistant", (3, 4), [[1, 1], [2, 2], [3, 4]])]  # fmt: skip
    compare = {"student": "student", "teacher": "teacher", "control": "control"}
    return told(models, compare, name="sst2_with_an_assistant", layer_maps=maps)


def cohort() -> dict[str, Any]:
    """Two peers that teach each other, and a control: nobody's teacher was there before."""
    models = {
        "peer_1": trained("one of two, from seed 1", SMALL, 17_391_746, 11.2, [0.8868, 0.8914, 0.8891], ["peer_2"]),
        "peer_2": trained("one of two, from seed 2", SMALL, 17_391_746, 11.4, [0.8901, 0.8870, 0.8883], ["peer_1"], 5),
        "control": trained("the same model, labels only", SMALL, 17_391_746, 11.3, [0.8761, 0.8807, 0.8716], [], 9),
    }
    return told(models, {"student": "peer_1", "teacher": None, "control": "control"}, name="sst2_two_peers")


def teachers() -> dict[str, Any]:
    """Three teachers, their student and a control."""
    models = {
        "big": plain_teacher("BERT-base fine-tuned on SST-2", 0.9300, "12x768"),
        "other": plain_teacher("MiniLM-L6-H384 fine-tuned on SST-2", 0.9128),
        "long_named_teacher": plain_teacher("MiniLM-L6-H384, another seed", 0.9105),
        "student": trained("blocks 2, 4, 6 of other", SMALL, 17_391_746, 11.2, [0.8998, 0.9031, 0.9010],
                           ["big", "other", "long_named_teacher"]),
        "control": trained("the same student, labels only", SMALL, 17_391_746, 11.3, [0.8761, 0.8807, 0.8716], [], 9),
    }  # fmt: skip
    models["big"].update(parameters=109_483_778, disk_mb=437.9, latency_ms=83.0, samples_per_s=120.0)
    maps = [mapped("student", "big", (3, 12), [[1, 4], [2, 8], [3, 12]]),
            mapped("student", "other", (3, 6), [[1, 2], [2, 4], [3, 6]])]  # fmt: skip
    compare = {"student": "student", "teacher": "big", "control": "control"}
    return told(models, compare, name="sst2_three_teachers", layer_maps=maps)


def shipped(exits: int = 0) -> dict[str, Any]:
    """A chain's models, two artifacts that run elsewhere, and so many exits."""
    data = chain()
    student = data["models"]["student"]
    for name, runtime, latency, size in (("student_onnx", "onnxruntime 1.22", 8.1, 69.7), ("student_int8",
            "onnxruntime 1.22, int8", 4.9, 18.2)):  # fmt: skip
        data["models"][name] = {
            **student, "path": name, "runtime": runtime, "latency_ms": latency, "disk_mb": size, "parameters": None,
            "runs": [run(1, 0.8998, None, steps=None, peak_mb=None)],
        }  # fmt: skip
    for number in range(exits):
        data["models"][f"exit_{number}"] = trained(f"after block {number}", SMALL, 9_000_000, 3.0, [0.8 + number / 1e3],
                                                   ["teacher"], number)  # fmt: skip
    return {**data, "name": "sst2_shipped"}


def read(data: dict[str, Any]) -> Results:
    return Results.model_validate(data)
