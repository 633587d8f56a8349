"""`prune` of a recipe: equal to a plain loop, the target met by what is saved, gone on after a kill, refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import inside, textkd
from drive import differences, history, losses, weights
from graph_lab import count_trainings, results, save_teacher, short
from references import pruning
from tiny_lab import Tiny, make_tokenizer
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForSequenceClassification,
)

from textkd.config import build
from textkd.errors import TextkdError
from textkd.experiment import pruned
from textkd.models.students.widths import have
from textkd.training.trainer import DistilTrainer

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "intermediate_size": 96}
PLAIN = {"lr_scheduler_type": "constant", "adam_epsilon": 1e-4, "max_grad_norm": 0.5, "learning_rate": 1e-3}
MATCHES = [{"tap": "labels", "weight": 0.3}, {"tap": "logits", "loss": "kl", "temperature": 2, "weight": 0.7}]


def recipe(tiny: Tiny, prune: dict[str, Any], *without: str, **words: Any) -> dict[str, Any]:
    values = {"prune": {"target": {"parameters": 0.6}, "rounds": 2, "recover": 0.25, **prune}, "matches": MATCHES}
    return short(tiny, *({"student"} - set(words)), *without, **values | words)


def sizes(run: Path, *names: str) -> list[Any]:
    loaded = [AutoModelForSequenceClassification.from_pretrained(run / "seed-1" / name) for name in names]
    return [have(one.config) for one in loaded]


# -- equal to a plain loop ------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(("kind", "schedule"), [("ffn", "one_shot"), ("ffn", "cubic"), ("heads", "linear")])
def test_it_is_the_plain_loop(kind: str, schedule: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes, kept units, losses and weights, round by round, of the student and of its control."""
    wide = {"hidden_size": 32, "num_attention_heads": 8} if kind == "heads" else {}
    place = save_teacher(tiny.folder / "still", 3, **STILL, **wide)
    seen = dict[str, list[Any]]()
    step = DistilTrainer.training_step

    def watched(self: Any, model: Any, inputs: Any, *more: Any) -> Any:
        where = Path(self.args.output_dir)
        name = next(part.removesuffix(".work") for part in where.parts if part.endswith(".work"))
        seen.setdefault(name, []).append({key: value.clone() for key, value in inputs.items()})
        return step(self, model, inputs, *more)

    monkeypatch.setattr(DistilTrainer, "training_step", watched)
    rounds = 1 if schedule == "one_shot" else 2
    block = {"kind": [kind], "schedule": schedule, "by": "magnitude", "rounds": rounds}
    if rounds == 1:
        block["recover"] = None
    with_control = kind == "ffn" and rounds == 2
    values = recipe(tiny, block, teacher={"path": str(place)}, training=PLAIN, control=with_control)
    build.from_recipe(tiny.write(values)).run()
    run = tiny.folder / "run"
    teacher = BertForSequenceClassification.from_pretrained(place).eval()
    names = ["student"] if rounds == 1 else ["round_1", "student"]
    found = sizes(run, *names)
    if kind == "ffn":
        each = 4 * (2 * 16 + 1)
        wanted = pruning.units(teacher.num_parameters(), 0.6 * teacher.num_parameters(), each, 96, rounds)
        assert [one.ffn for one in found] == wanted
        assert [one.heads for one in found] == [4] * rounds
    for end, guide in (("student", teacher), ("control", None))[: 1 + with_control]:
        plain = copy.deepcopy(teacher)
        chain = [end] if rounds == 1 else [{"student": "round_1", "control": "control_1"}[end], end]
        for name, size in zip(chain, found, strict=True):
            plain, kept = pruning.prune(plain, size.heads, size.ffn)
            assert all(len(one["heads"]) == size.heads and len(one["ffn"]) == size.ffn for one in kept)
            told = pruning.distil(plain, guide, seen[name], 2.0, 0.3, 1e-3, 1e-4, 0.5)
            ours = weights(run / "seed-1" / name)
            assert differences(ours, {key: plain.state_dict()[key] for key in ours}) < 1e-5, name
            if name in results(run)["models"]:
                logged = [row["loss"] for row in history(run, name) if row.get("loss") is not None]
                assert logged == pytest.approx(told, abs=1e-5)
    if rounds == 2:
        assert found[0].ffn > found[1].ffn or found[0].heads > found[1].heads


# -- the target, the report, other procedures beside it --------------------------------------------------------------


@pytest.mark.long
def test_the_student_that_is_saved_meets_the_target_and_the_report_says_how(tiny: Tiny) -> None:
    values = recipe(tiny, {"rounds": 3, "by": "fisher", "rows": 8, "recover": 0.5})
    result = build.from_recipe(tiny.write(values)).run()
    found = results(tiny.folder / "run")
    assert list(found["models"]) == ["teacher", "round_1", "round_2", "student", "control"]
    assert found["compare"] == {"student": "student", "teacher": "teacher", "control": "control"}
    taught = {name: row["taught_by"] for name, row in found["models"].items()}
    assert taught == {"teacher": [], "control": []} | {name: ["teacher"] for name in ("round_1", "round_2", "student")}
    whole = found["models"]["teacher"]["parameters"]
    student = AutoModelForSequenceClassification.from_pretrained(result.student)
    assert student.num_parameters() == found["models"]["student"]["parameters"] <= 0.6 * whole
    told = {name: row["description"] for name, row in found["models"].items()}
    assert told["round_1"].startswith("pruned 1 of 3 times: heads ")
    assert told["student"].startswith("pruned in 3 rounds, cubic, by fisher, distilled from the unpruned teacher")
    assert f"{student.num_parameters():,} parameters" in told["student"]
    assert told["control"] == "the same 3 prunings, sizes, data order and steps, without a teacher"
    steps = {name: [run["steps"] for run in row["runs"]] for name, row in found["models"].items() if name != "teacher"}
    assert steps == {"round_1": [4], "round_2": [4], "student": [2], "control": [2]}
    assert sizes(tiny.folder / "run", "student") == sizes(tiny.folder / "run", "control")


@pytest.mark.long
def test_a_student_of_its_own_words_learns_before_it_is_pruned(tiny: Tiny) -> None:
    student = {"shrink": {"layers": [2, 4]}, "vocabulary": {"keep": 15}}
    words = {"stages": [{"matches": [MATCHES[1]], "training": {"max_steps": 3}}, {"matches": [MATCHES[0]]}]}
    values = recipe(tiny, {"target": {"macs": 0.6}}, "matches", student=student, quantise={"scheme": "c"}, **words)
    del values["matches"]
    values["training"]["max_steps"] = 2
    made = build.from_recipe(tiny.write(values))
    made.run()
    found = results(tiny.folder / "run")
    rows = found["models"]
    assert list(rows) == ["teacher", "round_0", "round_1", "student", "control"]
    run = tiny.folder / "run" / "seed-1"
    for name in ("round_0", "round_1", "student", "control"):  # all of them know 15 words
        assert AutoModelForSequenceClassification.from_pretrained(run / name).config.vocab_size == 15
        assert len(AutoTokenizer.from_pretrained(run / name)) == 15
    assert rows["round_0"]["description"].startswith("before it is pruned: heads 4, hidden 16, ffn 32")
    length = sorted(made.data.train["length"][:64])[31]  # of a typical row
    assert f"MACs for {length} tokens" in rows["student"]["description"]
    assert rows["round_1"]["runs"][0]["steps"] == 4
    assert rows["student"]["runs"][0]["steps"] == 5
    grids = {one.name: [stage.quantised for stage in one.stages] for one in made.experiment.trainings}
    assert grids["round_1"] == [(), ()]
    assert grids["student"] == [(), ("student",)]
    assert made.experiment.models["control_0"].source is made.experiment.models["round_0"].source


@pytest.mark.long
def test_milliseconds_are_measured_once(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command would find other sizes in times that are never twice the same."""
    asked = list[int]()

    def taken(like: Any, config: Any, length: int) -> float:
        asked.append(length)
        return config.intermediate_size / 8 + config.num_attention_heads + 0.1 * len(asked) / 1000

    monkeypatch.setattr(pruned, "latency_of", taken)
    values = recipe(tiny, {"target": {"milliseconds": "60%", "length": 7}}, control=False)
    values["teacher"] = {**values["teacher"], "finetune": {"max_steps": 1}}  # as it ends it is measured no more
    made = build.from_recipe(tiny.write(values))
    before = inside(tiny.folder)
    made.plan()
    assert inside(tiny.folder) == before
    assert set(asked) == {7}
    count = len(asked)
    made.run()
    assert len(asked) == count
    last = sizes(tiny.folder / "run", "student")[0]
    assert last.ffn / 8 + last.heads <= 0.6 * 8.1
    asked.clear()
    (tiny.folder / "run" / "results.json").unlink()
    build.from_recipe(tiny.write(values)).run()
    assert not asked


@pytest.mark.long
def test_what_is_measured_is_a_model_of_these_sizes(tiny: Tiny) -> None:
    teacher = build.from_recipe(tiny.write(short(tiny))).start("teacher")
    before = torch.get_num_threads()
    assert 0 < pruned.latency_of(teacher, teacher.config, 9) < 1000
    assert torch.get_num_threads() == before


# -- killed, gone on, taken from another run --------------------------------------------------------------------------


@pytest.mark.long
def test_a_run_that_ends_between_rounds_goes_on_to_the_bit(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    values = recipe(tiny, {"rows": 8}, control=False)
    whole = copy.deepcopy(values)
    whole["training"]["output_dir"] = str(tiny.folder / "whole")
    build.from_recipe(tiny.write(whole)).run()
    step = DistilTrainer.training_step

    def cut(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "student.work" in str(self.args.output_dir) and self.state.global_step == 1:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(DistilTrainer, "training_step", cut)
        with pytest.raises(KeyboardInterrupt):
            build.from_recipe(tiny.write(values)).run()
    trained = count_trainings(monkeypatch)
    build.from_recipe(tiny.write(values)).run()
    assert trained == ["student"]
    for name in ("round_1", "student"):
        one, other = (weights(tiny.folder / run / "seed-1" / name) for run in ("run", "whole"))
        assert differences(one, other) == 0.0, name
    assert losses(tiny.folder / "run") == losses(tiny.folder / "whole")


@pytest.mark.long
def test_rounds_of_another_run_are_taken(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends otherwise begins with the same rounds."""
    monkeypatch.setenv("TEXTKD_REUSE", "1")
    values = recipe(tiny, {"rows": 8}, control=False)
    build.from_recipe(tiny.write(values)).run()
    values["training"] |= {"output_dir": str(tiny.folder / "other"), "max_steps": 3}
    trained = count_trainings(monkeypatch)
    build.from_recipe(tiny.write(values)).run()
    assert trained == ["student"]


@pytest.mark.long
def test_plan_shows_the_rounds_with_their_sizes(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, before = tiny.write(recipe(tiny, {})), inside(tiny.folder) | {"tiny.yaml"}
    code, said = textkd(capsys, monkeypatch, "plan", str(file), "--no-time")
    assert code == 0, said
    assert inside(tiny.folder) == before
    assert "round_1, seed 1 pruned teacher, heads 3, hidden 12, ffn " in " ".join(said.split())
    assert "student, seed 1 pruned round_1, heads " in " ".join(said.split())
    code, said = textkd(capsys, monkeypatch, "check", str(file))
    assert code == 0, said
    assert "round_1, student and control (the same without a teacher): 4 blocks" in " ".join(said.split())


# -- what is refused --------------------------------------------------------------------------------------------------


def unmet(tiny: Tiny, prune: dict[str, Any], **words: Any) -> TextkdError:
    with pytest.raises(TextkdError) as caught:
        build.from_recipe(tiny.write(recipe(tiny, prune, **words))).check()
    return caught.value


@pytest.mark.long
def test_what_no_pruning_meets_is_refused_before_anything_is_trained(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = [({"parameters": 10**9}, "less than"), ({"parameters": 50}, "fewer words"), ({"macs": 0.001}, "the least")]
    for prune, said in [({"target": target}, said) for target, said in tried]:
        error = unmet(tiny, prune)
        assert [one.where for one in error.problems] == ["prune.target"]
        assert said in str(error)
    error = unmet(tiny, {"target": {"macs": 0.5, "length": 10_000}})
    assert [one.where for one in error.problems] == ["prune.target.length"]
    values = recipe(tiny, {}, "teacher", teachers={"control_2": tiny.recipe["teacher"]})
    with pytest.raises(TextkdError, match="a round of the pruning"):
        build.from_recipe(tiny.write(values)).check()
    folder = tiny.folder / "albert"
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "embedding_size": 8}
    AlbertForSequenceClassification(AlbertConfig(vocab_size=21, num_hidden_layers=2, **sizes)).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    assert "where the heads and units of albert lie" in str(unmet(tiny, {}, teacher={"path": str(folder)}))
    error = unmet(tiny, {}, control={"frozen": ["nothing"]}, matches=[{"tap": "hidden", "loss": "mze"}])
    assert sorted(one.where for one in error.problems) == ["control.frozen", "matches[0].loss"]
    error = unmet(tiny, {"rounds": 0}, matches=[{"tap": "hidden", "loss": "mze"}])
    assert sorted(one.where for one in error.problems) == ["matches[0].loss", "prune.rounds"]
    before = inside(tiny.folder)
    code, said = textkd(capsys, monkeypatch, "run", str(tiny.write(recipe(tiny, {"target": {"parameters": 50}}))))
    assert code == 2
    assert inside(tiny.folder) == before
