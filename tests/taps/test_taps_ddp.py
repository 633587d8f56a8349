"""Two processes over gloo: taps and projections travel through DDP, and projections are kept in step."""

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from textkd.taps import Capture


def _model():
    torch.manual_seed(0)
    config = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
                        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=2)  # fmt: skip
    model = BertForSequenceClassification(config)
    model.adapter = nn.Linear(16, 20)
    return model


def _loss(capture, model, ids):
    with capture.active():
        out = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids[:, 0] % 2)
    assert type(out) is dict
    capture.check_gradients(out["taps"])
    return out["outputs"]["loss"] + sum(tap.square().mean() for tap in out["taps"].values())


def _capture(model):
    return Capture(model, ["attention:1", "query:2"], projections={"wide": ("hidden:2", model.adapter)})


def _ids():
    return torch.arange(4 * 6).view(4, 6) % 40


def _work(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.set_num_threads(1)
    model = _model()
    capture = _capture(model)
    # Trainer's default; the pooler-free part of a student may be unused
    wrapped = nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
    for _ in range(2):
        wrapped.zero_grad()
        _loss(capture, wrapped, _ids()[rank * 2 : rank * 2 + 2]).backward()
    torch.save({name: p.grad for name, p in model.named_parameters()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_ddp_gives_the_gradients_of_one_process(tmp_path):
    mp.spawn(_work, args=(str(tmp_path),), nprocs=2, join=True)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    model = _model()
    capture = _capture(model)
    (sum(_loss(capture, model, half) for half in _ids().chunk(2)) / 2).backward()
    assert ranks[0]["adapter.weight"].abs().max() > 0
    for name, parameter in model.named_parameters():
        for gradients in ranks:
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)
