"""The rows of the page docs/losses.md. The registry itself takes torch with it; the page is made of the registry, comes
with textkd, and a test holds both against each other."""

from __future__ import annotations

import re

from textkd.config import shipped


def rows() -> list[dict[str, str]]:
    """One row for each of textkd's own losses, as `textkd.losses.rows` has them."""
    return read((shipped.folder("docs") / "losses.md").read_text(encoding="utf-8"))


def read(page: str) -> list[dict[str, str]]:
    """The rows of a page that `textkd.losses.table.markdown` made."""
    found, family = list[dict[str, str]](), ""
    for line in page.splitlines():
        if line.startswith("## "):
            family = line[3:]
        elif line.startswith("| `"):
            name, doc, formula, options, takes, source = _cells(line)
            found.append({
                "family": family, "name": name.strip("`"),
                "options": ", ".join(map(_option, filter(None, options.split("<br>")))), "takes": takes,
                "formula": formula.strip("`"), "source": re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", source), "doc": doc,
            })  # fmt: skip
    return found


def _cells(line: str) -> list[str]:
    """The cells of a line: a bar that is not escaped ends one."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def _option(cell: str) -> str:
    """`temperature=1.0` of "`temperature = 1.0`: a number"; without a default, what it has to be."""
    name, _, kind = cell.partition(": ")
    name, is_given, default = name.strip("`").partition(" = ")
    return f"{name}={default}" if is_given else f"{name} ({kind})"
