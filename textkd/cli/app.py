"""Distils Hugging Face models: a recipe says which teacher, which student, on which data; `textkd run` does it and
writes an honest report.

Exit codes: 0 done, 2 something in the input is wrong (one message says all of it, nothing is written), 130 stopped
with Ctrl-C (the same command goes on), 1 a defect of textkd.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from importlib.metadata import version
from typing import Annotated, Any

# transformers' own advice and bars would drown what this run has to say
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")

import typer

from textkd.cli import folders, runs
from textkd.cli.say import tell, tell_once
from textkd.errors import TextkdError, fail, said, scrub

# torch and transformers are imported inside the commands: `textkd --help` need not wait for them
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


class _Lines(logging.Handler):
    """textkd's own log lines, plainly, on stderr; of several processes, the first one's. Each is said once: stages,
    seeds and the check before them build the same things again."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = scrub(record.getMessage())
        if os.environ.get("RANK", "0") == "0" and text not in self.said:
            self.said.add(text)
            tell(text, style="yellow" if record.levelno >= logging.WARNING else None)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"textkd {version('textkd')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", help="Print textkd's version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


for commands in (runs, folders):
    commands.add_to(app)


def _usage(error: Any) -> TextkdError:
    """What typer says about a command line, in the words of all our errors."""
    ctx = getattr(error, "ctx", None)
    asked = " ".join(["textkd", *sys.argv[1:]])
    commands = {} if ctx is None else getattr(ctx.command, "commands", {})
    typed = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    near = (typed, commands) if commands and typed and typed not in commands else None
    known = f"one of {', '.join(commands)}; " if near else ""
    path = "textkd" if ctx is None or ctx.parent is None else f"textkd {ctx.info_name}"
    said = " ".join(error.format_message().split()).rstrip(".")
    return fail(asked, f"{said[:1].lower()}{said[1:]}", near=near, fix=f"{known}{path} --help")


def _nobody_reads() -> int:
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    return 0


def _run_command() -> int:
    try:
        return int(app(standalone_mode=False) or 0)
    except TextkdError as error:
        tell_once(str(error), style="red")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort) as error:
        if isinstance(error.__cause__, EOFError):  # typer takes the end of a file for a Ctrl-C
            raise error.__cause__ from None
        return 130
    except BrokenPipeError:  # `textkd ls losses | head`
        return _nobody_reads()
    except SystemExit as stopped:  # so typer and rich say it
        if isinstance(stopped.__context__, OSError) and stopped.__context__.errno == errno.EPIPE:
            return _nobody_reads()
        raise
    except OSError as error:  # of whatever kind: a place, a disk, a name; what was finished before is whole
        fix = "choose a place that can be written and has room, then give the same command again"
        tell_once(str(fail(f"{error.filename or 'a file'}", said(error), fix=fix)), style="red")
        return 2
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return _misused(error)


def _misused(error: Any) -> int:
    """A command line that typer cannot read, or one without a command."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message())
    else:
        tell_once(str(_usage(error)), style="red")
    return 2


def main() -> None:
    """Entry point: exit code 2 with one message for bad input, 130 after Ctrl-C, 1 for a defect of ours."""
    log = logging.getLogger("textkd")
    log.handlers, log.propagate = [_Lines()], False
    log.setLevel(logging.INFO)
    code = _run_command()
    if code == 130:
        goes_on = any(word in ("run", "cache") for word in sys.argv[1:2])
        tell_once("stopped; the same command goes on from there" if goes_on else "stopped")
    sys.exit(code)
