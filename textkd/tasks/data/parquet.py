"""The columns of a parquet file as Python values, unless they would be far more than the file is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from textkd.errors import fail, said

# A file of ten kilobytes can hold a text of megabytes in each of a million rows
FREE_BYTES, MOST_TIMES, BYTES_OF_A_CELL, BATCH = 1 << 30, 200, 16, 16_384


def open_parquet(path: Path) -> pyarrow.parquet.ParquetFile:
    """The file, looked at and not read.

    Raises:
        TextkdError: it is no parquet file, names a column twice, or says of itself that it is far larger than it looks.
    """
    asked = f"rows in {path}"
    try:
        names = pyarrow.parquet.ParquetFile(path)
        texts = [field.name for field in names.schema_arrow if _is_text(field.type)]
        file = pyarrow.parquet.ParquetFile(path, read_dictionary=texts)
    except Exception as error:
        fix = "write the file again"
        raise fail(asked, f"not a parquet file: {said(error)}", fix=fix) from error
    if twice := [name for name, count in Counter(file.schema_arrow.names).items() if count > 1]:
        found = f"the file names {', '.join(map(repr, twice))} more than once"
        raise fail(f"one column of each name in {path}", found, fix="rename or remove one of them")
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    cells = sum(group.column(i).num_values for group in groups for i in range(group.num_columns))
    _check_size(path, max(sum(group.total_byte_size for group in groups), cells * BYTES_OF_A_CELL))
    return file


def read_columns(path: Path) -> dict[str, list[Any]]:
    """Every column as a list of Python values.

    Args:
        path: of a parquet file.

    Raises:
        TextkdError: as `open_parquet`; or the values would take more than a GiB and 200 times as much as the file.
    """
    file = open_parquet(path)
    batches, total = list[pa.RecordBatch](), 0
    for batch in file.iter_batches(batch_size=BATCH):  # its texts stay ids of texts: nothing is written out yet
        total += sum(map(_size, batch.columns))
        _check_size(path, total)
        batches.append(batch)
    names = file.schema_arrow.names
    return {name: [cell for batch in batches for cell in batch.column(i).to_pylist()] for i, name in enumerate(names)}


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _size(column: pa.Array) -> int:
    """Bytes of its values, written out."""
    if not isinstance(column, pa.DictionaryArray):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary) if _is_text(column.dictionary.type) else None
    each = 8 * len(column) if lengths is None else pc.sum(pc.take(lengths, column.indices)).as_py()
    return int(each or 0)


def _check_size(path: Path, size: int) -> None:
    file = path.stat().st_size
    if size > max(FREE_BYTES, MOST_TIMES * file):
        found = f"its {file:,} bytes stand for {size:,} or more"
        fix = (
            f"a file is read up to {FREE_BYTES:,} bytes, or {MOST_TIMES} times its own size; split it, or write it anew"
        )
        raise fail(f"rows of a sensible size in {path}", found, fix=fix)
