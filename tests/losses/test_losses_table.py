"""The page docs/losses.md is that of the registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from textkd import losses
from textkd.cli import loss_page
from textkd.cli.app import main
from textkd.losses.table import markdown

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "losses.md").read_text(encoding="utf-8")
    assert page == markdown(), "textkd ls losses --markdown > docs/losses.md"


def test_every_loss_has_its_row() -> None:
    read = loss_page.read(markdown())
    own = [row for row in losses.rows() if losses.get(row["name"], row["family"]).fn.__module__.startswith("textkd.")]
    assert read == own
    assert len(read) > 80
    found = {(row["family"], row["name"]): row for row in read}
    takes = {key: row["takes"] for key, row in found.items()}
    assert takes["hidden", "crd"] == "labels, example id, any two widths, weights or memory of its own"
    assert takes["attention", "mse"] == "any two widths with heads mean or sum"
    assert takes["heads", "minilmv2"].startswith("a list of taps")
    assert "standardise=false" in found["logits", "kl"]["options"]
    assert "`standardise = false`: true or false" in markdown()
    assert "bits=null" in found["hidden", "lsh"]["options"]
    assert takes["labels", "bce"] == "a flag per class"
    joint = "a target that is trained too (`target_gradient: true`)"
    assert takes["logits", "rocket"] == f"labels, {joint}, block moves gradients, not the value"
    assert f"{joint}, unless detach true" in takes["logits", "peer_kl"]
    assert "taps that are all different, never a gradient into the target" in takes["logits", "multi_exit"]
    assert "an encoding of its own for each model" in takes["logits", "uld"]


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
