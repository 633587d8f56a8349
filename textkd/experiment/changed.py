"""Which keys of a recipe are other ones than before."""

from __future__ import annotations

from typing import Any

import yaml

MOST = 5  # keys that a message names


def changes(before: str, now: str) -> list[str] | None:
    """The keys in which two recipes differ.

    Args:
        before, now: recipes as YAML.

    Returns:
        A text for each key, with both values; None where one of the two is no recipe.

    Example:
        >>> changes("seeds: [1]\\nmatches: [{tap: labels}]", "seeds: [1]\\nmatches: [{tap: labels, weight: 0.5}]")
        ['matches[0].weight: not given, now 0.5']
    """
    try:
        one, other = (yaml.safe_load(text) for text in (before, now))
    except yaml.YAMLError:
        return None
    if not isinstance(one, dict) or not isinstance(other, dict):
        return None
    return _differ(one, other, "")


def shown(told: list[str] | None) -> str:
    """Changes in a sentence; the first of many."""
    if told is None:
        return "other settings"
    more = f" and {len(told) - MOST} more" if len(told) > MOST else ""
    return f"{'; '.join(told[:MOST])}{more}"


def _differ(one: Any, other: Any, place: str) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        names = dict.fromkeys([*one, *other])
        inside = [(one.get(name, _None), other.get(name, _None), _at(place, name)) for name in names]
        return [told for parts in inside for told in _differ(*parts)]
    if isinstance(one, list) and isinstance(other, list) and any(isinstance(part, dict | list) for part in one + other):
        told = list[str]()
        for i in range(max(len(one), len(other))):
            pair = [side[i] if i < len(side) else _None for side in (one, other)]
            told += _differ(pair[0], pair[1], f"{place}[{i}]")
        return told
    if (one is _None and isinstance(other, dict) and other) or (other is _None and isinstance(one, dict) and one):
        return _differ({} if one is _None else one, {} if other is _None else other, place)
    return [] if type(one) is type(other) and one == other else [f"{place}: {_value(one)}, now {_value(other)}"]


_None = object()  # no value


def _at(place: str, name: Any) -> str:
    return f"{place}.{name}" if place else str(name)


def _value(value: Any) -> str:
    if value is _None:
        return "not given"
    text = str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
