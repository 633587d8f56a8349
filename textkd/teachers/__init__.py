"""Where the teacher's taps come from, and the texts of a teacher that reads."""

from textkd.teachers.live import LiveTeacher
from textkd.teachers.recogniser import Recogniser

__all__ = ["LiveTeacher", "Recogniser"]
