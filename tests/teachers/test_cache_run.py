"""Recipes with a cached teacher: they train what a live one trains, and `textkd cache` fills the cache beforehand."""

from __future__ import annotations

import json
from typing import Any

import ocr_lab
import pytest
from command_line import textkd
from tiny_lab import Tiny

from textkd import recipe as recipes
from textkd.errors import TextkdError
from textkd.methods import caching
from textkd.teachers import LiveTeacher


def with_cache(tiny: Tiny, cache: Any, name: str) -> dict[str, Any]:
    recipe = tiny.recipe
    recipe["teacher"]["cache"] = cache
    recipe["training"]["output_dir"] = str(tiny.folder / name)
    recipe["control"] = False
    recipe["matches"].append({"tap": "attention", "loss": "mse", "layers": "last"})
    return recipe


def losses(tiny: Tiny, cache: Any, name: str) -> dict[str, list[float]]:
    """Every part of the loss, step by step."""
    done = recipes.distiller(tiny.write(with_cache(tiny, cache, name), f"{name}.yaml")).run()
    rows = [row for row in json.loads((done.student / "textkd.json").read_text())["history"] if "parts" in row]
    return {name: [row["parts"][name] for row in rows] for name in rows[0]["parts"]}


def test_a_student_of_a_cache_is_that_of_the_live_teacher(tiny: Tiny) -> None:
    live = losses(tiny, False, "live")
    assert len(live) == 6
    for name, cache, close in (("exact", {"precision": "float32"}, 1e-4), ("halved", True, 1e-2)):
        cached = losses(tiny, cache, name)
        assert list((tiny.folder / "teachers").rglob("shard-*"))
        for part, values in live.items():
            assert len(values) == 16
            assert cached[part] == pytest.approx(values, rel=close), part


def test_the_teacher_runs_once_for_each_row(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    taps = LiveTeacher.taps

    def count(self: LiveTeacher, batch: Any, example_id: Any = None) -> Any:
        seen.append(len(batch["input_ids"]))
        return taps(self, batch, example_id)

    recipe = with_cache(tiny, True, "run")
    made = recipes.distiller(tiny.write(recipe))
    made.check()
    monkeypatch.setattr(LiveTeacher, "taps", count)
    told = made.fill_cache()
    assert told[0]["computed"] == told[0]["rows"] == 64
    assert sum(seen) - 4 == 64  # and 4 rows to try taps on
    seen.clear()
    made.training["max_steps"] = 2
    made.run()
    assert sum(seen) == 4
    other = with_cache(tiny, {"max_gb": 1}, "other")  # another student, and taps of other blocks
    other["student"] = {"shrink": {"layers": [1, 4]}}
    other["matches"][2]["layers"] = {2: 4}
    other["training"]["per_device_train_batch_size"] = 5
    told = recipes.distiller(tiny.write(other)).fill_cache()
    assert told[0]["computed"] == 0


def test_textkd_cache_fills_the_cache(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(tiny.write(with_cache(tiny, False, "run")))
    code, printed = textkd(capsys, monkeypatch, "cache", file)
    assert code == 0, printed
    assert "64 rows (64 computed now)" in printed
    assert "bytes a row; dense float32:" in printed
    assert list((tiny.folder / "teachers" / "taps").rglob("shard-*.safetensors"))
    assert not (tiny.folder / "run").exists()
    _, printed = textkd(capsys, monkeypatch, "cache", file)
    assert "64 rows (0 computed now)" in printed


def test_too_large_a_cache_is_refused_before_training(tiny: Tiny) -> None:
    made = recipes.distiller(tiny.write(with_cache(tiny, {"max_gb": 1e-5}, "run")))
    with pytest.raises(TextkdError, match="max_gb is 1e-05"):
        made.run()
    assert not list(tiny.folder.rglob("shard-*"))
    wider = recipes.distiller(tiny.write(with_cache(tiny, {"max_gb": 1}, "run")))
    wider.folder.check(wider.fingerprint)  # the same run, with more room


@pytest.mark.parametrize(
    ("cache", "found"),
    [
        ("yes", "teacher.cache"),
        ({"precison": "int8"}, "no such option"),
        ({"precision": "int4"}, "teacher.cache.precision"),
    ],
)
def test_a_bad_block_is_told_with_its_path(tiny: Tiny, cache: Any, found: str) -> None:
    with pytest.raises(TextkdError, match=found):
        recipes.distiller(tiny.write(with_cache(tiny, cache, "run"))).check()


def test_augmented_lines_are_refused() -> None:
    data = ocr_lab.data(augment=1.0)
    with pytest.raises(TextkdError, match="augmented anew"):
        caching.fill(None, data, 4, "student")  # type: ignore[arg-type]
