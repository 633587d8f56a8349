"""`textkd` as a command line in this process, and what a folder holds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from textkd.cli import app


def textkd(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
    """(exit code, everything printed) of a command line, in this process."""
    monkeypatch.setattr(sys, "argv", ["textkd", *words])
    with pytest.raises(SystemExit) as stopped:
        app.main()
    printed = capsys.readouterr()
    return int(stopped.value.code or 0), " ".join((printed.out + printed.err).split())


def inside(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}
