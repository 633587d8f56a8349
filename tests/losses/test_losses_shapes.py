"""Shapes that do not fit are told before training, with a fix."""

import pytest

from textkd.losses import Loss, check_shapes, get


@pytest.mark.parametrize(
    ("family", "name", "student", "teacher"),
    [
        ("hidden", "mse", (None, None, 384), (None, None, 384)),
        ("hidden", "cosine", (4, 384), (4, 384)),
        ("logits", "kl", (4, 2), (4, 2)),
        ("logits", "kl", (4, 7, 2), (4, None, 2)),
        ("logits", "mse", (4, 1), (4, 1)),
        ("attention", "kl", (4, 2, 7, 7), (4, 2, 7, 7)),
        ("heads", "mse", (4, 2, 7, 8), (4, 2, 7, 8)),
        ("labels", "cross_entropy", (4, 2), (4,)),
        ("labels", "cross_entropy", (4, 7, 2), (4, 7)),
        ("labels", "mse", (4, 1), (4,)),
        ("labels", "mse", (4,), (4,)),
        ("labels", "bce", (4, 3), (4, 3)),
    ],
)
def test_good_shapes(family, name, student, teacher):
    assert check_shapes(get(name, family), student, teacher) == []


@pytest.mark.parametrize(
    ("family", "name", "student", "teacher", "found", "fix"),
    [
        (
            "hidden",
            "mse",
            (4, 7, 384),
            (4, 7, 768),
            "width: 384 against 768",
            "use a projection (linear is the default)",
        ),
        ("hidden", "mse", (4, 7, 8), (4, 9, 8), "length: 7 against 9", "tokenizer"),
        ("hidden", "mse", (4, 8), (4, 9, 8), "hidden has", "one kind"),
        ("logits", "kl", (4, 2), (4, 3), "classes: 2 against 3", "same labels"),
        ("logits", "kl", (4, 1), (4, 1), "always the same", "use mse"),
        ("attention", "kl", (4, 2, 7, 7), (4, 4, 7, 7), "heads: 2 against 4", "relations"),
        ("scores", "mse", (4, 2, 7, 7), (4, 2, 9, 9), "queries: 7 against 9", "tokenizer"),
        ("heads", "mse", (4, 2, 7, 8), (4, 2, 7, 16), "head width: 8 against 16", "relations"),
        ("attention", "mse", (4, 7, 7), (4, 7, 7), "attention has [batch, heads, queries, keys]", "one kind"),
        ("labels", "cross_entropy", (4, 2), (4, 2), "do not fit", "class ids"),
        ("labels", "cross_entropy", (4, 1), (4,), "always the same", "use mse"),
        ("labels", "cross_entropy", (4, 2), (5,), "4 against 5", "num_labels"),
        ("labels", "bce", (4, 1), (4,), "do not fit", "flags [B,C]"),
        ("labels", "mse", (4, 3), (4,), "do not fit", "numbers of a regression"),
    ],
)
def test_bad_shapes(family, name, student, teacher, found, fix):
    problem = check_shapes(get(name, family), student, teacher)[0]
    assert found in problem.found
    assert fix in problem.fix


def test_all_at_once():
    assert len(check_shapes(get("mse", "hidden"), (3, 7, 8), (4, 9, 16))) == 3


def test_a_loss_of_relations_takes_any_width():
    entry = Loss("relations", "hidden", lambda s, t, mask=None: s, any_width=True)
    assert check_shapes(entry, (4, 7, 8), (4, 7, 16)) == []
    assert len(check_shapes(entry, (4, 7, 8), (4, 9, 16))) == 1
