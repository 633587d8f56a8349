"""Whether the files of a folder are those that were written: sizes and checksums beside them."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path

from safetensors import SafetensorError, safe_open

from textkd.models.files import write_json

FILE = "textkd-files.json"
LATER = (FILE, "trainer_state.json")  # the state is written last: it says that all the others are there


def write_sums(folder: Path, writes: bool = True) -> None:
    """Writes down the size and the checksum (CRC-32) of every file in `folder`, for `damage`; one process `writes`."""
    if writes:
        found = {str(file.relative_to(folder)): [file.stat().st_size, _sum(file)] for file in _in(folder)}
        write_json(folder / FILE, found)


def damage(folder: Path) -> str:
    """What is wrong with the files of a folder.

    Args:
        folder: where `write_sums` was called; folders of before are looked at as far as their files tell.

    Returns:
        A sentence on the first bad file; "" where all are as they were written.
    """
    if not (folder / FILE).is_file():
        return next((f"{file.name} is damaged" for file in _in(folder) if not _is_readable(file)), "")
    try:
        known = {str(name): (int(size), int(total)) for name, (size, total) in _read(folder / FILE).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return f"{FILE} is damaged"
    for name, (size, total) in known.items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size:,} bytes of {size:,}"
        if _sum(file) != total:
            return f"{name} is not what was written"
    return ""


def _in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name not in LATER)


def _read(file: Path) -> dict[str, list[int]]:
    known: dict[str, list[int]] = json.loads(file.read_text(encoding="utf-8"))
    return known


def _sum(file: Path) -> int:
    total = 0
    with file.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            total = zlib.crc32(chunk, total)
    return total


def _is_readable(file: Path) -> bool:
    """Whether a file of weights, or of torch, has its beginning and its end."""
    if file.suffix in (".pt", ".pth"):
        return zipfile.is_zipfile(file)
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, "pt"):
                return True
        except (SafetensorError, OSError):
            return False
    return True
