"""The encoding of a text: what it is, and what to do where it is another one than was asked for."""

from __future__ import annotations

import codecs
import encodings.aliases
import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

from textkd.errors import Problem, fail, problem
from textkd.tasks.data.contents import no_text, with_newlines

UTF_8 = "utf-8"
OTHERS = ("gb18030", "cp1252")  # encodings that a file may have instead, tried in this order
WESTERN, SURE = ("iso8859", "cp125", "mac"), 40  # of other encodings, so many bytes beyond ASCII are no chance
_BEYOND = bytes(range(128, 256))
_ALONE = re.compile(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])")  # an accented letter; Chinese bytes stand together


def encoding_problems(encoding: Any) -> list[Problem]:
    """What is wrong with the option `encoding`."""
    known = sorted({*encodings.aliases.aliases.values()})
    try:
        "".encode(encoding)
        return []
    except (LookupError, TypeError, ValueError):
        return [problem(f"encoding: {encoding!r}", "no encoding of texts", near=(str(encoding), known),
                        fix="encoding: gb18030, say; leave it out for UTF-8", where="encoding")]  # fmt: skip


def other_encoding(data: bytes) -> str:
    """An encoding that these bytes, which are not UTF-8, may have; "" for none that is known."""
    western = 2 * len(_ALONE.findall(data)) > sum(byte > 127 for byte in data)
    for name in reversed(OTHERS) if western else OTHERS:
        with suppress(UnicodeDecodeError):
            data.decode(name)
            return name
    return ""


def is_utf_8(data: bytes, encoding: str) -> bool:
    """Whether the letters beyond ASCII are UTF-8 and not of this encoding.

    Args:
        data: a file.
        encoding: that was asked for. A few letters of one that is not western may look like UTF-8 by chance.

    Example:
        >>> is_utf_8("na\u00efve".encode(), "cp1252"), is_utf_8("na\u00efve".encode("cp1252"), "cp1252")
        (True, False)
        >>> is_utf_8(b"naive", "cp1252"), is_utf_8("na\u00efve".encode(), "utf-8-sig")
        (False, False)
        >>> is_utf_8(b"text,label", "utf-16"), is_utf_8("text".encode("utf-16"), "utf-16")
        (True, False)
    """
    name, beyond = codecs.lookup(encoding).name, len(data) - len(data.translate(None, _BEYOND))
    if name.startswith(("utf-16", "utf-32")):
        beyond = 0 if b"\0" in data else SURE  # their line ends hold a 0
    elif name.startswith("utf"):
        return False
    if beyond < (1 if name.startswith(WESTERN) else SURE):
        return False
    with suppress(UnicodeDecodeError):
        return bool(data.decode(UTF_8))
    return False


def to_utf_8(encoding: str, path: str | Path = "") -> str:
    """What to do about a file among others that are UTF-8: a line for a shell.

    Args:
        encoding: of the file.
        path: where it is; "" where that is not known.

    Example:
        >>> to_utf_8("cp1252", "dev.csv")
        'a file beside others that are UTF-8 is written anew: iconv -f cp1252 -t utf-8 dev.csv > dev-utf8.csv'
    """
    place, files = Path(path), "FILE > NEW"
    if path:
        files = f"{shlex.quote(str(path))} > {shlex.quote(str(place.with_name(f'{place.stem}-utf8{place.suffix}')))}"
    name = encoding.replace("_", "-")
    return f"a file beside others that are UTF-8 is written anew: iconv -f {name} -t utf-8 {files}"


def decode(data: bytes, path: Path, encoding: str, is_given: bool = False) -> tuple[str, dict[int, str]]:
    """The text, and the lines that are not UTF-8 with their first bad byte. Raises `TextkdError` where the text has
    not the encoding that was asked for."""
    if (other := no_text(data)) is not None:
        raise fail(f"text in {path}", other[0], fix=other[1])
    if encoding.lower().replace("_", "-") not in (UTF_8, "utf8"):
        asked, fix = f"{encoding} text in {path}", f"encoding: is for files of one encoding; {to_utf_8(encoding)}"
        if is_utf_8(data, encoding):
            raise fail(asked, "its letters are UTF-8, and would be read as others", fix=f"leave it out; {fix}")
        try:
            return with_newlines(data.decode(encoding).removeprefix("\ufeff")), {}
        except UnicodeDecodeError as error:
            found = f"byte 0x{data[error.start]:02X} at position {error.start + 1} is not {encoding}"
            raise fail(asked, found, fix=f"another encoding, or none for UTF-8; {fix}") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        fix = "save the file as UTF-8" + ("" if is_given else ", or encoding: utf-16")
        raise fail(f"UTF-8 text in {path}", "a UTF-16 byte-order mark", fix=fix)
    if not data.strip():
        raise fail(f"rows in {path}", "the file is empty", fix="give a file with a header and rows")
    data = with_newlines(data)
    try:
        return data.decode("utf-8-sig"), {}
    except UnicodeDecodeError:
        bad = {}
        for number, line in enumerate(data.split(b"\n"), start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                bad[number] = f"byte 0x{line[error.start]:02X} at position {error.start + 1} is not UTF-8"
        return data.decode("utf-8-sig", errors="replace"), bad
