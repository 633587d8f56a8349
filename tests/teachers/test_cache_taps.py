"""What a cached teacher gives is what a live one gives, to the precision that is stored, for every kind of tap."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import transformers as hf
from tiny_lab import make_teacher
from torch import Tensor

from textkd.errors import TextkdError
from textkd.models.taps import anatomy, mask_for
from textkd.teachers import LiveTeacher
from textkd.teachers.cache import CachedTeacher, CacheOptions

TEXT = ["logits", "embeddings", "hidden:0", "hidden:2", "ffn:1", "pooled", "attention:2", "scores:1", "query:3",
        "value:3", "module:bert.encoder.layer.1.output.dense", "gradient:2"]  # fmt: skip
LINES = ["logits", "encoder.hidden:1", "encoder.attention:2", "encoder.query:1", "decoder.hidden:1", "decoder.scores:1",
         "decoder.attention:1", "decoder.cross_attention:1", "decoder.value:1", "decoder.cross_key:1", "decoder.ffn:1",
         "module:encoder"]  # fmt: skip
RELATIVE = {"float32": 1e-6, "bf16": 2**-8}


def texts(rows: int = 6, length: int = 12, seed: int = 0) -> dict[str, Tensor]:
    """Rows of 3 tokens and more."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 20, (rows, length), generator=generator)
    lengths = torch.arange(rows) % (length - 2) + 3
    mask = (torch.arange(length) < lengths[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": torch.arange(rows) % 2}


def reader() -> torch.nn.Module:
    torch.manual_seed(0)
    width = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    decoder = hf.TrOCRConfig(vocab_size=40, d_model=24, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=28,
                             max_position_embeddings=30)  # fmt: skip
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        hf.ViTConfig(image_size=[8, 32], patch_size=[8, 4], **width), decoder, pad_token_id=1, decoder_start_token_id=2
    )
    return hf.VisionEncoderDecoderModel(config).eval()


def lines(rows: int = 5, length: int = 7) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(3, 40, (rows, length), generator=generator)
    labels[torch.arange(length) >= (torch.arange(rows) % length + 2)[:, None]] = -100
    starts = torch.cat([torch.full((rows, 1), 2), labels[:, :-1]], 1)
    return {"pixel_values": torch.randn(rows, 3, 8, 32, generator=generator), "labels": labels,
            "decoder_input_ids": starts.masked_fill(starts == -100, 1)}  # fmt: skip


def live(model: torch.nn.Module, addresses: list[str], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    teacher = LiveTeacher(model, addresses)
    taps = teacher.taps(batch)
    teacher.close()
    return taps


class NoTeacher:
    """Stands where nothing may be computed."""

    def taps(self, batch: Mapping[str, Tensor], example_id: Tensor | None = None) -> dict[str, Tensor]:
        raise AssertionError("the teacher was asked")

    def close(self) -> None:
        pass


def only_cached(model: torch.nn.Module, addresses: list[str], folder: Path, **options: object) -> CachedTeacher:
    made = CacheOptions(**options)  # type: ignore[arg-type]
    return CachedTeacher(model, addresses, folder, made, live=lambda _: NoTeacher())


def fill(
    model: torch.nn.Module, addresses: list[str], folder: Path, batch: dict[str, Tensor], **options: object
) -> None:
    teacher = CachedTeacher(model, addresses, folder, CacheOptions(**options))  # type: ignore[arg-type]
    teacher.taps(batch)
    teacher.close()


def counted(model: torch.nn.Module, name: str, batch: dict[str, Tensor], tap: Tensor) -> Tensor:
    """Bool of the tap's shape: what `mask_for` lets through."""
    address = anatomy(model).resolve(name)
    mask = mask_for(address, batch, tap)
    if mask is None:
        return torch.ones_like(tap, dtype=torch.bool)
    if address.family in ("attention", "scores"):
        pairs = mask if mask.dim() == 3 else mask[:, :, None] & mask[:, None, :]
        return pairs[:, None].expand_as(tap)
    if address.family == "heads":
        return mask[:, None, :, None].expand_as(tap)
    return mask[:, :, None].expand_as(tap)


def assert_alike(model: torch.nn.Module, batch: dict[str, Tensor], got: dict[str, Tensor], precision: str) -> None:
    expected = live(model, list(got), batch)
    for name, tap in expected.items():
        where = counted(model, name, batch, tap)
        assert got[name].shape == tap.shape, name
        assert where.any(), name
        if precision == "int8":
            error = (got[name] - tap).abs() <= tap.masked_fill(~where, 0).abs().amax(-1, keepdim=True) / 254 + 1e-6
        else:
            error = (got[name] - tap).abs() <= RELATIVE[precision] * tap.abs() + 1e-6
        assert error[where].all(), name


@pytest.mark.parametrize("precision", ["float32", "bf16", "int8"])
@pytest.mark.parametrize("kind", ["text", "lines"])
def test_cached_taps_are_the_live_ones(kind: str, precision: str, tmp_path: Path) -> None:
    model, addresses, batch = (make_teacher(), TEXT, texts()) if kind == "text" else (reader(), LINES, lines())
    fill(model, addresses, tmp_path, batch, precision=precision)
    assert_alike(model, batch, only_cached(model, addresses, tmp_path, precision=precision).taps(batch), precision)


@pytest.mark.parametrize("kind", ["text", "lines"])
def test_order_batches_and_padding_find_what_is_there(kind: str, tmp_path: Path) -> None:
    model, addresses, batch = (make_teacher(), TEXT, texts()) if kind == "text" else (reader(), LINES, lines())
    fill(model, addresses, tmp_path, batch)
    cached = only_cached(model, addresses, tmp_path)
    padded = {"labels": -100, "decoder_input_ids": 1}
    for rows, extra in (([4, 0, 3], 0), ([1], 0), ([2, 2, 0, 1, 3], 4)):
        part = {name: column[rows] for name, column in batch.items()}
        if extra:
            part = {name: torch.nn.functional.pad(c, (0, extra), value=padded.get(name, 0)) if c.dim() == 2 else c
                    for name, c in part.items()}  # fmt: skip
        assert_alike(model, part, cached.taps(part), "bf16")


def test_tokens_left_out_of_the_middle_stay_out(tmp_path: Path) -> None:
    model, addresses, batch = make_teacher(), ["hidden:2", "attention:2", "query:1"], texts()
    batch["attention_mask"][2, 1] = 0
    batch["attention_mask"][4, :2] = 0
    for precision in ("bf16", "int8"):
        fill(model, addresses, tmp_path, batch, precision=precision)
        taps = only_cached(model, addresses, tmp_path, precision=precision).taps(batch)
        assert_alike(model, batch, taps, precision)
        assert not taps["hidden:2"][2, 1].any()


def test_another_student_reuses_the_taps_that_are_there(tmp_path: Path) -> None:
    model, batch = make_teacher(), texts()
    fill(model, ["logits", "hidden:2"], tmp_path, batch)
    asked: list[list[str]] = []

    def spy(names: list[str]) -> LiveTeacher:
        asked.append(list(names))
        return LiveTeacher(model, names)

    teacher = CachedTeacher(model, ["hidden:2", "hidden:-1", "logits"], tmp_path, live=spy)  # type: ignore[arg-type]
    assert_alike(model, batch, teacher.taps(batch), "bf16")
    assert asked == [["hidden:4"]]


def test_a_few_new_rows_are_computed_alone(tmp_path: Path) -> None:
    model, batch = make_teacher(), texts(6)
    fill(model, ["hidden:2"], tmp_path, {name: column[:4] for name, column in batch.items()})
    teacher, seen = CachedTeacher(model, ["hidden:2"], tmp_path), []
    inner = LiveTeacher(model, ["hidden:2"])
    taps, inner.taps = inner.taps, lambda b, e=None: seen.append(b["input_ids"]) or taps(b)  # type: ignore
    teacher._make_live = lambda _: inner
    twice = {name: column[[0, 5, 4, 5]] for name, column in batch.items()}
    assert_alike(model, twice, teacher.taps(twice), "bf16")
    assert [ids.tolist() for ids in seen] == [twice["input_ids"][1:3].flip(0).flip(0).tolist()]
    teacher.close()


def test_what_changes_the_taps_changes_the_key(tmp_path: Path) -> None:
    model, batch = make_teacher(), texts()
    fill(model, ["hidden:2"], tmp_path, batch)
    others: list[tuple[torch.nn.Module, dict[str, Tensor], torch.dtype | None]] = []
    for name, change in (("input_ids", 1), ("attention_mask", -1)):
        other = {key: column.clone() for key, column in batch.items()}
        other[name][0, 1] += change
        others.append((model, other, None))
    others.append((model, {**batch, "token_type_ids": torch.ones_like(batch["input_ids"])}, None))
    longer = {**batch, "attention_mask": torch.ones_like(batch["attention_mask"])}
    others.append((model, longer, None))
    changed = make_teacher()
    with torch.no_grad():
        changed.bert.encoder.layer[3].output.dense.bias[0] += 1e-3
    others += [(changed, batch, None), (model, batch, torch.bfloat16)]
    for teacher, rows, autocast in others:
        cached = CachedTeacher(teacher, ["hidden:2"], tmp_path, autocast=autocast, live=lambda _: NoTeacher())
        with pytest.raises(AssertionError, match="was asked"):
            cached.taps(rows)
    again = make_teacher()
    again.config._name_or_path = "elsewhere"
    only_cached(again, ["hidden:2"], tmp_path).taps(batch)


def test_gradients_are_keyed_with_their_labels(tmp_path: Path) -> None:
    model, batch = make_teacher(), texts()
    fill(model, ["gradient:2", "hidden:2"], tmp_path, batch)
    other = {**batch, "labels": 1 - batch["labels"]}
    only_cached(model, ["hidden:2"], tmp_path).taps(other)
    with pytest.raises(AssertionError, match="was asked"):
        only_cached(model, ["gradient:2"], tmp_path).taps(other)


def test_tokens_are_keyed_with_the_positions_that_count(tmp_path: Path) -> None:
    """The logits of a tagger are kept where a token has a label: with labels elsewhere, others are needed."""
    torch.manual_seed(0)
    model = hf.BertForTokenClassification(make_teacher().config).eval()
    first, second = texts(), texts()
    for batch, left_out in ((first, 1), (second, 2)):
        labels = torch.zeros_like(batch["input_ids"]).masked_fill(batch["attention_mask"] == 0, -100)
        labels[:, left_out] = -100
        batch["labels"] = labels
    fill(model, ["logits"], tmp_path, first)
    assert_alike(model, first, only_cached(model, ["logits"], tmp_path).taps(first), "float32")
    again = CachedTeacher(model, ["logits"], tmp_path)
    assert_alike(model, second, again.taps(second), "float32")
    assert again.computed == 6
    again.close()


def test_labels_are_of_a_batch(tmp_path: Path) -> None:
    with pytest.raises(TextkdError, match="a loss is of a batch"):
        CachedTeacher(make_teacher(), ["labels"], tmp_path)


def test_without_a_mask_rows_of_one_length_alone_fit_together(tmp_path: Path) -> None:
    model, batch = make_teacher(), {"input_ids": texts()["input_ids"] + 1}
    short = {"input_ids": batch["input_ids"][:, :5].contiguous()}
    for one in (batch, short):
        fill(model, ["hidden:2"], tmp_path, one)
    cached = only_cached(model, ["hidden:2"], tmp_path)
    for one in (batch, short):
        assert torch.allclose(cached.taps(one)["hidden:2"], live(model, ["hidden:2"], one)["hidden:2"], rtol=2**-8)
