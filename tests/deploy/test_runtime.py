"""`textkd.deploy.load`: its answers equal a formula; damaged folders are refused; torch is not imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exported_lab import TABLE, folder_with, logits_of

from textkd import deploy
from textkd.deploy import manifest
from textkd.deploy.manifest import MODEL, WORDS
from textkd.errors import TextkdError

TEXTS = ["good", "bad bad", "Ada sings", "good good bad sings Ada bad good good", "nothing known"]


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_logits_are_those_of_the_graph_however_texts_are_batched(tmp_path: Path, batch: int) -> None:
    model = deploy.load(folder_with(tmp_path / "out"), threads=1)
    wanted = np.stack([logits_of(text) for text in TEXTS])
    assert np.allclose(model.logits(TEXTS, batch_size=batch), wanted, atol=1e-6)
    assert model.logits([]).shape == (0, 3)


def test_what_cannot_be_asked_of_it_is_told(tmp_path: Path) -> None:
    model = deploy.load(folder_with(tmp_path / "out"))
    assert np.array_equal(model.logits("good"), model.logits(["good"]))
    for size in (0, -1, 1.5, "3", True, None):
        with pytest.raises(TextkdError, match="batch_size"):
            model.predict(["good", "bad"], batch_size=size)
    for texts in (None, 3, b"good"):
        with pytest.raises(TextkdError, match="give a list of strings"):
            model.predict(texts)
    tagger = deploy.load(folder_with(tmp_path / "tokens", "tokens", ("O", "B-person", "I-person")))
    for asked in (tagger.tags, tagger.word_logits):
        with pytest.raises(TextkdError, match="entities"):
            asked(["good bad"])
        with pytest.raises(TextkdError, match="entities"):
            asked("good bad")
    with pytest.raises(TextkdError, match="give a list of strings"):
        tagger.entities(None)
    with pytest.raises(TextkdError, match="leave batch_size out"):
        tagger.predict(["good bad"], batch_size=2)
    for one, name, said in (
        (model, "entities", "token classifiers.*has predict, logits"),
        (tagger, "read", "which has predict, entities, tags"),
    ):
        assert not hasattr(one, name)
        with pytest.raises(AttributeError, match=said):
            getattr(one, name)(["good"])


def test_answers_are_those_of_the_pipeline(tmp_path: Path) -> None:
    logits = np.stack([logits_of(text) for text in TEXTS]).astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    answers = deploy.load(folder_with(tmp_path / "classes")).predict(TEXTS)
    assert [one["label"] for one in answers] == ["abc"[i] for i in logits.argmax(-1)]
    assert [one["score"] for one in answers] == pytest.approx(shares.max(-1))
    several = deploy.load(folder_with(tmp_path / "sets", "label_sets")).predict(TEXTS)
    assert [[one["label"] for one in row] for row in several] == [
        [name for name, value in zip("abc", row, strict=True) if value > 0] for row in logits
    ]
    (score,) = deploy.load(folder_with(tmp_path / "scores", "scores", ("score",))).predict("good")
    assert score == {"label": "score", "score": pytest.approx(float(logits_of("good", 1)[0]))}


def test_entities_stand_where_their_words_stand(tmp_path: Path) -> None:
    tags = ("O", "B-person", "I-person")
    model = deploy.load(folder_with(tmp_path / "out", "tokens", tags))
    text = "good  Ada-Lovelace\tsings"
    words = text.split()
    firsts = [TABLE[[2, 4, 6][i]] for i in range(3)]
    said = [tags[int(row.argmax())] for row in firsts]
    assert model.tags([words]) == [said]  # type: ignore[attr-defined]
    for one in model.predict([text])[0]:
        assert " ".join(text[one["start"] : one["end"]].split()) == one["text"]
    cut = model.word_logits([["good"] * 9])[0]  # type: ignore[attr-defined]
    assert np.isnan(cut).any(-1).tolist() == [False] * 6 + [True] * 3
    assert model.tags([[]]) == [[]]  # type: ignore[attr-defined]
    with pytest.raises(TextkdError, match="word_logits"):
        model.logits(["good"])


@pytest.mark.parametrize("text", [5, None, ("a", "b", "c"), ("a", 5), "half \ud800", b"bytes"])
def test_what_is_no_text_is_refused(tmp_path: Path, text: object) -> None:
    model = deploy.load(folder_with(tmp_path / "out"))
    with pytest.raises(TextkdError, match=r"texts\[1\]"):
        model.predict(["good", text])  # type: ignore[list-item]


def changed(folder: Path, **fields: object) -> None:
    file = folder / manifest.FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


DAMAGES = {
    "no graph": (lambda out: (out / MODEL).unlink(), "model.onnx is missing"),
    "cut": (lambda out: (out / MODEL).write_bytes((out / MODEL).read_bytes()[:-9]), "bytes of"),
    "a bit": (lambda out: (out / WORDS).write_text((out / WORDS).read_text().replace("good", "gold")), "not what was"),
    "no manifest": (lambda out: (out / manifest.FILE).unlink(), "no textkd-onnx.json"),
    "no JSON": (lambda out: (out / manifest.FILE).write_text("{"), "damaged"),
    "a list": (lambda out: (out / manifest.FILE).write_text("[1]"), "no JSON object"),
    "another edition": (lambda out: changed(out, edition=99), "edition 99"),
    "no edition": (lambda out: changed(out, edition=None), "edition None"),
    "another kind": (lambda out: changed(out, kind="texts"), "kind is 'texts'"),
    "an unknown field": (lambda out: changed(out, more=1), "damaged"),
    "labels of another type": (lambda out: changed(out, labels="ab"), "labels is"),
    "no labels": (lambda out: changed(out, labels=[]), "labels"),
    "no length": (lambda out: changed(out, max_length=0), "max_length"),
    "another length": (lambda out: changed(out, max_length=10**12), "max_length"),
    "no sums": (lambda out: changed(out, sums={}), "sums"),
    "a way out": (lambda out: changed(out, sums={**manifest.sums_of(out), "../x": [1, "a"]}), "outside of the folder"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused(tmp_path: Path, damage: str) -> None:
    out, (do, told) = folder_with(tmp_path / "out"), DAMAGES[damage]
    do(out)
    with pytest.raises(TextkdError, match=told):
        deploy.load(out)


def test_weights_outside_of_the_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(TABLE.tobytes())
    out = folder_with(tmp_path / "out", external="../secret.bin")
    with pytest.raises(TextkdError, match=r"weights from other files \(\.\./secret.bin\)"):
        deploy.load(out)
    (out / MODEL).write_bytes(b"")
    changed(out, sums=manifest.sums_of(out))
    with pytest.raises(TextkdError, match="empty file"):
        deploy.load(out)


def test_a_folder_that_is_not_exported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextkdError, match="no such folder"):
        deploy.load(tmp_path / "none")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TextkdError, match="a folder of PyTorch"):
        deploy.load(tmp_path)
    for number, threads in enumerate((0, 1.5, "2", True)):
        with pytest.raises(TextkdError, match="threads="):
            deploy.load(folder_with(tmp_path / str(number)), threads=threads)  # type: ignore[arg-type]


@pytest.mark.long
def test_torch_is_not_imported(tmp_path: Path) -> None:
    out = folder_with(tmp_path / "out", "tokens", ("O", "B-x", "I-x"))
    code = f"""
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {{"torch", "transformers", "datasets", "accelerate", "pydantic", "typer", "scipy",
                                       "sklearn", "evaluate", "safetensors", "PIL", "yaml", "onnx"}}:
            raise ImportError(name)
sys.meta_path.insert(0, Refused())
from textkd import deploy
print(len(deploy.load({str(out)!r}).entities(["good Ada"])))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
