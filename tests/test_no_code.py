"""Code in the folder of a model, a tokenizer, a processor or a data set is never run, and nobody is asked whether."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import textkd
from ocr_lab import processor
from tiny_lab import Tiny, make_teacher, make_tokenizer
from transformers import AutoModelForSequenceClassification

import textkd as package
from textkd.errors import TextkdError
from textkd.models.loading import load_model, load_tokenizer
from textkd.tasks.data.sources import load_split
from textkd.tasks.ocr.processor import load_processor

CODE = """
from pathlib import Path
Path({marker!r}).touch()
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer, DonutImageProcessor, TrOCRProcessor
class Config(BertConfig):
    model_type = "strange"
class Model(BertForSequenceClassification):
    config_class = Config
class Words(BertTokenizer): pass
class Images(DonutImageProcessor): pass
class Both(TrOCRProcessor): pass
"""
CLASSES = {"AutoConfig": "code.Config", "AutoModel": "code.Model",
           "AutoModelForSequenceClassification": "code.Model", "AutoModelForVision2Seq": "code.Model",
           "AutoTokenizer": ["code.Words", None], "AutoImageProcessor": "code.Images",
           "AutoProcessor": "code.Both"}  # fmt: skip
JSONS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
CLEAR = "code in model folders is never run"


class Asked:
    """A keyboard that says yes to everything, and remembers that it was read."""

    def __init__(self) -> None:
        self.times = 0

    def readline(self, *_: Any) -> str:
        self.times += 1
        return "y\n"

    read = readline

    def fileno(self) -> int:
        raise OSError


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked()
    monkeypatch.setattr(sys, "stdin", made)
    return made


def with_code(folder: Path, **changes: Any) -> Path:
    """The folder with code in it that makes a file `ran` when it is run; its JSON files ask for it."""
    (folder / "code.py").write_text(CODE.format(marker=str(folder / "ran")))
    for name in JSONS:
        file = folder / name
        if file.is_file():
            values = json.loads(file.read_text()) | {"auto_map": CLASSES}
            file.write_text(json.dumps(values | (changes if name == "config.json" else {})))
    return folder


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A good model whose kind only its own code knows."""
    folder = tmp_path / "strange"
    make_teacher().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return with_code(folder, model_type="strange", architectures=["Model"])


@pytest.mark.parametrize("command", ["export", "ls taps", "check", "teacher", "student", "eval", "cache"])
def test_commands_say_so_and_do_not_ask(
    command: str, strange: Path, tiny: Tiny, keyboard: Asked, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    recipe = tiny.recipe
    if command == "student":
        recipe["student"] = {"path": str(strange)}
    else:
        recipe["teacher"]["path"] = str(strange)
    file, out = str(tiny.write(recipe)), tiny.folder / "out"
    words = {
        "export": ("export", str(strange), str(out)), "ls taps": ("ls", "taps", str(strange)),
        "check": ("check", file), "teacher": ("run", file), "student": ("run", file), "cache": ("cache", file),
        "eval": ("eval", str(strange), "--task", "glue/sst2", "--file", str(tiny.folder / "data" / "dev.tsv")),
    }[command]  # fmt: skip
    code, said = textkd(capsys, monkeypatch, *words)
    assert code == 2, said
    assert said.count(CLEAR) == 1
    assert "model_type in config.json" in said
    assert "trust_remote_code" not in said
    assert keyboard.times == 0
    assert not (strange / "ran").exists()
    assert not out.exists()
    assert not (tiny.folder / "run").exists()


def test_a_kind_that_transformers_has_is_loaded_without_its_code(
    tiny: Tiny, keyboard: Asked, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.folder / "mixed"
    make_teacher().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    with_code(folder)
    for words in (("ls", "taps", str(folder)), ("export", str(folder), str(tiny.folder / "out"))):
        code, said = textkd(capsys, monkeypatch, *words)
        assert code == 0, said
    assert keyboard.times == 0
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("load", [load_tokenizer, load_processor])
@pytest.mark.parametrize("is_known", [True, False])
def test_tokenizers_and_processors(load: Any, is_known: bool, tmp_path: Path, keyboard: Asked) -> None:
    processor().save_pretrained(tmp_path)
    if not is_known:
        for name, key in (("tokenizer_config.json", "tokenizer_class"), ("processor_config.json", "processor_class")):
            values = json.loads((tmp_path / name).read_text()) | {key: "Words"}
            (tmp_path / name).write_text(json.dumps(values))
        values = json.loads((tmp_path / "processor_config.json").read_text())
        values["image_processor"] |= {"image_processor_type": "Images", "auto_map": CLASSES}
        (tmp_path / "processor_config.json").write_text(json.dumps(values))
    with_code(tmp_path)
    if is_known:
        load(tmp_path)
    else:
        with pytest.raises(TextkdError, match=CLEAR):
            load(tmp_path)
    assert keyboard.times == 0
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["rows.py", "rows"])
def test_scripts_of_data_sets(name: str, tmp_path: Path) -> None:
    folder = tmp_path if name.endswith(".py") else tmp_path / name
    folder.mkdir(exist_ok=True)
    (folder / "rows.py").write_text(CODE.format(marker=str(tmp_path / "ran")))
    with pytest.raises(TextkdError, match="script of its own, which is never run"):
        load_split(str(tmp_path / name), None, "train")
    assert not (tmp_path / "ran").exists()


def calls(names: set[str]) -> set[tuple[str, str]]:
    """(file, name) of every call of a method with one of the names in the package."""
    root, found = Path(package.__file__).parent, set()
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names:
                found.add((str(file.relative_to(root)), node.func.attr))
    return found


def test_everything_is_loaded_in_one_place() -> None:
    assert calls({"from_pretrained", "load_dataset", "from_config", "pipeline"}) == {
        ("models/no_code.py", "from_pretrained"),
        ("tasks/data/sources.py", "load_dataset"),
    }


KERNEL = "somebody/kernel"


@pytest.mark.parametrize(
    "config",
    [
        {"attn_implementation": KERNEL}, {"_attn_implementation": f"{KERNEL}@v1:f"},
        {"attn_implementation": {"": "sdpa", "decoder": KERNEL}}, {"part": {"attn_implementation": KERNEL}},
    ],
)  # fmt: skip
def test_kernels_that_a_config_asks_for_are_not_fetched(config: dict[str, Any], tmp_path: Path) -> None:
    make_teacher().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    with pytest.raises(TextkdError, match=rf"asks for \w+: {KERNEL}[\s\S]*never run"):
        load_model(str(tmp_path), AutoModelForSequenceClassification)


@pytest.mark.parametrize("config", ['{"base_model_name_or_path": "somebody/base"}', "{"])
def test_an_adapter_is_no_model(config: str, tmp_path: Path) -> None:
    """With peft installed transformers would load another model than the one that is here."""
    make_teacher().save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(TextkdError, match=r"it is an adapter( over somebody/base)?, not a whole model[\s\S]*merge it"):
        load_model(str(tmp_path), AutoModelForSequenceClassification)


@pytest.mark.parametrize("name", ["trust_remote_code", "custom_generate", "use_kernels", "attn_implementation"])
def test_arguments_do_not_ask_for_code(name: str, tmp_path: Path, keyboard: Asked) -> None:
    make_teacher().save_pretrained(tmp_path)
    value = True if name.startswith(("trust", "use")) else KERNEL
    with pytest.raises(TextkdError, match=rf"{name}[\s\S]*never run"):
        load_model(str(tmp_path), AutoModelForSequenceClassification, **{name: value})
    assert load_model(str(tmp_path), AutoModelForSequenceClassification, trust_remote_code=False)


@pytest.mark.parametrize("place", ["teacher", "student", "training", "task", "matches.0.options"])
def test_no_key_of_a_recipe_asks_for_code(
    place: str, tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = textkd(capsys, monkeypatch, "check", str(tiny.write(tiny.recipe)), f"{place}.trust_remote_code=true")
    assert code == 2
    assert "trust_remote_code" in said
