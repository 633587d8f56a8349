"""How a student grows: the words of a recipe's block `grow`, and what they mean for a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from textkd.errors import Collector, Problem, problem
from textkd.models.architectures import PLANS
from textkd.models.model_files import MOST_BLOCKS
from textkd.models.own.marks import WORDS
from textkd.models.students.widths import SIDED_WIDTHS, SIDES, WIDTHS, Sizes, have

KEYS = ("wider", "deeper", "noise")
AFTER = ("after", *(f"{side}_after" for side in SIDES))
DEEPER = (*AFTER, "nearly")
WIDEST = 65536
LOUDEST = 10  # noise of more leaves nothing of a weight
EXAMPLE = "grow: {wider: {ffn: 2048}}, or grow: {deeper: {after: [3]}}"


def grow_problems(block: Any) -> Iterator[Problem]:
    """What is wrong with the words of a block `grow`, whatever model it is for.

    Args:
        block: as it was written.

    Example:
        >>> print(*grow_problems({"deeper": {"aftr": [3], "after": [2]}}))
        grow.deeper.aftr: asked: student grow.deeper key aftr
          found: no such key
          nearest: after
          fix: keys: after, encoder_after, decoder_after, nearly
    """
    if not isinstance(block, Mapping) or not block:
        yield problem(f"student grow: {block!r}", "not a block of keys", fix=f"for example {EXAMPLE}", where="grow")
        return
    yield from _unknown(block, KEYS, "grow")
    kinds = {"wider": (*WIDTHS, *SIDED_WIDTHS), "deeper": DEEPER}
    given = [kind for kind in kinds if kind in block]
    if not given and all(key in KEYS for key in block):
        yield problem("student grow", "neither wider nor deeper", fix=f"for example {EXAMPLE}", where="grow")
    for kind in given:
        part = block[kind]
        if not isinstance(part, Mapping) or not part:
            fix = f"for example {EXAMPLE}"
            yield problem(f"student grow.{kind}: {part!r}", "not a block of keys", fix=fix, where=f"grow.{kind}")
            continue
        yield from _unknown(part, kinds[kind], f"grow.{kind}")
        yield from _values(part, kind)
    yield from _sides({key for kind in given if isinstance(block[kind], Mapping) for key in block[kind]})
    yield from _noise(block)


def _unknown(block: Mapping[str, Any], keys: Sequence[str], where: str) -> Iterator[Problem]:
    for key in (str(key) for key in block if key not in keys):
        yield problem(f"student {where} key {key}", "no such key", near=(key, keys), fix=f"keys: {', '.join(keys)}",
                      where=f"{where}.{key}")  # fmt: skip


def _values(part: Mapping[str, Any], kind: str) -> Iterator[Problem]:
    for key, value in part.items():
        asked, where, wrong = f"student grow.{kind} {key}: {value!r}", f"grow.{kind}.{key}", ""
        if key in (*WIDTHS, *SIDED_WIDTHS) and (type(value) is not int or value < 1):
            wrong, fix = "not a positive whole number", "how many there shall be in all, as 2048"
        elif key in (*WIDTHS, *SIDED_WIDTHS) and value > WIDEST:
            wrong, fix = f"more than the {WIDEST:,} that a model is given", "how many there shall be in all, as 2048"
        elif key in AFTER:
            numbers = isinstance(value, list | tuple) and all(type(one) is int for one in value)
            if not numbers or not value:
                wrong, fix = "not a list of block numbers", f"{key}: [3] puts a new block behind block 3"
        elif key == "nearly" and type(value) is not bool:
            wrong, fix = "not true or false", "nearly: true"
        if wrong:
            yield problem(asked, wrong, fix=fix, where=where)
    if kind == "deeper" and not any(key in part for key in AFTER):
        yield problem("student grow.deeper", "it does not say where", fix="after: [3] puts a new block behind block 3",
                      where="grow.deeper")  # fmt: skip


def _sides(keys: set[Any]) -> Iterator[Problem]:
    plain = [key for key in (*WIDTHS, "after") if key in keys]
    sided = [key for key in (*SIDED_WIDTHS, *AFTER[1:]) if key in keys]
    if plain and sided:
        what = f"{plain[0]} is of models of one stack, the others of the two sides of an encoder-decoder"
        yield problem(f"student grow {' and '.join(plain + sided)}", what, fix="keep one kind", where="grow")


def _noise(block: Mapping[str, Any]) -> Iterator[Problem]:
    noise = block.get("noise")
    if noise is None:
        return
    asked, where = f"student grow noise: {noise!r}", "grow.noise"
    if type(noise) not in (int, float) or not 0 <= noise <= LOUDEST:
        what, fix = f"not a number from 0 to {LOUDEST}", "noise: 0.01, in standard deviations of the weights"
        yield problem(asked, what, fix=fix, where=where)
    elif noise and "wider" not in block:
        what = "nothing is copied unit by unit, so there are no copies to part"
        yield problem(asked, what, fix="leave it out, or add wider: {ffn: 2048}, say", where=where)


def sides_problems(block: Mapping[str, Any], name: str, two: bool) -> Iterator[Problem]:
    """Words of one stack for a model of two sides, or the other way round.

    Args:
        block: the block `grow`; its values are of the right type.
        name: of the model's class.
        two: it is an encoder-decoder.
    """
    for kind in ("wider", "deeper"):
        for key, value in (block.get(kind) or {}).items():
            side, _, rest = key.partition("_")
            if two and key in (*WIDTHS, "after"):
                what, fix = f"{name} has two sides", f"encoder_{key} or decoder_{key}: {value!r}"
            elif not two and side in SIDES:
                what, fix = f"{name} has one stack of blocks and no sides", f"{rest}: {value!r}"
            else:
                continue
            where = f"grow.{kind}.{key}"
            yield problem(f"student grow.{kind} {key}: {value!r}", what, fix=fix, where=where)


def known_problems(model: Any, key: str) -> Iterator[Problem]:
    """Why a stack of blocks cannot grow: its layers were replaced, or are of an architecture that nobody has listed.

    Args:
        model: a model of one stack, or one side of an encoder-decoder.
        key: what is asked for, as `wider.ffn`.
    """
    kind = str(model.config.model_type)
    if PLANS.get(kind) is None or not PLANS[kind].attentions:
        known = ", ".join(name for name, one in PLANS.items() if one.attentions)
        what = f"nobody knows where the heads, units and norms of a {kind} model lie"
        yield problem(f"student grow.{key}", what, fix=f"what can grow: {known}", where=f"grow.{key}")
    elif key.startswith("wider") and getattr(model.config, WORDS, None):
        fix = "let the model grow that it was made of, and replace the layers then"
        what = "its layers were replaced (factorise, cheap)"
        yield problem(f"student grow.{key}", what, fix=fix, where=f"grow.{key}")


def grown_sizes(model: Any, wider: Mapping[str, Any], side: str = "") -> Sizes:
    """The sizes of a wider stack.

    Args:
        model: what grows: a model of one stack, or one side of an encoder-decoder, of a known architecture.
        wider: the block `wider`; its values are of the right type.
        side: "encoder" or "decoder"; "": the model has one stack.

    Returns:
        The sizes; those that nobody asks for are the model's own. heads alone widens hidden (each head keeps its
        width), hidden alone keeps the heads and makes each wider.

    Raises:
        TextkdError: with everything that would be narrower, or would compute something else.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"num_hidden_layers": 1, "vocab_size": 20, "intermediate_size": 64}
        >>> model = BertModel(BertConfig(hidden_size=32, num_attention_heads=4, **sizes))
        >>> grown_sizes(model, {"heads": 6, "hidden": 96}), grown_sizes(model, {"heads": 8}).hidden
        (Sizes(heads=6, ffn=64, hidden=96), 64)
    """
    keys = {width: f"{side}_{width}" if side else width for width in WIDTHS}
    given = {width: wider[key] for width, key in keys.items() if key in wider}
    own, wrong = have(model.config), Collector()
    for width, value in given.items():
        if value < (most := getattr(own, width)):
            fix = f"{keys[width]}: {most} or more; narrower is shrink: {{{keys[width]}: {value}}}"
            wrong.add(_refused(keys[width], value, f"the model it is made of has {most}: grow makes no model narrower",
                               fix))  # fmt: skip
    heads = given.get("heads", own.heads)
    sizes = Sizes(heads, given.get("ffn", own.ffn), given.get("hidden", heads * own.head_width))
    if not wrong.problems:
        wrong.add(*_hidden(model.config, own, sizes, given, keys))
    if given and not wrong.problems and sizes == own:
        width = next(iter(given))
        fix = f"{keys[width]}: {given[width] * 2}, say, or leave it out"
        wrong.add(_refused(keys[width], given[width], "the model it is made of is as wide", fix))
    wrong.raise_any()
    return sizes


def _hidden(
    config: Any, own: Sizes, new: Sizes, given: Mapping[str, int], keys: Mapping[str, str]
) -> Iterator[Problem]:
    """Widths of the stream, and of heads in it, at which the model would compute something else."""
    width = "hidden" if "hidden" in given else "heads"
    key, value = keys[width], given.get(width, 0)
    times = new.hidden // own.hidden
    if new.hidden % own.hidden:
        next_ones = [own.hidden * times, own.hidden * (times + 1)][times < 2 :] or [own.hidden * 2]
        what = f"each norm takes its mean over {own.hidden} units, which stays only if all of them are copied as often"
        fix = f"{keys['hidden']}: {' or '.join(map(str, [*next_ones, own.hidden * (times + 2)]))}"
        if width == "heads":
            what = f"{value} heads of {own.head_width} make hidden {new.hidden}, no multiple of {own.hidden}: {what}"
            fix = f"{key}: {own.heads * (times + 1)}, or {key}: {value} beside {keys['hidden']}: " \
                  f"{_room(own, value)}"  # fmt: skip
        yield _refused(key, value, what, fix)
    elif new.hidden % new.heads or new.head_width < own.head_width:
        fitting = [n for n in range(own.heads, new.hidden // own.head_width + 1) if new.hidden % n == 0]
        best = min(fitting, key=lambda n: abs(n - new.heads))
        what = f"a head has {own.head_width} units, and {new.heads} of them would have {new.hidden / new.heads:g} each"
        fix = f"{keys['heads']}: {best}, or {keys['hidden']}: {_room(own, new.heads)} beside it"
        yield _refused(keys["heads"], new.heads, what, fix)
    if new.hidden == own.hidden:
        return
    if getattr(config, "embedding_size", own.hidden) == new.hidden != own.hidden:
        what = f"the embeddings have this width, and at it no {config.model_type} model has a projection after them"
        yield _refused(key, value, what, f"{keys['hidden']}: {own.hidden * (times + 1)}")
    if config.model_type == "trocr" and not config.use_learned_position_embeddings:
        what = "its positions are waves over the whole width, which are computed anew for another one"
        yield _refused(key, value, what, "leave it out")


def _room(own: Sizes, heads: int) -> int:
    """The least multiple of the stream in which that many heads are whole, and as wide as they are."""
    return next(own.hidden * n for n in range(1, 2 * heads + 2)
                if own.hidden * n % heads == 0 and own.hidden * n // heads >= own.head_width)  # fmt: skip


def _refused(key: str, value: Any, what: str, fix: str) -> Problem:
    return problem(f"student grow.wider {key}: {value}", what, fix=fix, where=f"grow.wider.{key}")


def places_of(model: Any, deeper: Mapping[str, Any], side: str = "") -> list[int]:
    """Behind which blocks new ones come, 0 for the embeddings, in rising order; a number may stand there twice.

    Args:
        model: what grows: a model of one stack, or one side of an encoder-decoder, of a known architecture.
        deeper: the block `deeper`; its values are of the right type.
        side: "encoder" or "decoder"; "": the model has one stack.

    Raises:
        TextkdError: there is no such block.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> places_of(BertModel(BertConfig(num_hidden_layers=4, **sizes)), {"after": [-1, 2]})
        [2, 4]
    """
    key, depth, wrong = f"{side}_after" if side else "after", int(model.config.num_hidden_layers), Collector()
    asked = deeper.get(key, [])
    if bad := [one for one in asked if not -depth <= one <= depth]:
        what = f"the model it is made of has {depth} blocks, not {', '.join(map(str, bad))}"
        fix = f"0 (behind the embeddings) to {depth}, or -1 to -{depth} from the end"
        wrong.add(problem(f"student grow.deeper {key}: {list(asked)}", what, fix=fix, where=f"grow.deeper.{key}"))
    elif depth + len(asked) > MOST_BLOCKS:  # a folder with more is not loaded
        what = f"the model would have {depth + len(asked)} blocks; at most {MOST_BLOCKS}"
        wrong.add(problem(f"student grow.deeper {key}: {len(asked)} new blocks", what, fix="name fewer blocks",
                          where=f"grow.deeper.{key}"))  # fmt: skip
    wrong.raise_any()
    return sorted(one if one >= 0 else depth + 1 + one for one in asked)
