"""The words for what can be read out of a model: `hidden:4`, `decoder.attention:-1`, `module:classifier@input`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from textkd.errors import fail

# kind -> (family: which losses fit, whether the kind lives in a block)
KINDS: dict[str, tuple[str, bool]] = {
    "labels": ("labels", False),
    "logits": ("logits", False),
    "embeddings": ("hidden", False),
    "hidden": ("hidden", True),
    "gradient": ("hidden", True),
    "loss_gradient": ("hidden", True),
    "ffn": ("hidden", True),
    "attention": ("attention", True),
    "scores": ("scores", True),
    "query": ("heads", True),
    "key": ("heads", True),
    "value": ("heads", True),
    "cross_attention": ("attention", True),
    "cross_scores": ("scores", True),
    "cross_query": ("heads", True),
    "cross_key": ("heads", True),
    "cross_value": ("heads", True),
    "pooled": ("hidden", False),
    "module": ("hidden", False),
    "head_input": ("hidden", False),
}
SIDES = ("encoder", "decoder")
# kinds that belong to the head of the whole model, and have positions as the logits have them
HEAD_KINDS = ("labels", "logits", "head_input")
# kinds that are taken at a hidden state: the gradient of the true class's logit, or of the task's loss, by it
GRADIENT_KINDS = ("gradient", "loss_gradient")
# kinds whose block 0 is the input of block 1
FROM_ZERO = ("hidden", *GRADIENT_KINDS)
# kinds that are read inside the attention of a block; a decoder has a second one, over the encoder's tokens
SELF_KINDS = ("attention", "scores", "query", "key", "value")
CROSS_KINDS = {f"cross_{kind}": kind for kind in SELF_KINDS}
ATTENTION_KINDS = (*SELF_KINDS, *CROSS_KINDS)


@dataclass(frozen=True)
class Address:
    """One tap of a model, without the model's name.

    Args:
        kind: a key of `KINDS`.
        block: 1..L, negative from the end, 0 only for `FROM_ZERO` (the input of block 1). None where the kind has none
            or a layer map gives it.
        path: for `module`: the dotted path.
        at_input: for `module`: its input in place of its output.
        side: "", "encoder", "decoder".
        causal: set by `Anatomy.resolve` where a position sees only the ones before it; masks need to know. Not part of
            the name.

    Example:
        >>> address = Address.parse("decoder.attention:-1")
        >>> address.side, address.family, address.block
        ('decoder', 'attention', -1)
    """

    kind: str
    block: int | None = None
    path: str = ""
    at_input: bool = False
    side: str = ""
    causal: bool = field(default=False, compare=False, repr=False)

    @classmethod
    def parse(cls, text: str | Address) -> Address:
        """The address that a text writes.

        Args:
            text: ``[side.]kind[:block]`` or ``[side.]module:<dotted path>[@input]``. "hidden" without a block is
                allowed here (a layer map fills it in).

        Raises:
            TextkdError: no such kind, no module, or no block number.
        """
        if isinstance(text, Address):
            return text
        side, rest = _split_side(str(text).strip())
        kind, colon, argument = rest.partition(":")
        if kind not in KINDS:
            raise fail(
                f'tap "{text}"',
                f'no kind of tap is called "{kind}"',
                near=(kind, KINDS),
                fix=f"one of {', '.join(KINDS)}",
            )
        if kind == "module":
            path, at, where = argument.partition("@")
            if not path or (at and where != "input"):
                raise fail(
                    f'tap "{text}"',
                    "not a module address",
                    fix='"module:<dotted path>" or "module:<dotted path>@input"',
                )
            return cls(kind, path=path, at_input=bool(at), side=side)
        if not colon:
            return cls(kind, side=side)
        if not KINDS[kind][1]:
            raise fail(f'tap "{text}"', f"{kind} belongs to the model, not to a block", fix=f'"{kind}"')
        if not re.fullmatch(r"-?[0-9]{1,6}", argument):
            raise fail(
                f'tap "{text}"',
                f'"{argument}" is not a block number',
                fix=f'"{kind}:4", or "{kind}:-1" for the last block',
            )
        return cls(kind, block=int(argument), side=side)

    def __str__(self) -> str:
        side = f"{self.side}." if self.side else ""
        if self.kind == "module":
            return f"{side}module:{self.path}{'@input' if self.at_input else ''}"
        return f"{side}{self.kind}" + ("" if self.block is None else f":{self.block}")

    @property
    def family(self) -> str:
        """What losses eat: labels, logits, hidden (also embeddings, pooled, ffn, module), attention, scores, heads."""
        return KINDS[self.kind][0]

    @property
    def needs_block(self) -> bool:
        """Whether this kind of tap is one per block."""
        return KINDS[self.kind][1]


def _split_side(text: str) -> tuple[str, str]:
    side, dot, rest = text.partition(".")
    return (side, rest) if dot and side in SIDES else ("", text)
