"""textkd distils Hugging Face text and OCR models into small ones, and reports honestly what that cost and gained."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textkd import losses, tasks
    from textkd.distiller import Distiller
    from textkd.errors import TextkdError
    from textkd.matches import Match
    from textkd.methods.stages import Stage
    from textkd.methods.wiring import Wiring, wire
    from textkd.presets import preset
    from textkd.results import Result
    from textkd.schedules import Schedule
    from textkd.students import fit_image_size, from_config, new_ocr_model, shrink
    from textkd.taps import Capture
    from textkd.targets import Pseudo
    from textkd.teachers import LiveTeacher, Recogniser

__all__ = [
    "Capture", "Distiller", "LiveTeacher", "Match", "Pseudo", "Recogniser", "Result", "Schedule", "Stage",
    "TextkdError", "Wiring", "fit_image_size", "from_config", "losses", "new_ocr_model", "preset", "shrink", "tasks",
    "wire",
]  # fmt: skip

# where each name is; looked up on first use, so that `textkd --help` need not wait for torch
_HOMES = {
    "Capture": "taps", "Distiller": "distiller", "LiveTeacher": "teachers", "Match": "matches", "Result": "results",
    "Pseudo": "targets", "Recogniser": "teachers", "Schedule": "schedules", "Stage": "methods.stages",
    "TextkdError": "errors", "Wiring": "methods.wiring", "preset": "presets",
    "fit_image_size": "students", "from_config": "students", "losses": "", "new_ocr_model": "students",
    "shrink": "students", "tasks": "", "wire": "methods.wiring",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    found = getattr(import_module(f"{__name__}.{home}"), name) if home else import_module(f"{__name__}.{name}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
