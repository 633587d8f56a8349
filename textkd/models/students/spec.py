"""The block `student` of a recipe, looked at before any model is there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from textkd.errors import Collector, TextkdError, fail, problem
from textkd.models.own.rebuilt_words import BLOCKS, word_problems, words_of
from textkd.models.students.growth import grow_problems
from textkd.models.students.recurrent import recurrent_problems
from textkd.models.students.wanted import wanted_problems
from textkd.models.students.widths import HOW, SIDED_WIDTHS, SIDES, WIDTHS, option_problems

KINDS = ("shrink", "path", "config", "recurrent")
MORE = ("grow",)  # changes what it is made of, alone or beside shrink
BESIDE = ("from", "share_encoder", "vocabulary", *BLOCKS)
PATH_OPTIONS = ("allow_pickle", "sha256")
OF_ONE_STACK = ("layers", "n_layers", *WIDTHS)
OF_SIDES = (*(f"{side}_layers" for side in SIDES), *SIDED_WIDTHS)
SHRINK_OPTIONS = (*OF_ONE_STACK, *OF_SIDES, *HOW)


def check_spec(spec: Mapping[str, Any]) -> None:
    """Looks at a recipe's block `student` before any model is there.

    Args:
        spec: the block, as of `textkd.models.students.build`.

    Raises:
        TextkdError: with every problem.

    Example:
        >>> check_spec({"shrink": {"layers": [2, 4, 6]}})
        >>> check_spec({"shrink": {}, "path": ""})
        Traceback (most recent call last):
        ...
        textkd.errors.TextkdError: 2 problems...
    """
    wrong = Collector()
    if not isinstance(spec, Mapping):
        example = "{shrink: {layers: [2, 4, 6]}}"
        raise fail(f"student: {spec!r}", "not a block of keys", fix=f"for example student: {example}")
    kinds = [kind for kind in KINDS if kind in spec]
    more = [kind for kind in MORE if kind in spec]
    whole = not kinds and bool(more or words_of(spec))  # the teacher's blocks, all of them, changed
    if len(kinds) != 1 and not is_mixed(spec) and not whole:
        found = f"{' and '.join(kinds)} together" if kinds else f"none of {', '.join((*KINDS, *MORE))}"
        fix = f"give exactly one of {', '.join(KINDS)}" + ("" if kinds else f", or {' or '.join(MORE)}")
        if kinds == ["shrink", "config"]:
            fix += ", or one side of an encoder-decoder each: {shrink: {decoder_layers: 2}, config: {encoder: {...}}}"
        wrong.add(problem("a student", found, fix=fix))
    allowed = [*KINDS, *MORE, *BESIDE, *(PATH_OPTIONS if "path" in spec else ())]
    for key in (str(key) for key in spec if key not in allowed):
        fix = f"keys: {', '.join(allowed)}"
        wrong.add(problem(f"student key {key}", "no such key", near=(key, allowed), fix=fix, where=key))
    for kind, example in (("shrink", "layers: [2, 4, 6]"), ("config", "hidden_size: 128")):
        if kind in spec and not isinstance(spec[kind], Mapping):
            asked, fix = f"student {kind}: {spec[kind]!r}", f"for example {example}"
            wrong.add(problem(asked, "not a block of keys", fix=fix, where=kind))
    _check_shrink(spec, wrong)
    _check_others(spec, wrong)
    _check_sharing(spec, wrong)
    wrong.add(*wanted_problems(spec.get("vocabulary")), *word_problems(spec))
    if "path" in spec and not (isinstance(spec["path"], str | os.PathLike) and str(spec["path"]).strip()):
        fix = "give a folder or a hub id"
        wrong.add(problem(f"student path: {spec['path']!r}", "not a path", fix=fix, where="path"))
    if "path" in spec and type(spec.get("allow_pickle", False)) is not bool:
        asked = f"student allow_pickle: {spec['allow_pickle']!r}"
        wrong.add(problem(asked, "not true or false", fix="allow_pickle: true", where="allow_pickle"))
    if "path" in spec and not isinstance(spec.get("sha256"), str | None):
        asked, fix = f"student sha256: {spec['sha256']!r}", "the hash of the weights file as a text, in quotes"
        wrong.add(problem(asked, "not a text", fix=fix, where="sha256"))
    wrong.raise_any()


def sound_part(spec: Mapping[str, Any]) -> dict[str, Any] | None:
    """What of a block `student` can be judged though something is wrong with it: all but keys that no student has, and
    switches of a wrong type.

    Args:
        spec: the block, perhaps with `from`.

    Returns:
        The rest of it; None where that would be another student.

    Example:
        >>> sound_part({"shrink": {"layers": [2, 9], "layer": 1}, "shrnk": 1})
        {'shrink': {'layers': [2, 9]}}
        >>> sound_part({"shrink": {"layer": [2, 9]}}) is None
        True
    """
    kept = {key: spec[key] for key in (*KINDS, *MORE, "from", "vocabulary", *BLOCKS) if key in spec}
    kept |= {key: spec[key] for key in ("share_encoder", "allow_pickle") if type(spec.get(key)) is bool}
    kept |= {"sha256": spec["sha256"]} if isinstance(spec.get("sha256"), str) else {}
    shrink = kept.get("shrink")
    if isinstance(shrink, Mapping):
        known = {key: value for key, value in shrink.items() if key in SHRINK_OPTIONS}
        bad = {p.where.removeprefix("shrink.") for p in option_problems(known)} & {*HOW}  # they change no shape
        kept["shrink"] = {key: value for key, value in known.items() if key not in bad}
        if shrink and not kept["shrink"]:
            return None
    try:
        check_spec(kept)
    except TextkdError:
        return None
    return kept


def taken(spec: Mapping[str, Any]) -> list[str]:
    """The keys of a block by which a student takes something of a teacher.

    Example:
        >>> taken({"factorise": {"layers": 8}}), taken({"config": {"hidden_size": 8}, "factorise": {"layers": 8}})
        (['factorise'], [])
    """
    own = any(kind in spec for kind in KINDS)
    keys = ("shrink", "recurrent", *MORE, "share_encoder", *(() if own else BLOCKS))
    return [key for key in keys if spec.get(key)]


def is_mixed(spec: Mapping[str, Any]) -> bool:
    """True for a student of which one side is shrunk and the other made from a config."""
    shrink, config = spec.get("shrink"), spec.get("config")
    if "path" in spec or not isinstance(shrink, Mapping) or not isinstance(config, Mapping):
        return False
    return any(word in shrink for word in OF_SIDES) and any(side in config for side in SIDES)


def _check_shrink(spec: Mapping[str, Any], wrong: Collector) -> None:
    shrink, config = spec.get("shrink"), spec.get("config")
    if not isinstance(shrink, Mapping):
        return
    for key in (str(key) for key in shrink if key not in SHRINK_OPTIONS):
        fix = f"keys: {', '.join(SHRINK_OPTIONS)}"
        asked, near = f"student shrink key {key}", (key, SHRINK_OPTIONS)
        wrong.add(problem(asked, "no such key", near=near, fix=fix, where=f"shrink.{key}"))
    wrong.add(*option_problems(shrink))
    plain, sided = ([key for key in words if key in shrink] for words in (OF_ONE_STACK, OF_SIDES))
    if plain and sided:
        found = "layers is for models of one stack, the others for the two sides of an encoder-decoder"
        if plain[0] not in ("layers", "n_layers"):
            found = f"{plain[0]} is of models of one stack, the others of the two sides of an encoder-decoder"
        wrong.add(problem(f"student shrink {' and '.join(plain + sided)}", found, fix="keep one kind", where="shrink"))
    for side, word in ((side, word) for side in SIDES for word in OF_SIDES if word.startswith(side)):
        if isinstance(config, Mapping) and side in config and word in shrink:
            found, fix = f"the {side} is either copied or new", "give one of them"
            wrong.add(problem(f"student shrink.{word} and config.{side}", found, fix=fix))


def _check_others(spec: Mapping[str, Any], wrong: Collector) -> None:
    if "recurrent" in spec:
        wrong.add(*recurrent_problems(spec["recurrent"]))
        for key in (key for key in BLOCKS if key in spec):
            what = "it has no blocks of linear layers"
            wrong.add(problem(f"student {key} beside recurrent", what, fix="leave one of them out", where=key))
    if "grow" not in spec:
        return
    wrong.add(*grow_problems(spec["grow"]))
    if "path" in spec:
        what, fix = "a folder's model is taken as it is", f"from: {spec['path']} in its place"
        wrong.add(problem("student grow beside path", what, fix=fix, where="grow"))
    if "recurrent" in spec:
        what, fix = "a model of random weights has no function to keep", "the larger sizes in recurrent, without grow"
        wrong.add(problem("student grow beside recurrent", what, fix=fix, where="grow"))
    if "config" in spec:
        what, fix = "a model of random weights has no function to keep", "the larger sizes in config, without grow"
        wrong.add(problem("student grow beside config", what, fix=fix, where="grow"))


def _check_sharing(spec: Mapping[str, Any], wrong: Collector) -> None:
    share = spec.get("share_encoder", False)
    if type(share) is not bool:
        fix = "share_encoder: true"
        wrong.add(problem(f"student share_encoder: {share!r}", "not true or false", fix=fix, where="share_encoder"))
        return
    if not share:
        return
    own = [("shrink", word) for word in OF_SIDES if word.startswith("encoder")]
    for kind, key in (*own, *((name, "encoder") for name in ("config", *BLOCKS))):
        block = spec.get(kind)
        if isinstance(block, Mapping) and block.get(key) is not None:
            found, fix = f"{kind}.{key} makes an encoder of the student's own", "give one of them"
            wrong.add(problem("student share_encoder: true", found, fix=fix, where="share_encoder"))
