"""A batch of rows of unlike length, run in pieces: the same taps wherever a row has a token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_lab import make_teacher
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    RobertaConfig,
    RobertaForTokenClassification,
)

from textkd import Match, TextkdError
from textkd.models.taps import Address, mask_for
from textkd.teachers import CacheOptions, LiveTeacher, length_buckets
from textkd.training.wiring import Reading, wire

LENGTHS = [16, 3, 9, 4, 16, 2, 1, 8, 15, 5, 6, 7]
SMALL = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}


def batch_of(lengths: list[int], pad: int = 0, before: bool = False) -> dict[str, Tensor]:
    width = max(lengths)
    mask = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    mask = mask.flip(1) if before else mask
    ids = torch.randint(3, 9, mask.shape, generator=torch.Generator().manual_seed(len(lengths)))
    return {"input_ids": torch.where(mask.bool(), ids, pad), "attention_mask": mask}


def rows_run(model: Any) -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape)))
    return shapes


MODELS = {
    "classifier": (make_teacher, ["logits", "pooled", "hidden:0", "hidden:4", "attention:2", "scores:3", "key:1"]),
    "mlm": (lambda: BertForMaskedLM(BertConfig(**SMALL)), ["logits", "head_input", "ffn:1", "embeddings"]),
    "roberta": (lambda: RobertaForTokenClassification(RobertaConfig(**SMALL, num_labels=3)), ["logits", "hidden:2"]),
    "distilbert": (
        lambda: DistilBertModel(DistilBertConfig(vocab_size=40, dim=16, hidden_dim=24, n_layers=2, n_heads=2)),
        ["hidden:1", "attention:2", "value:2"],
    ),
    "albert": (
        lambda: AlbertModel(AlbertConfig(**SMALL, embedding_size=8)),
        ["hidden:2", "attention:1"],
    ),
    "modernbert": (
        lambda: ModernBertModel(ModernBertConfig(**SMALL, pad_token_id=0, local_attention=4)),
        ["hidden:2", "attention:1"],
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_pieces_give_what_the_whole_batch_gives(name: str, dtype: torch.dtype | None) -> None:
    torch.manual_seed(0)
    make, addresses = MODELS[name]
    model = make()
    batch = batch_of(LENGTHS, pad=model.config.pad_token_id or 0)
    whole = LiveTeacher(model, addresses, dtype, in_pieces=False)
    expected = {**whole.taps(batch)}
    whole.close()
    shapes = rows_run(model)
    teacher = LiveTeacher(model, addresses, dtype)
    found = teacher.taps(batch)
    assert [rows for rows, _ in shapes] == [4, 4, 4]
    assert sum(rows * length for rows, length in shapes) < 0.7 * batch["input_ids"].numel()
    close = {"atol": 1e-5, "rtol": 1e-4} if dtype is None else {"atol": 0.03, "rtol": 0.03}
    for address in teacher._capture.addresses:
        ours, theirs = found[str(address)], expected[str(address)]
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        mask = mask_for(address, batch, theirs)
        if mask is not None and address.family in ("attention", "scores"):
            mask = mask if mask.dim() == 3 else mask[:, :, None] & mask[:, None, :]
            ours, theirs = ours.permute(0, 2, 3, 1), theirs.permute(0, 2, 3, 1)
        elif address.family == "heads":
            ours, theirs = ours.transpose(1, 2), theirs.transpose(1, 2)
        elif address.family == "logits" and theirs.dim() == 3:
            mask = batch["attention_mask"].bool()
        ours, theirs = (ours, theirs) if mask is None else (ours[mask], theirs[mask])
        assert ours.numel() > 0
        torch.testing.assert_close(ours, theirs, **close)


@pytest.mark.parametrize(
    "batch",
    [
        batch_of([16] * 12),
        batch_of([15, 16] * 6),
        batch_of(LENGTHS, before=True),
        batch_of(LENGTHS[:6]),
        {"input_ids": batch_of(LENGTHS)["input_ids"]},
        {**batch_of(LENGTHS), "decoder_input_ids": batch_of(LENGTHS)["input_ids"]},
        {**batch_of(LENGTHS), "token_type_ids": torch.zeros(12, 5)},
    ],
    ids=["equal", "nearly", "padding-before", "few", "no-mask", "decoder", "other-shape"],
)
def test_what_is_not_worth_cutting_or_unknown_stays_whole(batch: dict[str, Tensor]) -> None:
    assert length_buckets.cut(batch) == []


def test_rows_without_a_token_are_cut_as_well() -> None:
    batch = batch_of(LENGTHS)
    batch["attention_mask"][:4] = 0
    cut = length_buckets.cut(batch)
    assert sorted(int(row) for piece in cut for row in piece.rows) == list(range(12))
    assert min(piece.length for piece in cut) == 1


@pytest.mark.parametrize("address", ["labels", "module:bert.encoder", "gradient:1", "loss_gradient:1"])
def test_taps_that_cannot_be_joined_run_whole(address: str) -> None:
    assert not length_buckets.fits([Address.parse("hidden:1"), Address.parse(address)])


def test_a_model_that_pads_on_its_own_runs_whole_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = make_teacher(), batch_of(LENGTHS)
    expected = {**LiveTeacher(model, ["hidden:1"], in_pieces=False).taps(batch)}
    teacher, shapes = LiveTeacher(model, ["hidden:1"]), rows_run(model)
    run = teacher._capture.run
    padded = lambda *args, **inputs: {  # noqa: E731
        "taps": {k: nn.functional.pad(v, (0, 0, 0, -v.shape[1] % 16)) for k, v in run(*args, **inputs)["taps"].items()}
    }
    monkeypatch.setattr(teacher._capture, "run", padded)
    for _ in range(2):
        assert torch.equal(teacher.taps(batch)["hidden:1"], expected["hidden:1"])
    assert len(shapes) == 3 + 1 + 1


def test_a_batch_stays_whole_for_processes_that_run_together_and_for_losses_that_read_padding() -> None:
    """Processes that share a teacher out gather its blocks together, so each must run it as often as the others."""
    student, teacher, batch = make_teacher(layers=2), make_teacher(), batch_of(LENGTHS)
    batch["labels"] = torch.zeros(12, dtype=torch.long)
    for options, runs in (({}, 3), ({"keys": "all"}, 1)):
        match = Match("scores", layers={1: 2, 2: 4}, loss="cross_entropy", options=options)
        wired = wire(student, teacher, [match], batch)
        shapes = rows_run(teacher)
        wired.frozen.taps(batch)
        assert len(shapes) == runs
        wired.close()
    assert not LiveTeacher(teacher, ["hidden:1"], stop_early=False, in_pieces=False)._pieces.wanted


def test_a_cache_refuses_losses_that_read_padding(tmp_path: Path) -> None:
    match = Match("scores", layers={1: 2, 2: 4}, loss="cross_entropy", options={"keys": "all"})
    reading = {"teacher": Reading(cache=CacheOptions(folder=str(tmp_path)))}
    with pytest.raises(TextkdError, match="a cache does not keep them") as caught:
        wire(make_teacher(layers=2), make_teacher(), [match], batch_of(LENGTHS), reading=reading)
    assert len(caught.value.problems) == 1
    assert not list(tmp_path.iterdir())
