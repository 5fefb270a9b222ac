"""What commands share: the client that the options describe, and how results are printed."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from .terminal import json_text, say, say_line, show_event, show_reply, spinner

if TYPE_CHECKING:
    from ..client import ThalovantClient
    from ..events import ThalovantEvent
    from ..models import ThalovantReply
    from ..trust_store import TrustStore


class _Seconds(click.FloatRange):
    """A time to wait."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if found != found:  # nan is in every range
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return found


SECONDS = _Seconds(min=0, min_open=True)


def make_client(options: dict[str, Any]) -> ThalovantClient:
    """The client that the options describe, not connected yet; of the class that `thalovant.cli` names."""
    from .. import cli
    from .sources import read_identity

    _show_logs(options)
    given = {**options, "noise_state_dir": options["state_dir"]}
    names = ("protocol", "ca_file", "noise_state_dir", "fallback", "allow_insecure")
    settings = {name: given[name] for name in names if given[name] not in (None, False)}
    made: ThalovantClient = cli.ThalovantClient(read_identity(options), **settings)
    return made


def waits(client: ThalovantClient, options: dict[str, Any], *, quiet: bool = False) -> AbstractContextManager[None]:
    """The spinner of a command, unless its streams are for programs or have logs."""
    return spinner(client, quiet=quiet or options["as_json"] or options["verbose"])


def make_trust(options: dict[str, Any]) -> TrustStore:
    """The trust of that client, to look into."""
    from ..trust_store import TrustStore
    from .sources import read_identity

    return TrustStore(options["state_dir"], read_identity(options))


def read_text(words: tuple[str, ...]) -> str:
    """The words of the command line as one text, or standard input where they are `-`."""
    text = sys.stdin.read() if words == ("-",) else " ".join(words)
    if not text.strip():
        raise click.UsageError("TEXT is blank: say something to the hub")
    return text.strip() if words == ("-",) else text


def show(options: dict[str, Any], fields: Any, text: str) -> None:
    """Print a result: `fields` with --json, else `text`."""
    say(json_text(fields) if options["as_json"] else text)


def print_reply(options: dict[str, Any], reply: ThalovantReply, *, indent: int | None = 2) -> None:
    """Print a reply: all of it with --json, on one line if `indent` is None, else what it says and shows."""
    if options["as_json"]:
        say(json_text(reply.as_dict(), indent=indent))
    else:
        show_reply(reply)


def print_event(options: dict[str, Any], event: ThalovantEvent, *, before: str = "") -> None:
    """Print an event on one line: all of it with --json, else what it says, after what is `before` it."""
    if options["as_json"]:
        say(json_text(event.as_dict(), indent=None))
    else:
        show_event(event, before=before)


def heard_nothing(what: str, timeout: float | None) -> None:
    """Say on standard error that the time is up and nothing has come."""
    if timeout is not None:
        say_line(f"thalovant: no event {what} within {timeout:g} s", err=True)


def _show_logs(options: dict[str, Any]) -> None:
    """Log to standard error with -v; without it warnings are what Python shows. Nothing raw either way."""
    import logging

    from ..logs import VisibleFormatter, set_up

    if options["verbose"] and not os.environ.get("THALOVANT_LOG"):
        set_up("debug")
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(VisibleFormatter())
