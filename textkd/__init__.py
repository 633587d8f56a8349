"""textkd distils Hugging Face text and OCR models into small ones, and reports honestly what that cost and gained."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textkd import losses, tasks
    from textkd.config.build import from_recipe
    from textkd.config.presets import preset
    from textkd.errors import TextkdError
    from textkd.experiment.distiller import Distiller, Result
    from textkd.models.as_saved import load
    from textkd.models.students import fit_image_size, from_config, grow, rebuild, shrink
    from textkd.models.taps import Capture
    from textkd.objective.match import Match
    from textkd.objective.schedules import Schedule
    from textkd.tasks.ocr.new_model import new_ocr_model
    from textkd.teachers import LiveTeacher, Recogniser
    from textkd.teachers.generation.pseudo_labels import Pseudo
    from textkd.training.stages import Stage
    from textkd.training.wiring import Wiring, wire

__all__ = [
    "Capture", "Distiller", "LiveTeacher", "Match", "Pseudo", "Recogniser", "Result", "Schedule", "Stage",
    "TextkdError", "Wiring", "fit_image_size", "from_config", "from_recipe", "grow", "load", "losses",
    "new_ocr_model", "preset", "rebuild", "shrink", "tasks", "wire",
]  # fmt: skip

# where each name is; looked up on first use, so that `textkd --help` need not wait for torch
_HOMES = {
    "Capture": "models.taps", "Distiller": "experiment.distiller", "LiveTeacher": "teachers",
    "Match": "objective.match", "Result": "experiment.distiller", "Pseudo": "teachers.generation.pseudo_labels",
    "Recogniser": "teachers", "Schedule": "objective.schedules", "Stage": "training.stages", "TextkdError": "errors",
    "Wiring": "training.wiring", "preset": "config.presets", "fit_image_size": "models.students",
    "from_config": "models.students", "from_recipe": "config.build", "load": "models.as_saved", "losses": "",
    "grow": "models.students", "new_ocr_model": "tasks.ocr.new_model", "rebuild": "models.students",
    "shrink": "models.students", "tasks": "", "wire": "training.wiring",
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
