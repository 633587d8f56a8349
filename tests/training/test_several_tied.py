"""Models whose embeddings are tied to their heads learn together: saved, resumed and loaded, each by its own means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ocr_lab
import pytest
import torch
from cohort_lab import collate, mutual, state
from drive import differences
from fused_lab import made
from torch import Tensor

from textkd import Stage
from textkd.training.learners import Together
from textkd.training.stages import Data, Trained, run_stages
from textkd.training.trainer import DistilTrainer

PAIR = ("peer_1", "peer_2")
STEPS = {"max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 1, "dropout": 0.0,
         "save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 4,
         "train_sampling_strategy": "random"}  # fmt: skip


def masked_rows() -> list[dict[str, Tensor]]:
    """Tokens, every third of which is to be guessed."""
    ids = torch.arange(8 * 6).view(8, 6) % 40 + 5
    labels = torch.where(torch.arange(6) % 3 == 0, ids, -100)
    return [{"input_ids": i, "attention_mask": torch.ones_like(i), "labels": one} for i, one in zip(ids, labels)]  # noqa: B905


def right(predictions: Any, labels: Any) -> dict[str, float]:
    return {"accuracy": float((predictions.argmax(-1) == labels)[labels >= 0].mean())}


def words() -> tuple[dict[str, Any], Data]:
    data = Data(masked_rows(), masked_rows(), collate, right, "cross_entropy", "accuracy")
    return {name: made("bert", seed) for seed, name in enumerate(PAIR)}, data


def lines() -> tuple[dict[str, Any], Data]:
    return {name: ocr_lab.make_reader(seed=seed) for seed, name in enumerate(PAIR)}, ocr_lab.data()


def tied(model: Any) -> tuple[Tensor, Tensor]:
    return model.get_output_embeddings().weight, (getattr(model, "decoder", model)).get_input_embeddings().weight


def train(work: Path, kind: Any) -> tuple[Trained, dict[str, Any]]:
    models, data = kind()
    stages = [Stage(mutual(PAIR))]
    return run_stages(work, models, {}, stages, data, {**STEPS, "use_cpu": True}, 1, "cohort"), models


@pytest.mark.long
@pytest.mark.parametrize("kind", [words, lines])
def test_tied_weights_are_saved_once_resumed_and_loaded(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, _ = kind()
    for model in models.values():
        one, other = tied(model)
        assert one.data_ptr() == other.data_ptr()
    assert {id(model) for model in Together(models).models.values()} == {id(model) for model in models.values()}
    done, whole = train(tmp_path / "whole", kind)
    step = DistilTrainer.training_step

    def cut(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(DistilTrainer, "training_step", cut)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", kind)
    monkeypatch.undo()
    resumed, models = train(tmp_path / "cut", kind)
    assert [row.get("parts") for row in resumed.history] == [row.get("parts") for row in done.history]
    for name, model in models.items():
        assert all(torch.equal(value, whole[name].state_dict()[key]) for key, value in state(model).items())
        one, other = tied(model)
        assert one.data_ptr() == other.data_ptr()
        loaded = type(model).from_pretrained(tmp_path / "cut" / "stage-1" / "final" / name)
        assert differences(state(loaded), state(model)) == 0
        assert tied(loaded)[0].data_ptr() == tied(loaded)[1].data_ptr()
        assert not torch.equal(tied(model)[0], tied(kind()[0][name])[0])
    (measured,) = [row["eval"] for row in done.history if "eval" in row]
    main = "accuracy" if kind is words else "cer"
    assert measured[main] == pytest.approx(sum(measured[f"{name}_{main}"] for name in PAIR) / 2)
