"""The folder of a run: whose it is, what lies where, and that only one process works in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from textkd.errors import fail
from textkd.models.files import at_home, write_json
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
        try:
            known = json.loads(owner.read_text())
        except ValueError as error:
            raise fail(f"run folder {self.path}", f"run.json is damaged: {error}", fix="delete the folder") from error
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


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
