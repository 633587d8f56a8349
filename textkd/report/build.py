"""From results.json to report.json and report.html. A finished run's report can be made again at any time."""

from __future__ import annotations

import json
from pathlib import Path

from textkd.errors import reading
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
    with reading(f"the results of {folder}", fix="delete results.json and start the same `textkd run` again"):
        page = render(results)
        text = json.dumps(summary(results), indent=2, ensure_ascii=False, allow_nan=False)
        text.encode("utf-8"), page.encode("utf-8")
    write_atomic(folder / SUMMARY_FILE, text + "\n")
    return write_atomic(folder / FILE, page)
