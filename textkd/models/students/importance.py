"""How much each head, feed-forward unit and dimension of a model matters: by its weights, or on rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from textkd.errors import fail
from textkd.models.forward import evaluating, forward_inputs, inputs_of
from textkd.models.students.parts import Block, blocks_of, readers, squares_in, squares_out
from textkd.models.students.widths import ROWS

LEARNT = ("gradient", "fisher")  # what asks a model's own loss
Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class AttentionScores:
    """Of one attention. heads [A]; queries [A, D]: dimensions in which queries meet keys; values [A, D]."""

    heads: Tensor
    queries: Tensor
    values: Tensor


@dataclass(frozen=True)
class Scores:
    """Importance in one stack, more is more, float64 on the CPU.

    hidden: [H]. ffn: per block [F]. attentions: per block, as they stand in the `Plan` of the architecture.
    """

    hidden: Tensor
    ffn: tuple[Tensor, ...]
    attentions: tuple[tuple[AttentionScores, ...], ...]


def measure(
    model: Any, stacks: Mapping[str, Any], by: str, examples: Iterable[Batch] | None = None, rows: int = ROWS
) -> dict[str, Scores]:
    """How much each head, feed-forward unit and dimension matters.

    magnitude: the squared weights that lead into a unit times those that lead out of it. activation: its mean square on
    the rows, times the squared weights that lead out of it. gradient, fisher: the mean over rows of |g|, or of g
    squared, where g is the derivative of the row's label loss by a mask (of ones) on the unit: on the heads' outputs
    before their output layer, on queries, on feed-forward units behind the activation, and on a dimension of the stream
    at the embeddings and behind every block. The dimensions of a head are scored alike; a head's own g is the sum of
    those of its outputs, its other scores the sum of theirs.

    Args:
        model: what is run, in eval mode. It is not changed.
        stacks: the parts of it that are scored (itself, or its sides), by name.
        by: one of `textkd.models.students.widths.BY`.
        examples: batches with labels (for gradient and fisher), each row of which is run alone; None for magnitude.
        rows: how many rows of them count.

    Returns:
        Scores by the names of the stacks.

    Raises:
        TextkdError: no rows, or a model that has no loss of its own with these labels.

    Source:
        fisher: Kwon et al. 2022, arXiv:2204.09656. gradient: Michel et al. 2019, arXiv:1905.10650. activation: after
        Sun et al. 2023, arXiv:2306.11695.

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> model = BertForSequenceClassification(BertConfig(num_hidden_layers=1, **sizes))
        >>> batch = {"input_ids": torch.tensor([[2, 5, 3]]), "labels": torch.tensor([1])}
        >>> measure(model, {"": model}, "fisher", [batch])[""].ffn[0].shape
        torch.Size([16])
    """
    if by == "magnitude":
        return {name: _by_weights(stack) for name, stack in stacks.items()}
    probes = {name: _Probes(stack, by, _tokens_of(model, stack)) for name, stack in stacks.items()}
    with evaluating(model), ExitStack() as hooks:
        for probe in probes.values():
            hooks.enter_context(probe.listening())
        for row in islice(_single(examples or ()), rows):
            _run(model, row, list(probes.values()), by)
    if not all(probe.count for probe in probes.values()):
        found, fix = "there are none", "by: magnitude, which looks at weights alone"
        raise fail(f"rows to measure importance on, by: {by}", found, fix=fix, where="shrink.by")
    return {name: probe.scores() for name, probe in probes.items()}


def _single(batches: Iterable[Batch]) -> Iterator[dict[str, Tensor]]:
    """The rows of batches one by one: the loss of a row is then what its model says, whatever mean it takes."""
    for batch in batches:
        size = len(next(iter(batch.values())))
        for i in range(size):
            yield {name: column[i : i + 1] for name, column in batch.items() if len(column) == size}


def _run(model: Any, row: Batch, probes: list[_Probes], by: str) -> None:
    inputs = inputs_of(model, row)
    for probe in probes:
        probe.begin(row)
    if by not in LEARNT:
        with torch.no_grad():
            model(**inputs)
    else:
        loss = None
        if "labels" in row and "labels" in forward_inputs(model):
            labels = row["labels"].to(next(model.parameters()).device)
            with torch.enable_grad():
                loss = getattr(model(**inputs, labels=labels), "loss", None)
        if loss is None:
            found = f"{type(model).__name__} gives no loss for the labels of a row"
            fix = "by: activation, which needs no labels, or by: magnitude, which needs no rows"
            raise fail(f"importance by: {by}", found, fix=fix, where="shrink.by")
        masks = [mask for probe in probes for mask in probe.masks.values()]
        found_all = torch.autograd.grad(loss, masks, allow_unused=True)
        gradients = {id(mask): one for mask, one in zip(masks, found_all, strict=True)}
        for probe in probes:
            probe.take({key: gradients[id(mask)] for key, mask in probe.masks.items()})
    for probe in probes:
        probe.end()


def _tokens_of(model: Any, stack: Any) -> str:
    """The column that says which tokens of a stack count: an image has no padding, a text that is written ends."""
    if stack.main_input_name == "pixel_values":
        return ""
    return "attention_mask" if stack is model else "labels"


class _Probes:
    """What is seen of one stack while rows run: masks of ones with their derivatives, or squares.

    The keys of masks and squares: ("hidden",), ("ffn", block), and ("query", block, attention), ("key", ...),
    ("value", ...).
    """

    def __init__(self, stack: Any, by: str, tokens: str) -> None:
        self.stack, self.by, self.tokens = stack, by, tokens
        self.blocks = blocks_of(stack)
        self.masks, self.sums, self.count = dict[Any, Tensor](), dict[Any, Tensor](), 0
        self.row: Batch = {}
        self.like = next(stack.parameters())

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hooks at all places inside; none afterwards."""
        first, held = True, []
        for i, block in enumerate(self.blocks):
            held.append(block.ffn[1].register_forward_pre_hook(self._before(("ffn", i)), with_kwargs=True))
            for k, one in enumerate(block.attentions):
                held.append(one.output.register_forward_pre_hook(self._before(("value", i, k)), with_kwargs=True))
                held.append(one.query.register_forward_hook(self._after(("query", i, k))))
                if self.by not in LEARNT:  # a mask on keys does what one on queries does
                    held.append(one.key.register_forward_hook(self._after(("key", i, k))))
            if first:
                held.append(block.module.register_forward_pre_hook(self._before(("hidden",)), with_kwargs=True))
                first = False
            held.append(block.module.register_forward_hook(self._after(("hidden",))))
        try:
            yield
        finally:
            for hook in held:
                hook.remove()

    def _before(self, key: Any) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if args:
                return (self._seen(key, args[0]), *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": self._seen(key, kwargs["hidden_states"])}

        return hook

    def _after(self, key: Any) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (self._seen(key, output[0]), *output[1:])
            return self._seen(key, output)

        return hook

    def _seen(self, key: Any, value: Tensor) -> Tensor:
        """What goes on from a place: the units [1, T, U], with their masks."""
        if self.by in LEARNT:
            if key not in self.masks:
                self.masks[key] = value.new_ones(value.shape[-1]).requires_grad_()
            return value * self.masks[key]
        squares = value.detach().double().square().flatten(0, -2)
        count = self.row.get(self.tokens) if self.tokens else None
        if count is not None and count.numel() == len(squares):
            kept = (count > 0 if self.tokens == "attention_mask" else count != -100).flatten().to(squares.device)
            squares = squares[kept]
        self._add(key, squares.mean(0))
        return value

    def begin(self, row: Batch) -> None:
        self.row, self.masks = row, {}

    def end(self) -> None:
        self.count += 1
        self.row, self.masks = {}, {}

    def _add(self, key: Any, value: Tensor) -> None:
        value = value.detach().double().cpu()
        self.sums[key] = self.sums[key] + value if key in self.sums else value

    def take(self, gradients: Mapping[Any, Tensor | None]) -> None:
        """The derivatives of one row by each mask."""
        size = torch.abs if self.by == "gradient" else torch.square
        for key, found in gradients.items():
            if found is None:
                continue
            one = found.detach().double()
            self._add(key, size(one))
            if key[0] == "value":
                heads = self.blocks[key[1]].attentions[key[2]].heads
                self._add(("heads", *key[1:]), size(one.view(heads, -1).sum(1)))

    def scores(self) -> Scores:
        """The means over the rows, each beside the weights that lead out of the unit where squares were seen."""
        found = {key: value / self.count for key, value in self.sums.items()}
        if self.by not in LEARNT:
            for i, block in enumerate(self.blocks):
                found["ffn", i] *= squares_out(block.ffn[1])
                for k, one in enumerate(block.attentions):
                    found["value", i, k] *= squares_out(one.output)
                    found["query", i, k] *= found["key", i, k]
            found[("hidden",)] *= sum(readers(self.blocks), torch.zeros(()))
        return _scores(self.blocks, lambda *key: found[key], lambda i, k: found.get(("heads", i, k)))


def _scores(blocks: list[Block], of: Callable[..., Tensor], heads_of: Callable[[int, int], Tensor | None]) -> Scores:
    attentions = []
    for i, block in enumerate(blocks):
        made = []
        for k, one in enumerate(block.attentions):
            values, queries = (of(name, i, k).view(one.heads, -1) for name in ("value", "query"))
            heads = heads_of(i, k)
            made.append(AttentionScores(values.sum(1) if heads is None else heads, queries, values))
        attentions.append(tuple(made))
    return Scores(of("hidden"), tuple(of("ffn", i) for i in range(len(blocks))), tuple(attentions))


@torch.no_grad()
def _by_weights(stack: Any) -> Scores:
    blocks = blocks_of(stack)

    def of(name: str, i: int = 0, k: int = 0) -> Tensor:
        if name == "hidden":
            writers = [squares_in(layer) for block in blocks
                       for layer in (*(one.output for one in block.attentions), block.ffn[1])]  # fmt: skip
            return sum(writers, torch.zeros(())) * sum(readers(blocks), torch.zeros(()))
        if name == "ffn":
            return squares_in(blocks[i].ffn[0]) * squares_out(blocks[i].ffn[1])
        one = blocks[i].attentions[k]
        if name == "value":
            return squares_in(one.value) * squares_out(one.output)
        return squares_in(one.query) * squares_in(one.key)

    return _scores(blocks, of, lambda i, k: None)
