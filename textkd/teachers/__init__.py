"""Where the teacher's taps come from, and the texts of a teacher that reads."""

from textkd.teachers.cache import CachedTeacher, CacheOptions
from textkd.teachers.generation.recogniser import Recogniser
from textkd.teachers.live import LiveOptions, LiveTeacher, Teacher

__all__ = ["CacheOptions", "CachedTeacher", "LiveOptions", "LiveTeacher", "Recogniser", "Teacher"]
