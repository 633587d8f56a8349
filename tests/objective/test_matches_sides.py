"""Matches on encoder-decoders: layer maps per side, masks and counts per side, and what padding must not change."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor, nn

from textkd import Match, TextkdError
from textkd.models.taps import anatomy
from textkd.objective.bind import bind
from textkd.objective.objective import Objective
from textkd.training.dry_run import check
from textkd.training.wiring import Wiring, wire

TASK = "cross_entropy"
LABELS = torch.tensor([[5, 6, 7, 8, 2], [9, 8, 2, -100, -100], [4, 2, -100, -100, -100], [3, 5, 7, 2, -100]])
# one of everything that a mask can be: positions, pairs, pairs with the encoder, rows of pairs, nothing
MATCHES = [
    Match("decoder.logits", temperature=2.0),
    Match("encoder.hidden", layers="uniform"),
    Match("encoder.attention", layers={-1: -1}),
    Match("decoder.hidden", layers={1: 2, 2: 4}),
    Match("decoder.attention", layers={1: 1}),
    Match("decoder.attention:2", loss="kl"),
    Match("decoder.scores:1"),
    Match("decoder.value:1"),
    Match("decoder.cross_attention", layers="last"),
    Match("decoder.cross_attention:1", loss="kl"),
    Match("decoder.cross_scores:1"),
    Match("decoder.cross_key:2"),
]


def make(encoder: int, decoder: int, width: int = 16, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    vit = hf.ViTConfig(hidden_size=width, num_hidden_layers=encoder, num_attention_heads=2, intermediate_size=24,
                       image_size=[8, 32], patch_size=[8, 4], initializer_range=0.3)  # fmt: skip
    trocr = hf.TrOCRConfig(vocab_size=40, d_model=width, decoder_layers=decoder, decoder_attention_heads=2,
                           decoder_ffn_dim=24, max_position_embeddings=30, init_std=0.3)  # fmt: skip
    both = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        vit, trocr, pad_token_id=1, decoder_start_token_id=2
    )
    return hf.VisionEncoderDecoderModel(both).eval()


def batch(extra: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(1)
    labels = nn.functional.pad(LABELS, (0, extra), value=-100)
    ids = torch.cat([torch.full((4, 1), 2), labels[:, :-1]], 1).masked_fill(labels == -100, 1)
    return {"pixel_values": torch.randn(4, 3, 8, 32), "decoder_input_ids": ids, "labels": labels}


def losses(wiring: Wiring, student: nn.Module, given: dict[str, Tensor], expected: Tensor | None = None) -> Any:
    total, parts, _ = wiring.loss(student, given, expected=expected)
    return total, parts


@pytest.fixture(scope="module")
def models() -> tuple[Any, Any]:
    """A student of 2 + 2 and a teacher of 6 + 4 blocks."""
    return {"student": anatomy(make(2, 2))}, {"teacher": anatomy(make(6, 4))}


@pytest.mark.parametrize(
    ("match", "pairs"),
    [
        (Match("encoder.hidden", layers="uniform"), ["encoder.hidden:1<-3/mse", "encoder.hidden:2<-6/mse"]),
        (Match("decoder.hidden", layers="uniform"), ["decoder.hidden:1<-2/mse", "decoder.hidden:2<-4/mse"]),
        (Match("decoder.hidden", layers={1: 2, 2: 4}), ["decoder.hidden:1<-2/mse", "decoder.hidden:2<-4/mse"]),
        (Match("encoder.hidden", layers={0: 0, -1: -1}), ["encoder.hidden:0<-0/mse", "encoder.hidden:2<-6/mse"]),
        (
            Match("decoder.cross_attention", layers="last", loss="kl"),
            ["decoder.cross_attention:1<-3/kl", "decoder.cross_attention:2<-4/kl"],
        ),
        (Match("decoder.cross_scores:-1"), ["decoder.cross_scores:2<-4/mse"]),
        (Match("decoder.logits"), ["logits/kl"]),
        (Match("encoder.pooled"), ["encoder.pooled/mse"]),
        (
            Match(student="decoder.hidden", teacher="encoder.hidden", layers="first"),
            ["decoder.hidden:1<-encoder.hidden:1/mse", "decoder.hidden:2<-encoder.hidden:2/mse"],
        ),
        (
            Match(student="encoder.hidden", teacher="decoder.hidden", layers="last"),
            ["encoder.hidden:1<-decoder.hidden:3/mse", "encoder.hidden:2<-decoder.hidden:4/mse"],
        ),
        (
            Match(student="decoder.cross_attention:1", teacher="decoder.attention:2"),
            ["decoder.cross_attention:1<-decoder.attention:2/mse"],
        ),
    ],
)
def test_layer_maps_are_of_one_side(models: tuple[Any, Any], match: Match, pairs: list[str]) -> None:
    assert [pair.name for pair in bind([match], *models, TASK)] == pairs


@pytest.mark.parametrize(
    ("match", "words"),
    [
        (Match("hidden", layers="uniform"), '"encoder.hidden" or "decoder.hidden"'),
        (Match("hidden:1"), '"encoder.hidden:1" or "decoder.hidden:1"'),
        (Match("encoder.cross_attention:1"), "without cross-attention"),
        (Match("encoder.cross_attention"), "without cross-attention"),
        (Match("decoder.hidden", layers={1: 5}), "has 4 blocks"),
        (Match("decoder.hidden", layers={3: 4}), "has 2 blocks"),
        (Match("decoder.hidden:1", layers={1: 2}), '"decoder.hidden" with layers'),
        (Match(student="decoder.hidden:1", teacher="hidden:2"), '"encoder.hidden:2" or "decoder.hidden:2"'),
    ],
)
def test_what_cannot_be_bound(models: tuple[Any, Any], match: Match, words: str) -> None:
    with pytest.raises(TextkdError) as raised:
        bind([match], *models, TASK)
    assert words in str(raised.value)
    assert {problem.where.partition(".")[0] for problem in raised.value.problems} == {"[0]"}


def test_a_teacher_of_images_alone_is_matched_explicitly(models: tuple[Any, Any]) -> None:
    encoder = {"teacher": anatomy(models[1]["teacher"].model.encoder)}
    with pytest.raises(TextkdError, match="no sides"):
        bind([Match("encoder.hidden")], models[0], encoder, TASK)
    pairs = bind([Match(student="encoder.hidden", teacher="hidden")], models[0], encoder, TASK)
    assert [pair.name for pair in pairs] == ["encoder.hidden:1<-hidden:3/mse", "encoder.hidden:2<-hidden:6/mse"]


def test_counts_are_of_positions_rows_and_causal_pairs(models: tuple[Any, Any]) -> None:
    one = Objective(bind(MATCHES, *models, TASK))
    counts = {p.name: c for p, c in zip(one.pairs, one.items(batch()).tolist(), strict=True)}
    lengths = (5, 3, 2, 4)
    tokens, pairs = sum(lengths), sum(n * (n + 1) // 2 for n in lengths)
    assert counts.pop("logits/kl") == tokens
    assert {counts.pop(f"encoder.{name}/mse") for name in ("hidden:1<-3", "hidden:2<-6", "attention:2<-6")} == {4}
    assert counts == {
        "decoder.hidden:1<-2/mse": tokens, "decoder.hidden:2<-4/mse": tokens, "decoder.attention:1<-1/mse": pairs,
        "decoder.attention:2<-2/kl": tokens, "decoder.scores:1<-1/mse": pairs, "decoder.value:1<-1/mse": tokens,
        "decoder.cross_attention:1<-3/mse": tokens, "decoder.cross_attention:2<-4/mse": tokens,
        "decoder.cross_attention:1<-1/kl": tokens, "decoder.cross_scores:1<-1/mse": tokens,
        "decoder.cross_key:2<-2/mse": 4,
    }  # fmt: skip


def test_a_batch_cut_in_pieces_teaches_the_same() -> None:
    student, teacher, whole = make(2, 2), make(6, 4, seed=1), batch()
    wiring = wire(student, teacher, MATCHES, whole, TASK)
    total, parts = losses(wiring, student, whole)
    assert all(float(value) > 0 for value in parts.values())
    pieces = [{name: value[a:b] for name, value in whole.items()} for a, b in ((0, 1), (1, 3), (3, 4))]
    expected = torch.stack([wiring.objective.items(piece) for piece in pieces]).mean(0)
    cut = [losses(wiring, student, piece, expected) for piece in pieces]
    assert float(sum(t.detach() for t, _ in cut)) / 3 == pytest.approx(float(total), rel=1e-5)
    for name, value in parts.items():
        assert float(sum(p[name] for _, p in cut)) / 3 == pytest.approx(float(value), rel=1e-5), name


def test_padded_target_positions_change_nothing() -> None:
    student, teacher = make(2, 2), make(6, 4, seed=1)
    wiring = wire(student, teacher, MATCHES, batch(), TASK)
    found = []
    for extra in (0, 3):
        student.zero_grad()
        total, parts = losses(wiring, student, batch(extra))
        total.backward()
        gradients = {n: p.grad.clone() for n, p in student.named_parameters() if p.grad is not None}
        found.append((parts, gradients))
    for name, value in found[0][0].items():
        assert float(found[1][0][name]) == pytest.approx(float(value), rel=1e-5), name
    assert len(found[0][1]) > 20
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(found[1][1][name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def test_each_loss_is_the_mean_over_what_counts() -> None:
    """By loops over rows, targets and keys, for the three shapes of masks."""
    student, teacher, given = make(2, 2), make(6, 4, seed=1), batch()
    wiring = wire(student, teacher, MATCHES, given, TASK)
    _, parts = losses(wiring, student, given)
    mine, theirs = wiring.learners.forward(student, given).taps, wiring.frozen.taps(given)
    lengths = (LABELS != -100).sum(1).tolist()
    places = [(b, t) for b, n in enumerate(lengths) for t in range(n)]

    def mean(values: list[Tensor]) -> float:
        return float(torch.stack([value.detach().square().mean() for value in values]).mean())

    def difference(name: str, block: int) -> Tensor:
        return mine[f"student/{name}"] - theirs[f"teacher/{name.partition(':')[0]}:{block}"]

    d = difference("decoder.hidden:2", 4)
    assert float(parts["decoder.hidden:2<-4/mse"]) == pytest.approx(mean([d[b, t] for b, t in places]), rel=1e-4)
    d = difference("decoder.scores:1", 1)
    causal = mean([d[b, :, t, s] for b, t in places for s in range(t + 1)])
    assert float(parts["decoder.scores:1<-1/mse"]) == pytest.approx(causal, rel=1e-4)
    d = difference("decoder.cross_scores:1", 1)
    assert float(parts["decoder.cross_scores:1<-1/mse"]) == pytest.approx(
        mean([d[b, :, t] for b, t in places]), rel=1e-4
    )
    d = difference("encoder.hidden:2", 6)
    assert float(parts["encoder.hidden:2<-6/mse"]) == pytest.approx(float(d.detach().square().mean()), rel=1e-4)


def test_projections_of_both_sides() -> None:
    matches = [Match("encoder.hidden"), Match("decoder.hidden", layers={1: 2, 2: 4}), Match("decoder.ffn:1")]
    student, teacher = make(2, 2, width=12), make(6, 4, width=16)
    kinds = {pair.name: pair.projection for pair in check(student, teacher, matches, batch(), TASK)}
    assert kinds == {
        "encoder.hidden:1<-3/mse": "linear", "encoder.hidden:2<-6/mse": "linear", "decoder.hidden:1<-2/mse": "linear",
        "decoder.hidden:2<-4/mse": "linear", "decoder.ffn:1<-1/mse": None,
    }  # fmt: skip
    wiring = wire(student.train(), teacher, matches, batch(), TASK)
    losses(wiring, student, batch())[0].backward()
    adapters = [p for name, p in student.named_parameters() if name.startswith("textkd_projections")]
    assert len(adapters) == 8
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in adapters)
    pair = Match(student="encoder.hidden:1", teacher="decoder.hidden:1")
    with pytest.raises(TextkdError, match="length"):
        check(make(2, 2), teacher, [pair], batch(), TASK)
