"""What a file holds, whatever its name says: files that are packed or no text, and old ends of lines."""

from __future__ import annotations

import json
from typing import Any, AnyStr

from textkd.errors import said

# what files of a kind begin with, its name, what to do
BEGINS = (
    (b"\x1f\x8b", "a file packed by gzip", "unpack it"),
    *((b"BZh%d1AY&SY" % size, "a file packed by bzip2", "unpack it") for size in range(1, 10)),
    (b"\xfd7zXZ\x00", "a file packed by xz", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "a file packed by zstd", "unpack it"),
    (b"PK\x03\x04", "a zip archive, or the file of a spreadsheet", "unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "the file of an old spreadsheet", "save the sheet as CSV"),
    (b"PAR1\x15", "a parquet file", "rename it to .parquet"),
    (b"ARROW1\x00", "an Arrow file", "save it as parquet"),
    (b"SQLite format 3\x00", "a data base", "save the table as CSV"),
)
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".tar", ".tgz")
SHEETS = (".xls", ".xlsx", ".ods", ".numbers")


def no_text(data: bytes) -> tuple[str, str] | None:
    """(what it is, what to do) of bytes that are known to be no text; None of all others.

    Args:
        data: a file, or its first bytes.

    Example:
        >>> no_text(b"PK\\x03\\x04"), no_text(b"text,label")
        (('a zip archive, or the file of a spreadsheet', 'unpack it, or save the sheet as CSV'), None)
    """
    return next(((what, fix) for begin, what, fix in BEGINS if data.startswith(begin)), None)


def fix_of_suffix(suffix: str) -> str:
    """What to do about a file of a suffix that is not read.

    Args:
        suffix: in small letters, with its dot.

    Example:
        >>> fix_of_suffix(".gz"), fix_of_suffix(".xlsx"), fix_of_suffix(".data")
        ('unpack it', 'save the sheet as CSV', 'rename the file or give delimiter:')
    """
    if suffix in PACKED:
        return "unpack it"
    return "save the sheet as CSV" if suffix in SHEETS else "rename the file or give delimiter:"


def with_newlines(data: AnyStr) -> AnyStr:
    """Lines that end in a carriage return alone, as old Macs wrote them, with newlines at their ends. Where there is a
    newline, a lone carriage return is a character of a text.

    Args:
        data: a text, or its bytes in an encoding that keeps ASCII.

    Example:
        >>> with_newlines(b"a\\rb\\r"), with_newlines(b"a\\rb\\r\\n")
        (b'a\\nb\\n', b'a\\rb\\r\\n')
    """
    if isinstance(data, bytes):
        return data if b"\n" in data else data.replace(b"\r", b"\n")
    return data if "\n" in data else data.replace("\r", "\n")


def json_value(text: str) -> Any:
    """The value of a JSON text. Raises `ValueError`, which says what is wrong in a line, for whatever no row can hold:
    no JSON, a number of thousands of digits, lists thousands deep, half of a character."""
    try:
        value = json.loads(text)
        if "\\u" in text:  # the one way to write half of a character
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError:
        raise
    except Exception as error:
        raise ValueError(said(error)) from error
    return value
