"""A student with a smaller vocabulary: word pieces that no text of the task needs go, with their embeddings.

Half of MiniLM's weights are embeddings of words that nobody looks at. Texts whose pieces are all kept are cut as before
and answered as before, to the bit: WordPiece takes the longest piece that fits, Unigram the likeliest cut, and what is
best among all pieces is best among some of them; the merges of BPE keep their order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from transformers import PreTrainedModel

from textkd.errors import fail
from textkd.models.loading import clone, give_tokenizer, own_tokenizer
from textkd.models.students.copying import is_two_sided
from textkd.models.students.fewer_words import parts_of, trimmed_words

IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "mask_token_id", "unk_token_id",
       "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id")  # fmt: skip
ASCII = [chr(code) for code in range(33, 127)]
_BATCH = 1000  # texts that are cut at a time
_KEPT: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
_PLACES: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # of models that lie in no folder


@dataclass(frozen=True)
class Kept:
    """Which pieces of a vocabulary stay.

    Args:
        ids: of the old vocabulary, in its order: a piece's place is its new id.
        used: how many different pieces the texts have.
        cut: the share of the texts of which a piece was given up, so that they are cut into other pieces now.
    """

    ids: tuple[int, ...]
    used: int
    cut: float


def choose(tokenizer: Any, texts: Sequence[Sequence[str]], most: int | None = None, words: Sequence[str] = ()) -> Kept:
    """The pieces that texts need.

    Special and added tokens stay, and so do single characters of the texts and of ASCII, so that hardly a text is left
    without a piece.

    Args:
        tokenizer: a fast one of transformers.
        texts: rows of one text, or of a pair.
        most: how many pieces are kept: the most frequent; None: all that the texts have.
        words: texts whose pieces stay, whatever their frequency.

    Raises:
        TextkdError: `most` is less than what has to stay.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from transformers import PreTrainedTokenizerFast
        >>> inner = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2, "ab": 3, "abc": 4}, unk_token="[UNK]"))
        >>> inner.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> choose(PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]"), [["ab ab"]]).ids
        (0, 1, 2, 3)
    """
    inner = _inner(tokenizer)
    counts, rows = Counter[int](), list[set[int]]()
    for row in _cut(inner, texts):
        counts.update(row)
        rows.append(set(row))
    made_of = _merges(inner)
    kept = _closed(_fixed(tokenizer, inner, texts, words), made_of)
    wanted = [one for one, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])) if one not in kept]
    if most is not None and most < len(kept):
        found = f"{len(kept)} pieces have to stay: special tokens, single characters, and those of the list"
        fix = f"keep: {len(kept) + min(len(wanted), 1000)}, say"
        raise fail(f"a vocabulary of {most}", found, fix=fix, where="vocabulary.keep")
    for one in wanted:
        more = _closed({one}, made_of) - kept
        if most is None or len(kept) + len(more) <= most:
            kept |= more
    lost = sum(not row <= kept for row in rows)
    return Kept(tuple(sorted(kept)), len(counts), lost / len(rows) if rows else 0.0)


def trim(model: PreTrainedModel, tokenizer: Any, kept: Kept) -> PreTrainedModel:
    """A copy of a model, with a tokenizer of its own, that knows only some of its pieces.

    Of a reader the decoder's pieces are meant: those that it writes, and the rows of its output layer with them.

    Args:
        model: an encoder, or a reader with a TrOCR decoder. It is not changed.
        tokenizer: by which it reads or writes, or the processor that holds it.
        kept: of `choose`.

    Returns:
        The model in eval mode; `textkd.models.loading.own_tokenizer` gives its tokenizer, or processor.

    Raises:
        TextkdError: another decoder, embeddings that are no table of the vocabulary, or, of a reader, training texts
            that would be cut into other pieces.
    """
    student: Any = clone(model)
    stack, configs = student, [student.config]
    if is_two_sided(model):
        _refuse_writer(student, kept)
        stack, configs = student.decoder, [student.config, student.config.decoder]
    old = stack.get_input_embeddings()
    if not isinstance(old, nn.Embedding) or old.num_embeddings <= kept.ids[-1]:
        found = f"its words are a {type(old).__name__}, not a table of {kept.ids[-1] + 1} rows or more"
        raise fail(f"a smaller vocabulary for {type(model).__name__}", found, fix="leave vocabulary out")
    _KEPT[student] = kept
    places = {one: place for place, one in enumerate(kept.ids)}
    head = stack.get_output_embeddings() if is_two_sided(model) else None
    is_tied = head is not None and head.weight is old.weight
    _keep_rows(old, kept.ids)
    old.num_embeddings = len(kept.ids)
    old.padding_idx = None if old.padding_idx is None else places.get(old.padding_idx)
    if head is not None:
        if is_tied:
            head.weight = old.weight
        else:
            _keep_rows(head, kept.ids)
        head.out_features = len(kept.ids)
    configs[-1].vocab_size = len(kept.ids)
    for told in (*configs, getattr(student, "generation_config", None)):
        for name in IDS if told is not None else ():
            one = getattr(told, name, None)
            if isinstance(one, int) and one in places:
                setattr(told, name, places[one])
    give_tokenizer(student, trimmed_words(tokenizer, kept.ids))
    return student.eval()


def _refuse_writer(model: Any, kept: Kept) -> None:
    """Raises `TextkdError` for a reader whose decoder cannot do with fewer pieces."""
    asked, kind = f"a vocabulary of {len(kept.ids)} for {type(model).__name__}", model.config.decoder.model_type
    if kind != "trocr":
        found, fix = f"it writes by a {kind} decoder", "leave vocabulary out, which TrOCR's decoders can do with"
        raise fail(asked, found, fix=fix)
    if kept.cut:
        found = f"{kept.cut:.1%} of the training texts would be written in other pieces than the teacher writes them in"
        raise fail(asked, found, fix=f"vocabulary: task, or keep: {kept.used + len(kept.ids)}, say",
                   where="vocabulary.keep")  # fmt: skip


def _keep_rows(layer: Any, ids: Sequence[int]) -> None:
    """Leaves a layer the rows of its weight, and of its bias, that stand for these ids."""
    for name in ("weight", "bias"):
        if (whole := getattr(layer, name, None)) is not None:
            part = nn.Parameter(whole.detach()[torch.tensor(ids, device=whole.device)].clone(), whole.requires_grad)
            setattr(layer, name, part)


def kept_of(model: Any) -> Kept | None:
    """What stayed of the vocabulary of a model that `trim` made; None of others."""
    return _KEPT.get(model)


def inherit(student: Any, model: Any) -> Any:
    """The student, which reads by the tokenizer of the model that it is made of where that was trimmed; else its words
    lie where that model's do."""
    _PLACES[student] = place_of(model)
    if (kept := kept_of(model)) is not None and kept_of(student) is None:
        _KEPT[student] = kept
        give_tokenizer(student, own_tokenizer(model))
    return student


def place_of(model: Any) -> str:
    """Where the words of a model lie: the folder or hub id that it was loaded from, or that what it was made of was; ""
    where nobody knows."""
    return str(getattr(model, "name_or_path", "") or "") or _PLACES.get(model, "")


def is_cut_alike(model: Any) -> bool:
    """Whether a model reads the training texts in the pieces of the one that it was trimmed from."""
    kept = kept_of(model)
    return kept is not None and not kept.cut


def _inner(tokenizer: Any) -> Any:
    if not getattr(tokenizer, "is_fast", False):
        found = f"{type(tokenizer).__name__} has no tokenizer.json"
        raise fail("a smaller vocabulary", found, fix="give a model with a tokenizer.json")
    kind = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"]
    if kind not in ("WordPiece", "BPE", "Unigram", "WordLevel"):
        raise fail("a smaller vocabulary", f"a tokenizer of the kind {kind}", fix="leave vocabulary out")
    return tokenizer.backend_tokenizer


def _cut(inner: Any, texts: Sequence[Sequence[str]]) -> Iterable[list[int]]:
    """The ids of the pieces of each row, special ones left out; nothing is cut off."""
    inner.no_truncation()
    inner.no_padding()
    for at in range(0, len(texts), _BATCH):
        parts = [part for row in texts[at : at + _BATCH] for part in row]
        found = iter(inner.encode_batch(parts, add_special_tokens=False))
        for row in texts[at : at + _BATCH]:
            yield [one for _ in row for one in next(found).ids]


def _fixed(tokenizer: Any, inner: Any, texts: Sequence[Sequence[str]], words: Sequence[str]) -> set[int]:
    """The ids that stay whatever the texts have."""
    known = inner.get_vocab(with_added_tokens=True)
    fixed = {*inner.get_added_tokens_decoder(), *tokenizer.all_special_ids}
    if tokenizer.pad_token_id is not None:  # RoBERTa and its kin count positions from it
        fixed |= set(range(tokenizer.pad_token_id + 1))
    signs = {sign for row in texts for part in row for sign in part} | set(ASCII)
    written = {*signs, *(_normal(inner, sign) for sign in signs)}
    fixed |= {known[form] for sign in written for form in (sign, f"##{sign}", f"▁{sign}", f"Ġ{sign}") if form in known}
    if _is_bytes(inner):
        fixed |= {one for piece, one in known.items() if len(piece) == 1}
    fixed |= {one for row in _cut(inner, [[word] for word in words]) for one in row}
    return fixed


def _normal(inner: Any, sign: str) -> str:
    return sign if inner.normalizer is None else str(inner.normalizer.normalize_str(sign))


def _is_bytes(inner: Any) -> bool:
    """Whether a BPE is made of bytes, of which each text can be made."""
    return "ByteLevel" in inner.to_str()[:200_000]


def _merges(inner: Any) -> dict[int, list[int]]:
    """The two pieces that each piece of a BPE is merged from; nothing of other kinds."""
    told = json.loads(inner.to_str())["model"]
    known = told["vocab"]
    found = dict[int, list[int]]()
    for pair in told.get("merges", ()):
        whole, parts = known.get("".join(parts_of(pair))), [known.get(part) for part in parts_of(pair)]
        if whole is not None and None not in parts:
            found.setdefault(whole, parts)
    return found


def _closed(ids: set[int], made_of: dict[int, list[int]]) -> set[int]:
    """The ids with all that they are merged from."""
    kept, todo = set(ids), list(ids)
    while todo:
        new = [one for one in made_of.get(todo.pop(), ()) if one not in kept]
        kept.update(new)
        todo += new
    return kept
