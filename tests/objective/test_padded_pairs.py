"""Losses that divide by padded pairs: a batch in pieces of other lengths teaches as a whole one does."""

from __future__ import annotations

import pytest
import torch
from tiny_lab import make_teacher

from textkd import Match
from textkd.training.wiring import wire

MATCHES = [
    Match("attention:1", options={"pairs": "all"}), Match("scores:2", options={"pairs": "all", "zero_below": -100.0}),
    Match("hidden:1"), Match("labels"),
]  # fmt: skip


def test_a_batch_cut_in_pieces_of_other_lengths_teaches_the_same() -> None:
    student, teacher = make_teacher(2), make_teacher(2)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(1.1)
    lengths = torch.tensor([3, 5, 9, 12])
    mask = (torch.arange(12) < lengths[:, None]).long()
    ids = torch.randint(5, 20, (4, 12), generator=torch.Generator().manual_seed(0)) * mask
    whole = {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1, 0, 1])}
    wiring = wire({"student": student}, {"teacher": teacher}, MATCHES, whole, "cross_entropy")
    pieces = []
    for a, b in ((0, 1), (1, 3), (3, 4)):
        longest = int(lengths[a:b].max())
        pieces.append({name: one[a:b, :longest] if one.dim() > 1 else one[a:b] for name, one in whole.items()})
    _, parts, _ = wiring.loss(student, whole)
    objective = wiring.objective
    expected = torch.stack([objective.items(piece) for piece in pieces]).mean(0)
    expected *= torch.stack([objective.lengths(piece) for piece in pieces]).amax(0)
    cut = [wiring.loss(student, piece, expected=expected)[1] for piece in pieces]
    assert all(float(value) > 0 for value in parts.values())
    for name, value in parts.items():
        assert float(sum(one[name] for one in cut)) / 3 == pytest.approx(float(value), rel=1e-5), name
    wiring.close()


def test_others_know_no_lengths() -> None:
    student, teacher = make_teacher(2), make_teacher(2)
    batch = {"input_ids": torch.full((2, 4), 7), "attention_mask": torch.ones(2, 4, dtype=torch.long),
             "labels": torch.tensor([0, 1])}  # fmt: skip
    wiring = wire({"student": student}, {"teacher": teacher}, MATCHES[2:], batch, "cross_entropy")
    assert wiring.objective.lengths(batch) is None
    wiring.close()
