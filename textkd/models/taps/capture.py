"""Read taps out of a model while it runs: hooks that sleep until a capture is active."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from textkd.errors import Collector, fail, problem
from textkd.models.taps import gradients
from textkd.models.taps.address import GRADIENT_KINDS, Address
from textkd.models.taps.checkpointing import refuse_bad_checkpointing
from textkd.models.taps.hooks import install
from textkd.models.taps.recorder import Recorder, Silent, StopForwardError, Switch, plain_outputs
from textkd.models.taps.shards import gather_for_backward
from textkd.models.taps.sides import anatomy

Projections = Mapping[str, tuple[str, nn.Module]]
Finish = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
# the taps that the model returns itself, and the output they are
RETURNED = {"logits": "logits", "labels": "loss"}


class Capture:
    """Reads `addresses` out of `model` in every forward inside `active()`; outside, the model is exactly as before.

    A copy or a pickle of the model has silent hooks. If ``head_input`` is read and nothing that needs logits, the model
    makes none: it returns logits [B, 0, V], and ``labels`` must not be given to it.

    Args:
        model: the unwrapped model; run it, or any wrapper around it (DDP, Accelerate).
        addresses: what to read, as in `Address.parse`.
        projections: name -> (source address, module). The module is applied to the source tap inside the forward; its
            result is the tap ``name``. It must be a submodule of the model already, so that DDP, the optimizer and
            checkpoints know it. A source that is not among `addresses` is not returned.
        stop_early: `run` stops the forward after the last tap (under no_grad; a teacher).
    Raises:
        TextkdError: with every address that the model lacks; reentrant gradient checkpointing (it loses gradients).
    Example:
        >>> from transformers import BertConfig, BertModel
        >>> model = BertModel(BertConfig(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, vocab_size=20))
        >>> read = Capture(model, ["hidden:1", "attention:2"]).run(model, input_ids=torch.ones(3, 5, dtype=torch.long))
        >>> {name: list(tap.shape) for name, tap in read["taps"].items()}
        {'hidden:1': [3, 5, 8], 'attention:2': [3, 2, 5, 5]}
    """

    def __init__(
        self,
        model: nn.Module,
        addresses: Sequence[str | Address],
        projections: Projections | None = None,
        stop_early: bool = False,
    ) -> None:
        self.model, self.stop_early = model, stop_early
        self.anatomy = anatomy(model)
        self._projections: dict[str, tuple[str, nn.Module]] = {}
        resolved = self._resolve(list(addresses), projections or {})
        self.addresses = tuple(dict.fromkeys(resolved[: len(addresses)]))
        self._needed = tuple(dict.fromkeys(resolved))
        self._lent = [address for address in self._needed if self.anatomy.on(address).lends(address.kind)]
        self._gradients = [address for address in self._needed if address.kind in GRADIENT_KINDS]
        refuse_bad_checkpointing(model, self._lent, self._gradients)
        self._switch = Switch()
        self._done: Finish | None = None
        self._labels: Tensor | None = None
        self._around = ExitStack()
        self._begin: Callable[[nn.Module, Tensor | None], None] = self._start
        self._end: Callable[[dict[str, Tensor], Recorder], dict[str, dict[str, Tensor]]] = self._finish
        hooked = [address for address in self._needed if address.kind not in RETURNED]
        self._recorded = len(hooked)
        self._bare = not any(address.kind in (*RETURNED, *GRADIENT_KINDS) for address in self._needed)
        self._handles = install(self.anatomy, self._switch, hooked, self._bare)
        self._handles.append(model.register_forward_pre_hook(_TopEnter(self), with_kwargs=True))
        self._handles.append(model.register_forward_hook(_TopLeave(self)))

    @contextmanager
    def active(self, finish: Finish | None = None, labels: Tensor | None = None) -> Iterator[None]:
        """Inside, a forward of the model returns ``{"outputs": {name: Tensor}, "taps": {str(address): Tensor}}``.

        "outputs" are the tensors of the model's own output (loss, logits, ...).
        Args:
            finish: makes losses of the taps before the forward is over; they stand under "losses". What uses weights of
                the model outside of its blocks belongs there, so that DDP sees these weights used.
            labels: what gradient taps are of, where the forward itself gets no ``labels``.
        Raises:
            TextkdError: a tap is missing or empty; at the end, if the model never ran.
        """
        if not self._handles:
            raise fail("a forward with taps", "this capture was removed", fix="make a new Capture")
        switch = self._switch
        before, self._done, self._labels = switch.awake, finish, labels
        with_graph = torch.is_grad_enabled()
        switch.awake, switch.ran = True, False
        try:
            yield
        finally:
            switch.awake, switch.recorder, self._done, self._labels = before, None, None, None
            self._around.close()
            torch.set_grad_enabled(with_graph)
        if not switch.ran:
            raise fail(
                "a forward with taps",
                f"the captured {type(self.model).__name__} did not run inside active()",
                fix="run the model that the Capture was made on, or its wrapper",
            )

    def run(
        self, wrapped_model: Callable[..., Any], /, *, tap_labels: Tensor | None = None, **batch: Any
    ) -> dict[str, dict[str, Tensor]]:
        """One forward inside `active()`, of the model or its wrapper, on its inputs `batch` [B, ...]; raises as that.
        tap_labels: what gradient taps are of (`labels` there). With `stop_early` (and nothing asked that only a whole
        forward gives) the forward ends after the last tap, and "outputs" is empty."""
        switch = self._switch
        with self.active(labels=tap_labels):
            switch.stop = self.stop_early and self._bare
            try:
                captured: dict[str, dict[str, Tensor]] = wrapped_model(**batch)
                return captured
            except StopForwardError:
                if switch.recorder is None or not switch.recorder.complete:
                    raise  # another capture on the same model stopped the forward
                return self._finish({}, switch.recorder)
            finally:
                switch.stop = False

    def for_sharded(self) -> None:
        """Raises `TextkdError` for taps that a model in shards (FSDP2) cannot give."""
        if self._gradients:
            asked = f"{', '.join(map(str, self._gradients))} of a student in shards"
            what = "the second backward would need weights that each block has given back after its forward"
            raise fail(asked, what, fix="train with DDP (distributed_type: MULTI_GPU), or other taps")

    def for_compiled(self) -> None:
        """Readies the capture for a ``torch.compile`` of the model: what it does before and after the forward stays
        out of the graphs; the hooks on blocks are compiled with them. Raises `TextkdError` for gradient taps."""
        if self._gradients:
            asked = f"{', '.join(map(str, self._gradients))} of a compiled model"
            what = "the gradient by a state inside a compiled graph is not there, nor a second backward"
            raise fail(asked, what, fix="torch_compile: false, or other taps")
        outside: Any = torch.compiler.disable
        self._begin, self._end = outside(self._start), outside(self._finish)

    def check_gradients(self, taps: Mapping[str, Tensor]) -> None:
        """Raises `TextkdError` naming every tap of `taps` (by name) of a training model that carries no gradient."""
        if not (
            torch.is_grad_enabled() and self.model.training and any(p.requires_grad for p in self.model.parameters())
        ):
            return
        found = Collector()
        for name, tap in taps.items():
            if not tap.requires_grad:
                found.add(
                    problem(
                        f'student tap "{name}"',
                        "it carries no gradient, so a match on it teaches nothing",
                        fix="do not freeze everything below it",
                    )
                )
        found.raise_any()

    def remove(self) -> None:
        """Takes every hook off the model."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._switch.recorder = None

    def _resolve(self, addresses: list[str | Address], projections: Projections) -> list[Address]:
        found, resolved = Collector(), []
        for address in addresses:
            with found.collecting():
                resolved.append(self.anatomy.resolve(address))
        for name, (source, module) in projections.items():
            with found.collecting(f"projection {name}"):
                address = self.anatomy.resolve(source)
                resolved.append(address)
                self._projections[name] = (str(address), module)
                if not any(module is part for part in self.model.modules()):
                    raise fail(
                        f'the projection "{name}"',
                        "it is not a submodule of the model",
                        fix="attach it to the model first",
                    )
        if not addresses and not projections:
            found.add(problem("a capture", "no address", fix='at least one, such as "logits"'))
        found.raise_any()
        return resolved

    def _start(self, module: nn.Module, labels: Tensor | None) -> None:
        self._switch.ran = True
        if torch.is_inference_mode_enabled():
            raise fail(
                "taps under torch.inference_mode",
                "its tensors cannot serve a student's backward",
                fix="torch.no_grad()",
            )
        if getattr(module, "_is_replica", False):
            raise fail(
                "taps under nn.DataParallel",
                "its threads share one set of hooks",
                fix="start with `accelerate launch` or torchrun (DDP), or show one GPU: CUDA_VISIBLE_DEVICES=0",
            )
        if labels is not None and self._bare and any(address.kind == "head_input" for address in self._needed):
            what = "the model gets labels, and no logits to compare with them are made"
            raise fail('tap "head_input"', what, fix='leave labels out of the forward, or tap "logits" too')
        if module.training and torch.is_grad_enabled():
            refuse_bad_checkpointing(module, self._lent, self._gradients)
        if self._gradients:
            self._labels = labels if self._labels is None else self._labels
            self._around.enter_context(gradients.with_graph(torch.is_grad_enabled()))
        if self._switch.stop and torch.is_grad_enabled():
            raise fail(
                "an early stop with gradients", "a forward that is cut short trains nothing", fix="torch.no_grad()"
            )
        self._switch.recorder = Recorder(self._recorded, self._switch.stop)

    def _finish(self, outputs: dict[str, Tensor], recorder: Recorder) -> dict[str, dict[str, Tensor]]:
        recorded: dict[str, Tensor | None] = recorder.close()
        if self._gradients:
            given = (self._labels, self.anatomy.config, recorder.graph)
            recorded, outputs = gradients.differentiate(self._gradients, recorded, outputs, *given)
        taps: dict[str, Tensor] = {}
        found = Collector()
        for address in self._needed:
            key = str(address)
            value = outputs.get(RETURNED[address.kind]) if address.kind in RETURNED else recorded.get(key)
            if value is None or value.numel() == 0:
                found.add(
                    problem(
                        f'tap "{key}"',
                        _why(address, value, key in recorded, outputs),
                        near=(key, self.anatomy.addresses()),
                        fix=f"textkd ls taps lists what {type(self.model).__name__} offers",
                    )
                )
            else:
                gather_for_backward(self.anatomy, address, value)
                taps[key] = value
        found.raise_any()
        returned = {str(address): taps[str(address)] for address in self.addresses}
        for name, (source, module) in self._projections.items():
            returned[name] = _project(module, taps[source])
        finished = {} if self._done is None else {"losses": dict(self._done(returned))}
        return {"outputs": outputs, "taps": returned, **finished}


class _TopEnter:
    def __init__(self, capture: Capture) -> None:
        self.capture = capture

    def __call__(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        if not self.capture._switch.awake:
            return None
        self.capture._begin(module, kwargs.get("labels"))
        # outputs are read by name; a config or a caller that asks for tuples would hide them
        as_tuple = not kwargs.get("return_dict", getattr(self.capture.anatomy.config, "return_dict", True))
        return (args, {**kwargs, "return_dict": True}) if as_tuple else None

    def __reduce__(self) -> tuple[type[Silent], tuple[()]]:
        return Silent, ()


class _TopLeave:
    def __init__(self, capture: Capture) -> None:
        self.capture = capture

    def __call__(self, module: nn.Module, args: Any, output: Any) -> dict[str, dict[str, Tensor]] | None:
        recorder = self.capture._switch.recorder
        if recorder is None or not recorder.open:
            return None
        captured = isinstance(output, dict) and {"outputs", "taps"} <= set(output) <= {"outputs", "taps", "losses"}
        captured_here = self.capture._end(output["outputs"] if captured else plain_outputs(output), recorder)
        # a second active capture on the same model adds to what the first one returned
        return (
            {**output, **captured_here, "taps": {**output["taps"], **captured_here["taps"]}}
            if captured
            else captured_here
        )

    def __reduce__(self) -> tuple[type[Silent], tuple[()]]:
        return Silent, ()


def _why(address: Address, value: Tensor | None, recorded: bool, outputs: Mapping[str, Tensor]) -> str:
    if value is not None:
        return f"an empty tensor {list(value.shape)}"
    if address.kind in RETURNED:
        missing = "; the batch has no labels" if address.kind == "labels" else ""
        return f"the model returned no {RETURNED[address.kind]}, only {', '.join(outputs) or 'nothing'}{missing}"
    return "its module gave no tensor" if recorded else "its module did not run in this forward"


def _project(module: nn.Module, tap: Tensor) -> Tensor:
    # Accelerate's autocast wraps forward, not the hooks around it: outside of it a tap can be narrower than the weights
    weight = next((p for p in module.parameters() if p.is_floating_point()), None)
    projected: Tensor = module(tap if weight is None else tap.to(weight.dtype))
    return projected
