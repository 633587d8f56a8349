"""Where the teacher's taps come from."""

from textkd.teachers.live import LiveTeacher, forward_inputs

__all__ = ["LiveTeacher", "forward_inputs"]
