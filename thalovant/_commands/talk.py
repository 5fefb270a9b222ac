"""`ask`, `utter`, `emit` and `listen`."""

from __future__ import annotations

import json
from typing import Any

import click

from .app import Command
from .common import SECONDS, heard_nothing, make_client, print_event, print_reply, read_text, show, waits


@click.command(cls=Command)
@click.argument("words", nargs=-1, required=True, metavar="TEXT")
@click.option("--timeout", type=SECONDS, default=12.0, show_default=True, metavar="S",
              help="Seconds to wait for the reply, once connected.")  # fmt: skip
@click.option("--lang", default="en-us", show_default=True)
@click.option("--session-id", metavar="ID")
@click.pass_obj
def ask(options: dict[str, Any], words: tuple[str, ...], timeout: float, lang: str, session_id: str | None) -> None:
    """Say TEXT to the hub and print what it says. TEXT is all words; `-` reads it from standard input."""
    text = read_text(words)
    client = make_client(options)
    with waits(client, options), client:
        reply = client.ask(text, timeout=timeout, lang=lang, session_id=session_id)
    print_reply(options, reply)


@click.command(cls=Command)
@click.argument("event")
@click.option("--timeout", type=SECONDS, metavar="S", help="Stop after S seconds.")
@click.option("--max-events", type=click.IntRange(min=1), metavar="N", help="Stop after N events.")
@click.option("--session-id", metavar="ID")
@click.pass_obj
def listen(
    options: dict[str, Any], event: str, timeout: float | None, max_events: int | None, session_id: str | None
) -> None:
    """Print events of the hub as they come, one a line."""
    heard = 0
    with make_client(options) as client:
        for one in client.listen(event, timeout=timeout, max_events=max_events, session_id=session_id):
            heard += 1
            print_event(options, one)
    if not heard:
        heard_nothing(repr(event), timeout)


@click.command(cls=Command)
@click.argument("event")
@click.option("--data", metavar="JSON", help="The event's data, a JSON object.")
@click.option("--context", metavar="JSON", help="The event's context, a JSON object.")
@click.pass_obj
def emit(options: dict[str, Any], event: str, data: str | None, context: str | None) -> None:
    """Put an event on the hub's bus."""
    fields = _object("--data", data), _object("--context", context)
    with make_client(options) as client:
        client.emit(event, *fields)
    show(options, {"sent": event}, "sent")


@click.command(cls=Command)
@click.argument("words", nargs=-1, required=True, metavar="TEXT")
@click.option("--lang", default="en-us", show_default=True)
@click.option("--session-id", metavar="ID")
@click.pass_obj
def utter(options: dict[str, Any], words: tuple[str, ...], lang: str, session_id: str | None) -> None:
    """Say TEXT to the hub without waiting for an answer."""
    text = read_text(words)
    with make_client(options) as client:
        client.send_utterance(text, lang=lang, session_id=session_id)
    show(options, {"sent": text}, "sent")


def _object(option: str, text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        raise click.UsageError(f"{option} must be valid JSON") from None
    if not isinstance(found, dict):
        raise click.UsageError(f"{option} must be a JSON object")
    return found
