"""Classes whose weights or config follow the number of blocks: cut with them, or refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from torch import nn

from textkd.errors import TextkdError
from textkd.models.saved import lost_when_saved
from textkd.models.students import shrink

SMALL = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 32, "vocab_size": 40,
         "max_position_embeddings": 64, "pad_token_id": 1}  # fmt: skip


def odd(name: str) -> Any:
    """A teacher of a class of transformers whose config or weights follow the number of blocks, or of stages."""
    torch.manual_seed(0)
    made = getattr(hf, name)
    return made(made.config_class(**SMALL)).eval()


@pytest.mark.long
@pytest.mark.parametrize("name", [
    "EsmForSequenceClassification",  # weights for each block's heads
    "LongformerForSequenceClassification",  # a window for each block
    "Dinov2ForImageClassification",  # a name for each block
])  # fmt: skip
def test_what_follows_the_number_of_blocks_follows_those_that_were_chosen(name: str, tmp_path) -> None:
    teacher = odd(name)
    student = shrink(teacher, [1, 3])
    assert lost_when_saved(student) == lost_when_saved(teacher) == ""
    student.save_pretrained(tmp_path)
    again = type(student).from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(weight, again[part]) for part, weight in student.state_dict().items())
    if "Esm" in name:
        heads = [model.esm.contact_head.regression.weight[0] for model in (teacher, student)]
        assert torch.equal(heads[0].view(4, 4)[[0, 2]].flatten(), heads[1])


@pytest.mark.parametrize("name", ["MobileViTForImageClassification", "JambaForSequenceClassification"])
def test_a_class_that_cannot_be_cut_is_refused(name: str) -> None:
    with pytest.raises(TextkdError, match="make the student from a config"):
        shrink(odd(name), [1, 3])


def test_a_weight_of_which_nobody_knows_the_part_is_refused() -> None:
    teacher = odd("BertForSequenceClassification")
    teacher.bert.pooler.dense.weight = nn.Parameter(torch.zeros(4, 16))
    with pytest.raises(TextkdError, match=r"pooler.dense.weight is \[4, 16\], and with these blocks \[16, 16\]"):
        shrink(teacher, [1, 3])
