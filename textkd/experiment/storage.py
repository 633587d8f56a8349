"""The folder of a run: whose it is, what lies where, and that only one process works in it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors import SafetensorError, safe_open

from textkd.errors import fail, said
from textkd.experiment.changed import changes, shown
from textkd.experiment.finished import RECORD, is_sound
from textkd.models.files import at_home, read_record, remove_unfinished, saving, write_json
from textkd.models.processes import processes
from textkd.models.regular import regular
from textkd.models.versions import difference, versions

log = logging.getLogger("textkd")


def folder_of(given: Any, default: str | Path) -> Path:
    """The run folder that an `output_dir` names; the default where there is none. Raises `TextkdError` for what is no
    path."""
    is_path = given is None or (isinstance(given, str | os.PathLike) and os.fspath(given).strip())
    if not is_path:
        raise fail(f"output_dir: {given!r}", "not a path", fix="training.output_dir=<a folder>",
                   where="training.output_dir")  # fmt: skip
    return at_home(default if given is None else given)


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

    @property
    def has_finished(self) -> bool:
        """Whether a model, or a stage of one, is finished here."""
        finished = ("results.json", f"seed-*/*/{RECORD}", "seed-*/*.work/*/final/stage.json")
        return any(True for pattern in finished for _ in self.path.glob(pattern))

    def check(
        self, fingerprint: str, inputs: Mapping[str, str] = MappingProxyType({}), name: str = "", told: str = ""
    ) -> None:
        """Raises `TextkdError` if the folder belongs to another recipe (one that was edited may begin anew where
        nothing is finished), to this one on other `inputs` (what they are -> a hash of their content), or holds
        something that is no run. told: the recipe with the names of its keys, where `fingerprint` has none."""
        known = self._known()
        if known is None:
            if self.path.exists() and any(not p.name.startswith(".") for p in self.path.iterdir()):
                raise fail(f"run folder {self.path}", "a folder with other things in it", where="training.output_dir",
                           fix="training.output_dir=<a new folder>")  # fmt: skip
            return
        fix = "training.output_dir=<a new folder>, or delete this one"
        if (edited := _edited(known, fingerprint, told)) != []:
            if known.get("name") == name and not self.has_finished:
                return
            found = f"the run of another recipe ({known.get('name')}): {shown(edited)}"
            raise fail(f"run folder {self.path}", found, where="training.output_dir", fix=fix)
        before = known.get("inputs")  # early folders have none
        before = before if isinstance(before, Mapping) else {}
        if other := [what for what, content in inputs.items() if before.get(what, content) != content]:
            found = f"the run of this recipe on another content of: {', '.join(other)}"
            raise fail(f"run folder {self.path}", found, where="training.output_dir", fix=fix)

    def begins_anew(self, fingerprint: str) -> bool:
        """Whether what was begun here is of a recipe that was edited since: after `check` it goes."""
        known = self._known()
        return known is not None and not _is_same(known, fingerprint)

    def claim(
        self, fingerprint: str, name: str, inputs: Mapping[str, str] = MappingProxyType({}), told: str = ""
    ) -> None:
        """Writes whose folder it is; what an edited recipe left unfinished goes. After `check`. Raises `TextkdError` if
        another number of processes has begun here: a step would have other rows."""
        known = self._known()
        if known is not None and _is_same(known, fingerprint):
            self._refuse_other_processes(known)
        if processes().is_main_process:
            self._claim(fingerprint, name, inputs, told or fingerprint)
        processes().wait_for_everyone()

    def _claim(self, fingerprint: str, name: str, inputs: Mapping[str, str], told: str) -> None:
        for place in (self.path, *self.path.glob("seed-*/*")):  # nobody else is at work here
            remove_unfinished(place)
        known, code = self._known(), versions()
        if known is not None and (edited := _edited(known, fingerprint, told)) != []:
            log.warning(
                "%s: the recipe was edited (%s); nothing was finished, it begins anew", self.path, shown(edited)
            )
            for place in self.path.glob("seed-*"):
                shutil.rmtree(place)
            known = None
        seen = list((known or {}).get("versions", []))
        other_code = difference(seen[-1], code) if seen else ""
        if known is not None and self.is_finished:
            if other_code:
                log.warning("%s was made with other code: %s; its models are those of then", self.path, other_code)
            return
        if other_code and self._is_begun:
            log.warning("%s was begun with other code: %s; it goes on", self.path, other_code)
        if known is None or not seen or seen[-1] != code or not self._is_begun:
            self.path.mkdir(parents=True, exist_ok=True)
            kept = known or {"name": name, "fingerprint": _digest(fingerprint), "inputs": dict(inputs)}
            worked = seen if seen and seen[-1] == code else [*seen, code]
            about = {**kept, "processes": processes().num_processes, "versions": worked, "recipe": told}
            if about != known:
                write_json(self.path / "run.json", about)

    def _refuse_other_processes(self, known: Mapping[str, Any]) -> None:
        here = processes().num_processes
        begun = known.get("processes", here)  # early folders do not say so
        if begun != here and self._is_begun and not self.is_finished:
            found = f"it was begun on {_count(begun)}: on {_count(here)} a step has other rows, an epoch other steps"
            fix = f"start it on {_count(begun)}; or training.output_dir=<a new folder>, or delete this one"
            raise fail(f"go on in {self.path} on {_count(here)}", found, where="training.output_dir", fix=fix)

    @property
    def _is_begun(self) -> bool:
        return any(True for _ in self.path.glob("seed-*"))

    def _known(self) -> dict[str, Any] | None:
        """What run.json says; None where there is none."""
        owner = self.path / "run.json"
        return read_record(owner, "run folder", "delete the folder") if owner.exists() else None


def _is_same(known: Mapping[str, Any], fingerprint: str) -> bool:
    return bool(known.get("fingerprint") == _digest(fingerprint))


def _edited(known: Mapping[str, Any], fingerprint: str, told: str) -> list[str] | None:
    """What a recipe says otherwise than that of a folder; [] where it is the same one, None where nobody can tell."""
    return [] if _is_same(known, fingerprint) else changes(str(known.get("recipe", "")), told or fingerprint) or None


CODE = "code.json"


def note_code(work: Path, what: str) -> None:
    """Writes the versions of the code into the work folder of a training that lies in no run folder; where it was begun
    with others, it says so.

    Args:
        work: the folder of its checkpoints.
        what: the training, for the message.
    """
    code, file = versions(), work / CODE
    begun = read_record(file, "the unfinished training", f"delete {work}") if file.is_file() else {}
    if told := difference(begun, code):
        log.warning("%s was begun with other code: %s; it goes on from %s", what, told, work)
    if begun != code:
        write_json(file, code)


def _count(number: Any) -> str:
    return f"{number} process{'' if number == 1 else 'es'}"


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
        try:
            write_json(self._file(key), there)
        except (PermissionError, FileExistsError, NotADirectoryError) as error:  # of somebody else; nothing is lost
            log.warning(
                "%s cannot be written (%s): other runs will not find what this one made", self.folder, said(error)
            )

    def find(self, key: str) -> dict[str, Path]:
        """The folders of the models of a node; empty where no run has them."""
        if os.environ.get(REUSE) == "0" or not self._file(key).is_file():
            return {}
        try:
            known = json.loads(regular(self._file(key)).read_text())
            homes = {str(name): self.folder / str(place) for name, place in known.items()}
            records = [json.loads(regular(home / RECORD).read_text()) for home in homes.values()]
        except Exception:  # whatever a damaged file holds
            return {}
        good = all(record.get("node") == key for record in records) and all(map(_is_whole, homes.values()))
        return homes if good and all(map(is_sound, homes.values(), records)) else {}

    def take(self, key: str, homes: Mapping[str, Path]) -> bool:
        """Copies the models of a node to `homes`, where another run has them. Weights share their room on the disk."""
        found = self.find(key)
        if set(found) != set(homes):
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


def _is_whole(home: Path) -> bool:
    """Whether a model's weights are there and as long as they say."""
    files = list(home.glob("*.safetensors"))
    try:
        for file in files:
            with safe_open(regular(file), "pt"):
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
