"""The page docs/losses.md is that of the registry."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from textkd import losses
from textkd.cli.app import main
from textkd.losses.table import markdown

ROOT = Path(__file__).resolve().parents[2]


def cells(line: str) -> list[str]:
    """A row as Markdown reads it: a bar that is not escaped ends a cell."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "losses.md").read_text(encoding="utf-8")
    assert page == markdown(), "textkd ls losses --markdown > docs/losses.md"


def test_every_loss_has_its_row() -> None:
    section, found = "", {}
    for line in markdown().splitlines():
        section = line[3:] if line.startswith("## ") else section
        if line.startswith("| "):
            row = cells(line)
            assert len(row) == 6, line
            found[section, row[0].strip("`")] = row
    for row in losses.rows():
        _, what, formula, options, takes, source = found[row["family"], row["name"]]
        assert takes == row["takes"]
        assert (what, formula) == (row["doc"], f"`{row['formula']}`")
        assert re.sub(r"\[(arXiv:[\d.]+)\]\([^)]*\)", r"\1", source) == row["source"]
        assert len([part for part in options.split("<br>") if part]) == len(
            [o for o in row["options"].split(", ") if o]
        )
    assert found["hidden", "crd"][4] == "labels, example id, any two widths, weights or memory of its own"
    assert found["attention", "mse"][4] == "any two widths with heads mean or sum"
    assert found["heads", "minilmv2"][4].startswith("a list of taps")
    assert "`standardise = false`: true or false" in found["logits", "kl"][3]
    assert "`bits = null`" in found["hidden", "lsh"][3]
    assert found["labels", "bce"][4] == "a flag per class"
    joint = "a target that is trained too (`target_gradient: true`)"
    assert found["logits", "rocket"][4] == f"labels, {joint}, block moves gradients, not the value"
    assert f"{joint}, unless detach true" in found["logits", "peer_kl"][4]
    assert "taps that are all different, never a gradient into the target" in found["logits", "multi_exit"][4]
    assert "an encoding of its own for each model" in found["logits", "uld"][4]


@pytest.mark.parametrize(("words", "code"), [(["losses", "--markdown"], 0), (["presets", "--markdown"], 2)])
def test_the_command(
    words: list[str], code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["textkd", "ls", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    printed = capsys.readouterr()
    assert stopped.value.code in (code, None)
    assert printed.out == ("" if code else markdown())
