"""Models of transformers with other layers in the place of their own: in memory a model of its architecture, on the
disk one that textkd alone loads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers
from transformers import PreTrainedModel

from textkd.errors import Collector, fail
from textkd.models.loading import clone
from textkd.models.own.door import Own
from textkd.models.own.marks import WORDS
from textkd.models.own.rebuilding import BEST, NEW, NONE, replace_layers, stacks_of
from textkd.models.own.rebuilt_words import BLOCKS, word_problems, words_of

NAME = "rebuilt"  # among the kinds of the door


def rebuild(
    model: PreTrainedModel, *, factorise: Mapping[str, Any] | None = None, cheap: Mapping[str, Any] | None = None
) -> PreTrainedModel:
    """A copy of a model with other layers, as wide and as deep as it is: every tap is where it was.

    Plain transformers cannot load it: what `save_pretrained` writes is loaded by `textkd.load`.

    Args:
        model: of transformers, of an architecture whose layers are known (BERT, RoBERTa, XLM-R, ELECTRA, DistilBERT,
            ViT, DeiT, or the two sides of a TrOCR). It is not changed.
        factorise: low-rank layers that begin at the truncated singular value decomposition: {"embeddings": 128,
            "layers": 64}; layers may be {"ffn": 64, "attention": 48}. A rank is a whole number, or a share of the full
            one as 0.25. Embeddings are a table [V, r] and a matrix [r, H], also for an output that is tied to them.
        cheap: other layers in the blocks: {"ffn": "grouped", "groups": 4}; ffn, attention or both are "grouped"
            (groups: 4), "bottleneck" or "low_rank" (rank: 0.25). The first two begin random, as in the paper;
            "low_rank" as `factorise`. Of two sides both blocks have the keys encoder and decoder.

    Returns:
        A model in eval mode; torch's global random numbers are drawn where layers begin random.

    Raises:
        TextkdError: with every problem: unknown words, ranks and groups that cannot be or save nothing, an architecture
            whose layers nobody knows, a model whose layers were replaced already.

    Source:
        Moonshine, Crowley et al. 2018, arXiv:1711.02613: a student of the teacher's depth and width with cheap layers,
        taught by attention transfer. Factors: Denton et al. 2014, arXiv:1404.0736; of embeddings: ALBERT, Lan et al.
        2020, arXiv:1909.11942.

    Example:
        >>> from transformers import BertConfig, BertModel
        >>> sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
        >>> model = BertModel(BertConfig(num_hidden_layers=1, **sizes))
        >>> smaller = rebuild(model, factorise={"embeddings": 4}, cheap={"ffn": "grouped", "groups": 2})
        >>> type(smaller).__name__, smaller.num_parameters() < model.num_parameters()
        ('BertModel', True)
    """
    given = {name: block for name, block in (("factorise", factorise), ("cheap", cheap)) if block is not None}
    wrong = Collector()
    wrong.add(*word_problems(given))
    wrong.raise_any()
    if not given:
        raise fail("a model with other layers", "neither factorise nor cheap", fix="give one of them")
    made = clone(model)
    change(made, given)
    return made.eval()


def change(model: Any, words: Mapping[str, Any], start: str = BEST) -> None:
    """`rebuild`, in place.

    Args:
        model: that is changed.
        words: `factorise` and `cheap`, sound ones.
        start: of `replace_layers`.

    Raises:
        TextkdError: as of `rebuild`.
    """
    replace_layers(model, words, start)
    for side, stack in stacks_of(model, words).items():
        own = {name: words[name][side] if side else words[name] for name in words if not side or side in words[name]}
        stack.config.textkd = {"kind": NAME, **own}
    setattr(model.config, WORDS, {"kind": NAME, **words})
    for module in model.modules():
        has_own = isinstance(module, PreTrainedModel) and any(isinstance(one, NEW) for one in module.modules())
        if has_own and not isinstance(module, Own):
            module.__class__ = class_of(type(module))


_CLASSES = dict[Any, Any]()  # each is made once


def class_of(base: Any) -> Any:
    """The class of transformers with other layers, as the config says; of the same name."""
    if base in _CLASSES:
        return _CLASSES[base]

    def begin(self: Any, config: Any, *args: Any, **kwargs: Any) -> None:
        base.__init__(self, config, *args, **kwargs)
        change(self, words_of(getattr(config, WORDS)), start=NONE)

    made = {"__init__": begin, "__module__": __name__, "__doc__": base.__doc__}
    _CLASSES[base] = type(base.__name__, (Own, base), made)
    return _CLASSES[base]


class _Rebuilt:
    """The `Kind` of these models."""

    def config(self, values: dict[str, Any]) -> Any:
        """The config of what config.json says."""
        wrong = Collector()
        wrong.add(*word_problems(words := words_of(values[WORDS])))
        wrong.raise_any()
        if not words:
            raise ValueError(f"none of {', '.join(BLOCKS)} in {WORDS}")
        return transformers.CONFIG_MAPPING[values["model_type"]].from_dict(values)

    def model(self, loader: Any, config: Any) -> Any:
        """The class that `loader` means. Raises `TextkdError` where there is none."""
        known = getattr(loader, "_model_mapping", None)
        base = loader if known is None else known.get(type(config), None)
        if isinstance(base, list | tuple):  # as of DeiT
            base = next((one for one in base if one.__name__ in (config.architectures or ())), base[0])
        if not isinstance(base, type) or not isinstance(config, getattr(base, "config_class", None) or ()):
            what = f"its config.json says {config.model_type}"
            raise fail(f"a {getattr(loader, '__name__', loader)} with other layers", what,
                       fix=f"load it as {(config.architectures or ['a model of this kind'])[0]}")  # fmt: skip
        return base if issubclass(base, Own) else class_of(base)

    def named(self, name: str) -> Any:
        """The class of this name with other layers; None where transformers has none."""
        base = getattr(transformers, name, None)
        return class_of(base) if isinstance(base, type) and issubclass(base, PreTrainedModel) else None


KIND = _Rebuilt()
