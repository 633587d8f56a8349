"""Gradients as taps: `gradient:k` is d(logit of the true class)/d(hidden:k), `loss_gradient:k` d(loss)/d(hidden:k).

Both are of a SUM over samples, so that a sample's gradient does not depend on its batch. A student's are made with a
graph (double backward): its forward then runs SDPA's plain kernel, whose backward can be differentiated again. Under
no_grad (a teacher) the forward gets a graph from the lowest asked block on, for one backward, and nothing keeps it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from textkd.errors import fail
from textkd.models.conventions import IGNORED
from textkd.models.taps.address import Address
from textkd.models.taps.recorder import InputHook, OutputHook, Recorder

Of = Literal["gradient", "loss_gradient"]


def input_gradient(
    logits: Tensor,
    inputs: Tensor,
    labels: Tensor | None = None,
    *,
    of: Of = "gradient",
    problem_type: str | None = None,
    create_graph: bool = True,
) -> Tensor:
    """The gradient of the true class's logit, or of the task's loss, by what the logits were computed from.

    It is summed over samples, so that a sample's gradient does not depend on its batch. With labels [B] the logits
    [B, C] are of classes; with [B, T] the logits [B, T, V] are summed over the positions labelled with anything but
    -100. Logits [B, 1], [B], or `problem_type` "regression": the output itself needs no labels, its loss is the squared
    error (mean over outputs). Floating labels [B, C]: several classes at once, the sum of their logits, or BCE (mean
    over classes).

    Args:
        logits: [B, C], [B, T, V], [B, 1] or [B].
        inputs: of any shape.
        labels: [B], [B, T] or [B, C].
        of: "gradient" of the true class's logit, or "loss_gradient" of the task's loss.
        problem_type: transformers' word for the task; "regression" counts here.
        create_graph: whether the result can be differentiated.

    Returns:
        The gradient, in the shape of `inputs`.

    Raises:
        TextkdError: labels are missing or of another shape, or the logits do not depend on the inputs.

    Example:
        >>> inputs = torch.ones(2, 3, requires_grad=True)
        >>> logits = inputs @ torch.tensor([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]])
        >>> input_gradient(logits, inputs, torch.tensor([0, 1])).tolist()
        [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    """
    return _gradients(of, logits, [inputs], labels, problem_type, create_graph, ["the inputs"])[0]


def differentiate(
    addresses: Sequence[Address], recorded: Mapping[str, Tensor | None], outputs: Mapping[str, Tensor],
    labels: Tensor | None, config: Any, create_graph: bool,
) -> tuple[dict[str, Tensor | None], dict[str, Tensor]]:  # fmt: skip
    """(taps, outputs) of a forward, with gradients in the place of the hidden states recorded for `addresses`.

    create_graph: whether the forward has a graph for its own sake; if not, everything is detached and the graph, which
    it had for the gradients alone, is gone, as is the grad mode that `root` left.
    """
    names = {str(address): address.kind for address in addresses}
    roots = {key: value for key in names if (value := recorded.get(key)) is not None}
    logits, problem_type = outputs.get("logits"), getattr(config, "problem_type", None)
    made: dict[str, Tensor] = {}
    kinds = list(dict.fromkeys(names[key] for key in roots))
    for kind in kinds:
        if logits is None:
            raise fail(f'tap "{next(iter(roots))}"', "the model returned no logits", fix="a model with a head")
        keys = [key for key in roots if names[key] == kind]
        of: Of = "gradient" if kind == "gradient" else "loss_gradient"
        keep = create_graph or kind != kinds[-1]
        found = _gradients(of, logits, [roots[key] for key in keys], labels, problem_type, create_graph, keys, keep)
        made.update(zip(keys, found, strict=True))
    torch.set_grad_enabled(create_graph)
    # a hidden state above frozen parts alone would carry a gradient only because it was asked for
    own = {id(value) for value in roots.values() if value.is_leaf}
    rest = {key: value for key, value in recorded.items() if key not in names}
    taps = {
        key: value.detach() if value is not None and (id(value) in own or not create_graph) else value
        for key, value in rest.items()
    }
    left = outputs if create_graph else {key: value.detach() for key, value in outputs.items()}
    return {**taps, **made}, dict(left)


def with_graph(create_graph: bool) -> contextlib.AbstractContextManager[object]:
    """What a forward with gradient taps runs in: where they need a graph, SDPA without its fused kernels."""
    return sdpa_kernel(SDPBackend.MATH) if create_graph else contextlib.nullcontext()


def root(value: Tensor | None) -> Tensor | None:
    """A hidden state to differentiate by; from here on the forward has a graph, also under no_grad and when frozen."""
    torch.set_grad_enabled(True)
    return value if value is None or value.requires_grad else value.requires_grad_()


class RootOutput(OutputHook):
    """Forward hook: records the module's output as the root of a gradient."""

    def keep(self, recorder: Recorder, value: Tensor | None) -> None:
        recorder.record(self.key, root(value))


class RootInput(InputHook):
    """Forward pre-hook with kwargs: records the module's first tensor input as the root of a gradient."""

    def keep(self, recorder: Recorder, value: Tensor | None) -> None:
        recorder.record(self.key, root(value))


def _gradients(
    of: Of, logits: Tensor, inputs: Sequence[Tensor], labels: Tensor | None, problem_type: str | None,
    create_graph: bool, names: Sequence[str], keep: bool = True,
) -> list[Tensor]:  # fmt: skip
    device = logits.device.type
    known = torch.amp.is_autocast_available(device)
    # a backward belongs outside of autocast; every operation knows the type it ran in
    with torch.enable_grad(), torch.autocast(device, enabled=False) if known else contextlib.nullcontext():
        target = _TARGETS[of](logits.float() if logits.itemsize < 4 else logits, labels, problem_type, names[0])
        found: Sequence[Tensor | None] = [None] * len(inputs)
        if target.requires_grad:
            found = torch.autograd.grad(
                target, list(inputs), create_graph=create_graph, retain_graph=keep, allow_unused=True
            )
    for name, gradient in zip(names, found, strict=True):
        if gradient is None:
            raise fail(f"the gradient {name}", "the logits do not depend on it", fix="a tap that the logits come from")
    return [gradient for gradient in found if gradient is not None]


def _true_logit(logits: Tensor, labels: Tensor | None, problem_type: str | None, name: str) -> Tensor:
    if _is_regression(logits, problem_type):
        return logits.sum()
    labels = _checked(logits, labels, name)
    if labels.is_floating_point():
        return (logits * labels).sum()
    valid = labels != IGNORED
    picked = logits.gather(-1, torch.where(valid, labels, 0)[..., None]).squeeze(-1)
    return torch.where(valid, picked, 0.0).sum()


def _task_loss(logits: Tensor, labels: Tensor | None, problem_type: str | None, name: str) -> Tensor:
    if _is_regression(logits, problem_type):
        if logits.dim() == 2 and logits.shape[-1] == 1 and labels is not None and labels.dim() == 1:
            logits = logits.squeeze(-1)
        labels = _checked(logits, labels, name, regression=True)
        outputs = logits.shape[-1] if logits.dim() > 1 else 1
        return (logits - labels.to(logits.dtype)).square().sum() / outputs
    labels = _checked(logits, labels, name)
    if labels.is_floating_point():
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none").mean(-1).sum()
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum")


_TARGETS: dict[str, Callable[[Tensor, Tensor | None, str | None, str], Tensor]] = {
    "gradient": _true_logit,
    "loss_gradient": _task_loss,
}


def _is_regression(logits: Tensor, problem_type: str | None) -> bool:
    return problem_type == "regression" or logits.dim() == 1 or logits.shape[-1] == 1


def _checked(logits: Tensor, labels: Tensor | None, name: str, regression: bool = False) -> Tensor:
    if labels is None:
        fix = "a batch with labels; outside of textkd's trainer: capture.active(labels=...)"
        raise fail(f"the gradient {name}", "it is of the true class, and there are no labels", fix=fix)
    shape = logits.shape if regression or labels.is_floating_point() else logits.shape[:-1]
    if labels.shape != shape:
        found = f"logits {list(logits.shape)}, labels {list(labels.shape)}"
        raise fail(f"the gradient {name}", found, fix="labels [B] for logits [B,C], [B,T] for [B,T,V]")
    return labels.to(logits.device)
