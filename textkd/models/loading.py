"""Loads models and tokenizers from folders, installed packages and the hub; says early and in one error what is wrong.

Only safetensors are read by default: a pickle (`*.bin`) can run code while it is loaded.
"""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
import transformers
from transformers import AutoTokenizer, PreTrainedModel

from textkd.errors import Problem, TextkdError, fail, problem
from textkd.models.finite import check_finite
from textkd.models.fixes import plain_outputs, repair_positions
from textkd.models.label_names import label_problems
from textkd.models.model_files import (
    WEIGHTS,
    check_folder,
    check_sha256,
    fingerprint_of,
    read_json,
    resolve_path,
)
from textkd.models.no_code import from_pretrained, refuse_adapter
from textkd.models.regular import refuse_special
from textkd.models.vocabulary import ids_of, vocabulary

__all__ = [
    "check_pair",
    "clone",
    "fingerprint",
    "load_model",
    "load_model_info",
    "load_tokenizer",
    "load_with_report",
    "quiet",
    "resolve_path",
]

log = logging.getLogger(__name__)

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)


def load_model(
    path_or_id: str | os.PathLike[str],
    auto_class: Any,
    *,
    allow_pickle: bool = False,
    expect_sha256: str | None = None,
    **kwargs: Any,
) -> PreTrainedModel:
    """A model in eval mode, float32 unless `dtype=` says otherwise.

    path_or_id: a folder with config.json and safetensors, `package:NAME/FOLDER` inside an installed Python package,
    or a hub id. auto_class: what builds it (`AutoModelForSequenceClassification`, a model class). expect_sha256:
    SHA-256 (hex) of the weights file, checked before anything is loaded. kwargs go to `from_pretrained` (num_labels,
    id2label, ...).
    Raises `TextkdError` for a missing or damaged file, refused pickle, wrong hash, unknown id, weights of other shapes,
    and when the body of the model (anything but head and pooler) is not in the file.
    """
    model, _ = load_model_info(path_or_id, auto_class, allow_pickle=allow_pickle, expect_sha256=expect_sha256, **kwargs)
    return model


def load_model_info(
    path_or_id: str | os.PathLike[str],
    auto_class: Any,
    *,
    allow_pickle: bool = False,
    expect_sha256: str | None = None,
    **kwargs: Any,
) -> tuple[PreTrainedModel, list[str]]:
    """`load_model`, and the names of the weights that were not in the file and start random (a new head)."""
    model, info = load_with_report(
        path_or_id, auto_class, allow_pickle=allow_pickle, expect_sha256=expect_sha256, **kwargs
    )
    missing = sorted({*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])})
    prefix = f"{model.base_model_prefix}."
    has_head = any(name.startswith(prefix) for name in model.state_dict())
    body = [key for key in missing if (key.startswith(prefix) or not has_head) and "pooler" not in key]
    if body:
        raise fail(
            f"the model {path_or_id}",
            f"{len(body)} weights of its body are not in the file, among them {body[0]}; they would start random",
            fix=f"check that the weights belong to {type(model).__name__} and to the sizes in config.json",
        )
    if missing:
        log.debug("%s: new weights, random until trained: %s", path_or_id, ", ".join(missing))
    return model, missing


def load_with_report(
    path_or_id: str | os.PathLike[str],
    auto_class: Any,
    *,
    allow_pickle: bool = False,
    expect_sha256: str | None = None,
    **kwargs: Any,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """`load_model` without the check of the body; returns the loading info of `from_pretrained` beside the model.

    The info holds "missing_keys", "unexpected_keys" (sets of names) and "mismatched_keys" (name, two shapes).
    """
    asked = f"the model {path_or_id}"
    source = resolve_path(path_or_id)
    refuse_adapter(asked, source)
    if os.path.isdir(source):
        files = check_folder(Path(source), allow_pickle)
        check_sha256(asked, files, expect_sha256)
    elif expect_sha256 is not None:
        check_sha256(asked, [_hub_file(source)], expect_sha256)
    new_head = kwargs.pop("ignore_mismatched_sizes", False)
    # use_safetensors=None takes safetensors first and falls back to the pickle.
    options = {"dtype": torch.float32, "use_safetensors": None if allow_pickle else True}
    with quiet(), _told(asked, source):
        model, info = from_pretrained(
            auto_class, source, output_loading_info=True, ignore_mismatched_sizes=True, **{**options, **kwargs}
        )
    if info["mismatched_keys"] and not new_head:
        name, there, here = sorted(info["mismatched_keys"])[0]
        blocks = getattr(model.config, "num_hidden_layers", "N")
        raise fail(
            asked,
            f"{name} is {list(there)} in the file and {list(here)} in the model",
            fix="give a model whose weights have these sizes; a head starts anew in a teacher with finetune, and in a "
            f"student {{from: FOLDER, shrink: {{layers: uniform, n_layers: {blocks}}}}} in place of its path",
        )
    check_finite(asked, model)
    repair_positions(model)
    plain_outputs(model)
    _leave_out_unread_pooler(model, info)
    return model, info


def load_tokenizer(path_or_id: str | os.PathLike[str]) -> Any:
    """The tokenizer of a folder, of `package:NAME/FOLDER` or of a hub id. Raises `TextkdError` when it has none."""
    asked = f"the tokenizer of {path_or_id}"
    source = resolve_path(path_or_id)
    if os.path.isdir(source):
        refuse_special(Path(source), asked)
        present = sorted(os.listdir(source))
        if not any(name in present for name in TOKENIZER_FILES):
            raise fail(
                asked,
                f"no tokenizer file in {source} (it holds {', '.join(present) or 'nothing'})",
                fix=f"put the model's tokenizer beside its weights: one of {', '.join(TOKENIZER_FILES)}",
            )
        for name in present:
            if name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json"):
                read_json(Path(source, name), asked)
    with quiet(), _told(asked, source):
        return from_pretrained(AutoTokenizer, source)


def clone(model: torch.nn.Module) -> Any:
    """An independent copy of a model: same weights, config, mode and dtype, nothing shared, no gradients."""
    twin = copy.deepcopy(model)
    twin.zero_grad(set_to_none=True)
    return twin


def fingerprint(path_or_id: str | os.PathLike[str]) -> str:
    """A hash that changes when the model changes: of config and weights in a folder, of the commit of a hub id."""
    source = resolve_path(path_or_id)
    if os.path.isdir(source):
        return fingerprint_of([Path(source, "config.json"), *check_folder(Path(source), allow_pickle=True)])
    # the hub's cache keeps files under snapshots/<commit>
    return f"{source}@{_hub_file(source, 'config.json').parent.name}"


def _leave_out_unread_pooler(model: Any, info: dict[str, Any]) -> None:
    """An encoder beside a decoder has no pooler where the file has none, as that of `microsoft/trocr-*`: no decoder
    reads it, and transformers would make a random one."""
    unread = {key for key in info["missing_keys"] if key.startswith("encoder.pooler.")}
    if unread and getattr(model, "decoder", None) is not None:
        model.encoder.pooler = None
        info["missing_keys"] = set(info["missing_keys"]) - unread


_TOKENIZERS: WeakKeyDictionary[Any, tuple[str, Any]] = WeakKeyDictionary()  # of models that were asked for theirs


def give_tokenizer(model: Any, tokenizer: Any) -> None:
    """Tells of a model that lies in no folder by which tokenizer it reads."""
    _TOKENIZERS[model] = (str(getattr(model, "name_or_path", "") or ""), tokenizer)


def own_tokenizer(model: Any) -> Any:
    """The tokenizer beside a model's weights, or that it was given; None where there is none."""
    path = str(getattr(model, "name_or_path", "") or "")
    known = _TOKENIZERS.get(model)
    if known is None or known[0] != path:
        found = None
        with suppress(TextkdError):
            found = load_tokenizer(path) if path else None
        _TOKENIZERS[model] = known = (path, found)
    return known[1]


def check_pair(
    teacher: PreTrainedModel, student: PreTrainedModel, tokenizer_t: Any = None, tokenizer_s: Any = None
) -> list[Problem]:
    """What makes the outputs of two models incomparable: other vocabulary, other number or order of labels.

    With both tokenizers the vocabularies themselves are compared, without them the sizes in the configs.
    """
    return [*_vocabulary_problems(teacher, student, tokenizer_t, tokenizer_s), *label_problems(teacher, student)]


def _vocabulary_problems(teacher: Any, student: Any, tokenizer_t: Any, tokenizer_s: Any) -> Iterator[Problem]:
    # a model of two sides has its vocabulary in the decoder
    configs = (getattr(m.config, "decoder", m.config) for m in (teacher, student))
    size_t, size_s = (getattr(config, "vocab_size", None) for config in configs)
    asked = "the same token ids for teacher and student"
    fix = "use a student with the teacher's vocabulary: shrink the teacher, or a pretrained model of its family"
    if tokenizer_t is not None and tokenizer_s is not None:
        vocab_t, vocab_s = vocabulary(tokenizer_t), vocabulary(tokenizer_s)
        if vocab_t != vocab_s:
            same = sum(vocab_t[token] == vocab_s.get(token) for token in vocab_t)
            found = f"vocabularies of {len(vocab_t)} and {len(vocab_s)} tokens, {same} of them with the same id"
            yield problem(asked, found, fix=fix)
    elif size_t != size_s and size_t is not None and size_s is not None:
        yield problem(asked, f"vocab_size is {size_t} in the teacher and {size_s} in the student", fix=fix)
    for side, size, tokenizer in (("teacher", size_t, tokenizer_t), ("student", size_s, tokenizer_s)):
        if tokenizer is not None and size is not None and (ids := ids_of(tokenizer)) > size:
            found = f"its tokenizer has {len(tokenizer)} tokens with ids up to {ids - 1}, its embeddings {size} rows"
            yield problem(f"the {side}'s tokenizer", found, fix=f"take the tokenizer that belongs to the {side}")


def _hub_file(repo: str, name: str = WEIGHTS) -> Path:
    """A file of a hub id, downloaded (or from the local cache) but not loaded."""
    with quiet(), _told(f"the model {repo}", repo):
        return Path(transformers.utils.cached_file(repo, name))


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' progress bars and reports away; what is wrong is raised, not logged."""
    bars, level = transformers.logging.is_progress_bar_enabled(), transformers.logging.get_verbosity()
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()


@contextmanager
def _told(asked: str, source: str) -> Iterator[None]:
    """Turns whatever `from_pretrained` raises into one `TextkdError`."""
    try:
        yield
    except TextkdError:
        raise
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, RuntimeError and its own kinds
        # ends at the first blank line: the rest is advice about the hub
        said = f"{type(error).__name__}: {str(error).strip().split(chr(10) * 2)[0]}"
        if os.path.isdir(source):
            raise fail(
                asked, f"{source} does not load: {said}", fix="check config.json and the files beside it"
            ) from error
        raise fail(
            asked,
            f"no folder {source} here, and it could not be loaded from the hub ({said})",
            fix="check the spelling; without a network give a folder that holds the model",
        ) from error
