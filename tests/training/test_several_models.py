"""Several models in one training: those that learn together, and those that teach together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cohort_lab
import pytest
import torch
from accelerate import Accelerator
from cohort_lab import CLIP, EPSILON, RATE, batches, mutual, net, parts, state
from drive import differences
from references import mutual_learning, several_teachers
from second_proofs import but_few

from textkd import Match, TextkdError
from textkd.training import several
from textkd.training.trainer import DistilTrainer

PAIR = ("peer_1", "peer_2")


def peers(count: int = 2) -> dict[str, Any]:
    return {f"peer_{number}": net(number) for number in range(1, count + 1)}


# -- equal to a plain loop ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", but_few([2, 3], 2))
@pytest.mark.parametrize("update", ["together", "in_turn"])
def test_mutual_learning_is_the_plain_loop(update: str, count: int, tmp_path: Path) -> None:
    ours, plain = peers(count), peers(count)
    done = cohort_lab.train(tmp_path, ours, mutual(list(ours)), update=update)
    told = mutual_learning.train(list(plain.values()), batches(), update, RATE, EPSILON, CLIP)
    logged = parts(done)
    assert len(logged) == len(told) == 5
    for step, values in zip(logged, told, strict=True):
        own = {name: sum(value * (1 if "labels" in part else 1 / (count - 1)) for part, value in step.items()
                         if part.startswith(f"{name}/")) for name in ours}  # fmt: skip
        assert list(own.values()) == pytest.approx(values, abs=1e-5)
        assert step["loss"] == pytest.approx(sum(values), abs=1e-5)
    for name in ours:
        assert differences(state(ours[name]), state(plain[name])) < 1e-5, name


@pytest.mark.parametrize("update", ["together", "in_turn"])
def test_who_does_not_learn_in_a_turn_runs_without_gradient(update: str, tmp_path: Path) -> None:
    models, seen = peers(), list[tuple[str, bool]]()
    for name, model in models.items():
        model.register_forward_pre_hook(lambda *_, name=name: seen.append((name, torch.is_grad_enabled())))
    cohort_lab.train(tmp_path, models, mutual(PAIR), update=update, max_steps=1)
    first = [("peer_1", True), ("peer_2", update == "together")]
    second = [("peer_1", False), ("peer_2", True)] if update == "in_turn" else []
    assert seen[-len(first + second) :] == first + second


@pytest.mark.long
def test_each_gradient_is_unscaled_once_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's scaler of float16 refuses a second time before the optimizer steps."""
    calls: list[int] = []
    monkeypatch.setattr(Accelerator, "unscale_gradients", lambda self, optimizer=None: calls.append(1))
    cohort_lab.train(tmp_path, peers(3), mutual(["peer_1", "peer_2", "peer_3"]))
    assert len(calls) == 5


@pytest.mark.long
def test_both_orders_of_update_are_two_trainings(tmp_path: Path) -> None:
    """The first peer's first step is the same; the second one learns from what the first has become."""
    ends = {}
    for update in ("together", "in_turn"):
        models = peers()
        first = parts(cohort_lab.train(tmp_path / update, models, mutual(PAIR), update=update))[0]
        ends[update] = first, models
    (one, _), (other, _) = ends.values()
    assert one["peer_1/logits<-peer_2/kl"] == pytest.approx(other["peer_1/logits<-peer_2/kl"], rel=1e-6)
    assert one["peer_2/logits<-peer_1/kl"] != pytest.approx(other["peer_2/logits<-peer_1/kl"], rel=1e-3)


@pytest.mark.parametrize("kind", but_few(["mean_probabilities", "mean_logits", "gate"], "gate"))
def test_several_teachers_are_the_plain_loop(kind: str, tmp_path: Path) -> None:
    teachers = {f"teacher_{number}": net(10 + number, layers=4) for number in range(3)}
    ours, plain = net(1), net(1)
    matches = [Match("labels", weight=0.3), Match("logits", from_=list(teachers), combine=kind, temperature=2.0)]
    done = cohort_lab.train(tmp_path, {"student": ours}, matches, teachers)
    told = several_teachers.train(plain, list(teachers.values()), batches(), kind, 2.0, 0.3, RATE, EPSILON, CLIP)
    logged = [step["logits<-teacher_0+teacher_1+teacher_2/kl"] for step in parts(done)]
    if kind != "gate":  # its value differs by what no student changes
        assert logged == pytest.approx(told, abs=1e-5)
    assert len(logged) == 5
    assert differences(state(ours), state(plain)) < 1e-5


# -- invariants -----------------------------------------------------------------------------------------------------

WITHIN = [*mutual(PAIR), Match("hidden", from_="teacher"), Match("hidden:1", from_="peer_1", loss="cosine")]


def test_every_trained_weight_moves_and_every_frozen_one_stays(tmp_path: Path) -> None:
    models, teachers = peers(), {"teacher": net(7, layers=4), "other": net(8)}
    teachers["other"].train()
    before = {name: state(model) for name, model in {**models, **teachers}.items()}
    matches = [*WITHIN[:4], Match("logits", from_=["teacher", "other"], combine="mean_logits")]
    cohort_lab.train(tmp_path, models, matches, teachers, num_train_epochs=2, frozen=["peer_2.bert.embeddings"])
    for name in teachers:
        assert all(torch.equal(before[name][key], value) for key, value in state(teachers[name]).items())
    assert teachers["other"].training
    for name, model in models.items():
        still = {key for key, value in model.state_dict().items() if torch.equal(value, before[name][key])}
        # the gradient of a key's bias is 0 but for rounding: softmax does not see it
        frozen = {key for key in still if name == "peer_2" and key.startswith("bert.embeddings.")}
        assert {key for key in still - frozen if not key.endswith("position_ids")} == set()
        assert bool(frozen) == (name == "peer_2")
        assert all(p.requires_grad for p in model.parameters())


def cut(self: Any, *args: Any, **kwargs: Any) -> Any:
    if self.state.global_step == 3:
        raise KeyboardInterrupt
    return STEP(self, *args, **kwargs)


STEP = DistilTrainer.training_step


@pytest.mark.parametrize("update", but_few(["together", "in_turn"], "in_turn"))
def test_a_killed_training_goes_on_as_if_unbroken(update: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout, a projection to a wider peer and an average: all of it is in the checkpoint."""
    training = {"save_strategy": "steps", "save_steps": 1, "average": 0.9, "dropout": 0.1, "save_total_limit": 1}
    matches = [*mutual(PAIR), Match("hidden:1", from_="peer_2")]

    def run(folder: Path) -> Any:
        models = {"peer_1": net(1), "peer_2": net(2, hidden=24)}
        return cohort_lab.train(folder, models, matches, update=update, **training), models

    whole, straight = run(tmp_path / "whole")
    monkeypatch.setattr(DistilTrainer, "training_step", cut)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut")
    monkeypatch.undo()
    kept = sorted(path.relative_to(tmp_path / "cut").as_posix() for path in (tmp_path / "cut").rglob("*.safetensors"))
    checkpoint = "stage-1/checkpoint-3"
    assert kept == [f"{checkpoint}/{name}" for name in
                    ("average.safetensors", "peer_1/model.safetensors", "peer_2/model.safetensors")]  # fmt: skip
    resumed, models = run(tmp_path / "cut")
    assert parts(resumed) == parts(whole)
    assert len(parts(whole)) == 5
    for name in PAIR:
        assert all(torch.equal(value, straight[name].state_dict()[key]) for key, value in state(models[name]).items())


@pytest.mark.long
def test_batch_2_times_4_is_batch_8(tmp_path: Path) -> None:
    ends = []
    for size, accumulate in ((8, 1), (2, 4)):
        models, teacher = {"peer_1": net(1), "peer_2": net(2, hidden=24)}, {"teacher": net(7, layers=4)}
        training = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulate}
        done = cohort_lab.train(tmp_path / str(size), models, WITHIN, teacher, **training, optim="sgd",
                                learning_rate=0.05)  # fmt: skip
        ends.append((parts(done), models))
    assert len(ends[0][0]) == len(ends[1][0]) == 5
    for whole, pieces in zip(ends[0][0], ends[1][0], strict=True):
        assert differences(whole, pieces) < 1e-5
    for name in PAIR:
        assert differences(state(ends[0][1][name]), state(ends[1][1][name])) < 1e-5


def test_turns_are_not_cut_into_micro_batches(tmp_path: Path) -> None:
    with pytest.raises(TextkdError, match="in the middle of another one's batch"):
        cohort_lab.train(tmp_path, peers(), mutual(PAIR), update="in_turn", gradient_accumulation_steps=2)
    both = [Match("labels"), Match("logits", from_="peer_1", loss="peer_kl", options={"detach": False},
                                   target_gradient=True)]  # fmt: skip
    with pytest.raises(TextkdError, match="its target would be lost"):
        cohort_lab.train(tmp_path, peers(), both, update="in_turn")
    assert not list(tmp_path.rglob("checkpoint-*"))


@pytest.mark.long
@pytest.mark.parametrize("update", ["together", "in_turn"])
def test_without_clipping_nothing_is_clipped(update: str, tmp_path: Path) -> None:
    ours, plain = peers(), peers()
    cohort_lab.train(tmp_path, ours, mutual(PAIR), update=update, max_grad_norm=0.0)
    mutual_learning.train(list(plain.values()), batches(), update, RATE, EPSILON, 1e9)
    for name in PAIR:
        assert differences(state(ours[name]), state(plain[name])) < 1e-5


@pytest.mark.long
def test_checkpointed_activations_teach_the_same(tmp_path: Path) -> None:
    ends = []
    for on in (False, True):
        models = peers()
        done = cohort_lab.train(tmp_path / str(on), models, mutual(PAIR), gradient_checkpointing=on)
        ends.append((parts(done), models))
    assert ends[0][0] == [pytest.approx(step, abs=1e-6) for step in ends[1][0]]
    assert ends[1][1]["peer_1"].is_gradient_checkpointing


# -- checkpoints and evaluation -------------------------------------------------------------------------------------


def test_each_model_is_saved_by_its_own_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: dict[str, set[str]] = {}
    original = several.save

    def look(models: Any, folder: Path) -> None:
        original(models, folder)
        saved[folder.name] = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*") if path.is_file()}

    monkeypatch.setattr(several, "save", look)
    models = peers()
    cohort_lab.train(tmp_path, models, mutual(PAIR), save_strategy="steps", save_steps=2)
    own = {f"{name}/{file}" for name in PAIR for file in ("config.json", "model.safetensors")}
    assert saved["checkpoint-2"] == saved["final.part"] == own  # nothing of all models in one
    final = tmp_path / "stage-1" / "final"
    assert sorted(path.name for path in final.iterdir()) == ["peer_1", "peer_2", "stage.json", "textkd-files.json"]
    for name, model in models.items():
        loaded = type(model).from_pretrained(final / name)
        assert differences(state(loaded), state(model)) == 0
    before = {name: state(model) for name, model in models.items()}
    fresh = peers()
    cohort_lab.train(tmp_path, fresh, mutual(PAIR), save_strategy="steps", save_steps=2)  # a finished one is read
    assert all(differences(before[name], state(fresh[name])) == 0 for name in PAIR)


def test_each_model_is_evaluated_and_the_means_too(tmp_path: Path) -> None:
    models = peers()
    done = cohort_lab.train(tmp_path, models, mutual(PAIR), eval_strategy="steps", eval_steps=5, optim="sgd")
    (measured,) = [row["eval"] for row in done.history if "eval" in row]
    rows = cohort_lab.collate(cohort_lab.EVAL)
    labels = rows.pop("labels")
    own, losses = {}, []
    for name, model in models.items():
        with torch.no_grad():
            logits = model.eval()(**rows).logits
        own[name] = (logits.argmax(-1) == labels).float().mean().item()
        losses.append(torch.nn.functional.cross_entropy(logits, labels).item())
    assert own["peer_1"] != own["peer_2"]
    assert {name: measured[f"{name}_accuracy"] for name in PAIR} == pytest.approx(own)
    assert measured["accuracy"] == pytest.approx(sum(own.values()) / 2)
    assert measured["loss"] == pytest.approx(sum(losses) / 2, rel=1e-5)


@pytest.mark.long
def test_the_best_models_are_those_of_the_best_mean(tmp_path: Path) -> None:
    """The lowest accuracy is asked for, at a rate that has it somewhere on the way."""
    models = peers()
    every = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    done = cohort_lab.train(tmp_path, models, mutual(PAIR), **every, learning_rate=0.1, num_train_epochs=2,
                            load_best_model_at_end=True, greater_is_better=False,
                            metric_for_best_model="accuracy")  # fmt: skip
    seen = [row["eval"]["accuracy"] for row in done.history if "eval" in row]
    assert min(seen) < seen[-1]
    rows = cohort_lab.collate(cohort_lab.EVAL)
    labels = rows.pop("labels")
    with torch.no_grad():
        each = [(model.eval()(**rows).logits.argmax(-1) == labels).float().mean().item() for model in models.values()]
    assert sum(each) / 2 == pytest.approx(min(seen))


@pytest.mark.long
def test_two_models_end_in_their_averages(tmp_path: Path) -> None:
    """After n steps the average keeps min(0.9, (1 + n) / (10 + n)) of itself."""
    models = peers()
    cohort_lab.train(tmp_path, models, mutual(PAIR), average=0.9)
    averages: dict[str, dict[str, torch.Tensor]] = {}
    for steps in range(1, 6):
        plain = peers()
        mutual_learning.train(list(plain.values()), batches()[:steps], "together", RATE, EPSILON, CLIP)
        for name, model in plain.items():
            now, keep = state(model), steps / (9 + steps)
            before = averages.get(name, now)
            averages[name] = {key: keep * before[key] + (1 - keep) * now[key] for key in now}
    for name in PAIR:
        assert differences(averages[name], state(models[name])) < 1e-5
        assert differences(state(plain[name]), state(models[name])) > 1e-4
