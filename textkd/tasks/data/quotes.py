"""Cells that a program wrote in quotes, in a file that is read without quoting."""

from __future__ import annotations

import re

# a whole cell in quotes, with every quote inside it doubled, and one of these at least
_WRITTEN = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')


def is_written(cell: str) -> bool:
    r"""Whether a cell has quotes as csv writes them, and not those of speech.

    Args:
        cell: as it stands in the file.

    Example:
        >>> is_written('"Say ""no"" now"'), is_written('"Great" movie'), is_written('"Great"')
        (True, False, False)
    """
    return cell[:1] == '"' == cell[-1:] and '""' in cell[1:-1] and _WRITTEN.fullmatch(cell) is not None
