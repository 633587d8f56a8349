"""What comes with textkd beside its code: recipes by name (`quickstart`, `ocr/quickstart`, `glue/mrpc_minilm6_to_3`)
and the page of losses."""

from __future__ import annotations

from pathlib import Path

SUFFIX = ".yaml"


def folder(name: str = "recipes") -> Path:
    """Where they lie: a wheel carries recipes and docs in this package, a checkout has them at its top."""
    carried = Path(__file__).with_name(name)
    return carried if carried.is_dir() else Path(__file__).resolve().parents[2] / name


def recipes() -> dict[str, Path]:
    """The file of each name."""
    home = folder()
    return {file.relative_to(home).with_suffix("").as_posix(): file for file in sorted(home.rglob(f"*{SUFFIX}"))}


def found(path: Path) -> Path:
    """The file that `path` means: itself where there is such a file, else the shipped recipe of this name, with or
    without .yaml; `path` again where there is neither."""
    return path if path.is_file() else recipes().get(path.as_posix().removesuffix(SUFFIX), path)
