"""Every loss against values and gradients that its original implementation gave.

The cases lie in `tests/golden/values`, or in the folder that TEXTKD_GOLDEN names; every case that is there is run. One
that no map of `tests/golden` knows fails, unless `referee.NOT_OURS` says why textkd has no such thing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "golden"))
import referee

referee.maps()
CASES = list(referee.cases())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_the_original(case: referee.Case) -> None:
    referee.check(case)


def test_the_repository_has_values_for_every_map() -> None:
    """A file that is missing takes its cases along, and nothing above would notice."""
    here = {(case.source, case.name) for case in referee.cases(referee.OURS)}
    assert set(referee.ORIGINALS) - here == set()
    assert here - set(referee.ORIGINALS) == set(referee.NOT_OURS)
    assert set(referee.OTHER_GRADIENT) <= set(referee.ORIGINALS)
    lost = [file.name for file in referee.OURS.glob("*.json") if not file.with_suffix(".safetensors").is_file()]
    assert not lost, f"tensors of {', '.join(lost)} are missing in {referee.OURS}"


def test_an_unknown_case_fails_unless_there_is_a_reason() -> None:
    unknown = referee.Case("somewhere", "a_new_loss", 0, {}, "float64", 1.0, {})
    with pytest.raises(AssertionError, match="nothing in textkd is mapped to somewhere's a_new_loss"):
        referee.check(unknown)
    assert CASES, f"no golden values in {referee.FOLDER}"
