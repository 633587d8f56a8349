"""One way to say what is wrong: asked, found, nearest names, fix. Many problems travel in one error. What is secret is
neither said nor written."""

from __future__ import annotations

import difflib
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

HIDDEN = "(not written)"
LONGEST, MOST_TOLD = 700, 40  # characters of a part of a message, problems in one message: it is read, not scrolled
_SECRETS = re.compile(
    r"(^|_)(passw(or)?d|pwd|passphrase|secrets?|credentials?|authorization|bearer)(_|$)"
    r"|(api|access|private|secret|service|account|signing|wandb)_?keys?(_|$)|(auth|access|api|hub|hf)_?token|token$"
)
# blocks of what opens a store or an account: all that stands in them is secret, as a plain ``key``
_BLOCKS = re.compile(r"^(storage_options|(client|auth|config|session)_kwargs|auth|cookies|(http_)?headers)$")
_TOKENS = re.compile(r"(^|_)(pad|bos|eos|unk|cls|sep|mask|start|end|image)_token$")  # of a vocabulary
# what is a secret by its looks: the user of an address (also where a path was made of it, which has one slash), and
# tokens of well-known services
_LOOKS = re.compile(
    r"(?<=://)[^\s/@'\"]+(?=@)|(?<=:/)[^\s/@'\":]+:[^\s/@'\"]+(?=@)"
    r"|\bhf_[A-Za-z0-9]{12,}|\b(gh[opsur]|github_pat|glpat|xox[abp])[-_][\w-]{12,}"
    r"|\bsk-[\w-]{16,}|\bAKIA[0-9A-Z]{16}\b|(?<=\bBearer )[\w.~+/=-]{6,}"
)
SHORTEST = 8  # of a secret of the environment: anything shorter may be a word
_NAME = re.compile(r"""(?<![\w-])([\w-]+)["']?\s*[:=]\s*""")
# "3 become no token: they are not counted": the noun behind a word, a colon, and words; no option and its value
_PROSE = re.compile(r"(?<=\w )token: (?=[a-z]+ [a-z]+\b)(?!.*hf_)")
_PATH = re.compile(r"(?:[\w-]+\.)+$")  # before a name: task.storage_options.
_TEXT = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
_VALUE, _PART = re.compile(_TEXT + r"""|[^\n,}\]'"]*"""), re.compile(_TEXT + "|.", re.DOTALL)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    asked: what the user asked for, in the user's words. found: what is there instead. nearest: names that exist
    and look like it. fix: what to do. where: the dotted path in the recipe (``matches[1].loss``), if there is one.
    """

    asked: str
    found: str
    nearest: tuple[str, ...] = ()
    fix: str = ""
    where: str = ""

    def __str__(self) -> str:
        head = f"{self.where}: " if self.where else ""
        lines = [f"{brief(head, 200)}asked: {_told(self.asked)}", f"  found: {_told(self.found)}"]
        if self.nearest:
            lines.append(f"  nearest: {brief(', '.join(self.nearest))}")
        if self.fix:
            lines.append(f"  fix: {_told(self.fix)}")
        return "\n".join(lines)


class TextkdError(Exception):
    """The user's input (recipe, files, models, data) cannot work. Carries every problem that was found.

    `str(error)` has one paragraph for each problem: what was asked, what was found, the nearest names, how to fix it.
    The command line ends with `exit_code`, 2.

    Args:
        problems: one or more; `error.problems` gives them back as a tuple.

    Example:
        >>> error = TextkdError(problem("loss: mze", "no such loss", near=("mze", ["mse", "kl"]), fix="take mse"))
        >>> print(error)
        asked: loss: mze
          found: no such loss
          nearest: mse
          fix: take mse
    """

    exit_code = 2

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__(*problems)

    def __str__(self) -> str:
        body = "\n".join(str(problem) for problem in self.problems[:MOST_TOLD])
        if more := len(self.problems) - MOST_TOLD:
            body += f"\n... and {more} more: they are told when these are mended" if more > 0 else ""
        return body if len(self.problems) == 1 else f"{len(self.problems)} problems\n{body}"


def problem(
    asked: str, found: str, *, near: tuple[str, Iterable[str]] | None = None, fix: str = "", where: str = ""
) -> Problem:
    """A `Problem`; `near=(name, names)` looks up the nearest of `names`."""
    return Problem(asked, found, nearest(*near) if near else (), fix, where)


def fail(
    asked: str, found: str, *, near: tuple[str, Iterable[str]] | None = None, fix: str = "", where: str = ""
) -> TextkdError:
    """A `TextkdError` with one problem, to be raised."""
    return TextkdError(problem(asked, found, near=near, fix=fix, where=where))


def nearest(name: str, names: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """The names that look most like `name`, best first. What is longer than any name, or stands behind thousands of
    others, is not compared: it would take minutes."""
    known = [str(n) for n in itertools.islice(names, 5000) if len(str(n)) <= LONGEST]
    return tuple(difflib.get_close_matches(str(name), known, n=most, cutoff=0.5)) if len(str(name)) <= LONGEST else ()


def brief(text: str, most: int = LONGEST) -> str:
    """A part of a message, cut where it is too long to be read; half of a character (a lone surrogate), which no file
    and no terminal takes, as its number."""
    text = str(text)
    if len(text) > most:
        text = f"{text[:most]}... ({len(text):,} characters)"
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def _told(text: str) -> str:
    """`brief` of a part without its secrets. They go first, for half of one is not known as one; what lies far behind
    the cut is not looked at, it would take minutes."""
    text = str(text)
    seen = scrub(text[: 20 * LONGEST])
    if len(seen) > LONGEST or len(text) > 20 * LONGEST:
        seen = f"{seen[:LONGEST]}... ({len(text):,} characters)"
    return brief(seen, len(seen))


@contextmanager
def reading(asked: str, fix: str = "", where: str = "") -> Iterator[None]:
    """Around the reading of what a user gave: a file, a value, a model. Whatever libraries raise over it becomes one
    `TextkdError`; there is no list of classes, for nobody knows all that they raise. A defect of textkd's own stays
    what it is (`is_own_defect`).

    Args:
        asked: what is read.
        fix: what to do about it.
        where: its place in the recipe.

    Raises:
        TextkdError: as it was raised inside, or made of any other `Exception`.
    """
    try:
        yield
    except TextkdError:
        raise
    except Exception as error:
        if is_own_defect(error):
            raise
        raise fail(asked, said(error), fix=fix, where=where) from error


_HOME = os.path.dirname(os.path.abspath(__file__)) + os.sep


def is_own_defect(error: BaseException) -> bool:
    """Whether an exception is a mistake in textkd's own code, whatever was read: a name, an attribute or a promise that
    does not hold, in one of its own lines.

    Args:
        error: as it was caught.

    Example:
        >>> is_own_defect(NameError("name 'x' is not defined"))
        False
    """
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    own = place is not None and place.tb_frame.f_code.co_filename.startswith(_HOME)
    return own and isinstance(error, NameError | AttributeError | AssertionError)


_SAID: dict[type[BaseException], str] = {
    RecursionError: "nested too deep to be read",
    MemoryError: "more than the memory holds",
    UnicodeEncodeError: "half of a character (a lone surrogate, as \\ud800)",
}


def said(error: BaseException) -> str:
    """What an exception of a library says, in a line."""
    if words := _SAID.get(type(error)):
        return words
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    if isinstance(error, ConnectionError):
        return f"the hub cannot be reached ({(str(error).splitlines() or ['no message'])[0]})"
    text = " ".join(str(error).split())
    if "integer string conversion" in text:
        return "a number of more than 4,300 digits"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Collector:
    """Collects problems so that all of them are told at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, *problems: Problem) -> None:
        self.problems.extend(problems)

    @contextmanager
    def collecting(self, where: str = "") -> Iterator[None]:
        """Keeps the problems of a `TextkdError` raised inside; they and those added inside get the path `where`."""
        before = len(self.problems)
        try:
            yield
        except TextkdError as error:
            self.add(*error.problems)
        finally:
            self.problems[before:] = [replace(p, where=_join(where, p.where)) for p in self.problems[before:]]

    def raise_once(self) -> None:
        """`raise_any`, where every block of a model has the same fault at one place: it is told of the first."""
        self.problems = list({(p.where, p.found): p for p in reversed(self.problems)}.values())[::-1]
        self.raise_any()

    def raise_any(self) -> None:
        if self.problems:
            raise TextkdError(*dict.fromkeys(self.problems))


def _join(outer: str, inner: str) -> str:
    return f"{outer}{'.' if outer and inner and not inner.startswith('[') else ''}{inner}"


def is_secret(name: object) -> bool:
    """Whether the value of an option of this name is a secret: hub_token, password, api_key; not max_new_tokens."""
    plain = str(name).lower().replace("-", "_")
    return bool(_SECRETS.search(plain) or is_secret_block(plain)) and not _TOKENS.search(plain)


def is_secret_block(name: object) -> bool:
    """Whether all that stands in a block of this name is secret, whatever its keys are: storage_options."""
    return bool(_BLOCKS.search(str(name).lower().replace("-", "_")))


def hidden(values: Any) -> Any:
    """A copy of blocks and lists in which `HIDDEN` stands in the place of every secret."""
    if isinstance(values, Mapping):
        return {key: HIDDEN if is_secret(key) and value is not None else hidden(value) for key, value in values.items()}
    if isinstance(values, str):
        return _without_looks(values)
    return type(values)(map(hidden, values)) if type(values) in (list, tuple) else values


def _without_looks(text: str) -> str:
    """A text with `HIDDEN` in the place of the secrets of the environment and of what looks like one."""
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and value in text and is_secret(name) and not _is_place(value):
            text = text.replace(value, HIDDEN)
    return _LOOKS.sub(HIDDEN, text)


def _is_place(value: str) -> bool:
    """Whether it says where something is: PWD, the folder of a shell, or the file that holds a key."""
    return os.path.isabs(value) and os.path.exists(value)


def without_secrets(values: Any) -> Any:
    """A copy of blocks and lists without the options that are secrets: what a hash is made of."""
    if isinstance(values, Mapping):
        return {key: without_secrets(value) for key, value in values.items() if not is_secret(key)}
    return type(values)(map(without_secrets, values)) if type(values) in (list, tuple) else values


def scrub(text: str) -> str:
    """A message with `HIDDEN` in the place of what follows the name of a secret, as in ``hub_token=...``, of secrets of
    the environment and of what looks like one. The noun "token" with words around it is no name."""
    text = _without_looks(text)
    parts, at = list[str](), 0
    for name in _NAME.finditer(text):
        if name.start() < at or _PROSE.match(text, name.start()):
            continue
        path = _PATH.search(text[max(0, name.start() - 200) : name.start()])
        if is_secret(name[1]) or (path and any(map(is_secret_block, path[0].split(".")))):
            parts += [text[at : name.end()], HIDDEN]
            at = _end_of_value(text, name.end())
    return "".join([*parts, text[at:]])


def _end_of_value(text: str, at: int) -> int:
    """Where the value that begins here ends; a list or block that is never closed ends with the text."""
    if text[at : at + 1] not in ("[", "{"):
        return next(_VALUE.finditer(text, at)).end()  # it may be empty
    depth = 0
    for part in _PART.finditer(text, at):
        depth += (part[0] in "[{") - (part[0] in "]}")
        if not depth:
            return part.end()
    return len(text)
