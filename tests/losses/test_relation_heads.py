"""Relations between tokens: MiniLM's of queries, keys and values, and MGSKD's of tokens and phrases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from textkd import losses
from textkd.errors import TextkdError
from textkd.losses.relations.granularity import pool_spans

LENGTHS = [4, 2, 3]
MASK = torch.arange(4) < torch.tensor(LENGTHS)[:, None]


def heads(count, width, seed):
    """[query, key, value] of 3 samples and 4 tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, count, 4, width, dtype=torch.float64, generator=generator) for _ in range(3)]


def due(x_s, y_s, x_t, y_t, parts):
    """Sample by sample, cut to its length."""
    found = []
    for i, length in enumerate(LENGTHS):
        tables = []
        for x, y in ((x_s, y_s), (x_t, y_t)):
            x, y = (v[i].transpose(0, 1).flatten(1).reshape(4, parts, -1).numpy()[:length] for v in (x, y))
            scores = np.einsum("ihd,jhd->hij", x, y) / math.sqrt(x.shape[-1])
            tables.append(log_softmax(scores, -1))
        found.append((np.exp(tables[1]) * (tables[1] - tables[0])).sum(-1).mean())
    return np.mean(found)


def test_the_value_relation_is_that_of_each_sample_by_itself():
    student, teacher = heads(2, 3, 0)[2], heads(2, 5, 1)[2]
    found = losses.get("relation", "heads")(student, teacher, MASK)
    assert found.item() == pytest.approx(due(student, student, teacher, teacher, 2))


def test_relation_heads_free_the_heads_of_the_models():
    student, teacher = heads(2, 6, 0), heads(3, 8, 1)
    loss = losses.get("minilmv2", "heads")
    found = loss(student, teacher, MASK, relation_heads=4)
    wanted = [due(s, s, t, t, 4) for s, t in zip(student, teacher, strict=True)]
    assert found.item() == pytest.approx(np.mean(wanted))
    found = loss(student, teacher, MASK, relation_heads=4, relations=["1-2", "3-3"])
    wanted = [due(*student[:2], *teacher[:2], 4), wanted[2]]
    assert found.item() == pytest.approx(np.mean(wanted))


def test_other_numbers_of_heads_need_relation_heads():
    student, teacher = heads(2, 6, 0)[2], heads(3, 8, 1)[2]
    with pytest.raises(TextkdError, match="set relation_heads"):
        losses.get("relation", "heads")(student, teacher, MASK)
    with pytest.raises(TextkdError, match="no multiple"):
        losses.get("relation", "heads")(student, teacher, MASK, relation_heads=5)


@pytest.mark.parametrize("relations", [["1-4"], ["0-1"], ["qk"], []])
def test_relations_that_do_not_exist_are_refused(relations):
    with pytest.raises(TextkdError):
        losses.get("minilmv2", "heads")(heads(2, 3, 0), heads(2, 3, 1), MASK, relations=relations)


def test_a_causal_mask_leaves_out_what_the_model_does_not_see():
    student, teacher = heads(1, 3, 0)[2], heads(1, 3, 1)[2]
    causal = torch.ones(4, 4).tril().expand(3, 4, 4)
    value = losses.get("relation", "heads")(student, teacher, causal)
    assert value.isfinite()
    other = student.clone()
    other[:, :, 3] = 7.0  # the last token is seen by itself alone
    rows = [
        losses.get("relation", "heads")(x[:, :, :3], teacher[:, :, :3], causal[:, :3, :3]) for x in (student, other)
    ]
    assert rows[0] == rows[1]
    assert value != losses.get("relation", "heads")(student, teacher)


def tokens(seed, width=8):
    return torch.randn(3, 4, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


MGSKD = {"heads": 2, "corners": 2, "neighbours": 3}


def test_each_sample_counts_as_if_it_were_cut_to_its_length():
    """The pairs weigh by their number: the first and the third sample alone give theirs."""
    loss = losses.get("mgskd_tokens", "hidden")
    student, teacher = tokens(0), tokens(1, 12)
    alone = loss(student[1:2, :2], teacher[1:2, :2], **MGSKD)
    assert loss(student[1:2], teacher[1:2], MASK[1:2], **MGSKD).item() == pytest.approx(alone.item())
    assert alone > 0


def test_inner_products_of_tokens_by_their_definition():
    """Two tokens are no triangle: only the inner products are left."""
    student, teacher = tokens(0)[:, :2], tokens(1, 12)[:, :2]
    dots = [np.einsum("bihd,bjhd->bhij", *[x.reshape(3, 2, 2, -1).numpy()] * 2) / math.sqrt(x.shape[-1] // 2)
            for x in (student, teacher)]  # fmt: skip
    found = losses.get("mgskd_tokens", "hidden")(student, teacher, **MGSKD)
    assert found.item() == pytest.approx(((dots[0] - dots[1]) ** 2).mean())


def test_only_directions_matter_for_triangles():
    """Moving all tokens changes inner products, but no triangle."""
    loss = losses.get("mgskd_tokens", "hidden")
    teacher = tokens(1)
    apart = teacher + 1.0
    parts = [x.reshape(3, 4, 2, 4) for x in (apart, teacher)]
    dots = [torch.einsum("bihd,bjhd->bhij", x, x) / 2 for x in parts]
    assert loss(apart, teacher, **MGSKD).item() == pytest.approx((dots[0] - dots[1]).square().mean().item())


def test_spans_are_means_of_their_tokens():
    x = tokens(0)
    spans = torch.tensor([[0, 0, 1, 1], [0, 1, 1, -1], [-1, 0, 0, 0]])
    found, exists = pool_spans(x, spans, MASK)
    assert exists.tolist() == [[True, True], [True, True], [True, False]]
    torch.testing.assert_close(found[0], torch.stack([x[0, :2].mean(0), x[0, 2:].mean(0)]))
    torch.testing.assert_close(found[1], x[1, :2])  # its third token is padding
    torch.testing.assert_close(found[2, 0], x[2, 1:3].mean(0))


def test_a_span_of_two_compares_means_of_two():
    loss = losses.get("mgskd_tokens", "hidden")
    student, teacher = tokens(0), tokens(1)
    means = [torch.stack([x[:, :2].mean(1), x[:, 2:].mean(1)], 1) for x in (student, teacher)]
    assert loss(student, teacher, span=2, **MGSKD).item() == pytest.approx(loss(*means, **MGSKD).item())
    assert loss(student, teacher, MASK, span=2, **MGSKD).isfinite()


def test_pooled_vectors_have_no_tokens():
    with pytest.raises(TextkdError, match=r"tap \[B,T,H\]"):
        losses.get("mgskd_tokens", "hidden")(tokens(0)[:, 0], tokens(1)[:, 0], **MGSKD)
