"""Free fonts for rendered lines, and which characters each of them can draw.

Pillow's built-in font is always there, and so are DejaVu and STIX (matplotlib, which textkd needs, brings them).
"""

from __future__ import annotations

import functools
import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

from textkd.errors import Collector, fail, problem
from textkd.models.files import at_home

DEBIAN = tuple(Path("/usr/share/fonts/truetype") / name for name in ("dejavu", "liberation", "liberation2"))
FAMILIES = ("DejaVuSans", "DejaVuSerif", "STIXGeneral", "Liberation")
NOT_FOR_TEXT = ("Display", "ExtraLight", "MathTeX")
GROUPS = ("builtin", "matplotlib", "debian")
SUFFIXES = (".ttf", ".otf", ".ttc")
ABSENT = "\uffff"  # a code point that no font may have a character for
PROBE = 24  # pixels


@dataclass(frozen=True)
class Face:
    """A font, by its file (None: Pillow's built-in one)."""

    path: Path | None

    @property
    def name(self) -> str:
        return self.path.name if self.path else "Pillow's built-in font"

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        """The font for letters of `size` pixels, without shaping by an outside library: the same on every machine."""
        return _load(self.path, size)

    def digest(self) -> str:
        return _digest(self.path)

    def draws(self, text: str) -> bool:
        """Whether each character has a picture of its own in this font (none is drawn as an empty box) and stands for
        itself, left to right: scripts that are joined, stacked or written from right to left need shaping."""
        return all(_has(self.path, character) for character in set(text))


@functools.lru_cache(maxsize=512)
def _load(path: Path | None, size: int) -> ImageFont.FreeTypeFont:
    if path is None:
        font = ImageFont.load_default(size)
        if not isinstance(font, ImageFont.FreeTypeFont):
            found = "a Pillow without FreeType"
            raise fail("Pillow's built-in font", found, fix="install Pillow from its own wheels")
        return font.font_variant(layout_engine=ImageFont.Layout.BASIC)
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@functools.cache
def _digest(path: Path | None) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else "builtin"


@functools.lru_cache(maxsize=100_000)
def _has(path: Path | None, character: str) -> bool:
    if character == " ":
        return True
    if unicodedata.category(character)[0] in "MCZ" or unicodedata.bidirectional(character) in ("R", "AL", "AN"):
        return False
    picture = _picture(path, character)
    return bool(picture[1].strip(b"\0")) and picture != _picture(path, ABSENT)


@functools.lru_cache(maxsize=1000)
def _picture(path: Path | None, character: str) -> tuple[tuple[int, int], bytes]:
    mask = _load(path, PROBE).getmask(character, mode="L")
    return mask.size, bytes(mask)


def find_faces(fonts: Sequence[str | Path] | str | Path | None = None) -> list[Face]:
    """Font files, folders of them, the words "builtin", "matplotlib", "debian" -> the fonts, each file name once.

    None: all three words, those that are installed. Raises `TextkdError` with all that is missing or is no font.
    """
    if fonts is None:
        return _unique([Face(None), *_group("matplotlib"), *_group("debian")])
    wanted = [fonts] if isinstance(fonts, str | Path) else fonts
    if not isinstance(wanted, Sequence) or not all(isinstance(one, str | Path) for one in wanted):
        raise fail(f"fonts: a list of files, folders, or {', '.join(GROUPS)}", repr(fonts))
    collector, faces = Collector(), list[Face]()
    if not wanted:
        collector.add(problem("fonts", "an empty list", fix=f"give files, folders, or {', '.join(GROUPS)}"))
    for one in wanted:
        with collector.collecting():
            faces += _some(str(one))
    collector.raise_any()
    return _unique(faces)


def _some(wanted: str) -> list[Face]:
    if wanted in GROUPS:
        faces = _group(wanted)
        if not faces:
            raise fail(f"fonts of {wanted}", "they are not installed", fix="apt install fonts-dejavu fonts-liberation")
        return faces
    path = at_home(wanted)
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise fail(f"fonts in {path}", "no .ttf, .otf or .ttc file")
        return [_checked(file) for file in found]
    if not path.is_file():
        siblings = [*GROUPS, *([p.name for p in path.parent.iterdir()] if path.parent.is_dir() else [])]
        fix = f"give files, folders, or {', '.join(GROUPS)}"
        raise fail(f"font {wanted}", "no such file or folder", near=(path.name, siblings), fix=fix)
    return [_checked(path)]


def _checked(path: Path) -> Face:
    try:
        _load(path, PROBE)
    except OSError as error:
        raise fail(f"font {path}", f"FreeType cannot read it: {error}", fix="give a .ttf or .otf file") from None
    return Face(path)


def _group(name: str) -> list[Face]:
    if name == "builtin":
        return [Face(None)]
    folders = list(DEBIAN)
    if name == "matplotlib":
        spec = find_spec("matplotlib")  # found, not imported: that takes a second
        folders = (
            [Path(p) / "mpl-data" / "fonts" / "ttf" for p in (spec.submodule_search_locations or [])] if spec else []
        )
    files = sorted(file for folder in folders if folder.is_dir() for file in folder.glob("*.ttf"))
    return [Face(f) for f in files if f.name.startswith(FAMILIES) and not any(part in f.name for part in NOT_FOR_TEXT)]


def _unique(faces: list[Face]) -> list[Face]:
    return list({face.name: face for face in reversed(faces)}.values())[::-1]
