"""Neuron selection: which dimensions are chosen, from what, and that the choice stays."""

import pytest
import torch
from sklearn.feature_selection import f_classif

from textkd import losses
from textkd.errors import TextkdError
from textkd.losses.hidden.neurons import fisher_scores, select

WIDTH = 6


def build(samples=24, **options):
    options = {"samples": samples, "keep": 1 / 3, **options}
    assert losses.check_options(losses.get("neuron_selection", "hidden"), options) == []
    return losses.get("neuron_selection", "hidden").build((8, WIDTH), (8, WIDTH), options, 0).double()


def batch(seed=0, rows=8):
    """Dimension 4 tells the labels apart, 2 is its copy, 1 does so with noise; the others are noise."""
    torch.manual_seed(seed)
    labels = torch.arange(rows) % 3
    teacher = torch.randn(rows, WIDTH, dtype=torch.float64)
    teacher[:, 4] = labels + 0.05 * torch.randn(rows)
    teacher[:, 2] = -teacher[:, 4]
    teacher[:, 1] = (labels == 1) + 0.3 * torch.randn(rows)
    return torch.randn(rows, WIDTH, dtype=torch.float64), teacher, labels


def test_fisher_scores_rank_as_the_f_statistic():
    _, teacher, labels = batch(rows=60)
    scores = fisher_scores(teacher, labels)
    statistic, _ = f_classif(teacher.numpy(), labels.numpy())
    ratio = scores.square() / (1 - scores.square())
    assert (ratio / ratio.max()).tolist() == pytest.approx((statistic / statistic.max()).tolist(), rel=1e-6)
    assert fisher_scores(teacher, torch.zeros_like(labels)).tolist() == pytest.approx([0.0] * WIDTH, abs=1e-9)
    assert fisher_scores(torch.ones_like(teacher), labels).tolist() == pytest.approx([0.0] * WIDTH, abs=1e-9)


def test_a_copy_is_not_taken_again():
    _, teacher, labels = batch(rows=60)
    scores = fisher_scores(teacher, labels)
    assert select(scores, teacher, 2, redundancy=0.0).nonzero().flatten().tolist() == [2, 4]
    chosen = select(scores, teacher, 2, redundancy=1.0)
    assert chosen[1]
    assert chosen[2] != chosen[4]
    assert select(scores, teacher, WIDTH, redundancy=1.0).all()


def test_the_value_is_half_the_squares_of_the_selected_dimensions():
    module, (student, teacher, labels) = build(redundancy=0.0), batch()
    value = module(student, teacher, labels=labels)
    assert module.selected.nonzero().flatten().tolist() == [2, 4]
    expected = 0.5 * (student - teacher)[:, [2, 4]].square().sum(1).mean()
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_choice_is_refined_until_the_memory_is_full_and_kept_then_and_after_a_resume():
    module = build(samples=20)
    for seed in range(3):
        student, teacher, labels = batch(seed)
        module(student, teacher, labels=labels)
        assert bool(module.ready) == (seed == 2)
    everything = torch.cat([batch(seed)[1] for seed in range(3)])[:20]
    assert torch.equal(module.vectors, everything)
    chosen = module.selected.clone()
    fresh = build(samples=20)
    fresh.load_state_dict(module.state_dict())
    for one in (module, fresh):
        one(student, teacher.flip(1), labels=labels)
        assert torch.equal(one.selected, chosen)


def test_labels_per_token_make_every_labelled_token_a_sample():
    module, (student, teacher, labels) = build(redundancy=0.0), batch()
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    labels = labels.view(2, 4).clone()
    labels[0, 0] = -100
    module(student.view(2, 4, WIDTH), teacher.view(2, 4, WIDTH), mask, labels=labels)
    assert module.filled == 4
    assert torch.equal(module.vectors[:4], teacher[[1, 2, 4, 5]])
    whole = build()
    whole(student.view(2, 4, WIDTH), teacher.view(2, 4, WIDTH), labels=labels)
    assert torch.equal(whole.vectors[:7], teacher[1:])


def test_numbers_as_labels_are_refused():
    student, teacher, labels = batch()
    with pytest.raises(TextkdError, match="class labels"):
        build()(student, teacher, labels=labels.float())
