"""Named pipes, sockets and devices where a file is due: they are refused before anything opens them, which may wait for
ever."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from textkd.errors import TextkdError, problem


def special(path: str | os.PathLike[str]) -> str:
    """What lies at a path that is neither a file nor a folder: to open it may wait for ever. "" for all else, also for
    what is not there.

    Example:
        >>> special(os.devnull), special(os.curdir)
        ('a device', '')
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return ""
    kinds = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"),
             (stat.S_ISBLK, "a device"))  # fmt: skip
    return next((name for is_one, name in kinds if is_one(mode)), "")


def regular(path: Path) -> Path:
    """`path`, called before a library opens it. Raises `OSError` for what is neither a file nor a folder."""
    if kind := special(path):
        raise OSError(errno.EINVAL, f"{kind}, no file", str(path))
    return path


def refuse_special(folder: Path, asked: str) -> None:
    """Raises `TextkdError` for a folder in which something is neither a file nor a folder. Called before a library
    reads whichever files of it it knows.

    Args:
        folder: one that is not there holds nothing.
        asked: what is read, for the message.
    """
    places = [folder, folder / "additional_chat_templates"]  # of a tokenizer; no other part of a model is one deeper
    names = [Path(place, name) for place in places if place.is_dir() for name in sorted(os.listdir(place))]
    fix = "put the file itself in its place, or take it out of the folder"
    wrong = [problem(asked, f"{path} is {kind}, no file", fix=fix) for path in names if (kind := special(path))]
    if wrong:
        raise TextkdError(*wrong)
