"""For every option of caches and schedules: another value, and the numbers that come back."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from option_lab import OptionLab, Options, Trial
from tiny_lab import make_teacher

from textkd.objective.schedules import Schedule
from textkd.teachers.cache import CachedTeacher, CacheOptions


def of_cache(before: Options, after: Options) -> Trial:
    """The taps that a cached teacher gives back, and the room that it has."""
    ids = torch.tensor([[2, 5, 9, 11, 3], [2, 10, 12, 6, 3]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def seen(lab: OptionLab, options: Options) -> Any:
        torch.manual_seed(0)
        model, name = make_teacher(num_labels=6), hashlib.sha256(repr(options).encode()).hexdigest()[:8]
        teacher = CachedTeacher(model, ["logits", "hidden:2"], lab.folder / "taps" / name, CacheOptions(**options))
        try:
            taps = teacher.taps(batch)
            return {name: str(taps[name].tolist()) for name in ("logits", "hidden:2")}, teacher.store.limit
        finally:
            teacher.close()

    return lambda lab: (lab.once(lambda *_: seen(lab, before), before), seen(lab, after))


TOP = {"logits": {"top_k": 1}}
CACHES: dict[str, Trial] = {
    "cache.precision": of_cache({}, {"precision": "int8"}),
    "cache.logits": of_cache({}, TOP),
    "cache.temperature": of_cache(TOP, {**TOP, "temperature": 4.0}),
    "cache.max_gb": of_cache({}, {"max_gb": 1.0}),
    "cache.logits.top_k": of_cache(TOP, {"logits": {"top_k": 2}}),
    "cache.logits.mass": of_cache({"logits": {"mass": 0.5}}, {"logits": {"mass": 1.0}}),
    "cache.logits.samples": of_cache({"logits": {"samples": 3}}, {"logits": {"samples": 100}}),
}


def schedule(kind: str, field: str, value: Any) -> Trial:
    needed: dict[str, Any] = {"constant": {"value": 1.0}, "stop_at": {"at": 0.5}}
    usual = {"kind": kind, **needed.get(kind, {})}
    steps = [i / 20 for i in range(21)]
    return lambda lab: tuple([Schedule.parse(spec)(p) for p in steps] for spec in (usual, {**usual, field: value}))


RISE = {"begin": 0.25, "until": 0.5, "start": 3.0, "end": 2.0}
FIELDS: dict[str, dict[str, Any]] = {
    "constant": {"value": 2.0}, "linear": RISE, "cosine": RISE, "ramp_up": RISE, "ramp_down": RISE,
    "step": {"at": [0.25], "values": [3.0, 1.0]}, "stop_at": {"at": 0.25, "start": 3.0, "end": 2.0},
}  # fmt: skip
SCHEDULES = {f"schedule {kind}.{field}": schedule(kind, field, value)
             for kind, fields in FIELDS.items() for field, value in fields.items()}  # fmt: skip
