"""The page docs/custom-losses.md: its code runs as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from drive import losses as logged
from drive import weights
from places import ROOT
from tiny_lab import Tiny
from transformers import AutoModelForSequenceClassification

from textkd import Match, TextkdError, losses, shrink, tasks, wire
from textkd.losses import registry

PAGE = (ROOT / "docs" / "custom-losses.md").read_text()
NEW = ("pseudo_huber", "scaled_mse")


@pytest.fixture
def registry_as_before() -> Iterator[None]:
    before = dict(registry._ENTRIES)
    yield
    registry._ENTRIES.clear()
    registry._ENTRIES.update(before)


@pytest.fixture
def names(tiny: Tiny, monkeypatch: pytest.MonkeyPatch, registry_as_before: None) -> dict[str, Any]:
    """What the page's code has defined when it is over."""
    monkeypatch.chdir(tiny.folder)
    Path("sst2.yaml").write_text(yaml.safe_dump(tiny.recipe | {"matches": [{"tap": "labels"}, {"tap": "hidden"}]}))
    found: dict[str, Any] = {
        "teacher": AutoModelForSequenceClassification.from_pretrained(tiny.folder / "teacher"),
        "task": tasks.glue("sst2", path=tiny.folder / "data"),
        "args": {"max_steps": 2, "per_device_train_batch_size": 8, "logging_steps": 1},
        "__name__": "page",
    }
    for code in re.findall(r"(?<!<!-- not run -->\n)```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(code, "custom-losses.md", "exec"), found)
    return found


def test_the_page_runs(names: dict[str, Any]) -> None:
    copy = shrink(names["teacher"], layers=[1, 2])
    assert names["by_similarity"](copy, names["teacher"], names["batch"]) == {1: 1, 2: 2}
    one, two = (f"hidden:{i}<-{j}" for i, j in names["found"].items())
    parts = {name for _, name in logged(Path("runs/custom"))}
    assert {f"{one}/mse", f"{two}/mse", "attention:2<-3/mse", "attention:2<-4/mse", "hidden:0<-0/huber"} <= parts
    assert {f"{one}/pseudo_huber", f"{two}/pseudo_huber", "hidden:2<-4/scaled_mse"} <= parts
    assert not [key for key in weights(names["result"].student) if "scale" in key], "it was exported"
    assert names["distiller"].bound[0].pairs[1].loss.name == "pseudo_huber"
    assert set(NEW) < set(losses.names("hidden"))
    with pytest.raises(TextkdError, match="its options: delta"):
        losses_of(names, Match("hidden:0", loss=names["huber"], options={"detla": 0.5}))
    with pytest.raises(TextkdError, match="a number > 0"):
        losses_of(names, Match("hidden:0", loss="pseudo_huber", options={"delta": -1}))


def losses_of(names: dict[str, Any], match: Match) -> None:
    wire(names["student"], names["teacher"], [match], names["batch"])
