"""FSDP2 over gloo: a student, and a teacher, in shards on two processes are those of one process."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import ocr_lab
import pytest
import torch
from drive import _server as server
from drive import differences
from ocr_lab import EVERYTHING as LINES_MATCHES
from ocr_lab import LINES, read_history, small
from test_invariants import uneven
from tiny_lab import Tiny, make_teacher, make_tokenizer, write_tsv

from textkd import Distiller, Match, TextkdError, from_recipe, rebuild, shrink, tasks
from textkd.models.taps import Capture
from textkd.teachers import LiveOptions
from textkd.teachers.frozen import FrozenModel
from textkd.training import fsdp, stages

SHARDS = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP"}
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
HIDDEN, LABELS = Match("hidden", layers="uniform"), Match("labels", weight=0.3)
# nothing at the outputs of blocks: the gradient of a block begins within it
INSIDE = [
    Match("scores", layers={1: 2}),
    Match(student="module:bert.encoder.layer.1.intermediate.dense", teacher="ffn:4"),
]
EVERYTHING = [LABELS, Match("logits", loss="kl", temperature=2.0), HIDDEN, Match("attention", layers={1: 2, 2: 4}),
              Match("query", layers={1: 2}, weight=0.1)]  # fmt: skip
REMEMBERS = [LABELS, Match("hidden", loss="crd", layers="last"), Match("hidden", loss="lsh", layers={1: 2})]
CASES: dict[str, dict[str, Any]] = {
    "inside": {"matches": INSIDE},
    "everything": {"matches": EVERYTHING},
    "projections": {"matches": [LABELS, HIDDEN], "width": 12, "average": 0.9, "load_best_model_at_end": True},
    "remembers": {"matches": REMEMBERS},
    "other layers": {
        "matches": EVERYTHING[:4],
        "layers": {
            "factorise": {"embeddings": 6, "layers": {"attention": 4}},
            "cheap": {"ffn": "grouped"},
        },
    },
    "teacher": {"matches": EVERYTHING, "live": LiveOptions(sharded=True)},
}


def text_training(
    folder: Path,
    matches: list[Match],
    width: int = 16,
    live: LiveOptions | None = None,
    layers: dict[str, Any] | None = None,
    **training: Any,
) -> Any:
    """(work folder, models that learn, models that are read, stages, data, arguments, seed, label)."""
    teacher = make_teacher(**STILL)
    student = shrink(teacher, layers=[2, 4]) if width == 16 else make_teacher(2, width, **STILL)
    if layers is not None:
        torch.manual_seed(0)
        student = rebuild(student, **layers)
    write_tsv(folder / "data" / "train.tsv", uneven(32, 3))
    write_tsv(folder / "data" / "dev.tsv", uneven(12, 4))
    task = tasks.glue("sst2", path=str(folder / "data"))
    data = Distiller(teacher, student, task=task, matches=matches, tokenizer=make_tokenizer()).data
    models, read = {"student": student}, {"teacher": FrozenModel(teacher, live=live or LiveOptions())}
    return folder / "work", models, read, [stages.Stage(matches)], data, training, 1, "student"


def lines_training(folder: Path, **training: Any) -> Any:
    teacher = ocr_lab.make_reader("deit", 5)  # its readings end at different tokens, so on different processes too
    lines, matches = ocr_lab.data({**LINES, "n": 16}), [stages.Stage(LINES_MATCHES)]
    models, read = {"student": small(teacher)}, {"teacher": FrozenModel(teacher)}
    return folder / "work", models, read, matches, lines, training, 1, "student"


def process(rank: int, world: int, port: int, folder: Path, case: str, shards: bool) -> None:
    """One of `world` processes that train the same student; the first says how it ended."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    if world > 1:
        os.environ.update({name: str(value) for name, value in names.items()}, **(SHARDS if shards else {}))
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True, parents=True)
    arguments = {"optim": "sgd", "learning_rate": 0.05, "train_sampling_strategy": "random", "logging_steps": 1,
                 "num_train_epochs": 2, "per_device_train_batch_size": 8 // world,
                 "per_device_eval_batch_size": 6}  # fmt: skip
    if case == "lines":
        rows = {"per_device_eval_batch_size": 1, "learning_rate": 1e-6}
        given = lines_training(folder, **{**arguments, **rows})
    else:
        given = text_training(folder / str(rank), **{**arguments, **CASES[case]})
    given = (folder / "work", *given[1:])
    kinds: list[set[str]] = []
    send, cut = fsdp.send_buffers, fsdp.in_shards

    def seen(student: Any) -> None:
        kinds.append({type(p.data).__name__ for p in student.parameters()})
        send(student)

    def cut_and_seen(teacher: Any) -> Any:
        twin = cut(teacher)
        kinds.append({type(p.data).__name__ for p in twin.parameters()})
        return twin

    fsdp.send_buffers, fsdp.in_shards = seen, cut_and_seen
    done = stages.run_stages(*given)
    if rank == 0:
        end = {"history": read_history(done), "weights": given[1]["student"].state_dict(), "kinds": kinds}
        torch.save(end, folder / "end.pt")


def end(folder: Path, world: int, case: str, shards: bool = False) -> Any:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    ranks = [server().Process(target=process, args=(rank, world, port, folder, case, shards)) for rank in range(world)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(100)
    assert [rank.exitcode for rank in ranks] == [0] * world
    return torch.load(folder / "end.pt")


@pytest.mark.slow
@pytest.mark.parametrize("case", ["inside", "everything", "projections", "other layers", "lines"])
def test_shards_are_one(case: str, tmp_path: Path) -> None:
    one, two = end(tmp_path / "one", 1, case), end(tmp_path / "two", 2, case, shards=True)
    assert two["kinds"][0] == {"DTensor"}
    assert all("DTensor" in kinds for kinds in two["kinds"])  # an evaluation leaves the outermost part whole
    assert differences(one["history"], two["history"]) < 1e-5
    assert differences(one["weights"], two["weights"]) < 1e-5


@pytest.mark.slow
def test_what_losses_remember_is_as_under_ddp(tmp_path: Path) -> None:
    """That of the first process, and not of each its own."""
    ddp, two = end(tmp_path / "ddp", 2, "remembers"), end(tmp_path / "two", 2, "remembers", shards=True)
    assert differences(ddp["history"], two["history"]) < 1e-5
    assert differences(ddp["weights"], two["weights"]) < 1e-5


@pytest.mark.slow
def test_a_teacher_in_shards_teaches_the_same(tmp_path: Path) -> None:
    """Beside a student that is whole on every process."""
    one, two = end(tmp_path / "one", 1, "teacher"), end(tmp_path / "two", 2, "teacher")
    assert two["kinds"] == [{"DTensor"}]
    assert one["kinds"] == []
    assert differences(one["history"], two["history"]) < 1e-5
    assert differences(one["weights"], two["weights"]) < 1e-5


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("FSDP_VERSION", "1", "fsdp_version: 2"), ("FSDP_CPU_RAM_EFFICIENT_LOADING", "true", "efficient_loading: false")],
)
def test_what_a_launcher_may_not_ask(
    name: str, value: str, said: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tiny.write(tiny.recipe)
    from_recipe(file).check()
    monkeypatch.setenv(name, value)
    assert fsdp.launch_problems() == []  # nobody asks for FSDP
    for known, its in {**SHARDS, name: value}.items():
        monkeypatch.setenv(known, its)
    with pytest.raises(TextkdError, match=said):
        from_recipe(file).check()


def test_gradient_taps_of_shards_are_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tiny.write({**tiny.recipe, "matches": [{"tap": "labels"}, {"tap": "gradient", "layers": {1: 2}}]})
    from_recipe(file).check()
    for name, value in SHARDS.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TextkdError, match="in shards"):
        from_recipe(file).check()


@pytest.mark.long
def test_a_teacher_in_shards_has_no_cache_and_no_device(tiny: Tiny) -> None:
    teacher = {**tiny.recipe["teacher"], "sharded": True}
    from_recipe(tiny.write({**tiny.recipe, "teacher": teacher})).check()
    with pytest.raises(TextkdError, match="cache of a sharded teacher"):
        from_recipe(tiny.write({**tiny.recipe, "teacher": {**teacher, "cache": True}})).check()
    with pytest.raises(TextkdError, match="leave one out"):
        from_recipe(tiny.write({**tiny.recipe, "teacher": {**teacher, "device": "cpu"}})).check()


@pytest.mark.parametrize("sharded", [True, False])
def test_a_checkpoint_of_the_other_kind_is_refused(sharded: bool, tmp_path: Path) -> None:
    if sharded:
        (tmp_path / "pytorch_model_fsdp_0").mkdir()
    fsdp.refuse_other_kind(str(tmp_path), sharded)
    fsdp.refuse_other_kind(None, not sharded)
    with pytest.raises(TextkdError, match="launch it as before"):
        fsdp.refuse_other_kind(str(tmp_path), not sharded)


def test_blocks_are_what_is_gathered() -> None:
    assert [type(block).__name__ for block in fsdp.blocks(make_teacher())] == ["BertLayer"] * 4
    reader = {type(block).__name__ for block in fsdp.blocks(ocr_lab.make_reader())}
    assert reader == {"ViTLayer", "TrOCRDecoderLayer"}


def test_taps_within_a_block_gather_it_again() -> None:
    """What `gather_for_backward` does, without processes: once for each tap within a block in shards, when its gradient
    comes."""
    model, called = make_teacher(2).train(), list[int]()
    for number, block in enumerate(model.bert.encoder.layer):
        block.unshard = lambda number=number: called.append(number)
    capture = Capture(model, ["scores:2", "module:bert.encoder.layer.0.output.dense", "logits"])
    with capture.active():
        taps = model(input_ids=torch.randint(5, 20, (2, 6)))["taps"]
    assert called == []
    sum(tap.sum() for tap in taps.values()).backward()
    assert sorted(called) == [0, 1]
