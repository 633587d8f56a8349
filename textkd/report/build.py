"""From results.json to report.json and report.html. A finished run's report can be made again at any time."""

from __future__ import annotations

import json
from pathlib import Path

from textkd.models.files import at_home, write_atomic
from textkd.report.public import summary
from textkd.report.results import load

SUMMARY_FILE = "report.json"


def build(run_dir: str | Path) -> Path:
    """Writes report.json and report.html into the folder of a run.

    Args:
        run_dir: the folder of a finished run.

    Returns:
        The path of the page.

    Raises:
        TextkdError: results.json is absent (the run is not finished) or damaged; then nothing is written.
    """
    from textkd.report.page import FILE, render  # matplotlib takes a second

    folder = at_home(run_dir)
    results = load(folder)
    page = render(results)
    text = json.dumps(summary(results), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(folder / SUMMARY_FILE, text + "\n")
    return write_atomic(folder / FILE, page)
