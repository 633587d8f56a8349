"""Secrets of a recipe are used and never written: not into the folders of a run, not into messages, not into hashes."""

from __future__ import annotations

import io
import logging
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command_line import textkd
from tiny_lab import Tiny, make_teacher, make_tokenizer
from transformers import TrainingArguments

from textkd import Distiller, Match, from_recipe, tasks
from textkd.errors import HIDDEN, TextkdError, fail, hidden, is_secret, scrub, without_secrets
from textkd.experiment import fingerprint
from textkd.experiment.distiller import Run
from textkd.training import arguments, trainer

SECRET, OTHER = "hf_SECRETVALUE1234", "hf_OTHERVALUE5678"


def holding(folder: Path, text: str = SECRET) -> list[str]:
    """The files that hold the text."""
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and text.encode() in p.read_bytes()]


def with_secrets(tiny: Tiny, **training: Any) -> dict[str, Any]:
    """A recipe whose teacher, stages and control have a token each."""
    recipe = tiny.recipe
    recipe["training"] |= {"num_train_epochs": 1, **training}
    recipe["teacher"]["finetune"] = {"num_train_epochs": 1, "per_device_train_batch_size": 8, "hub_token": SECRET}
    recipe["stages"] = [{"matches": recipe.pop("matches"), "training": {"hub_token": SECRET}}]
    recipe["control"] = {"hub_token": SECRET, "learning_rate": 2.0e-3}
    return recipe


@pytest.mark.long
def test_no_file_and_no_message_of_a_run_holds_it(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    save = trainer.DistilTrainer._save_checkpoint

    def watched(self: Any, *args: Any, **kwargs: Any) -> None:
        save(self, *args, **kwargs)
        kept = Path(self.args.output_dir)
        seen.append((self.args.hub_token, holding(kept), len(list(kept.rglob("training_args.bin")))))

    monkeypatch.setattr(trainer.DistilTrainer, "_save_checkpoint", watched)
    file = tiny.write(with_secrets(tiny))
    code, said = textkd(capsys, monkeypatch, "run", str(file), f"training.hub_token={SECRET}")
    assert code == 0, said
    assert SECRET not in said
    assert seen == [(SECRET, [], 1)] * 3  # Trainer has it, its files do not
    assert holding(tiny.folder) == [file.name]
    shown = yaml.safe_load((tiny.folder / "run" / "run.json").read_text())["recipe"]
    assert "hub_token" not in shown
    for name in ("results.json", "report.html", "seed-1/student/README.md"):
        assert f"hub_token: {HIDDEN}" in (tiny.folder / "run" / name).read_text()


@pytest.mark.long
def test_another_token_is_no_other_run(tiny: Tiny) -> None:
    made = []
    for token in (SECRET, OTHER, None):
        recipe = with_secrets(tiny)
        recipe["training"]["hub_token"] = token
        recipe["teacher"]["finetune"]["hub_token"] = token or SECRET
        distiller = from_recipe(tiny.write(recipe))
        distiller.check()
        words = fingerprint.fingerprint(distiller.setup).replace("  hub_token: null\n", "")
        made.append((words, fingerprint.inputs(distiller.setup)))
    assert made[0] == made[1] == made[2]


def test_python_runs_too(tiny: Tiny) -> None:
    def of(token: str) -> Distiller:
        task = tasks.glue("sst2", tiny.folder / "data")
        training = {"num_train_epochs": 1, "hub_token": token, "output_dir": str(tiny.folder / "other")}
        words = make_tokenizer()
        return Distiller(make_teacher(), make_teacher(2), task, [Match("logits")], training, tokenizer=words,
                         control={"hub_token": token})  # fmt: skip

    one, two = of(SECRET), of(OTHER)
    told = [fingerprint.fingerprint(made.setup) for made in (one, two)]
    assert told[0] == told[1]
    assert fingerprint.inputs(one.setup) == fingerprint.inputs(two.setup)
    assert SECRET not in told[0]
    assert SECRET not in fingerprint.told(one.setup)


@pytest.mark.parametrize(
    "words",
    [
        ("training.hub_token=[" + SECRET,), (f"training.hub_token=[{SECRET}, {SECRET}]",), (f"hub_token={SECRET}",),
        (f"training.api_key={SECRET}",), (f"seeds.hub_token={SECRET}",), (f"training={{hub_token: {SECRET}, x: 1}}",),
        (f"training.hub_token={SECRET}", "--nonsense"), (f"teacher.token={SECRET}",), (f"task.password={SECRET}",),
        (f"student={{hub_token: {SECRET}}}",), (f"matches.0.token={SECRET}",), (f"control=[{{token: {SECRET}}}]",),
        (f"preset.hub_token={SECRET}",),
    ],
)  # fmt: skip
def test_errors_do_not_say_it(
    words: tuple[str, ...], tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = textkd(capsys, monkeypatch, "check", str(tiny.write(tiny.recipe)), *words)
    assert code == 2, said
    assert SECRET not in said


def test_a_broken_recipe_does_not_say_it(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tiny.folder / "broken.yaml"
    file.write_text(f"training:\n  hub_token: {SECRET} : [\n")
    code, said = textkd(capsys, monkeypatch, "check", str(file))
    assert code == 2
    assert "not YAML" in said
    assert SECRET not in said


def test_log_lines_do_not_say_it(
    tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = Run.check
    told = f"uses {{'hub_token': '{SECRET}'}}"
    monkeypatch.setattr(Run, "check", lambda self: (logging.getLogger("textkd").info(told), check(self))[1])
    code, said = textkd(capsys, monkeypatch, "check", str(tiny.write(tiny.recipe)))
    assert code == 0
    assert HIDDEN in said
    assert SECRET not in said


def test_the_pickle_of_arguments_is_a_plain_one() -> None:
    made = arguments.make_arguments({"hub_token": SECRET, "learning_rate": 0.5}, "unused")
    assert made.hub_token == SECRET
    buffer = io.BytesIO()
    torch.save(made, buffer)
    assert SECRET.encode() not in buffer.getvalue()
    read = pickle.loads(pickle.dumps(made))
    assert type(read) is TrainingArguments
    assert (read.hub_token, read.learning_rate) == (None, 0.5)


def test_what_is_secret() -> None:
    secret = (
        "hub_token",
        "token",
        "hf-token",
        "API_KEY",
        "db_password",
        "client_secret",
        "apikey",
        "aws_access_key_id",
        "use_auth_token",
        "hf_token_value",
        "SECRET_KEY",
        "wandb_key",
        "db_pwd",
        "authorization",
    )
    plain = ("max_new_tokens", "pad_token_id", "pad_token", "tokenizer", "average_tokens_across_devices", "key", "taps",
             "include_num_input_tokens_seen", "decoder_start_token_id")  # fmt: skip
    assert [name for name in secret if not is_secret(name)] == []
    assert [name for name in plain if is_secret(name)] == []


def test_the_noun_token_in_a_sentence_is_no_name() -> None:
    plain = "of 40 words, 3 become no token: they are neither learnt nor counted"
    assert scrub(plain) == plain
    assert str(fail(plain, plain)) == f"asked: {plain}\n  found: {plain}"
    for text in (
        f"my token: {SECRET}", f"no token: they use {SECRET}", f"no token: they use hub_token: {SECRET}",
        f"hub_token: {SECRET}", f"set HF_TOKEN={SECRET}", f'a "token": "{SECRET}"', f"a token={SECRET}",
        f"a token: [{SECRET}, b]", f"no token: {SECRET} is known", f"x: token: {SECRET}",
    ):  # fmt: skip
        assert SECRET not in scrub(text)
        assert HIDDEN in scrub(text)
    assert scrub("hub_token: abc") == scrub("hub_token: abc def") == f"hub_token: {HIDDEN}"
    assert scrub("asked: token: abc def") == f"asked: token: {HIDDEN}"


def test_blocks_and_messages() -> None:
    values = {"a": [{"token": SECRET, "b": 1}], "hub_token": None, "password": {"x": SECRET}, "t": (1, 2)}
    assert hidden(values) == {"a": [{"token": HIDDEN, "b": 1}], "hub_token": None, "password": HIDDEN, "t": (1, 2)}
    assert without_secrets(values) == {"a": [{"b": 1}], "t": (1, 2)}
    assert scrub(f"{{'hub_token': '{SECRET}', 'a': 1}}") == f"{{'hub_token': {HIDDEN}, 'a': 1}}"
    assert scrub(f"x: token: {SECRET}\nmax_new_tokens: 5") == f"x: token: {HIDDEN}\nmax_new_tokens: 5"
    assert scrub(scrub(f"token={SECRET}")) == f"token={HIDDEN}"
    assert scrub("hub_token: {a: {b: c}, d: [e]}, f: 1") == f"hub_token: {HIDDEN}, f: 1"
    assert SECRET not in str(fail(f"token: {SECRET!r}", f"password={SECRET}", fix=f"token: {SECRET}", where="token"))


@pytest.mark.parametrize(
    "text",
    [
        "no folder https://user:hf_pw@hub.co/x", "https://hub.co/x?token=hf_pw&y=1", f"path {SECRET} is not there",
        f"Authorization: Bearer {SECRET}", "said Bearer abc.hf_pw-1", f"git+https://{SECRET}@hub.co/a",
        "no file https:/user:hf_pw@hub.co/x",  # a path that was made of an address
        "ghp_hf_pwhf_pwhf_pw of another place", "the value hf_pw-of-the-environment", "Authorization: hf_pw",
    ],
)  # fmt: skip
def test_secrets_without_a_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "hf_pw-of-the-environment")
    monkeypatch.setenv("MY_NAME", "textkd-is-no-secret")
    for said in (scrub(text), str(fail(text, text))):
        assert HIDDEN in said
        assert "hf_pw" not in said
        assert SECRET not in said
    if "=" not in text and "Authorization" not in text:
        assert "hf_pw" not in str(hidden({"path": [text]}))
        assert SECRET not in str(hidden({"path": [text]}))


def test_names_that_only_look_alike() -> None:
    for text in (
        "hf_model_of_mine",
        "google/bert_uncased",
        "a@b.c",
        "Bearer of news",
        "https://hub.co/a@main",
        "C:/runs/a@b",
        "sk-learn",
    ):
        assert scrub(text) == text
        assert hidden(text) == text


STORE = "plain-word-of-a-store"  # with no look of a secret, under a key that is none


@pytest.mark.parametrize(
    "text",
    [
        "storage_options: {key: #}", "{'storage_options': {'key': '#', 'client_kwargs': {'a': '#'}, 'b': '#'}}",
        "task.storage_options.key=#", "override 'task.train.storage_options.a.b=#'",
        "storage_options: [[#], {x: #}, #]", "headers: {'X-Api': '#'}",
        "password: {a: {b: #}, c: #}", "token: [a, [#], #]",
        "storage_options: {a: '}', b: #}", "auth: ['me', '#']",
        "storage_options={key: #, more: [", "storage-options: {key: #}",
    ],
)  # fmt: skip
def test_all_that_opens_a_store_is_secret(text: str) -> None:
    told = text.replace("#", STORE)
    assert STORE not in str(fail(told, f"{told} is no option", fix=told))
    assert HIDDEN in scrub(told)


def test_blocks_of_a_store_are_hidden_whole() -> None:
    values = {"train": {"path": "a", "storage_options": {"key": STORE}}, "auth": [STORE]}
    assert hidden(values) == {"train": {"path": "a", "storage_options": HIDDEN}, "auth": HIDDEN}
    assert without_secrets(values) == {"train": {"path": "a"}}


def test_a_recipe_with_a_store_does_not_say_its_key(tiny: Tiny) -> None:
    recipe = tiny.recipe
    recipe["task"] |= {"storage_options": {"key": STORE}}
    file = tiny.write(recipe)
    with pytest.raises(TextkdError) as caught:
        from_recipe(file, [f"task.storage_options.more={STORE}"])
    assert "storage_options" in str(caught.value)
    assert STORE not in str(caught.value)
    file.write_text(file.read_text().replace(STORE, f"{STORE} : ["))
    with pytest.raises(TextkdError, match="not YAML: mapping values are not allowed here in line") as caught:
        from_recipe(file)
    assert STORE not in str(caught.value)


@pytest.mark.parametrize("place", ["teacher.path", "task.path", "student.path", "preset", "task.name"])
def test_a_secret_in_an_address_is_not_said(
    place: str, tiny: Tiny, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe | ({"student": {}} if place == "student.path" else {})
    words = f"{place}=https://me:{SECRET}@hub.co/model?token={SECRET}"
    code, said = textkd(capsys, monkeypatch, "check", str(tiny.write(recipe)), words)
    assert code == 2
    assert SECRET not in said


@pytest.mark.parametrize("before", [690, 20 * 700 - 10])
def test_a_secret_is_not_cut_in_half_and_said(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_SECRET", secret := "no/known*look+of~one")
    message = str(fail("x" * (before - 1) + " " + secret, "found"))
    assert secret[:4] not in message
    assert len(message) < 1000


def test_a_message_of_many_names_is_made_at_once() -> None:
    began = time.monotonic()
    str(fail("api_key=[ " * 50_000, "token: a b " * 40_000))
    assert time.monotonic() - began < 5
