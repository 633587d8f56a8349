"""Losses that what a cache keeps of the teacher would not do for."""

from __future__ import annotations

from collections.abc import Sequence

from textkd import losses
from textkd.errors import Problem, problem
from textkd.objective.fusing import PLAIN
from textkd.objective.match import Match
from textkd.objective.pair import Pair
from textkd.teachers import CacheOptions


def cache_problems(matches: Sequence[Match], cache: CacheOptions | None) -> list[Problem]:
    """Fused matches beside a cache that is told how to keep logits: what goes into the head is kept, and no logits."""
    if cache is None or cache.logits == "dense":
        return []
    what = f"teacher.cache.logits: {cache.logits}; what goes into the teacher's head is kept then, and no logits"
    fix = f"leave cache.logits out, or {PLAIN}"
    fused = [i for i, match in enumerate(matches) if match.fused and "labels" not in (match.tap, match.student)]
    return [problem("fused: true", what, fix=fix, where=f"[{i}].fused") for i in fused]


def kept_problems(pairs: Sequence[Pair], cache: CacheOptions | None) -> list[Problem]:
    """Bound losses that read what the cache does not keep: taps at padded positions, or logits of which it keeps the
    likeliest classes or drawn ones."""
    if cache is None:
        return []
    return [*_padding_problems(pairs), *_sparse_problems(pairs, cache)]


def _padding_problems(pairs: Sequence[Pair]) -> list[Problem]:
    what = "with these options taps at padded positions matter, and a cache does not keep them"
    fix = "teacher: {cache: false}, or other options (`textkd ls losses`)"
    readers = [pair for pair in pairs if pair.targets and pair.loss.reads_padding(pair.options)]
    asked = {pair.place: f"{pair.loss.name} of {pair.loss.family}, {dict(pair.options)}" for pair in readers}
    return [problem(name, what, fix=fix, where=place) for place, name in asked.items()]


def _sparse_problems(pairs: Sequence[Pair], cache: CacheOptions) -> list[Problem]:
    """What comes back has the probabilities that were kept, at the cache's temperature, and not the logits; drawn
    classes are right on the average alone, of losses whose gradient is linear in the shares."""
    readers = [pair for pair in pairs if pair.targets and not pair.fused and pair.loss.family == "logits"]
    if cache.logits == "dense" or not readers:
        return []
    drawn = "samples" in cache.logits
    able = ("shares",) if drawn else ("softmax", "shares")
    known = [n for n in losses.names("logits") if losses.get(n, "logits").reads in able]
    how = f"beside teacher.cache.logits: {cache.logits}"
    what = {
        "logits": "it reads the teacher's logits as they are, and only probabilities are kept",
        "softmax": "it is not linear in the teacher's probabilities, of which drawn classes are an estimate",
    }
    fix = f"teacher.cache.logits: dense, or loss: one of {', '.join(known)}"
    found = [problem(f"{pair.name} {how}", what[_reads(pair)], fix=fix, where=pair.place)
             for pair in readers if _reads(pair) not in able]  # fmt: skip
    other = [pair for pair in readers if _reads(pair) in able and not _at(pair, cache.temperature)]
    if other and (drawn or len(other) == len(readers)):
        what_else = f"teacher.cache.temperature: {cache.temperature:g}, at which alone the kept part is exact"
        fix = "give the cache and the match one temperature, or teacher.cache.logits: dense"
        found += [problem(f"{pair.name} {how}", f"another temperature than {what_else}", fix=fix,
                          where=f"{pair.place}.temperature") for pair in other]  # fmt: skip
    return found


def _reads(pair: Pair) -> str:
    """What a pair takes of a teacher's logits, in the words of `Loss.reads`: its loss, or what combines them before."""
    kind = "" if pair.combine is None else pair.combine.kind
    if kind == "gate":
        return "logits"  # the cross-entropy of a teacher, at temperature 1
    return "softmax" if kind == "mean_logits" and pair.loss.reads == "shares" else pair.loss.reads


def _at(pair: Pair, temperature: float) -> bool:
    """Whether the loss is computed at this temperature, throughout."""
    if pair.temperature is not None:
        return set(pair.temperature.values) == {temperature}
    default = next((option.default for option in pair.loss.options if option.name == "temperature"), 1.0)
    return bool(pair.options.get("temperature", default) == temperature)
