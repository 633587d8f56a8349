"""The registry as rows (`textkd ls losses`) and as a page: docs/losses.md, written anew by
`textkd ls losses --markdown > docs/losses.md`."""

from __future__ import annotations

import re
from typing import Any

from textkd.losses.entry import Loss
from textkd.losses.options import Option, say
from textkd.losses.registry import FAMILIES, get, names

HEADER = """# Losses

Made by `textkd ls losses --markdown > docs/losses.md` from the registry; not to be edited by hand. A loss is chosen by
`{tap: hidden, loss: cosine}`; which losses a tap can have follows from what it is (its family). Options go under
`options`; `temperature` may also stand beside `loss`, and be a schedule. Recipes that put losses together:
`textkd ls presets`. Your own: [custom-losses.md](custom-losses.md).

s: student, t: teacher, z: logits, p: softmax(z / T), h: hidden states, A: attention probabilities, S: attention scores,
N: valid rows or positions, B: samples, C: classes, H: width. Padded positions never count.

The target is the second side, mostly a teacher. The column *takes* says what a loss asks for beside one tap of each
side, and where its gradients go if not as usual. As usual means: the formula holds for both sides, and a match stops
the gradient before its target unless it has `target_gradient: true`. A loss that trains its target too is refused
without it, a loss that never sends a gradient into its target is refused with it.
"""
WORDS = {"True": "true", "False": "false", "None": "null"}  # as a recipe writes them
COLUMNS = ("loss", "what it is", "formula", "options", "takes", "source")


def rows() -> list[dict[str, str]]:
    """One row per loss, in the order of `FAMILIES`.

    Returns:
        Mappings with the keys family, name, options, takes, formula, source, doc.

    Example:
        >>> first = rows()[0]
        >>> first["family"], first["name"]
        ('labels', 'bce')
    """
    entries = [get(name, family) for family in FAMILIES for name in names(family)]
    return [
        {
            "family": entry.family,
            "name": entry.name,
            "options": ", ".join(map(_short, entry.options)),
            "takes": _takes(entry),
            "formula": entry.formula,
            "source": entry.source,
            "doc": entry.doc,
        }
        for entry in entries
    ]


def markdown() -> str:
    """The whole page: a table of textkd's own losses for every family."""
    parts = [HEADER]
    for family, what in FAMILIES.items():
        known = [get(name, family) for name in names(family)]
        rows = [_row(loss) for loss in known if loss.fn.__module__.startswith("textkd.")]
        lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS)), *map(_line, rows)]
        parts.append(f"## {family}\nCompares {what}.\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def _row(loss: Loss) -> list[str]:
    options = "<br>".join(map(_option, loss.options))
    return [
        f"`{loss.name}`",
        loss.doc,
        f"`{loss.formula}`" if loss.formula else "",
        options,
        _takes(loss),
        _linked(loss),
    ]


def _short(option: Option) -> str:
    return f"{option.name} ({say(option.annotation)})" if option.required else f"{option.name}={_default(option)}"


def _default(option: Option) -> Any:
    return WORDS.get(str(option.default), option.default)


def _option(option: Option) -> str:
    default = "" if option.required else f" = {_default(option)}"
    return f"`{option.name}{default}`: {say(option.annotation)}"


def _takes(loss: Loss) -> str:
    """What the loss takes beside, or instead of, one tap of each side, both of one width."""
    found = {"": [], "layers": ["lists of layers"], "kinds": ["a list of taps"]}[loss.arity]
    labels = {"ids": "class ids", "numbers": "numbers", "flags": "a flag per class"}[loss.targets]
    found += [labels] if loss.family == "labels" else [need.replace("_", " ") for need in loss.needs]
    found += ["labels, no teacher"] if not loss.needs_teacher and loss.family != "labels" else []
    found += ["tokens, no single vectors"] if loss.tokens else []
    found += ["any two widths"] if loss.any_width else []
    for option, values in loss.any_width_if.items():
        found.append(f"any two widths with {option} {' or '.join(map(str, values))}")
    for option, values in loss.padding_if.items():
        found.append(f"no teacher from a cache with {option} {' or '.join(map(str, values))}")
    found += [f"{loss.min_rows} samples or more"] if loss.min_rows > 1 else []
    found += ["weights or memory of its own"] if loss.state else []
    found += ["taps that are all different"] if loss.distinct else []
    found += ["an encoding of its own for each model (no run has that yet)"] if loss.needs_own_encoding else []
    found += [_gradient(loss)] if loss.needs_teacher and loss.to_target != "passes" else []
    found += [f"{name} moves gradients, not the value" for name in loss.gradient_options]
    return ", ".join(found)


def _gradient(loss: Loss) -> str:
    """What becomes of a gradient on its way to the target, where the match does not decide it alone."""
    if loss.to_target == "stops":
        return "never a gradient into the target"
    values = " and ".join(f"{name} {WORDS.get(str(value), value)}" for name, value in loss.stops_with.items())
    return "a target that is trained too (`target_gradient: true`)" + (f", unless {values}" if values else "")


def _linked(loss: Loss) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", loss.source)


def _line(cells: list[str] | tuple[str, ...]) -> str:
    # a bar ends a cell, also inside code, unless it is escaped
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
