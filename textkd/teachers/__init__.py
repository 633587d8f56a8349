"""Where the teacher's taps come from."""

from textkd.teachers.live import LiveTeacher

__all__ = ["LiveTeacher"]
