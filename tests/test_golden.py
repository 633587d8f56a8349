"""Every loss against values and gradients that its original implementation gave.

The cases lie in the folder TEXTKD_GOLDEN (default ../shared/golden); every case that is there is run, one that no map
of `tests/golden` knows fails.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "golden"))
import referee

referee.maps()
CASES = list(referee.cases())


@pytest.mark.skipif(not CASES, reason=f"no golden values in {referee.FOLDER}")
@pytest.mark.parametrize("case", CASES or [None], ids=str)
def test_as_the_original(case: referee.Case) -> None:
    referee.check(case)
