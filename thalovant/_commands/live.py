"""`chat` and `watch`: those that stay until somebody ends them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from .app import Command
from .common import SECONDS, heard_nothing, make_client, print_event, print_reply, waits
from .terminal import say

if TYPE_CHECKING:
    from ..client import ThalovantClient
    from ..events import ThalovantEvent


@click.command(cls=Command)
@click.option("--timeout", type=SECONDS, default=12.0, show_default=True, metavar="S",
              help="Seconds to wait for each reply.")  # fmt: skip
@click.option("--lang", default="en-us", show_default=True)
@click.option("--session-id", metavar="ID", help="Go on with this conversation.")
@click.pass_obj
def chat(options: dict[str, Any], timeout: float, lang: str, session_id: str | None) -> int:
    """Talk to the hub: each line is said, each reply printed, in one conversation. Ctrl-C ends a reply, Ctrl-D leaves.

    From a pipe it says all lines; then the exit code is 1 if one of them failed.
    """
    from .. import cli
    from ..errors import ThalovantError
    from .complaints import complain

    screen = sys.stdin is not None and sys.stdin.isatty()
    failed = False
    with make_client(options) as client:
        talk = client.conversation(session_id=session_id, lang=lang)
        for line in _typed() if screen else sys.stdin or ():
            if not line.strip():
                continue
            try:
                with waits(client, options, quiet=not screen):
                    reply = talk.ask(line.strip(), timeout=timeout)
                print_reply(options, reply, indent=None)
            except KeyboardInterrupt:
                if not screen:
                    raise
                cli.forget_interrupt()
                say("\n(given up)", err=True)
            except (ThalovantError, ValueError) as error:
                complain(options, error)
                failed = True
    return int(failed and not screen)


def _typed() -> Iterator[str]:
    """Lines from the keyboard, which can be edited and called back, until Ctrl-D."""
    from .. import cli

    with suppress(ImportError):
        import readline  # noqa: F401 - `input` has lines edited by it
    prompt = "> " if sys.stdout.isatty() else ""
    while True:
        try:
            yield input(prompt)
        except KeyboardInterrupt:
            cli.forget_interrupt()
            say("", err=True)
        except EOFError:
            say("", err=True)
            return


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[EVENT]...")
@click.option("--timeout", type=SECONDS, metavar="S", help="Stop after S seconds.")
@click.option("--max-events", type=click.IntRange(min=1), metavar="N", help="Stop after N events.")
@click.option("--session-id", metavar="ID", help="Only events of this conversation.")
@click.pass_obj
def watch(
    options: dict[str, Any],
    names: tuple[str, ...],
    timeout: float | None,
    max_events: int | None,
    session_id: str | None,
) -> None:
    """Print all that the hub sends to this client as it comes: the time, the event's name, what it says.

    Only events named EVENT, if given; `*` and `?` stand for any letters and one letter: `watch 'ovos.*'`.
    """
    count = 0
    with make_client(options) as client:
        for event in _events(client, names, timeout, max_events, session_id):
            count += 1
            print_event(options, event, before=f"{time.strftime('%H:%M:%S')} {event.name}  ")
    if not count:
        heard_nothing(" ".join(names) or "at all", timeout)


def _events(
    client: ThalovantClient,
    names: tuple[str, ...],
    timeout: float | None,
    max_events: int | None,
    session_id: str | None,
) -> Iterator[ThalovantEvent]:
    from .._client.listening import each_event
    from .._internal.options import LISTEN_BUFFER

    wanted = client._original._wanted("*", None, session_id, None, _wanted(names))._replace(name=None)
    return client._here().iterate(lambda: each_event(wanted, timeout, max_events, LISTEN_BUFFER))


def _wanted(names: tuple[str, ...]) -> Callable[[ThalovantEvent], bool] | None:
    from fnmatch import fnmatchcase

    return (lambda event: any(fnmatchcase(event.name, name) for name in names)) if names else None
