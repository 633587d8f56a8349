"""Files, folders and tables of lines for the tests of sources."""

import csv
import json

import pytest
from line_files import line_image, parquet, same

from textkd.errors import TextkdError
from textkd.tasks.ocr.linetable import LineTable
from textkd.tasks.ocr.sources import lines

TEXTS = ["ab", 'c "d", e', "fü ½"]


def told(spec, **options):
    with pytest.raises(TextkdError) as caught:
        lines(spec, **options)
    return str(caught.value)


def images_of(folder, texts=TEXTS):
    (folder / "scans").mkdir(parents=True)
    names = [f"scans/{number}.png" for number in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        line_image(text).save(folder / name)
    return names


def table_file(folder, suffix, texts=TEXTS, columns=("image", "text"), name="lines"):
    """A file of paths and texts, with the images beside it."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(images_of(folder, texts), texts, strict=True)]
    path = folder / f"{name}.{suffix}"
    if suffix == "parquet":
        return parquet(path, rows)
    if suffix in ("json", "jsonl"):
        made = json.dumps(rows) if suffix == "json" else "\n".join(map(json.dumps, rows))
        path.write_text(made, encoding="utf-8")
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        plain = {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None, "escapechar": None}
        writer = csv.writer(file, **(plain if suffix == "tsv" else {}))
        writer.writerows([columns, *(list(row.values()) for row in rows)])
    return path


def check(table, texts=TEXTS):
    assert isinstance(table, LineTable)
    assert len(table) == len(texts)
    assert list(table.texts) == texts
    for index, text in enumerate(texts):
        assert same(table.image(index), line_image(text, mode="RGB"))
    table.problems()
