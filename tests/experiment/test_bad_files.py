"""Files that are no recipe, and what only a step finds: a tap that is not there, a mask that leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from command_line import textkd
from tiny_lab import make_teacher

from textkd import Match, TextkdError
from textkd.training.wiring import wire

FILES = {
    "not YAML": (b"task: [1", "not YAML"),
    "a list": (b"- task", "a list, not keys and values"),
    "empty": (b"", "the file is empty"),
    "not UTF-8": ("about: caf\xe9".encode("latin-1"), "not UTF-8 (byte 10)"),
    "a key twice": (b"control: true\ncontrol: false\n", "twice, in line 1 and in line 2"),
}


@pytest.mark.parametrize(("content", "words"), FILES.values(), ids=FILES)
def test_a_bad_file(
    content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.yaml").write_bytes(content)
    code, said = textkd(capsys, monkeypatch, "run", str(tmp_path / "bad.yaml"))
    assert code == 2
    assert words in said


def test_a_tap_that_the_model_lacks(tmp_path: Path) -> None:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig(vocab_size=23, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=40)
    model = DistilBertForSequenceClassification(config)
    batch = {"input_ids": torch.ones(2, 4, dtype=torch.long), "labels": torch.zeros(2, dtype=torch.long)}
    with pytest.raises(TextkdError, match="no pooler"):
        wire(model, make_teacher(), [Match("pooled")], batch)


def test_a_mask_that_masks_everything() -> None:
    teacher, student = make_teacher(), make_teacher(layers=2).train()
    ids = torch.randint(5, 20, (2, 6))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.zeros(2, dtype=torch.long)}
    wired = wire(student, teacher, [Match("hidden")], batch)
    batch["attention_mask"] = torch.zeros_like(ids)
    taps = wired.learners.forward(student, {"input_ids": ids}).taps
    with pytest.raises(TextkdError, match="mask"):
        wired.objective({**taps, **wired.frozen.taps({"input_ids": ids})}, batch)
