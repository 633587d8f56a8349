"""Adversaries: the reversed gradient, both heads, masks, and that the game goes where it should."""

import math

import pytest
import torch
from torch.nn import functional as F

from textkd import losses
from textkd.errors import TextkdError
from textkd.losses.contrast.adversary import reverse_gradient

LABELS = torch.tensor([0, 2, 1, 0])


def numbers(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def build(family, shape=(4, 3), **options):
    torch.manual_seed(0)
    return losses.get("adversarial", family).build(shape, shape, {"width": 8, **options}, rows=0).double()


def test_reversal():
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = reverse_gradient(x, 0.5)
    assert y.equal(x)
    y.square().sum().backward()
    assert x.grad.tolist() == [-1.0, 2.0]


def test_logits_value():
    module = build("logits", l1=0.5, classes=2.0)
    s, t = numbers(4, 3), numbers(4, 3, seed=1)
    real, fake = module.discriminator(t), module.discriminator(s)
    game = -(real[:, 0].sigmoid().log() + (1 - fake[:, 0].sigmoid()).log()).mean()
    classes = -sum(d[:, 1:].log_softmax(1)[torch.arange(4), LABELS].mean() for d in (real, fake))
    due = game + 2 * classes + 0.5 * (s - t).abs().sum(1).mean()
    assert module(s, t, labels=LABELS).item() == pytest.approx(due.item(), rel=1e-12)


def test_the_discriminator_is_a_residual_mlp():
    d = build("hidden", blocks=2).discriminator
    x = numbers(4, 3)
    h = x @ d.enter.weight.T + d.enter.bias
    for inner, outer in zip(d.inner, d.outer, strict=True):
        h = h + (h.clamp(min=0) @ inner.weight.T + inner.bias).clamp(min=0) @ outer.weight.T + outer.bias
    assert torch.allclose(d(x), h.clamp(min=0) @ d.leave.weight.T + d.leave.bias)


def test_the_student_climbs_the_game_and_descends_the_rest():
    """Its gradient: minus that of its share of the game, plus that of class head and distance."""
    module = build("logits", reversal=0.7)
    s, t = numbers(4, 3).requires_grad_(), numbers(4, 3, seed=1)
    (found,) = torch.autograd.grad(module(s, t, labels=LABELS), s)
    scores = module.discriminator(s)
    (game,) = torch.autograd.grad(F.softplus(scores[:, 0]).mean(), s, retain_graph=True)
    rest = F.cross_entropy(scores[:, 1:], LABELS) + (s - t).abs().sum(1).mean()
    assert torch.allclose(found, torch.autograd.grad(rest, s)[0] - 0.7 * game, rtol=1e-10)


def test_the_discriminator_descends_its_own_loss():
    module = build("hidden")
    s, t = numbers(4, 3).requires_grad_(), numbers(4, 3, seed=1)
    weight = module.discriminator.leave.weight
    (found,) = torch.autograd.grad(module(s, t), weight)
    real, fake = module.discriminator(t), module.discriminator(s)
    due = -(real.sigmoid().log() + (1 - fake.sigmoid()).log()).mean()
    assert torch.allclose(found, torch.autograd.grad(due, weight)[0], rtol=1e-10)


def test_playing_moves_the_student_to_the_teacher():
    torch.manual_seed(0)
    module = build("hidden", shape=(64, 2))
    teacher, cloud, shift = numbers(64, 2, seed=1), numbers(64, 2, seed=2), torch.full((2,), -3.0, dtype=torch.float64)
    step = torch.optim.SGD([shift.requires_grad_(), *module.parameters()], lr=0.1)
    for _ in range(200):
        step.zero_grad()
        module(cloud + shift, teacher).backward()
        step.step()
    assert shift.abs().max() < 0.6  # it started at 3


@pytest.mark.parametrize("pool", ["mean", "first", "none"])
def test_pads_of_hidden_states_do_not_count(pool):
    module = build("hidden", (4, 3, 5), pool=pool)
    s, t = numbers(3, 3, 5), numbers(3, 3, 5, seed=1)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    due = module(s[:2], t[:2], mask[:2]).item()
    s, t = (x.masked_fill(mask[..., None] == 0, math.nan).requires_grad_() for x in (s, t))
    value = module(s, t, mask)
    assert value.item() == pytest.approx(due, rel=1e-12)
    value.backward()
    assert s.grad[mask == 0].eq(0).all()
    assert s.grad[0, 0].ne(0).any()
    assert module.discriminator.enter.weight.grad.isfinite().all()


def test_tokens_without_a_label_have_no_class_but_play():
    module = build("logits", (2, 3, 4), l1=0)
    s, t = numbers(2, 3, 4), numbers(2, 3, 4, seed=1)
    mask, labels = torch.tensor([[1, 1, 0], [1, 0, 0]]), torch.tensor([[2, -100, 3], [-100, 1, 1]])
    spoilt = s.masked_fill(mask[..., None] == 0, math.inf).requires_grad_()
    value = module(spoilt, t, mask, labels=labels)
    valid = mask == 1
    real, fake = module.discriminator(t), module.discriminator(s)
    game = (F.softplus(-real[valid][:, 0]) + F.softplus(fake[valid][:, 0])).mean()
    due = game + sum(F.cross_entropy(d[0, 0, 1:], torch.tensor(2)) for d in (real, fake))
    assert value.item() == pytest.approx(due.item(), rel=1e-12)
    value.backward()
    assert spoilt.grad[~valid].eq(0).all()


@pytest.mark.parametrize("labels", [torch.zeros(4), torch.zeros(4, 2, dtype=torch.long)])
def test_labels_that_are_no_classes_are_refused(labels):
    with pytest.raises(TextkdError, match="class id each"):
        build("logits")(numbers(4, 3), numbers(4, 3), labels=labels)


def test_sizes_that_cannot_be():
    problems = losses.check_options(losses.get("adversarial", "hidden"), {"width": 0, "blocks": -1})
    assert [p.where for p in problems] == ["width", "blocks"]


def test_half_precision_is_finite():
    s, t = (torch.full((4, 3), 6e4, dtype=torch.float16, requires_grad=True) for _ in range(2))
    for family, given in (("logits", {"labels": LABELS}), ("hidden", {})):
        value = build(family).half()(s, t, **given)
        assert value.dtype == torch.float32
        value.backward()
        assert s.grad.isfinite().all()


def test_repr_tells_the_options():
    assert str(build("hidden", reversal=1.0)) != str(build("hidden", reversal=2.0))
    assert str(build("logits", l1=1.0)) != str(build("logits", l1=2.0))
