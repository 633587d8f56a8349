"""What can be read out of a model, and how it is read."""

from textkd.models.architectures import PLANS
from textkd.models.taps.address import Address
from textkd.models.taps.anatomy import Anatomy
from textkd.models.taps.capture import Capture
from textkd.models.taps.gradients import input_gradient
from textkd.models.taps.listing import TapRow, list_taps
from textkd.models.taps.masks import is_empty, mask_for, require_some
from textkd.models.taps.sides import EncoderDecoder, anatomy
from textkd.models.taps.tap import Tap

__all__ = [
    "PLANS",
    "Address",
    "Anatomy",
    "Capture",
    "EncoderDecoder",
    "Tap",
    "TapRow",
    "anatomy",
    "input_gradient",
    "is_empty",
    "list_taps",
    "mask_for",
    "require_some",
]
