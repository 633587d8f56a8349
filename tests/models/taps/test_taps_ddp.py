"""Two processes over gloo: taps, projections and the weights of losses travel through DDP and are kept in
step."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    TrOCRConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)

from textkd.models.taps import Capture

WIDTH = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 24}
IDS = torch.arange(4 * 6).view(4, 6) % 40
TARGETS = IDS.roll(-1, 1).index_fill(1, torch.tensor([5]), -100)
PIXELS = torch.arange(4 * 3 * 8 * 32).view(4, 3, 8, 32).sin()


def _text():
    config = BertConfig(vocab_size=40, **WIDTH, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=2)
    batch = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS), "labels": IDS[:, 0] % 2}
    return BertForSequenceClassification(config), batch, ["attention:1", "query:2"], "hidden:2"


def _sided():
    encoder = ViTConfig(**WIDTH, image_size=[8, 32], patch_size=[8, 4])
    decoder = TrOCRConfig(vocab_size=40, d_model=16, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=24,
                          max_position_embeddings=30, dropout=0.0)  # fmt: skip
    both = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    taps = ["encoder.attention:1", "decoder.attention:1", "decoder.cross_scores:2", "decoder.cross_value:1"]
    batch = {"pixel_values": PIXELS, "decoder_input_ids": IDS, "labels": TARGETS}
    return VisionEncoderDecoderModel(both), batch, taps, "decoder.hidden:2"


def _made(make):
    """(model, its capture, a batch of four rows)."""
    torch.manual_seed(0)
    model, batch, taps, projected = make()
    model.train().adapter = nn.Linear(16, 20)
    model.scale = nn.Parameter(torch.ones(20))  # as of a loss: nothing in the model's own forward uses it
    return model, Capture(model, taps, projections={"wide": (projected, model.adapter)}), batch


def _loss(capture, model, batch):
    with capture.active(lambda taps: {"own": taps["wide"] * capture.model.scale}):
        out = model(**batch)
    assert type(out) is dict
    capture.check_gradients({**out["taps"], **out["losses"]})
    compared = (*out["taps"].values(), *out["losses"].values())
    return out["outputs"]["loss"] + sum(tap.square().mean() for tap in compared)


def _half(batch, rank):
    return {name: value[rank * 2 : rank * 2 + 2] for name, value in batch.items()}


def _work(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.set_num_threads(1)
    for make in (_text, _sided):
        model, capture, batch = _made(make)
        # Trainer's default; the pooler-free part of a student may be unused
        wrapped = nn.parallel.DistributedDataParallel(model, find_unused_parameters=True)
        for _ in range(2):
            wrapped.zero_grad()
            _loss(capture, wrapped, _half(batch, rank)).backward()
        torch.save({name: p.grad for name, p in model.named_parameters()}, f"{folder}/{make.__name__}{rank}.pt")
    dist.barrier()  # nobody leaves while the other still works
    dist.destroy_process_group()


@pytest.mark.slow
def test_ddp_gives_the_gradients_of_one_process(tmp_path):
    mp.spawn(_work, args=(str(tmp_path),), nprocs=2, join=True)
    for make in (_text, _sided):
        ranks = [torch.load(tmp_path / f"{make.__name__}{rank}.pt") for rank in (0, 1)]
        model, capture, batch = _made(make)
        (sum(_loss(capture, model, _half(batch, rank)) for rank in (0, 1)) / 2).backward()
        assert all(ranks[0][name].abs().max() > 0 for name in ("adapter.weight", "scale"))
        for name, parameter in model.named_parameters():
            for gradients in ranks:
                if parameter.grad is None:
                    assert gradients[name] is None or gradients[name].abs().max() == 0
                else:
                    torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-5, msg=name)
