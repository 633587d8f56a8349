"""What `textkd ls` lists: losses, presets, recipes, the taps of a model. All but taps are
read from files that come with textkd, so that nobody waits for torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from textkd.cli import loss_page
from textkd.config import recipe_file, shipped
from textkd.errors import TextkdError, fail


def text(what: str, name: str | None, as_markdown: bool) -> str | None:
    """What is printed as it is: a preset, the page of losses; None for what comes as rows. Raises `TextkdError` for
    words that do not go together."""
    if what not in LISTS:
        raise fail(f"ls {what}", "no such list", near=(what, LISTS), fix=f"textkd ls {'|'.join(LISTS)}")
    if as_markdown and what != "losses":
        raise fail(f"ls {what} --markdown", "only losses have a page", fix="textkd ls losses --markdown")
    if name is not None and what == "presets":
        from textkd.config import presets

        return presets.as_yaml(name)
    if name is not None and what != "taps":
        raise fail(f"ls {what} {name}", f"{what} are not a model's", fix=f"textkd ls {what}")
    if not as_markdown:
        return None
    from textkd.losses.table import markdown

    return markdown()


def rows(what: str, name: str | None = None) -> list[dict[str, str]]:
    """The rows of a list, each with the same keys. name: the model of `taps`."""
    return LISTS[what](name)


def _losses(_: str | None) -> list[dict[str, str]]:
    return loss_page.rows()


def _recipes(_: str | None) -> list[dict[str, str]]:
    """Every recipe that comes with textkd by its name, every other one in recipes/ here by its path; with its `about`
    or the first line of its header."""
    found = {name: file.resolve() for name, file in shipped.recipes().items()}
    here = [file for file in sorted(Path("recipes").rglob("*.yaml")) if file.resolve() not in found.values()]
    return [{"recipe": name, "about": _about(file)} for name, file in [*found.items(), *((str(f), f) for f in here)]]


def _presets(_: str | None) -> list[dict[str, str]]:
    from textkd.config import presets

    return presets.rows()


def _about(file: Path) -> str:
    text = file.read_text(encoding="utf-8", errors="replace")
    header = next((line.lstrip("# ") for line in text.splitlines() if line.startswith("#")), "")
    try:
        values = recipe_file.parse(text)
    except (yaml.YAMLError, TextkdError):
        return "not a recipe: broken YAML"
    about = values.get("about") if isinstance(values, dict) else None
    return str(about or header)


def _taps(model: str | None) -> list[dict[str, str]]:
    if model is None:
        raise fail("ls taps", "no model", fix="textkd ls taps MODEL_FOLDER_OR_HUB_ID")
    from textkd.models import loading, taps

    loaded = loading.load_model(model, _auto_class(loading.resolve_path(model)))
    return [{"tap": row.address, "shape": row.shape, "note": row.note} for row in taps.list_taps(loaded)]


def _auto_class(path: str) -> Any:
    """The class that the folder was saved from, so that its head is there; AutoModel if it names none."""
    import transformers

    from textkd.models import loading, no_code

    try:
        with loading.quiet():
            _, named = no_code.saved_class(path)
    except Exception:  # whatever it is: load_model meets it again, and says what is wrong
        return transformers.AutoModel
    return named or transformers.AutoModel


LISTS: dict[str, Callable[[str | None], list[dict[str, str]]]] = {
    "losses": _losses, "taps": _taps, "recipes": _recipes, "presets": _presets,
}  # fmt: skip
