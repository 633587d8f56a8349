"""Size, speed and memory on models whose numbers are known."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from textkd.errors import TextkdError
from textkd.models.cpu import cpu
from textkd.report import PeakMemory, disk_mb, hardware, measure_speed, parameters, versions

BATCHES = {
    kind: {"input_ids": torch.zeros(size, 4), "labels": torch.zeros(size)}
    for kind, size in (("latency", 1), ("throughput", 8))
}


class Sleeper(nn.Module):
    """Takes a known time and remembers how it was called."""

    calls: list[str]

    def __init__(self, name: str, seconds: float, calls: list[str]) -> None:
        super().__init__()
        self.name, self.seconds, self.calls = name, seconds, calls
        self.inner = nn.Sequential(nn.Dropout(), nn.Linear(4, 2))

    def forward(self, input_ids: Tensor, labels: Tensor | None = None, **more: object) -> Tensor:
        assert labels is None
        assert not more
        assert not self.inner.training
        assert not torch.is_grad_enabled()
        self.calls.append(f"{self.name}{len(input_ids)}")
        time.sleep(self.seconds)
        return self.inner(input_ids)


@pytest.mark.long
def test_speed_takes_turns_and_orders_models():
    calls: list[str] = []
    models = {name: Sleeper(name, seconds, calls) for name, seconds in (("a", 0.03), ("b", 0.002))}
    speeds = measure_speed(models, BATCHES, repeats=4, warmup=1)
    assert calls == ["a1", "b1"] * 5 + ["a8", "b8"] * 5
    assert speeds["a"]["latency_ms"] >= 30
    assert 2 <= speeds["b"]["latency_ms"] < speeds["a"]["latency_ms"] / 2
    assert speeds["b"]["samples_per_s"] > 2 * speeds["a"]["samples_per_s"]
    assert speeds["a"]["samples_per_s"] <= 8 / 0.03
    assert speeds.repeats == 4


def test_speed_stops_at_the_budget_but_not_under_three_rounds():
    calls: list[str] = []
    speeds = measure_speed({"a": Sleeper("a", 0.02, calls)}, BATCHES, repeats=1000, warmup=50, budget_s=0.0)
    assert calls == ["a1"] * 4 + ["a8"] * 4
    assert speeds.repeats == 3


def test_speed_puts_every_submodules_mode_back_even_after_an_error():
    model = Sleeper("a", 0.0, [])
    model.train()
    model.inner.eval()
    before = [module.training for module in model.modules()]
    assert len(set(before)) == 2
    measure_speed({"a": model}, BATCHES, repeats=1, warmup=0)
    assert [module.training for module in model.modules()] == before
    with pytest.raises(RuntimeError, match="shapes"):
        measure_speed({"a": model}, {kind: {"input_ids": torch.zeros(1, 5)} for kind in BATCHES}, repeats=1)
    assert [module.training for module in model.modules()] == before


def test_each_model_gets_what_its_forward_names():
    both = {kind: {**batch, "token_type_ids": torch.zeros(1)} for kind, batch in BATCHES.items()}
    assert "a" in measure_speed({"a": Sleeper("a", 0.0, [])}, both, repeats=1)
    with pytest.raises(TextkdError, match="names none of the batch's"):
        measure_speed({"a": Sleeper("a", 0.0, [])}, {kind: {"pixel_values": torch.zeros(1)} for kind in BATCHES})
    with pytest.raises(TextkdError, match="no 'throughput' batch"):
        measure_speed({}, {"latency": {}})


@pytest.mark.long
def test_peak_memory_sees_what_was_freed_again():
    with PeakMemory() as before:
        time.sleep(0.06)
    with PeakMemory() as memory:
        held = torch.ones(50_000_000)
        time.sleep(0.2)
        del held
    assert 180 < memory.mb - before.mb < 400


def test_peak_memory_ends_its_thread_after_an_error():
    memory = PeakMemory()
    with pytest.raises(KeyError), memory:
        raise KeyError
    assert memory.mb > 0
    assert not memory._thread.is_alive()


def test_parameters_leave_projections_out_and_count_tied_ones_once():
    model = nn.ModuleDict({"one": nn.Linear(3, 5), "two": nn.Linear(3, 5, bias=False)})
    model["two"].weight = model["one"].weight
    model["one"].add_module("textkd_projection_0", nn.Linear(7, 7))
    assert parameters(model) == 3 * 5 + 5


def test_size_on_disk_counts_weights_only(tmp_path: Path):
    with pytest.raises(TextkdError, match=r"no \*.safetensors"):
        disk_mb(tmp_path)
    save_file({"w": torch.zeros(500_000)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"w": torch.zeros(250_000)}, tmp_path / "model-00002-of-00002.safetensors")
    (tmp_path / "optimizer.pt").write_bytes(b"0" * 5_000_000)
    (tmp_path / "checkpoint-1").mkdir()
    save_file({"w": torch.zeros(500_000)}, tmp_path / "checkpoint-1" / "model.safetensors")
    assert disk_mb(tmp_path) == pytest.approx(3.0, abs=0.001)


def test_hardware_and_versions_are_told(tmp_path: Path):
    found = hardware()
    assert set(found) == {"cpu", "cores", "gpu"}
    assert found["cpu"]
    assert found["cores"] >= 1
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Fast One @ 3GHz\n")
    assert cpu(tmp_path / "cpuinfo") == "Fast One @ 3GHz"
    assert cpu(tmp_path / "nothing")
    assert versions()["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert "python" in versions()


def test_peak_memory_on_cuda_is_torchs_own_count_since_entering(monkeypatch):
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: calls.append("wait"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: calls.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: calls.append("read") or 3_500_000)
    with PeakMemory("cuda:0") as memory:
        calls.append("work")
    assert calls == ["wait", "reset", "work", "wait", "read"]
    assert memory.mb == 3.5
