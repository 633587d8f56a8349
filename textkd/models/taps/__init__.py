"""What can be read out of a model, and how it is read."""

from textkd.taps.address import Address
from textkd.taps.anatomy import Anatomy
from textkd.taps.capture import Capture
from textkd.taps.gradients import input_gradient
from textkd.taps.listing import TapRow, list_taps
from textkd.taps.masks import is_empty, mask_for, require_some
from textkd.taps.plans import PLANS
from textkd.taps.sides import EncoderDecoder, anatomy

__all__ = [
    "PLANS",
    "Address",
    "Anatomy",
    "Capture",
    "EncoderDecoder",
    "TapRow",
    "anatomy",
    "input_gradient",
    "is_empty",
    "list_taps",
    "mask_for",
    "require_some",
]
