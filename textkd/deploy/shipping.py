"""One way to every form that a model is shipped in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textkd.deploy.export import export
from textkd.deploy.manifest import is_exported
from textkd.errors import fail, reading
from textkd.models.model_files import read_json
from textkd.models.own.marks import LOADS, is_own

FORMATS = ("hf", "onnx")


def ship(
    source: str | Path, out: str | Path, form: str = "hf", int8: str = "", rows: Path | None = None,
    overwrite: bool = False,
) -> Path:  # fmt: skip
    """Writes the model of a run, or of a model folder, to `out`.

    Args:
        source: the folder of a run, or of a model.
        out: the new folder.
        form: one of `FORMATS`.
        int8: of onnx: "dynamic", "static", or "": float32.
        rows: of static: a file of texts, one a line, a tab between the two of a pair.
        overwrite: what `out` holds is replaced, where it is a model of this form.

    Returns:
        The folder.

    Raises:
        TextkdError: an option that is none or has no effect, and what `export` and `export_onnx` raise.
    """
    asked = f"export --format {form}"
    if form not in FORMATS:
        raise fail(asked, f"not one of {', '.join(FORMATS)}", near=(form, FORMATS), fix=f"one of {', '.join(FORMATS)}")
    if form == "hf":
        if int8:
            raise fail(f"{asked} --int8 {int8}", "a folder of PyTorch has no int8", fix="--format onnx")
        if rows is not None:
            raise fail(f"{asked} --rows {rows}", "nothing reads them", fix="leave --rows out")
        return export(source, out, overwrite=overwrite)
    if rows is not None and int8 != "static":
        raise fail(f"{asked} --rows {rows}", "they are read with --int8 static alone", fix="leave --rows out")
    from textkd.deploy.to_onnx import export_onnx  # its packages are an extra

    texts = [] if rows is None else texts_of(rows)
    return export_onnx(source, out, int8=int8, rows=texts, rows_from="" if rows is None else rows.name,
                       overwrite=overwrite)  # fmt: skip


def told(folder: Path) -> list[str]:
    """What to know of a folder that `ship` wrote, beside its place: a line, or none."""
    if is_exported(folder):  # the runtime reads every kind
        return []
    about = read_json(folder / "config.json", f"the export {folder}")
    return [LOADS] if is_own(about) else []


def texts_of(file: Path) -> list[Any]:
    """The texts of a file, one a line, a tab between the two of a pair; empty lines are left out."""
    with reading(f"the rows {file}", fix="a UTF-8 file of texts, one a line"):
        lines = Path(file).expanduser().read_text(encoding="utf-8").splitlines()
    return [tuple(line.split("\t")[:2]) if "\t" in line else line for line in lines if line.strip()]
