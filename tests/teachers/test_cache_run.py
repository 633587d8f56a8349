"""Recipes with a cached teacher: they train what a live one trains, and `textkd cache` fills the cache beforehand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cache_lab
import numpy as np
import ocr_lab
import pytest
from command_line import textkd
from second_proofs import but_few
from tiny_lab import Tiny

from textkd import Match, Stage, shrink
from textkd.config import build as recipes
from textkd.errors import TextkdError
from textkd.teachers import CacheOptions, LiveTeacher
from textkd.teachers.cache.shards import open_shard
from textkd.teachers.frozen import FrozenModel
from textkd.training import cache_filling
from textkd.training.stages import run_stages


def with_cache(tiny: Tiny, cache: Any, name: str) -> dict[str, Any]:
    recipe = tiny.recipe
    recipe["teacher"]["cache"] = cache
    recipe["training"]["output_dir"] = str(tiny.folder / name)
    recipe["control"] = False
    recipe["matches"].append({"tap": "attention", "loss": "mse", "layers": "last"})
    return recipe


def losses(tiny: Tiny, cache: Any, name: str) -> dict[str, list[float]]:
    """Every part of the loss, step by step."""
    done = recipes.from_recipe(tiny.write(with_cache(tiny, cache, name), f"{name}.yaml")).run()
    rows = [row for row in json.loads((done.student / "textkd.json").read_text())["history"] if "parts" in row]
    return {name: [row["parts"][name] for row in rows] for name in rows[0]["parts"]}


@pytest.mark.long
def test_a_student_of_a_cache_is_that_of_the_live_teacher(tiny: Tiny) -> None:
    live = losses(tiny, False, "live")
    assert len(live) == 6
    for name, cache, close in (("exact", {"precision": "float32"}, 1e-4), ("halved", True, 1e-2)):
        cached = losses(tiny, cache, name)
        assert list((tiny.folder / "teachers").rglob("shard-*"))
        for part, values in live.items():
            assert len(values) == 8
            assert cached[part] == pytest.approx(values, rel=close), part


@pytest.mark.long
def test_the_teacher_runs_once_for_each_row(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    taps = LiveTeacher.taps

    def count(self: LiveTeacher, batch: Any, example_id: Any = None) -> Any:
        seen.append(len(batch["input_ids"]))
        return taps(self, batch, example_id)

    recipe = with_cache(tiny, True, "run")
    made, short = (recipes.from_recipe(tiny.write(recipe), words) for words in ([], ["training.max_steps=2"]))
    for one in (made, short):
        one.check()
    monkeypatch.setattr(LiveTeacher, "taps", count)
    told = made.fill_cache()
    assert told[0]["computed"] == told[0]["rows"] == 64
    assert sum(seen) - 4 == 64  # and 4 rows to try taps on
    seen.clear()
    done = short.run()
    assert sum(seen) == 4
    assert "0 of 64 rows computed" in done.report.read_text()
    other = with_cache(tiny, {"max_gb": 1}, "other")  # another student, and taps of other blocks
    other["student"] = {"shrink": {"layers": [1, 4]}}
    other["matches"][2]["layers"] = {2: 4}
    other["training"]["per_device_train_batch_size"] = 5
    told = recipes.from_recipe(tiny.write(other)).fill_cache()
    assert told[0]["computed"] == 0


@pytest.mark.long
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


@pytest.mark.long
def test_too_large_a_cache_is_refused_before_training(tiny: Tiny) -> None:
    made = recipes.from_recipe(tiny.write(with_cache(tiny, {"max_gb": 1e-5}, "run")))
    with pytest.raises(TextkdError, match="max_gb is 1e-05"):
        made.run()
    assert not list(tiny.folder.rglob("shard-*"))
    wider = recipes.from_recipe(tiny.write(with_cache(tiny, {"max_gb": 1}, "run")))
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
        recipes.from_recipe(tiny.write(with_cache(tiny, cache, "run"))).check()


def test_rows_that_are_never_the_same_are_refused_after_an_epoch(tiny: Tiny) -> None:
    teacher = cache_lab.teacher(tiny.folder, ["hidden:1"])
    rows = cache_lab.Rows(8)
    cache_filling.fill(teacher, SimpleNamespace(train=rows, collator=cache_lab.collate), 4, "student")
    batch = cache_lab.collate([rows[i] for i in range(8)])
    teacher.taps(batch)
    teacher.taps({**batch, "input_ids": (batch["input_ids"] + 1) % 20})
    with pytest.raises(TextkdError, match="other ones in every epoch"):
        teacher.taps({**batch, "input_ids": (batch["input_ids"] + 2) % 20})


def lines_losses(cache: CacheOptions | None, share: bool, work: Path) -> dict[tuple[int, str], float]:
    teacher = ocr_lab.make_reader()
    student = shrink(teacher, **({} if share else {"encoder_layers": 1}), decoder_layers=1)
    matches = [Match("labels", weight=0.2), Match("logits", loss="kl", temperature=2.0),
               Match("decoder.hidden", loss="mse", layers="last")]  # fmt: skip
    training = {"max_steps": 4, "per_device_train_batch_size": 8, "learning_rate": 1e-3, "logging_steps": 1}
    data = ocr_lab.data()
    models, read = {"student": student}, {"teacher": FrozenModel(teacher, cache)}
    done = run_stages(work, models, read, [Stage(matches)], data, training, 1, "student", share)
    return {key: value for key, value in ocr_lab.read_history(done).items() if not key[1].startswith("eval")}


@pytest.mark.long
@pytest.mark.parametrize("share", but_few([False, True], False))
def test_a_recogniser_learns_from_a_cache_as_from_its_teacher(share: bool, tmp_path: Path) -> None:
    live = lines_losses(None, share, tmp_path / "live")
    cached = lines_losses(CacheOptions(folder=str(tmp_path / "taps")), share, tmp_path / "cached")
    assert len(live) == 4 * 4
    assert cached == pytest.approx(live, rel=1e-2)
    if share:  # the student runs on what is shared, so it is not rounded
        labels = [key for key in live if key[1].startswith("labels")]
        assert cached[labels[0]] == pytest.approx(live[labels[0]], rel=1e-5)


@pytest.mark.slow
def test_processes_of_a_run_share_the_work(tiny: Tiny) -> None:
    file = tiny.write(with_cache(tiny, True, "run"))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29641",
               "-m", "textkd", "run", str(file)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shards = [open_shard(path) for path in tiny.folder.rglob("shard-*.safetensors")]
    keys = np.concatenate([shard.keys for shard in shards])
    assert len(keys) == len(np.unique(keys, axis=0)) == 64
    assert len({shard.path.name.split("-")[-2] for shard in shards if shard.path}) == 2


def test_augmented_lines_are_refused() -> None:
    data = ocr_lab.data(augment=1.0)
    with pytest.raises(TextkdError, match="augmented anew"):
        cache_filling.fill(None, data, 4, "student")  # type: ignore[arg-type]


KL = {"tap": "logits", "loss": "kl", "temperature": 4}
SPARSE: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "logits themselves": ({"tap": "logits", "loss": "mse"}, {"top_k": 2}, "logits/mse.*reads the teacher's logits as"),
    "of mass": ({"tap": "logits", "loss": "bce"}, {"mass": 0.9}, "logits/bce.*dense, or loss: one of .*kl"),
    "not linear": ({"tap": "logits", "loss": "reverse_kl"}, {"samples": 8}, "reverse_kl.*not linear"),
    "another temperature": (KL, {"top_k": 2}, "another temperature than teacher.cache.temperature: 1"),
    "one of two": (KL, {"samples": 8}, "another temperature"),
}


@pytest.mark.long
@pytest.mark.parametrize("case", but_few(SPARSE, "not linear", "of mass"))
def test_a_loss_that_would_learn_from_what_was_not_kept_is_refused(tiny: Tiny, case: str) -> None:
    match, logits, said = SPARSE[case]
    recipe = with_cache(tiny, {"logits": logits}, "run")
    recipe["matches"] = [{"tap": "labels"}, match]
    with pytest.raises(TextkdError) as caught:
        recipes.from_recipe(tiny.write(recipe)).check()
    assert re.search(said, str(caught.value).replace("\n", " "))


@pytest.mark.long
@pytest.mark.parametrize("logits", [{"top_k": 2}, {"mass": 0.9}, {"samples": 8}])
def test_a_loss_of_probabilities_at_the_caches_temperature_is_not(tiny: Tiny, logits: dict[str, Any]) -> None:
    recipe = with_cache(tiny, {"logits": logits, "temperature": 4}, "run")
    recipe["matches"] = [{"tap": "labels"}, KL]
    recipes.from_recipe(tiny.write(recipe)).check()


def test_a_cache_that_nobody_asks_for_is_refused(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = tiny.recipe | {"matches": [{"tap": "labels"}]}
    values["teacher"]["cache"] = True
    code, printed = textkd(capsys, monkeypatch, "cache", str(tiny.write(values)))
    assert code == 2
    assert "no match reads teacher" in printed
