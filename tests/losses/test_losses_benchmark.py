"""benchmarks/losses.py runs, and says no where a loss is slower than its limit."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "losses.py"


@pytest.fixture
def benchmark(monkeypatch):
    spec = importlib.util.spec_from_file_location("losses_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_a_table_and_a_line_of_json(benchmark, capsys):
    asked = ["labels/cross_entropy", "logits/dkd", "hidden/ctc", "hidden/hcl", "hidden/lsh", "attention/guided"]
    asked += ["scores/mse", "heads/relation"]
    assert benchmark.main(["--quick", "--repeats", "1", *asked]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    said = json.loads(last)
    assert (said["name"], said["ok"], list(said["ratios"])) == ("losses", True, asked)
    assert all(ratio > 0 for ratio in said["ratios"].values())
    rows = [line.split() for line in table[1:]]
    assert [row[0] for row in rows] == asked
    memory = {row[0]: float(row[4]) for row in rows}
    assert memory["hidden/lsh"] > 0


def test_memory_is_what_a_step_allocates(benchmark):
    sizes = benchmark.Sizes(batch=4, length=64, width=256)
    step = benchmark.plain_mse(benchmark.losses.get("mse", "hidden"), sizes)
    tap = 4 * 64 * 256 * 4 / 2**20
    assert 2 * tap < step.mib() < 8 * tap


def test_a_slow_loss_without_a_reason_is_told(benchmark, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "Sizes", lambda: benchmark.QUICK)
    monkeypatch.setattr(benchmark, "LIMIT", 1e-6)
    assert benchmark.main(["--repeats", "1", "hidden/cosine"]) == 1
    monkeypatch.setitem(benchmark.REASONS, ("hidden", "cosine"), (1e6, "it thinks hard"))
    assert benchmark.main(["--repeats", "1", "hidden/cosine"]) == 0
    assert "it thinks hard" in capsys.readouterr().out


def test_an_unknown_name_is_refused(benchmark, capsys):
    with pytest.raises(SystemExit):
        benchmark.main(["--quick", "hidden/mze"])
    assert "hidden/mze" in capsys.readouterr().err


def test_reasons_and_options_name_losses_that_exist(benchmark):
    for family, name in [*benchmark.REASONS, *benchmark.OPTIONS]:
        assert benchmark.losses.get(name, family).name == name
