"""Whether a folder can be written, without writing it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from textkd.models.files import place_problems, unwritable

NO_PROC = not Path("/proc/self").exists()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("/dev/null/x", "Not a directory"),
        ("/dev/null/x/y", "Not a directory"),
        pytest.param("/proc/x", "nothing can be made in /proc", marks=pytest.mark.skipif(NO_PROC, reason="no /proc")),
        ("HERE/file", "is a file"),
        ("HERE/file/run", "Not a directory"),
        ("HERE/loop/run", "symbolic links"),
        ("HERE/lost/run", "a link to what is not there"),
        ("HERE/" + "a" * 300, "name"),
        ("HERE/not/there/" + "a" * 300, "a name of 300 bytes"),
        ("HERE/" + "a/" * 3000, "File name too long"),
    ],
)
def test_where_nothing_can_be_written(place: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    folder, before = Path(place.replace("HERE", str(tmp_path))), sorted(os.listdir(tmp_path))
    assert words in unwritable(folder)
    (told,) = place_problems(folder, "teacher.keep")
    assert told.where == "teacher.keep"
    assert told.fix.startswith("teacher.keep=")
    assert sorted(os.listdir(tmp_path)) == before


def test_where_it_can(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "run", tmp_path / "a" / "b" / ("c" * 200)):
        assert unwritable(place) == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "nothing can be made" in unwritable(tmp_path / "run")
    tmp_path.chmod(0o700)
