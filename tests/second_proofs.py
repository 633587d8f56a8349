"""Parameters of a test of which few show the rule and the others prove it again: those are marked `long`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def but_few(values: Iterable[Any], *few: Any) -> list[Any]:
    """`values` for `parametrize`, a tuple for several names; all but `few` are run with the tests marked `long`."""
    values = list(values)
    assert set(few) <= set(values), "each of the few is one of the values"
    several = {value: value if isinstance(value, tuple) else (value,) for value in values}
    return [value if value in few else pytest.param(*several[value], marks=pytest.mark.long) for value in values]
