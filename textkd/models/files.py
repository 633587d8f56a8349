"""Files that appear whole or not at all, and what to say when the disk is full or refuses."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from textkd.errors import Problem, fail, problem, said
from textkd.models.regular import regular


def at_home(path: str | os.PathLike[str]) -> Path:
    """A path that a user gave, with the home folder for a leading ``~``. Called where such a path is read, so that all
    who see it afterwards mean the same place. Raises `TextkdError` for one without a name."""
    return Path(os.path.expanduser(named(path)))


def named(path: str | os.PathLike[str]) -> str:
    """A path that a user gave, as it was written. Raises `TextkdError` for an empty text, or one of spaces: it would be
    read as the current folder."""
    if not (text := os.fspath(path)).strip():
        raise fail(f"a path: {text!r}", "an empty text", fix="give the path, or leave it out")
    return text


def in_package(name: str, hint: Mapping[str, str] | None = None) -> list[Path]:
    """Where ``package:NAME/INNER`` may be: a place in each folder of the installed Python package NAME, which is found
    without importing it. None of them leads out of the package.

    Args:
        name: as it was written.
        hint: how packages are installed, where that is not ``pip install NAME``.

    Raises:
        TextkdError: not of this form, not installed, or out of the package.
    """
    package, _, inner = name.removeprefix("package:").partition("/")
    parts = inner.replace("\\", "/").split("/")
    if not package.isidentifier() or ".." in parts or inner.startswith(("/", "\\")) or ":" in parts[0]:
        guess = re.sub(r"\W.*", "", package.replace("-", "_")) or "NAME"
        fix = f"name an importable package and a place in it: package:{guess}/model"
        raise fail(name, "not of the form package:NAME/PLACE", fix=fix)
    try:
        spec = importlib.util.find_spec(package)  # of a top-level name it does not run the package's code
    except ValueError:  # a module that nobody installed, as `__main__`
        spec = None
    roots = [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []
    if not roots:
        install = (hint or {}).get(package, f"pip install {package.replace('_', '-')}")
        install = "name an installed package" if package.startswith("_") else install
        raise fail(name, f"the Python package {package} is not installed", fix=install)
    places = [root / inner for root in roots]
    for root, place in zip(roots, places, strict=True):
        if not place.resolve().is_relative_to(root.resolve()):
            raise fail(name, f"a link that leads out of the package, to {place.resolve()}", fix="give that path itself")
    return places


def write_atomic(path: Path, text: str) -> Path:
    """Writes `text` beside `path` and renames it: a reader meets the old file or the whole new one. Returns `path`,
    which an OSError names, too."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        sync(path.parent)
    except OSError as error:
        if error.errno is not None:  # else it has no place for names
            error.filename, error.filename2 = str(path), None  # a full disk names none, nobody knows the file beside it
        raise
    finally:
        with suppress(OSError):  # what went wrong before is told
            beside.unlink(missing_ok=True)
    return path


def remove_unfinished(folder: Path) -> None:
    """Removes what a killed process left of `write_atomic` in `folder`, which nobody else writes to.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / ".report.json.123.tmp").touch()
        >>> remove_unfinished(folder)
        >>> list(folder.iterdir())
        []
    """
    for left in folder.glob(".*.[0-9]*.tmp"):
        left.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems have no such thing for folders
            raise
    finally:
        os.close(descriptor)


def read_record(path: Path, what: str, fix: str) -> dict[str, Any]:
    """What `write_json` wrote about a folder. Raises `TextkdError` where the file is damaged.

    Args:
        path: of the file.
        what: its folder is, for the message.
        fix: what to do then.
    """
    try:
        known = json.loads(regular(path).read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise fail(f"{what} {path.parent}", f"{path.name} is damaged: {error}", fix=fix) from error
    if not isinstance(known, dict):
        raise fail(f"{what} {path.parent}", f"{path.name} is damaged: it holds no JSON object", fix=fix)
    return known


def write_json(path: Path, value: Any) -> None:
    """`write_atomic` of `value` as JSON."""
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False))


def _umask() -> int:
    """What this process takes from the rights of new files."""
    os.umask(given := os.umask(0))
    return given


UMASK = _umask()


def share(folder: Path) -> None:
    """Gives the weights in `folder` the rights of any new file: safetensors writes them for the owner alone."""
    for file in folder.glob("*.safetensors"):
        file.chmod(0o666 & ~UMASK)


NAME_MAX = 255  # bytes of a name, where a file system does not say


def unwritable(folder: Path) -> str:
    """Why nothing can be written into a folder; it need not be there yet. What is tried leaves nothing behind.

    Args:
        folder: as it was given.

    Returns:
        What is in the way, "" where nothing is.

    Example:
        >>> unwritable(Path(tempfile.gettempdir()) / "runs" / "first")
        ''
        >>> unwritable(Path(os.devnull) / "first")
        'Not a directory (/dev/null/first)'
    """
    there = folder.absolute()
    try:
        while not _is_there(there):
            if there.is_symlink():
                return f"{there} is a link to what is not there"
            there = there.parent
        if not there.is_dir():
            return f"{there} is a file"
        most = os.pathconf(there, "PC_NAME_MAX") if hasattr(os, "pathconf") else NAME_MAX
    except OSError as error:
        return said(error)
    if long := [part for part in folder.parts if len(os.fsencode(part)) > most]:
        return f"a name of {len(os.fsencode(long[0])):,} bytes, where one has at most {most}"
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".textkd-", dir=there))
    except OSError as error:
        return f"nothing can be made in {there} ({error.strerror})"
    return ""


def place_problems(folder: Path, where: str) -> list[Problem]:
    """What is wrong with a folder that is to be written. where: its place in the recipe."""
    what = unwritable(folder)
    fix = f"{where}=<another folder>"
    return [problem(f"to write into {folder}", what, fix=fix, where=where)] if what else []


def _is_there(path: Path) -> bool:
    """Unlike `Path.exists`, raises all that the system says but "no such file"."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


@contextmanager
def saving(folder: Path, last: Callable[[], str | None] | None = None) -> Iterator[None]:
    """Around the writing of `folder`. Where the disk is full or refuses, what was written is removed and a
    `TextkdError` says so.

    Args:
        folder: what is being written.
        last: gives the last good checkpoint (None: there is none yet), for the message.
    """
    try:
        yield
        share(folder)
    except Exception as error:
        if not (found := refused(error, folder.parent)):
            raise
        shutil.rmtree(folder, ignore_errors=True)
        kept = "" if last is None else f"; last good checkpoint: {last() or 'none yet'}"
        raise fail(f"save {folder}", found, fix=f"{room_for(found)} and run the same command again{kept}") from error


FULL = "no space left on the disk"
_IN_WORDS = re.compile(r"os error (\d+)|failed with strerror: ([^\n\]]+)")  # of safetensors; of torch's zip writer


def refused(error: BaseException, folder: Path) -> str:
    """Why a disk did not take a file: `FULL`, or in the words of the system; "" where `error` is of another kind.

    safetensors and torch wrap the OSError, so their text decides too.

    Args:
        error: raised while something was written.
        folder: where it was written.

    Example:
        >>> refused(OSError(28, "No space left on device"), Path())
        'no space left on the disk'
        >>> refused(RuntimeError("I/O error: Read-only file system (os error 30)"), Path())
        'Read-only file system'
        >>> refused(ValueError("another thing"), Path())
        ''
    """
    told, words = _IN_WORDS.search(str(error)), ""
    number = error.errno if isinstance(error, OSError) else int(told[1]) if told and told[1] else None
    if isinstance(error, OSError):
        words = error.strerror or str(error)
    elif told:
        words = told[2] or os.strerror(int(told[1]))
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return FULL
    if words or not isinstance(error, RuntimeError):
        return words
    # torch's zip writer does not say why it could not write
    return FULL if "unexpected pos" in str(error) or shutil.disk_usage(folder).free < 2**20 else ""


def room_for(found: str) -> str:
    """What to do about what `refused` gave."""
    return "free some space" if found == FULL else "choose a place that can be written"
