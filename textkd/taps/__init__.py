"""What can be read out of a model, and how it is read."""

from textkd.taps.address import Address
from textkd.taps.anatomy import Anatomy, anatomy
from textkd.taps.capture import Capture
from textkd.taps.listing import TapRow, list_taps
from textkd.taps.masks import is_empty, mask_for, require_some
from textkd.taps.plans import PLANS

__all__ = [
    "PLANS",
    "Address",
    "Anatomy",
    "Capture",
    "TapRow",
    "anatomy",
    "is_empty",
    "list_taps",
    "mask_for",
    "require_some",
]
