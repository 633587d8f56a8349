"""Losses: functions of (student, teacher, mask), registered by name under the family of taps that they compare.

    labels      the task's own loss
    logits/     softened answers and their divergences, other targets, peers
    hidden/     vectors of tokens or samples: distances, chosen parts, maps, gradients
    attention/  probabilities, scores, q/k/v and relations of these
    relations/  how samples, tokens, channels and layers lie to each other
    contrast/   a pair among other samples; discriminators

`masking` and `pooling` are the few ideas that all share: which positions count, and one vector per sample; `modules` is
for losses that own weights. Every module of this package is imported here, so a new file with a `@register` line is
known without a further edit.
"""

import pkgutil
from importlib import import_module

from textkd.losses.checks import check_options, engine_problems
from textkd.losses.entry import Arity, Loss
from textkd.losses.linear import LinearLogits
from textkd.losses.logits.fusion import Fusion
from textkd.losses.options import Fraction, NonNegative, Option, Positive, Range
from textkd.losses.registry import FAMILIES, as_loss, get, names, register
from textkd.losses.shapes import check_shapes
from textkd.losses.table import rows

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    import_module(_module.name)

__all__ = [
    "FAMILIES",
    "Arity",
    "Fraction",
    "Fusion",
    "LinearLogits",
    "Loss",
    "NonNegative",
    "Option",
    "Positive",
    "Range",
    "as_loss",
    "check_options",
    "check_shapes",
    "engine_problems",
    "get",
    "names",
    "register",
    "rows",
]
