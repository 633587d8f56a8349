"""Where things are: the repository, and the data and models that slow tests read."""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
SHARED = Path(os.environ.get("TEXTKD_SHARED", ROOT.parent / "shared"))
