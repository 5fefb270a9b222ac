"""One run of the command: its arguments, its streams, and what each ending means to the shell."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from .app import cli
from .terminal import say_line

_QUIET = (errno.EPIPE, errno.EINVAL)  # whoever read our output has gone, as different systems say it


def run(argv: Sequence[str], interrupted: Callable[[], bool]) -> int:
    """Run the command; returns the exit code. `interrupted` says whether Ctrl-C has come.

    It comes out as `KeyboardInterrupt` only where click is not in it.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace" if stream is sys.stdout else "backslashreplace")
    options: dict[str, Any] = {}
    try:
        code = _invoke([_readable(one) for one in argv], options, interrupted)
        _flush()
        return code
    except OSError as error:
        return _lost_output(error)


def _invoke(argv: list[str], options: dict[str, Any], interrupted: Callable[[], bool]) -> int:
    try:
        result = cli.main(args=argv, prog_name="thalovant", standalone_mode=False, obj=options)
    except click.UsageError as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # of newer releases
            error.show()
            return error.exit_code
        _complain(options or _asked_for(argv), error)
        return error.exit_code
    except click.ClickException as error:
        if "--json" in argv[: argv.index("--run") if "--run" in argv else None]:
            _complain({"as_json": True}, error)
        else:
            error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except Exception as error:  # one message, whatever it is
        if isinstance(error, OSError) and _of_output(error):
            raise
        if interrupted() and not hasattr(error, "delivery"):  # none of ours, so perhaps what became of Ctrl-C
            return 130
        _complain(options, error)
        return 1
    return result if isinstance(result, int) else 0


def _asked_for(argv: list[str]) -> dict[str, Any]:
    # The options of a command line that is wrong are not known.
    return {"as_json": "--json" in argv}


def _complain(options: dict[str, Any], error: Exception) -> None:
    from .complaints import complain  # not needed where all is well

    complain(options, error)


def _readable(argument: str) -> str:
    """The argument as UTF-8 where the locale knows less, for a hub takes whole characters only."""
    return os.fsencode(argument).decode(errors="replace") if _has_surrogates(argument) else argument


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= sign <= "\udfff" for sign in text)


def _of_output(error: OSError) -> bool:
    return error.filename is None and error.errno in (*_QUIET, errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT)


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _lost_output(error: OSError) -> int:
    """One line for output that cannot be written, none where its reader has gone; the rest of it is dropped."""
    if error.errno not in _QUIET:
        say_line(f"thalovant: the output cannot be written: {error.strerror}", err=True)
    # What is left of it has to go somewhere when the process ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 1
