"""Losses: pure functions of (student, teacher, mask), registered by name under the family that they eat.

Every module of this package is imported here, so a new file with a `@register` line is known without a further edit.
"""

import pkgutil
from importlib import import_module

from textkd.losses.options import Fraction, NonNegative, Option, Positive, Range, check_options
from textkd.losses.registry import FAMILIES, Loss, Many, as_loss, get, names, register, rows
from textkd.losses.shapes import check_shapes

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "FAMILIES",
    "Fraction",
    "Loss",
    "Many",
    "NonNegative",
    "Option",
    "Positive",
    "Range",
    "as_loss",
    "check_options",
    "check_shapes",
    "get",
    "names",
    "register",
    "rows",
]
