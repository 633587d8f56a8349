"""Which code works here: the versions that the numbers of a run depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("textkd", "torch", "transformers")


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = []
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:  # a checkout that nobody installed
            found.append((name, "unknown"))
    (name, own), *others = found
    return (name, f"{own} (code {_code()})"), *others


def versions() -> dict[str, str]:
    """The version of each package by its name; textkd's own with a hash of its code, which a checkout changes without
    another number.

    Example:
        >>> list(versions())
        ['textkd', 'torch', 'transformers']
    """
    return dict(_versions())


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What is another version now, with both; "" where nothing is.

    Args:
        before, now: as `versions` gives them.

    Example:
        >>> difference({"torch": "2.12"}, {"torch": "2.13"})
        'torch 2.12, now 2.13'
    """
    return ", ".join(
        f"{name} {before[name]}, now {one}" for name, one in now.items() if name in before and before[name] != one
    )


def _code() -> str:
    folder, digest = Path(__file__).parents[1], hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(str(file.relative_to(folder)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]
