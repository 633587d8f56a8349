"""Where the teacher's taps come from, and the texts of a teacher that reads."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textkd.teachers.cache import CachedTeacher, CacheOptions
    from textkd.teachers.generation.recogniser import Recogniser
    from textkd.teachers.live import LiveOptions, LiveTeacher, Teacher

__all__ = ["CacheOptions", "CachedTeacher", "LiveOptions", "LiveTeacher", "Recogniser", "Teacher"]

# where each name is; looked up on first use, so that the keys of a recipe are known without torch
_HOMES = {
    "CachedTeacher": "cache", "CacheOptions": "cache", "Recogniser": "generation.recogniser", "LiveOptions": "live",
    "LiveTeacher": "live", "Teacher": "live",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return found
