"""Plain attention beside SDPA, and how long the sequences of a batch are on every side of a model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ocr_lab import make_reader
from tiny_lab import make_teacher
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from textkd.training import cpu_attention


def test_words_count_and_labels_of_classes_do_not() -> None:
    batch = {"input_ids": torch.zeros(4, 17, dtype=torch.long), "labels": torch.zeros(4, dtype=torch.long)}
    assert cpu_attention.longest(make_teacher(), batch) == 17
    assert cpu_attention.longest(make_teacher(), {}) == 0


@pytest.mark.parametrize("kind", ["vit", "deit"])
def test_patches_or_characters_count_whichever_are_more(kind: str) -> None:
    model = make_reader(kind)
    encoder = model.config.encoder
    height, width = encoder.image_size
    images = torch.zeros(2, 3, height, width)
    with torch.no_grad():
        patches = model.encoder(images).last_hidden_state.shape[1]
    for characters in (1, 500):
        batch = {"pixel_values": images, "labels": torch.zeros(2, characters, dtype=torch.long)}
        assert 0 <= cpu_attention.longest(model, batch) - max(patches, characters) <= 1  # ViT has no distillation token


MASKS: dict[str, Tensor | None] = {
    "none": None,
    "bool": torch.tensor([[True] * 5 + [False] * 2, [True] * 7])[:, None, None, :].expand(2, 1, 7, 7),
    "added": torch.randn(2, 1, 7, 7),
}


def attended(mask: Tensor | None, dtype: torch.dtype, **options: Any) -> tuple[Tensor, ...]:
    """The output of transformers' "sdpa" and its gradients at query, key and value."""
    torch.manual_seed(0)
    sides = [torch.randn(2, 3, 7, 8).to(dtype).requires_grad_() for _ in range(3)]
    added = mask.to(dtype) if mask is not None and mask.dtype != torch.bool else mask
    output, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](nn.Module(), *sides, added, **options)
    return output, *torch.autograd.grad(output, sides, torch.ones_like(output).cumsum(1))


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("scaling", [None, 0.2])
def test_plain_attention_is_sdpa(mask: str, scaling: float | None, dtype: torch.dtype, close: float) -> None:
    options = {"scaling": scaling, "is_causal": False}
    fused = attended(MASKS[mask], torch.float32, **options)
    with cpu_attention.plain_attention():
        plain = attended(MASKS[mask], dtype, **options)
    for mine, theirs in zip(plain, fused, strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine.float(), theirs, rtol=close, atol=close * theirs.abs().max().item())


def test_plain_attention_leaves_what_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """A causal attention without a mask, which modules are that do not say otherwise."""
    calls, theirs = [], ALL_ATTENTION_FUNCTIONS["sdpa"]
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "sdpa", lambda *a, **k: calls.append(1) or theirs(*a, **k))
    causal = attended(None, torch.float32)
    with cpu_attention.plain_attention():
        torch.testing.assert_close(attended(None, torch.float32), causal)
        assert len(calls) == 2
        attended(None, torch.float32, is_causal=False)
        assert len(calls) == 2
        attended(MASKS["bool"], torch.float32)
        assert len(calls) == 2  # the mask says it all
        attended(None, torch.float32, is_causal=None)
        assert len(calls) == 3  # None: as the module says, which here says nothing


def test_plain_attention_ends_with_its_block_also_after_an_error() -> None:
    theirs, inside = ALL_ATTENTION_FUNCTIONS["sdpa"], []

    @cpu_attention.plain_attention()
    def fails() -> None:
        inside.append(ALL_ATTENTION_FUNCTIONS["sdpa"])
        raise RuntimeError("out")

    with pytest.raises(RuntimeError, match="out"):
        fails()
    assert inside[0] is not theirs
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is theirs
    with cpu_attention.plain_attention():
        outer = ALL_ATTENTION_FUNCTIONS["sdpa"]
        with cpu_attention.plain_attention():
            pass
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is outer


def test_what_is_registered_after_plain_attention_is_seen() -> None:
    theirs = ALL_ATTENTION_FUNCTIONS["sdpa"]
    with cpu_attention.plain_attention():
        pass

    def own(*args: Any, **kwargs: Any) -> Any:
        return theirs(*args, **kwargs)

    AttentionInterface.register("sdpa", own)
    try:
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is own
    finally:
        AttentionInterface.register("sdpa", theirs)
