"""Taps of a teacher on disk, by content: computed once, for all epochs, processes and students."""

from textkd.teachers.cache.building import AUGMENTED, Size, build, estimate, refuse_augmented, refuse_too_large, shown
from textkd.teachers.cache.options import CacheOptions
from textkd.teachers.cache.teacher import CachedTeacher

__all__ = [
    "AUGMENTED",
    "CacheOptions",
    "CachedTeacher",
    "Size",
    "build",
    "estimate",
    "refuse_augmented",
    "refuse_too_large",
    "shown",
]
