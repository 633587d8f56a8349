"""textkd distils Hugging Face text and OCR models into small ones, and reports honestly what that cost and gained."""

from textkd import losses, tasks
from textkd.distiller import Distiller, Result
from textkd.errors import TextkdError
from textkd.matches import Match
from textkd.methods.stages import Stage
from textkd.methods.wiring import Wiring, wire
from textkd.schedules import Schedule
from textkd.students import from_config, shrink
from textkd.taps import Capture
from textkd.teachers import LiveTeacher

__all__ = [
    "Capture", "Distiller", "LiveTeacher", "Match", "Result", "Schedule", "Stage", "TextkdError", "Wiring", "from_config",
    "losses", "shrink", "tasks", "wire",
]  # fmt: skip
