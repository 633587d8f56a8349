"""Tiny random teachers of every architecture, 4 to 6 blocks of width 32, in eval mode."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf

TEXT = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 6, "num_attention_heads": 2}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
IMAGE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 6, "num_attention_heads": 2, "image_size": 8}
LABELS = {"id2label": {0: "bad", 1: "so-so", 2: "good"}, "label2id": {"bad": 0, "so-so": 1, "good": 2}}

CONFIGS: dict[str, Any] = {
    "bert": lambda: hf.BertConfig(**TEXT, **LABELS),
    "roberta": lambda: hf.RobertaConfig(**TEXT, **LABELS, **IDS),
    "distilbert": lambda: hf.DistilBertConfig(vocab_size=60, dim=32, hidden_dim=48, n_layers=6, n_heads=2, **LABELS),
    "albert": lambda: hf.AlbertConfig(**TEXT, **LABELS, embedding_size=16),
    "electra": lambda: hf.ElectraConfig(**TEXT, **LABELS, embedding_size=16),
    "modernbert": lambda: hf.ModernBertConfig(
        **TEXT, **LABELS, **IDS, cls_token_id=1, sep_token_id=2, local_attention=4
    ),
    "vit": lambda: hf.ViTConfig(**IMAGE, **LABELS, patch_size=4),
    "deit": lambda: hf.DeiTConfig(**IMAGE, **LABELS, patch_size=4),
}
VISION = ("vit", "deit")
TEXT_TYPES = tuple(name for name in CONFIGS if name not in VISION)


def make(kind: str, auto_class: Any = None, **changes: Any) -> Any:
    """A teacher with random weights that are all different: norms and biases too, which usually start as 1 and 0."""
    torch.manual_seed(0)
    config = CONFIGS[kind]()
    for name, value in changes.items():
        setattr(config, name, value)
    default = hf.AutoModelForImageClassification if kind in VISION else hf.AutoModelForSequenceClassification
    # AutoModelForImageClassification knows two DeiTs and asks which
    config.architectures = ["DeiTForImageClassification"] if kind == "deit" else None
    model = (auto_class or default).from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def batch_for(model: Any) -> dict[str, torch.Tensor]:
    """[2, 7] ids, the second row with two padded positions; or [2, 3, 8, 8] pixels."""
    torch.manual_seed(1)
    if model.main_input_name == "pixel_values":
        return {"pixel_values": torch.randn(2, 3, 8, 8)}
    ids = torch.randint(3, 60, (2, 7))
    mask = torch.ones_like(ids)
    ids[1, 5:], mask[1, 5:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


@torch.no_grad()
def outputs(model: Any) -> torch.Tensor:
    return model(**batch_for(model))[0]
