"""What several processes say, and what a launcher did not do."""

from __future__ import annotations

from pathlib import Path

import pytest
from drive import start_forked
from tiny_lab import Tiny

from textkd.cli import app, say
from textkd.config import build
from textkd.errors import TextkdError
from textkd.models.processes import launch_problems


@pytest.mark.long
def test_one_of_several_processes_tells_an_error_and_once(tiny: Tiny) -> None:
    ended = start_forked(tiny.write(tiny.recipe | {"matches": [{"tap": "hidden:99"}]}), tiny.folder)()
    assert [code for code, _ in ended] == [2, 2]
    assert sum(said.count("hidden:99") > 0 for _, said in ended) == 1, ended


def test_the_next_launch_tells_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(say.tempfile, "gettempdir", lambda: str(tmp_path))
    for port in ("1", "1", "2"):
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("MASTER_PORT", port)
        say.tell_once("bad")
    monkeypatch.setattr(say, "STALE_S", -1.0)
    say.tell_once("bad")
    assert capsys.readouterr().err.count("bad") == 3


def test_a_launcher_that_starts_one_process_of_two_is_told(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """`accelerate launch --cpu --num_processes 2`."""
    for name in ("ACCELERATE_MIXED_PRECISION", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "no")
    with pytest.raises(TextkdError, match=r"it started one(.|\n)*torchrun"):
        build.from_recipe(tiny.write(tiny.recipe)).check()


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 without RANK and MASTER_ADDR: no launcher"),
        ({"WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}, "without RANK: no"), ({"WORLD_SIZE": ""}, "is no number"),
        ({"WORLD_SIZE": "1"}, ""), ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"}, ""),
    ],
)  # fmt: skip
def test_half_a_launch_is_told_once(values: dict[str, str], found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    told = launch_problems()
    assert [found in one.found for one in told] == ([True] if found else [])


def test_the_end_of_a_file_is_no_ctrl_c(monkeypatch: pytest.MonkeyPatch, tiny: Tiny) -> None:
    def ends(*_: object) -> None:
        raise EOFError("a file of torch that is empty")

    monkeypatch.setattr(build, "from_recipe", ends)
    monkeypatch.setattr("sys.argv", ["textkd", "run", str(tiny.write(tiny.recipe))])
    with pytest.raises(EOFError, match="empty"):
        app.main()
