"""Runs whose targets a teacher writes: a black box that only reads, or a model; what the control has then."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pseudo_lab import DECODER, ENCODER, EVAL, MORE, OWN, SIZE, TRAINING

from textkd import Distiller, Match, Pseudo, TextkdError, new_ocr_model, tasks
from textkd.cli import runs
from textkd.experiment import collect_results
from textkd.experiment.plan import Compared, Experiment, Training
from textkd.experiment.same_steps import same_steps
from textkd.tasks.ocr.digits import DigitLines
from textkd.tasks.ocr.processor import line_processor
from textkd.teachers.generation import pseudo_labels
from textkd.teachers.generation.pseudo_labels import Targets
from textkd.training.stages import Stage


class DigitReader:
    """Knows the lines of OWN, MORE and EVAL by their pixels. unsure: reads those of every n-th line with confidence
    0.1. dies_after: lines, then it is killed. read: how many it was shown."""

    def __init__(self, unsure: int = 0, dies_after: int | None = None) -> None:
        self.unsure, self.dies_after, self.read = unsure, dies_after, 0
        tables = [DigitLines(**spec["digits"]) for spec in (OWN, MORE, EVAL)]
        self.texts = {table.image(i).tobytes(): table.texts[i] for table in tables for i in range(len(table))}

    def __call__(self, images: Any) -> list[tuple[str, float]]:
        self.read += len(images)
        if self.dies_after is not None and self.read > self.dies_after:
            raise KeyboardInterrupt
        said = [self.texts[image.convert("RGB").tobytes()] for image in images]
        return [(text, 0.1 if self.unsure and i % self.unsure == 0 else 0.9) for i, text in enumerate(said)]

    def fingerprint(self) -> str:
        return f"digits {self.unsure}"


def task(**options: Any) -> Any:
    return tasks.ocr(**{"train": OWN, "eval": EVAL, **SIZE, "augment": False, **options})


def student(teacher: Any, seed: int, processor: Any = None) -> Any:
    reads = processor or line_processor([*"0123456789"], **SIZE)
    return new_ocr_model(ENCODER, DECODER, tokenizer=reads.tokenizer)


def made(folder: Path, reader: Any, pseudo: Pseudo, **options: Any) -> Distiller:
    options = {"task": task(), "args": {**TRAINING, "output_dir": str(folder / "run")}, "seeds": [1], **options}
    return Distiller(reader, student, pseudo=pseudo, **options)


@pytest.fixture(scope="module")
def black_box(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished run with a black box, killed once while it read."""
    folder, lines = tmp_path_factory.mktemp("black box"), [MORE, {**EVAL, "limit": 3}]
    pseudo = Pseudo(lines=lines, min_confidence=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pseudo_labels, "pseudo_labels", partial(pseudo_labels.pseudo_labels, shard_size=8))
        killed, second = DigitReader(unsure=4, dies_after=6 + 8), DigitReader(unsure=4)
        with pytest.raises(KeyboardInterrupt):
            made(folder, killed, pseudo).run()
        result = made(folder, second, pseudo).run()
    kept = [file for file in (folder / "teachers").rglob("shard-*.jsonl")]
    read = json.loads((folder / "run" / "results.json").read_text())
    return SimpleNamespace(folder=folder, second=second, results=read, result=result, kept=kept, pseudo=pseudo)


@pytest.mark.long
def test_a_run_that_was_killed_while_reading_goes_on(black_box: Any) -> None:
    assert len(black_box.kept) == 1 + 4  # of 6 evaluation lines and of 27 others
    # evaluation lines and the first shard were there; more reading is the timing's, of one line and of six
    reading = 27 - 8
    assert (black_box.second.read - reading) % (1 + 6) == 0
    assert black_box.second.read > reading


@pytest.mark.long
def test_the_teacher_stands_in_the_report_with_what_is_known_of_it(black_box: Any) -> None:
    teacher = black_box.results["models"]["teacher"]
    assert teacher["runs"][0]["metrics"] == {"cer": 0.0, "wer": 0.0, "exact": 1.0}
    assert teacher["parameters"] is None
    assert teacher["disk_mb"] is None
    assert teacher["latency_ms"] > 0
    assert teacher["samples_per_s"] > 0
    assert "black box" in teacher["description"]
    assert "unknown parameters" in runs._summary(black_box.result.summary)[0]
    page = black_box.result.report.read_text(encoding="utf-8")
    assert "DigitReader" in page
    assert black_box.results["gallery"][0]["said"]["teacher"] == black_box.results["gallery"][0]["reference"]


@pytest.mark.long
def test_the_control_makes_the_students_steps_from_transcribed_lines_alone(black_box: Any) -> None:
    runs = {role: black_box.results["models"][role]["runs"][0] for role in ("student", "control")}
    # 16 lines of the task, 24 others of which 6 are unsure: 34 rows in batches of 8, twice
    assert runs["student"]["steps"] == runs["control"]["steps"] == 10
    evaluated = {role: [row["step"] for row in run["history"] if row.get("eval")] for role, run in runs.items()}
    assert evaluated["student"] == evaluated["control"] == [5, 10]
    assert "on the 16 transcribed train lines alone" in black_box.results["models"]["control"]["description"]


@pytest.mark.long
def test_what_was_kept_and_dropped_is_told_and_evaluation_lines_are_not_trained_on(black_box: Any) -> None:
    told = "\n".join(black_box.results["warnings"])
    # every 4th line of a shard of 8 is unsure; of the last shard of 3 evaluation lines the first
    assert "20 of 27 lines: 20 with the teacher's text" in told
    assert "dropped: min_confidence 7" in told
    assert "2 lines are the very images of evaluation lines" in told
    assert "the student trains on 34 lines" in told


@pytest.mark.long
def test_a_finished_run_is_read_and_another_block_is_another_run(black_box: Any) -> None:
    again = DigitReader(unsure=4)
    same = made(black_box.folder, again, black_box.pseudo).run()
    assert (again.read, same.metrics) == (0, black_box.result.metrics)
    with pytest.raises(TextkdError, match="the run of another recipe"):
        made(black_box.folder, again, Pseudo(lines=black_box.pseudo.lines)).check()
    with pytest.raises(TextkdError, match="the run of another recipe"):
        made(black_box.folder, DigitReader(unsure=3), black_box.pseudo).check()


# -- the rows --------------------------------------------------------------------------------------------------------


class Always:
    """Reads `said` in every line."""

    def __init__(self, said: str, confidence: float = 0.9) -> None:
        self.said, self.confidence = said, confidence

    def __call__(self, images: Any) -> list[tuple[str, float]]:
        return [(self.said, self.confidence) for _ in images]

    def fingerprint(self) -> str:
        return f"always {self.said} {self.confidence}"


def rows(folder: Path, reader: Any, pseudo: Pseudo, data: Any = None, processor: Any = None) -> tuple[Any, list[str]]:
    data = data or task()
    return Targets(pseudo, data, folder).rows(reader, processor or data.processor, (), 16)


@pytest.mark.parametrize(("mix", "count"), [(0.0, 0), (0.25, 4), (1.0, 16)])
def test_a_share_of_the_own_lines_takes_the_teachers_text(tmp_path: Path, mix: float, count: int) -> None:
    found, _ = rows(tmp_path, Always("77777"), Pseudo(mix=mix))
    truth = DigitLines(**OWN["digits"]).texts
    assert [text == "77777" for text in found["text"]].count(True) == count
    assert all(text in ("77777", truth[i]) for i, text in zip(found["place"], found["text"], strict=True))


def test_lines_without_transcription_take_the_teachers_text_whatever_the_mix(tmp_path: Path) -> None:
    data = task()
    half = data.with_lines("train", texts=[t if i < 8 else None for i, t in enumerate(data.table("train").texts)])
    found, notes = rows(tmp_path, DigitReader(), Pseudo(mix=0.0), half, data.processor)
    assert found["text"] == list(data.table("train").texts)
    assert "8 train lines have a transcription" in notes[-1]


def test_texts_that_the_student_cannot_write_or_that_are_empty_are_dropped(tmp_path: Path) -> None:
    for said, why in (("7a", "alphabet 16"), ("7" * 30, "max_chars 16"), ("", "min_chars 16")):
        with pytest.raises(TextkdError, match=f"drops everything.*{why}"):
            rows(tmp_path, Always(said), Pseudo())
    with pytest.raises(TextkdError, match=r"drops everything.*min_confidence 16"):  # a text that was cut off
        rows(tmp_path, Always("77", 0.0), Pseudo())


def test_the_refusal_of_all_texts_names_the_recipes_own_filters(tmp_path: Path) -> None:
    with pytest.raises(TextkdError, match=r"that pass the filters \(min_confidence 0.95\)"):
        rows(tmp_path, Always("77", 0.9), Pseudo(min_confidence=0.95))
    with pytest.raises(TextkdError, match="that pass the filters\n"):
        rows(tmp_path, Always("7a"), Pseudo())


def test_lines_that_are_all_evaluated_on_are_refused_before_they_are_read(tmp_path: Path) -> None:
    reader = DigitReader()
    with pytest.raises(TextkdError, match="all are evaluation lines"):
        rows(tmp_path, reader, Pseudo(lines=EVAL))
    assert reader.read == 0


def test_own_lines_without_transcription_that_are_evaluated_on_are_left_out(tmp_path: Path) -> None:
    reads = line_processor([*"0123456789"], **SIZE)
    bare = tasks.ocr([OWN, {**EVAL, "unlabelled": True}], EVAL, processor=reads, augment=False)
    found, notes = rows(tmp_path, DigitReader(), Pseudo(), bare)
    assert len(found) == 16
    assert "6 lines are the very images of evaluation lines" in notes[1]
    assert "at most 16 of them with the teacher's text" in notes[2]


def test_readings_are_changed_before_they_are_compared(tmp_path: Path) -> None:
    lines = task(train=OWN).with_lines("train", texts=["AB"] * 16)
    processor = line_processor(["ABab"], **SIZE)
    found, notes = rows(tmp_path, Always("ab"), Pseudo(change="upper", max_cer=0.0), lines, processor)
    assert set(found["text"]) == {"AB"}
    assert "CER is 0.0000" in notes[0]


def test_lines_of_the_task_keep_their_texts_beside_those_that_are_read(tmp_path: Path) -> None:
    found, _ = rows(tmp_path, Always("77777"), Pseudo(lines=MORE))
    assert found["text"] == [*DigitLines(**OWN["digits"]).texts, *["77777"] * 24]
    bare = tasks.ocr(eval=EVAL, processor=line_processor([*"0123456789"], **SIZE), augment=False)
    found, _ = rows(tmp_path, Always("77777"), Pseudo(lines=MORE), bare)
    assert found["text"] == ["77777"] * 24


def test_steps_and_evaluations_are_those_of_the_other_training() -> None:
    stages = [Stage((), {"num_train_epochs": 1}), Stage((), {"eval_strategy": "steps", "eval_steps": 7})]
    history = [{"stage": 1, "step": 10, "epoch": 2.5}, {"stage": 2, "step": 42, "epoch": 4.0}]
    first, second = same_steps(stages, {"stage_steps": [10, 32], "history": history}, {"save_strategy": "no"})
    assert first.training == {"num_train_epochs": 1, "max_steps": 10, "eval_strategy": "steps", "eval_steps": 4}
    assert second.training == {"eval_strategy": "steps", "eval_steps": 7, "max_steps": 32}


# -- a teacher that is a model ---------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_model_teacher_writes_targets_and_is_matched_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def reads(model: Any, processor: Any, num_beams: int, pixels: Any) -> Any:
        asked.append(num_beams)
        return DigitReader()

    monkeypatch.setattr(pseudo_labels, "teacher_reader", reads)
    bare = {**OWN, "unlabelled": True}
    teacher = new_ocr_model(ENCODER, DECODER, tokenizer=line_processor([*"0123456789"], **SIZE).tokenizer)
    lines = task(train=bare, processor=line_processor([*"0123456789"], **SIZE), height=None, width=None)
    matches = [Match("logits", loss="kl"), Match("encoder.hidden")]
    one = made(tmp_path, teacher, Pseudo(num_beams=3), task=lines, control=False, matches=matches)
    result = one.run()
    assert set(asked) == {3}
    assert set(result.metrics) == {"teacher", "student"}
    record = json.loads((result.student / "textkd.json").read_text())
    assert record["steps"] == 4
    assert {name.split("/")[0] for row in record["history"] for name in row.get("parts", {})} >= {"logits"}


def test_a_bad_recipe_of_lines_is_told_with_a_teacher_that_is_a_model(tmp_path: Path) -> None:
    processor = line_processor([*"0123456789"], **SIZE)
    teacher = new_ocr_model(ENCODER, DECODER, tokenizer=processor.tokenizer)
    lines = task(processor=processor, height=None, width=None)
    matches = [Match("labels"), Match("encoder.hidden:5")]
    with pytest.raises(TextkdError) as error:
        made(tmp_path, teacher, Pseudo(mix=2), task=lines, seeds=[-1], matches=matches).check()
    assert [one.where for one in error.value.problems] == ["seeds", "pseudo.mix", "matches[1].tap"]


def test_notes_of_different_teachers_name_their_seeds() -> None:
    told = [["same", "5 lines"], ["same", "6 lines"]]
    records = [{"seed": seed, "targets": notes} for seed, notes in enumerate(told)]
    finished = [{"student": SimpleNamespace(record=record)} for record in records]
    trained = Training("student", ("student",), ())
    experiment = Experiment("run", {}, {}, (trained,), Compared(("student",), "student"))
    assert collect_results._told(experiment, finished) == ["same", "seed 0: 5 lines", "seed 1: 6 lines"]
