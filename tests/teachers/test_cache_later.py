"""Cached taps are put together on one core and to the bit: at once on a CPU; by a thread, while the training goes on,
beside an accelerator. What goes wrong in the thread is told to whoever reads the taps."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import cache_lab
import pytest
import torch
from torch import Tensor

from textkd.errors import TextkdError
from textkd.models.taps import Address
from textkd.teachers.cache import CacheOptions
from textkd.teachers.cache import teacher as cached
from textkd.teachers.cache.codecs import Dense, codec_for

BATCH = {"input_ids": torch.arange(5, 17).view(3, 4), "attention_mask": torch.ones(3, 4, dtype=torch.long)}
BATCH["attention_mask"][1, 2:] = 0


def odd_numbers() -> Tensor:
    """[7, 33] numbers of all sizes, also those that are none."""
    made = torch.randn(7, 33, generator=torch.Generator().manual_seed(0)) * 1e3
    made[0, :6] = torch.tensor([torch.inf, -torch.inf, torch.nan, -0.0, 1e-40, 3.3e38])
    return made


@pytest.mark.parametrize("precision", ["float32", "bf16", "int8"])
def test_what_comes_back_is_torch_s_own_to_the_bit(precision: str) -> None:
    tap, codec = odd_numbers(), Dense(precision)
    if precision == "int8":
        tap = tap.nan_to_num(0, 9, -9)
    parts = codec.encode(codec.prepare(tap), 0)
    expected = parts["data"].view(tap.shape).float()
    if precision == "int8":
        expected = expected * parts["scale"].view(-1, 1)
    room = torch.full((33, 9), 7.0)
    codec.decode(cache_lab.read(parts), room[:, 1:8].T.numpy())  # any strides
    assert torch.equal(room[:, 1:8].T.contiguous().view(torch.int32), expected.view(torch.int32))
    assert (room[:, [0, 8]] == 7).all()


@pytest.mark.parametrize("logits", [{"top_k": 3}, {"mass": 0.9}, {"samples": 5}])
def test_kept_parts_of_logits_come_back_one_by_one(logits: dict[str, Any]) -> None:
    codec = codec_for(Address.parse("logits"), CacheOptions(logits=logits))
    tap = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    parts, out = codec.encode(tap, 3), torch.empty(4, 6)
    codec.decode(cache_lab.read(parts), out.numpy())
    counts = parts["counts"].tolist() if "counts" in parts else [3] * 4
    values = parts["values"] if "values" in parts else (parts["times"].float() / 5).log()
    for row, ids, kept in zip(out, parts["ids"].split(counts), values.split(counts), strict=True):
        assert torch.equal(row[ids.long()], kept)
        others = [i for i in range(6) if i not in ids.tolist()]
        assert row[others].unique().numel() <= 1


@pytest.fixture
def beside_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "_has_idle_cores", lambda device: True)


@pytest.mark.usefixtures("beside_an_accelerator")
def test_the_caller_goes_on_while_a_thread_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = cache_lab.teacher(tmp_path)
    expected = dict(teacher.taps(BATCH))
    go, seen, decode = threading.Event(), list[threading.Thread](), Dense.decode

    def slow(self: Dense, parts: Any, out: Any) -> None:
        seen.append(threading.current_thread())
        assert go.wait(60)
        decode(self, parts, out)

    monkeypatch.setattr(Dense, "decode", slow)
    taps = teacher.taps(BATCH)  # would wait for ever if it read
    assert list(taps) == list(expected)
    assert all(name in taps for name in expected)
    assert "hidden:99" not in taps
    go.set()
    assert all(torch.equal(taps[name], tap) for name, tap in expected.items())
    assert taps["logits"] is taps["logits"]
    assert threading.current_thread() not in seen
    teacher.close()


def test_on_a_cpu_no_thread_takes_a_core_from_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = cache_lab.teacher(tmp_path)
    teacher.taps(BATCH)
    monkeypatch.setattr(teacher._reader, "submit", None)
    assert list(teacher.taps(BATCH)) == cache_lab.TAPS
    teacher.close()


@pytest.mark.usefixtures("beside_an_accelerator")
def test_what_goes_wrong_in_the_thread_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = cache_lab.teacher(tmp_path)
    expected = dict(teacher.taps(BATCH))

    def broken(self: Dense, parts: Any, out: Tensor) -> None:
        raise TextkdError()

    with monkeypatch.context() as patch:
        patch.setattr(Dense, "decode", broken)
        taps = teacher.taps(BATCH)
        with pytest.raises(TextkdError):
            taps["logits"]
    again = teacher.taps(BATCH)  # the thread lives on
    assert all(torch.equal(again[name], tap) for name, tap in expected.items())
    teacher.close()
