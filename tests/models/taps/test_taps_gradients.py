"""Gradients as taps: value and double backward, on every architecture and head, as student and as teacher."""

import contextlib

import pytest
import torch
from torch.testing import assert_close

from textkd import LiveTeacher
from textkd.errors import TextkdError
from textkd.models.taps import Address, Capture, anatomy, input_gradient, mask_for

LABELS = torch.tensor([0, 2, 1])


def taps_of(model, addresses, batch, labels=LABELS):
    capture = Capture(model, addresses)
    try:
        return capture.run(model, tap_labels=labels, **batch)["taps"]
    finally:
        capture.remove()


def by_hand(model, batch, hook_on, value, at_input=False):
    """d value(logits) / d(output or input of a module), with a hook and autograd alone."""
    kept = []

    def keep(module, args, *output):
        found = args[0] if at_input else output[0]
        kept.append(found[0] if isinstance(found, tuple) else found)

    handle = hook_on.register_forward_pre_hook(keep) if at_input else hook_on.register_forward_hook(keep)
    with handle:
        return torch.autograd.grad(value(model(**batch).logits), kept[0])[0]


def chosen(logits):
    return sum(logits[i, label] for i, label in enumerate(LABELS))


def test_values(unlike, tiny, inputs):
    model = tiny(unlike).double()
    batch = {k: v.double() if v.is_floating_point() else v for k, v in inputs(model).items()}
    taps = taps_of(model, ["gradient:0", "gradient:2", "loss_gradient:0"], batch)
    blocks = anatomy(model).blocks
    if unlike != "albert":  # one module, called for every block
        assert_close(taps["gradient:2"], by_hand(model, batch, blocks[1], chosen))
        assert_close(taps["gradient:0"], by_hand(model, batch, blocks[0], chosen, at_input=True))

        def loss(logits):
            return sum(-logits[i].log_softmax(-1)[label] for i, label in enumerate(LABELS))

        assert_close(taps["loss_gradient:0"], by_hand(model, batch, blocks[0], loss, at_input=True))
    assert taps["gradient:0"].shape == taps["gradient:2"].shape == taps_of(model, ["hidden:0"], batch)["hidden:0"].shape
    alone = taps_of(model, ["gradient:2"], {k: v[1:2] for k, v in batch.items()}, LABELS[1:2])["gradient:2"]
    assert_close(alone[0], taps["gradient:2"][1], msg=lambda text: f"it depends on the batch: {text}")


@pytest.mark.long
def test_double_backward_is_a_finite_difference(unlike, tiny, inputs):
    model = tiny(unlike).double()
    batch = {k: v.double() if v.is_floating_point() else v for k, v in inputs(model).items()}
    capture = Capture(model, ["gradient:0", "loss_gradient:1"])
    weights = [p for _, p in anatomy(model).blocks[1].named_parameters() if p.dim() == 2]

    def value():
        taps = capture.run(model, tap_labels=LABELS, **batch)["taps"]
        return taps["gradient:0"].square().sum() + 3 * taps["loss_gradient:1"].square().sum()

    found = torch.autograd.grad(value(), weights, allow_unused=True)
    # ModernBERT rotates queries and keys in float32, so a small step would measure its rounding
    step, rel = (1e-3, 1e-3) if unlike == "modernbert" else (1e-5, 1e-4)
    checked = 0
    for weight, gradient in zip(weights, found, strict=True):
        if gradient is None:
            continue
        ends = []
        for moved in (step, -step):
            with torch.no_grad():
                weight[1, 2] += moved
                ends.append(value().item())
                weight[1, 2] -= moved
        assert gradient[1, 2].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=rel, abs=1e-6)
        checked += bool(gradient[1, 2])
    assert checked >= 3


def test_padding_changes_nothing(text_architecture, tiny, inputs):
    model = tiny(text_architecture).double()
    batch, found = inputs(model), []
    addresses = ["gradient:0", "loss_gradient:2"]
    masks = [mask_for(Address.parse(address), batch) for address in addresses]
    assert all(torch.equal(mask, batch["attention_mask"].bool()) for mask in masks)
    for token in (0, 7):
        filled = {**batch, "input_ids": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, token)}
        if text_architecture == "roberta":  # which tells positions from the padding token
            filled["position_ids"] = torch.arange(2, 11).expand(3, -1)
        taps = taps_of(model, addresses, filled)
        found.append([tap[mask] for tap, mask in zip(taps.values(), masks, strict=True)])
    assert_close(found[0], found[1])


def test_a_teacher_keeps_no_graph(architecture, tiny, inputs):
    model, batch = tiny(architecture), inputs(tiny(architecture))
    due = taps_of(model, ["gradient:1", "loss_gradient:2", "hidden:2"], batch)
    for parameter in list(model.parameters())[::2]:
        parameter.requires_grad_(False)
    asked = [p.requires_grad for p in model.parameters()]
    teacher = LiveTeacher(model, ["gradient:1", "loss_gradient:2", "hidden:2", "logits"])
    taps = teacher.taps({**batch, "labels": LABELS})
    assert torch.is_grad_enabled()
    for name, tap in due.items():
        assert_close(taps[name], tap.detach(), rtol=1e-4, atol=1e-5)
    assert not any(tap.requires_grad for tap in taps.values())
    assert all(p.grad is None for p in model.parameters())
    assert asked == [p.requires_grad for p in model.parameters()]
    with torch.no_grad():
        again = taps_of(model, ["hidden:2"], batch)
        assert not torch.is_grad_enabled()
    assert_close(again["hidden:2"], taps["hidden:2"])


def test_projections_of_a_forward_without_grad_have_no_graph(tiny, inputs):
    model = tiny("bert")
    model.adapter = torch.nn.Linear(16, 20)
    with torch.no_grad():
        capture = Capture(model, ["gradient:1"], projections={"p": ("gradient:1", model.adapter)})
        taps = capture.run(model, tap_labels=LABELS, **inputs(model))["taps"]
    assert taps["p"].shape == (3, 9, 20)
    assert not taps["p"].requires_grad


def test_the_forward_below_the_lowest_gradient_has_no_graph(tiny, inputs):
    model, seen = tiny("bert"), []
    for block in model.bert.encoder.layer:
        block.register_forward_pre_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    LiveTeacher(model, ["gradient:2"]).taps({**inputs(model), "labels": LABELS})
    assert seen == [False, False, True]


def test_an_error_inside_leaves_the_grad_mode(tiny, inputs):
    model = tiny("bert")
    model.classifier.register_forward_hook(lambda *_: 1 / 0)
    capture = Capture(model, ["gradient:0"])
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(False)  # not as a context, which would put it right by itself
    try:
        with pytest.raises(ZeroDivisionError):
            capture.run(model, tap_labels=LABELS, **inputs(model))
        assert not torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(before)
    assert torch.backends.cuda.flash_sdp_enabled()


def test_frozen_embeddings(tiny, inputs):
    model = tiny("bert").train()
    model.bert.embeddings.requires_grad_(False)
    taps = taps_of(model, ["gradient:0", "hidden:0", "hidden:1"], inputs(model))
    taps["gradient:0"].square().sum().backward()
    assert model.bert.encoder.layer[1].intermediate.dense.weight.grad.any()
    with pytest.raises(TextkdError, match='"hidden:0"'):  # as without the gradient tap
        Capture(model, ["logits"]).check_gradients(taps)


@pytest.mark.parametrize("where", ["around", "inside"])
def test_bf16_autocast(where, unlike, tiny, inputs):
    model, batch = tiny(unlike).train(), inputs(tiny(unlike))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    due = taps_of(model.eval(), ["gradient:0", "loss_gradient:2"], batch)
    around = contextlib.nullcontext()
    if where == "inside":
        model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)
    else:
        around = torch.autocast("cpu", dtype=torch.bfloat16)
    with around:
        taps = taps_of(model, ["gradient:0", "loss_gradient:2"], batch)
    sum(tap.float().square().sum() for tap in taps.values()).backward()
    found = [p.grad for p in anatomy(model).blocks[2].parameters() if p.grad is not None]
    assert found
    assert all(gradient.isfinite().all() for gradient in found)
    for name, tap in taps.items():
        error = (tap.float() - due[name]).norm() / due[name].norm()
        assert error < 0.25, (name, error)


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_encoder_decoders(side, sided, line_batch):
    batch = line_batch()
    labels = batch.pop("labels")
    address = f"{side}.gradient:1"
    assert address in anatomy(sided).addresses()
    tap = taps_of(sided, [address], batch, labels)[address]

    def value(logits):
        return sum(logits[b, t, labels[b, t]] for b, t in (labels != -100).nonzero().tolist())

    assert_close(tap, by_hand(sided, batch, anatomy(sided).sides[side].blocks[0], value), rtol=1e-4, atol=1e-5)
    tap.square().sum().backward()
    module = anatomy(sided).sides[side].blocks[1]
    assert any(p.grad is not None and p.grad.any() for p in module.parameters())


def test_labels_of_the_forward_itself_serve_too(tiny, inputs):
    model, batch = tiny("bert"), inputs(tiny("bert"))
    due = taps_of(model, ["loss_gradient:1"], batch)["loss_gradient:1"]
    assert_close(taps_of(model, ["loss_gradient:1"], {**batch, "labels": LABELS}, None)["loss_gradient:1"], due)


def test_token_labels_follow_the_labelled_positions(tiny, inputs):
    model, batch = tiny("bert", "tokens"), inputs(tiny("bert"))
    labels = torch.full((3, 9), -100)
    labels[0, 2], labels[2, 1] = 1, 0
    tap = taps_of(model, ["gradient:2"], batch, labels)["gradient:2"]
    due = by_hand(model, batch, model.bert.encoder.layer[1], lambda z: z[0, 2, 1] + z[2, 1, 0])
    assert_close(tap, due)
    assert not tap[1].any()


W = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.7, -1.0]])
X = torch.tensor([[0.2, -0.4], [1.0, 0.1]])


@pytest.mark.parametrize(
    ("labels", "settings", "due"),
    [
        (torch.tensor([1, -100]), {}, lambda z, x: z[0, 1]),
        (
            torch.tensor([1, 0]), {"of": "loss_gradient"},
            lambda z, x: -(z.log_softmax(-1)[0, 1] + z.log_softmax(-1)[1, 0]),
        ),
        (torch.tensor([[1.0, 0, 1], [0, 0, 1]]), {}, lambda z, x: z[0, 0] + z[0, 2] + z[1, 2]),
        (
            torch.tensor([[1.0, 0, 1], [0, 0, 1]]), {"of": "loss_gradient"},
            lambda z, x: -(z[0, 0].sigmoid() * z[0, 2].sigmoid() * z[1, 2].sigmoid()
                           * (-z[0, 1]).sigmoid() * (-z[1, 0]).sigmoid() * (-z[1, 1]).sigmoid()).log() / 3,
        ),
        (None, {"problem_type": "regression"}, lambda z, x: z.sum()),
        (
            torch.ones(2, 3), {"problem_type": "regression", "of": "loss_gradient"},
            lambda z, x: (z - 1).square().sum() / 3,
        ),
    ],
)  # fmt: skip
def test_what_is_differentiated(labels, settings, due):
    x = X.clone().requires_grad_()
    z = x @ W
    assert_close(input_gradient(z, x, labels, **settings), torch.autograd.grad(due(z, x), x)[0])


@pytest.mark.parametrize("shape", [(2, 1), (2,)])
def test_regression_of_one_number(shape):
    x = X.clone().requires_grad_()
    z = x.square().sum(1).reshape(shape)
    assert_close(input_gradient(z, x), 2 * x)
    due = torch.autograd.grad((x.square().sum(1) - 1).square().sum(), x)[0]
    assert_close(input_gradient(z, x, torch.ones(2), of="loss_gradient"), due)


def test_refusals(tiny, inputs):
    model, batch = tiny("bert"), inputs(tiny("bert"))
    with pytest.raises(TextkdError, match=r"capture.active\(labels=...\)"):
        taps_of(model, ["gradient:1"], batch, None)
    with pytest.raises(TextkdError, match=r"labels \[3, 9\]"):
        taps_of(model, ["gradient:1"], batch, torch.zeros(3, 9, dtype=torch.long))
    with pytest.raises(TextkdError, match="do not depend"):
        input_gradient(torch.ones(2, 3), X.clone().requires_grad_(), LABELS[:2])
    bare = tiny("bert", "bare")
    assert not [address for address in anatomy(bare).addresses() if "gradient" in address]
    with pytest.raises(TextkdError, match="without a head"):
        Capture(bare, ["gradient:1"])
    with pytest.raises(TextkdError, match="gradient:0 to gradient:3"):
        Capture(model, ["gradient:4"])


@pytest.mark.parametrize("when", ["before", "after"])
def test_checkpointing_is_refused(when, tiny, inputs):
    model = tiny("bert").train()
    # transformers calls it by another name since 5.21
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    if when == "before":
        enable({"use_reentrant": False})
        with pytest.raises(TextkdError, match="gradient checkpointing"):
            Capture(model, ["gradient:1"])
        return
    capture = Capture(model, ["gradient:1"])
    enable({"use_reentrant": False})
    with pytest.raises(TextkdError, match="gradient checkpointing"):
        capture.run(model, tap_labels=LABELS, **inputs(model))
