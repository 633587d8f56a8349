"""The folder of a run: whose it is, what lies where, and that only one process works in it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from safetensors import SafetensorError, safe_open

from textkd.errors import fail, reading
from textkd.experiment.finished import RECORD, is_sound
from textkd.models.files import at_home, saving, write_json
from textkd.models.processes import processes


@dataclass(frozen=True)
class RunFolder:
    """``run.json`` says whose folder it is; ``seed-<n>/student`` and ``seed-<n>/control`` are models; ``results.json``
    is there once everything is finished."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", at_home(self.path))

    def model(self, role: str, seed: int) -> Path:
        return self.path / f"seed-{seed}" / role

    @property
    def is_finished(self) -> bool:
        return (self.path / "results.json").is_file()

    def check(self, fingerprint: str, inputs: Mapping[str, str] = MappingProxyType({})) -> None:
        """Raises `TextkdError` if the folder belongs to another recipe, to this one on other `inputs` (what they are ->
        a hash of their content), or holds something that is no run."""
        owner = self.path / "run.json"
        if not owner.is_file():
            if self.path.exists() and any(not p.name.startswith(".") for p in self.path.iterdir()):
                raise fail(f"run folder {self.path}", "a folder with other things in it", where="training.output_dir",
                           fix="training.output_dir=<a new folder>")  # fmt: skip
            return
        with reading(f"run folder {self.path}", fix="run.json is damaged: delete the folder"):
            known = json.loads(owner.read_text())
            known = {"fingerprint": None, **known, "inputs": dict(known.get("inputs", {}))}
        fix = "training.output_dir=<a new folder>, or delete this one"
        if known.get("fingerprint") != _digest(fingerprint):
            found = f"the run of another recipe ({known.get('name')})"
            raise fail(f"run folder {self.path}", found, where="training.output_dir", fix=fix)
        before = known.get("inputs", {})  # early folders have none
        if other := [name for name, content in inputs.items() if before.get(name, content) != content]:
            found = f"the run of this recipe on another content of: {', '.join(other)}"
            raise fail(f"run folder {self.path}", found, where="training.output_dir", fix=fix)

    def claim(self, fingerprint: str, name: str, inputs: Mapping[str, str] = MappingProxyType({})) -> None:
        """Writes whose folder it is, once."""
        if processes().is_main_process and not (self.path / "run.json").is_file():
            self.path.mkdir(parents=True, exist_ok=True)
            about = {"name": name, "fingerprint": _digest(fingerprint), "inputs": dict(inputs), "recipe": fingerprint}
            write_json(self.path / "run.json", about)
        processes().wait_for_everyone()


REUSE = "TEXTKD_REUSE"  # 0: every node is trained anew


class NodeIndex:
    """Where finished nodes are, of all runs beside each other: ``.textkd-nodes/<key>.json`` in the folder of the runs.

    Nothing is kept twice for it: an entry names the folders of a run. A folder that is gone or damaged, or that another
    node has taken, is no entry.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / ".textkd-nodes"

    def add(self, key: str, homes: Mapping[str, Path]) -> None:
        """Says that the models of a node are in `homes`, by name."""
        if os.environ.get(REUSE) == "0":
            return
        there = {name: os.path.relpath(home, self.folder) for name, home in homes.items()}
        write_json(self._file(key), there)

    def find(self, key: str) -> dict[str, Path]:
        """The folders of the models of a node; empty where no run has them."""
        if os.environ.get(REUSE) == "0" or not self._file(key).is_file():
            return {}
        try:
            known = json.loads(self._file(key).read_text())
            homes = {str(name): self.folder / str(place) for name, place in known.items()}
            records = [json.loads((home / RECORD).read_text()) for home in homes.values()]
        except Exception:  # whatever a damaged file holds
            return {}
        return (
            homes
            if all(record.get("node") == key for record in records) and all(map(_is_whole, homes.values()))
            else {}
        )

    def take(self, key: str, homes: Mapping[str, Path]) -> bool:
        """Copies the models of a node to `homes`, where another run has them. Weights share their room on the disk."""
        found = self.find(key)
        if set(found) != set(homes) or not all(map(_is_as_measured, found.values())):
            return False
        for name, home in homes.items():
            part = home.with_name(f"{home.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            with saving(part):
                shutil.copytree(found[name], part, copy_function=_linked)
            os.replace(part, home)
        return True

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def _is_as_measured(home: Path) -> bool:
    return is_sound(home, json.loads((home / RECORD).read_text()))


def _is_whole(home: Path) -> bool:
    """Whether a model's weights are there and as long as they say."""
    files = list(home.glob("*.safetensors"))
    try:
        for file in files:
            with safe_open(file, "pt"):
                pass
    except (OSError, SafetensorError):
        return False
    return bool(files) and (home / "config.json").is_file()


def _linked(source: str, target: str) -> str:
    """Weights are linked, all else is copied: nobody edits weights in place."""
    if source.endswith(".safetensors"):
        try:
            os.link(source, target)
            return target
        except OSError:  # another disk, or one that knows no links
            pass
    return str(shutil.copy2(source, target))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
