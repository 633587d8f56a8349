"""How taps are kept: the precision, what of the logits, and how much room they may take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from textkd.errors import Collector, Problem, TextkdError, problem
from textkd.models.files import at_home

PRECISIONS = ("float32", "bf16", "int8")
LOGITS = {"top_k": int, "mass": float, "samples": int}
MOST_KEPT = 256  # classes of a position by mass, unless top_k says otherwise


@dataclass(frozen=True)
class CacheOptions:
    """How the taps of a teacher are kept on disk.

    Args:
        precision: of all taps: "float32", "bf16" (relative error up to 2^-8, 0.4%) or "int8" (up to 1/254 of the
            largest magnitude of each vector). None: bf16, and float32 for logits of up to 1,024 classes.
        logits: "dense", or what is kept of the distribution of each position: {"top_k": k} the k likeliest classes;
            {"mass": p} as many as have the probability p together, at most top_k (256); {"samples": n} classes drawn n
            times from the distribution, whose shares are an unbiased estimate of it.
        temperature: the one at which the kept part of logits is exact: give that of the match.
        max_gb: the most that the cache of a teacher may take, in 10^9 bytes; None: no limit.
        folder: where caches are; None: the place that the recipe keeps teachers in.

    Raises:
        TextkdError: with every value that cannot be.

    Example:
        >>> CacheOptions(logits={"top_k": 8}, temperature=2.0).precision is None
        True
        >>> CacheOptions.of({"precision": "int8"}).precision
        'int8'
    """

    precision: str | None = None
    logits: str | Mapping[str, Any] = "dense"
    temperature: float = 1.0
    max_gb: float | None = None
    folder: str | None = None

    def __post_init__(self) -> None:
        if found := self.problems():
            raise TextkdError(*found)
        if self.folder is not None:
            object.__setattr__(self, "folder", str(at_home(self.folder)))

    @classmethod
    def of(cls, block: bool | Mapping[str, Any] | None) -> CacheOptions | None:
        """The options that a recipe's ``cache:`` asks for.

        Args:
            block: true, false, or a mapping of options.

        Returns:
            The options; None for false.

        Raises:
            TextkdError: with all that is wrong.
        """
        if not isinstance(block, Mapping):
            return cls() if block else None
        known, found = [f.name for f in fields(cls)], Collector()
        for name in [name for name in block if name not in known]:
            fix = f"one of {', '.join(known)}"
            found.add(problem(f"{name}: {block[name]!r}", "no such option of a cache", near=(str(name), known), fix=fix,
                              where=str(name)))  # fmt: skip
        with found.collecting():
            made = cls(**{name: value for name, value in block.items() if name in known})
        found.raise_any()
        return made

    def problems(self) -> list[Problem]:
        """What is wrong with the values."""
        found = Collector()
        if self.precision is not None and self.precision not in PRECISIONS:
            near, fix = (str(self.precision), PRECISIONS), f"one of {', '.join(PRECISIONS)}"
            asked = f"precision: {self.precision}"
            found.add(problem(asked, "no such precision", near=near, fix=fix, where="precision"))
        for name in ("temperature", "max_gb"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value, int, float) and 0 < value < math.inf):
                what = "not a finite number above 0"
                found.add(problem(f"{name}: {value!r}", what, fix=f"{name}: 4", where=name))
        if self.folder is not None and not (isinstance(self.folder, str) and self.folder):
            found.add(problem(f"folder: {self.folder!r}", "not a path", fix="folder: /data/taps", where="folder"))
        found.add(*_logits_problems(self.logits))
        if (
            self.logits == "dense"
            and self.temperature != 1
            and not any(p.where == "temperature" for p in found.problems)
        ):
            what, fix = "whole logits are right at every temperature", "leave it out, or logits: {top_k: 64}"
            found.add(problem(f"temperature: {self.temperature!r}", what, fix=fix, where="temperature"))
        return found.problems


def _logits_problems(logits: Any) -> list[Problem]:
    fix = "dense, {top_k: 64}, {mass: 0.99} or {samples: 64}"
    if logits == "dense":
        return []
    if not isinstance(logits, Mapping) or not logits:
        return [problem(f"logits: {logits!r}", "no way to keep logits", fix=fix, where="logits")]
    made = [problem(f"logits.{name}", "unknown key", near=(str(name), LOGITS), fix=fix, where="logits")
            for name in logits if name not in LOGITS]  # fmt: skip
    for name in ("top_k", "samples"):
        if name in logits and (not _is_number(logits[name], int) or not 1 <= logits[name] <= 32_767):
            made.append(
                problem(f"logits.{name}: {logits[name]!r}", "not a whole number from 1 to 32,767", where="logits")
            )
    if "mass" in logits and (not _is_number(logits["mass"], int, float) or not 0 < logits["mass"] <= 1):
        made.append(problem(f"logits.mass: {logits['mass']!r}", "not a share above 0, up to 1", where="logits"))
    if "samples" in logits and len(logits) > 1:
        made.append(
            problem("logits.samples beside others", "classes are drawn or the likeliest", fix=fix, where="logits")
        )
    return made


def _is_number(value: Any, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)
