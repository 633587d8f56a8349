"""What must not change how a reader is trained: how a batch is cut, over how many processes, who runs the encoder."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from drive import _server as server
from drive import differences
from ocr_lab import EVERYTHING, LINES, data, make_reader, read_history, small, train

from textkd import Match, TextkdError
from textkd.models.students import build, shrink

SGD = {"optim": "sgd", "learning_rate": 0.05, "train_sampling_strategy": "random"}


@pytest.mark.long
@pytest.mark.parametrize("order", [pytest.param("random", marks=pytest.mark.slow), "group_by_length"])
def test_batch_2_times_4_is_batch_8(order: str, tmp_path: Path) -> None:
    """21 lines do not fill the last batch, and lines of 1 to 6 digits no batch of tokens."""
    teacher, lines, ends = make_reader("deit"), data(LINES), []
    for batch, accumulate in ((8, 1), (2, 4)):
        student = small(teacher)
        sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulate}
        arguments = {**SGD, **sizes, "train_sampling_strategy": order}
        done = train(tmp_path / str(batch), student, teacher, EVERYTHING, lines, **arguments)
        ends.append((read_history(done), student.state_dict()))
    names = {name.partition(":")[0] for _, name in ends[0][0]}
    assert names >= {
        "loss",
        "labels/cross_entropy",
        "logits/kl",
        "encoder.hidden",
        "decoder.cross_attention",
        "eval/cer",
    }
    assert max(step for step, _ in ends[0][0]) == 6
    assert differences(ends[0][0], ends[1][0]) < 1e-5
    assert differences(ends[0][1], ends[1][1]) < 1e-5


def process(rank: int, world: int, port: int, folder: Path, share: bool) -> None:
    """One of `world` processes that train the same student."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    if world > 1:
        os.environ.update({name: str(value) for name, value in names.items()})
    torch.set_num_threads(1)
    teacher = make_reader("deit")
    student = shrink(teacher, decoder_layers=1) if share else small(teacher)
    matches = [match for match in EVERYTHING if not (share and match.tap.startswith("encoder."))]
    arguments = {**SGD, "per_device_train_batch_size": 8 // world, "per_device_eval_batch_size": 6 // world}
    lines = data({**LINES, "n": 24}, augment=1.0)
    done = train(folder, student, teacher, matches, lines, share=share, **arguments)
    if rank == 0:
        torch.save({"history": read_history(done), "weights": student.state_dict()}, folder / "end.pt")


@pytest.mark.slow
@pytest.mark.parametrize("share", [pytest.param(True, id="shared encoder"), False])
def test_two_processes_are_one(share: bool, tmp_path: Path) -> None:
    ends = []
    for world in (1, 2):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        folder = tmp_path / str(world)
        ranks = [server().Process(target=process, args=(rank, world, port, folder, share)) for rank in range(world)]
        for rank in ranks:
            rank.start()
        for rank in ranks:
            rank.join(100)
        assert [rank.exitcode for rank in ranks] == [0] * world
        ends.append(torch.load(folder / "end.pt"))
    assert max(step for step, _ in ends[0]["history"]) == 6
    assert differences(ends[0]["history"], ends[1]["history"]) < 1e-5
    assert differences(ends[0]["weights"], ends[1]["weights"]) < 1e-5


def count_runs(module: Any) -> list[bool]:
    """For every forward of `module` from now on: whether it was one of training."""
    runs: list[bool] = []
    module.register_forward_pre_hook(lambda *_: runs.append(module.training))
    return runs


SIDE = [Match("labels"), Match("logits", loss="kl", temperature=2.0), Match("decoder.cross_attention", layers={1: 2})]


@pytest.mark.long
@pytest.mark.parametrize("kind", [pytest.param("vit", marks=pytest.mark.slow), "projection"])
def test_a_shared_encoder_runs_once_and_teaches_the_same(kind: str, tmp_path: Path) -> None:
    """As two forwards of the same frozen encoder, one in the teacher and one in the student."""
    teacher, lines, ends = make_reader(kind), data(augment=1.0), []
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    for share in (True, False):
        student = shrink(teacher, decoder_layers=1)
        runs = count_runs(student.encoder)
        frozen = () if share else ("encoder",)
        done = train(tmp_path / str(share), student, teacher, SIDE, lines, share=share, frozen=frozen)
        assert runs.count(True) == (0 if share else 10)
        assert runs.count(False) > 0  # of evaluation
        ends.append((read_history(done), student.state_dict()))
    assert differences(ends[0][0], ends[1][0]) < 1e-6
    assert differences(ends[0][1], ends[1][1]) < 1e-6
    assert differences(before, teacher.state_dict()) == 0
    mine = {name: value for name, value in ends[0][1].items() if name.startswith("encoder.")}
    assert differences(mine, {name: before[name] for name in mine}) == 0
    rest = {name: value for name, value in ends[0][1].items() if name.startswith(("decoder.", "enc_to_dec"))}
    assert ("enc_to_dec_proj.weight" in rest) == (kind == "projection")
    assert all(not torch.equal(rest[name], before[name]) for name in rest if name in before and name.endswith("weight"))


@pytest.mark.long
def test_a_control_keeps_the_shared_encoder_too(tmp_path: Path) -> None:
    """Frozen and without dropout, as it is in the teacher."""
    teacher = make_reader(encoder={"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5})
    lines, ends = data(), []
    for rate in (0.5, 0.0):
        student = shrink(teacher, decoder_layers=1)
        student.config.encoder.hidden_dropout_prob = rate
        runs = count_runs(student.encoder)
        if rate == 0.0:
            for module in student.encoder.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
                if hasattr(module, "attention_dropout"):
                    module.attention_dropout = 0.0
                assert getattr(module, "dropout_prob", 0.0) == 0.0
        done = train(tmp_path / str(rate), student, None, [Match("labels")], lines, share=True)
        assert runs.count(True) == 10
        ends.append(read_history(done))
        own = {name: value for name, value in student.encoder.state_dict().items()}
        assert differences(own, teacher.encoder.state_dict()) == 0
    assert differences(*ends) == 0


@pytest.mark.parametrize("tap", ["encoder.hidden:2", "encoder.attention:1", "module:encoder.layers.1"])
def test_a_shared_encoder_cannot_be_taught(tap: str, tmp_path: Path) -> None:
    teacher = make_reader()
    with pytest.raises(TextkdError, match="share_encoder"):
        train(tmp_path, shrink(teacher, decoder_layers=1), teacher, [Match("labels"), Match(tap)], data(), share=True)
    assert not any(tmp_path.iterdir())


@pytest.mark.long
def test_smaller_patches_learn_from_larger_ones(tmp_path: Path) -> None:
    """A student of 2 x 16 patches from a teacher of 1 x 8: both on the common grid, through a projection."""
    teacher = make_reader("deit")
    fields = {"model_type": "vit", "patch_size": [8, 4], "hidden_size": 12, "num_hidden_layers": 2}
    student = build({"config": {"encoder": fields}, "shrink": {"decoder_layers": 1}}, teacher, type(teacher))
    before = {name: value.clone() for name, value in student.state_dict().items()}
    matches = [Match("encoder.hidden", layers="uniform"), Match("labels")]
    done = train(tmp_path, student, teacher, matches, data(), num_train_epochs=4, learning_rate=1e-2)
    losses = read_history(done)
    for name in ("encoder.hidden:1<-2/mse", "encoder.hidden:2<-4/mse"):
        assert losses[20, name] < 0.7 * losses[1, name], losses
    assert student.state_dict().keys() == before.keys()
    trained = [name for name, value in student.state_dict().items() if not torch.equal(value, before[name])]
    assert "encoder.embeddings.patch_embeddings.projection.weight" in trained
