"""The terminal of the `thalovant` command: the one place that writes to it.

Nothing that a hub says gets there raw. On a terminal a reply is drawn with `rich`, if that is installed and there is
more than text; a spinner says what is waited for.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from ..render import Table, label_of, safe_url, table_lines, table_of, to_text, visible

if TYPE_CHECKING:
    from rich.console import Console

    from ..async_client import AsyncThalovantClient
    from ..client import ThalovantClient
    from ..events import ThalovantEvent
    from ..models import ThalovantReply
    from ..rich import ThalovantDisplayItem

#: How long something may take before a spinner says so, and how long each of its signs is seen, in seconds.
SPINNER_DELAY: Final = 0.3
_SPINNER_STEP = 0.1
_PHASES = {
    "connecting": "connecting",
    "handshake": "agreeing on keys",
    "ready": "waiting for the hub",
    "waiting": "waiting to try again",
    "closing": "saying goodbye",
}


def say(text: str, *, err: bool = False) -> None:
    """Write lines to standard output, or error."""
    click.echo(visible(text, lines=True), err=err)


def say_line(text: str, *, err: bool = False) -> None:
    """Write one line, whatever is in the text."""
    click.echo(visible(text), err=err)


def json_text(fields: Any, *, indent: int | None = 2, sort: bool = True) -> str:
    """The exact fields as JSON of printable ASCII, on one line if `indent` is None."""
    import json

    separators = (",", ":") if indent is None else None
    return json.dumps(fields, indent=indent, sort_keys=sort, separators=separators).replace("\x7f", "\\u007f")


def show_event(event: ThalovantEvent, *, before: str = "") -> None:
    """Write an event on one line: its text, else its data, after what is `before` it."""
    say_line(before + (event.text or json_text(event.data, indent=None)))


def show_reply(reply: ThalovantReply) -> None:
    """Write a reply: its text, then what else there is to see."""
    items = reply.display_items()
    media = [item for item in items if item.kind != "text"]
    if media and is_screen(sys.stdout) and (console := _console(sys.stdout)) is not None:
        _draw(console, items)
    elif reply.text or not media:
        say("\n".join(filter(None, (reply.text, to_text(media)))))
    else:
        say(to_text(media))


def show_table(header: tuple[str, ...], rows: Iterable[Iterable[str]]) -> None:
    """Write all rows of a table, each on one line."""
    table = Table(header, tuple(tuple(map(visible, row)) for row in rows))
    if is_screen(sys.stdout) and (console := _console(sys.stdout)) is not None:
        _draw_table(console, table)
    else:
        say("\n".join(table_lines(table)))


def is_screen(stream: TextIO | None) -> bool:
    """Whether the stream is a terminal that can draw."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


@contextmanager
def spinner(
    client: ThalovantClient | AsyncThalovantClient,
    *,
    quiet: bool = False,
    delay: float = SPINNER_DELAY,
    stream: TextIO | None = None,
) -> Iterator[None]:
    """Show on standard error what the client is at, if the block takes longer than `delay` seconds.

    Only on a terminal that can draw, and not if `quiet`. Nothing of it is left when the block ends, however it does.
    """
    stream = stream or sys.stderr
    if quiet or not is_screen(stream):
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_spin, args=(client, stream, delay, over), name="thalovant-spinner", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(1.0)  # a terminal that is stopped takes no output, and is no reason to hang


def _spin(client: Any, stream: TextIO, delay: float, over: threading.Event) -> None:
    if over.wait(delay):
        return
    signs = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if (stream.encoding or "").lower().startswith("utf") else "|/-\\"
    width = 0
    try:
        for sign in itertools.cycle(signs):
            line = f"{sign} {_PHASES.get(getattr(client, 'state', ''), 'starting')} ..."
            stream.write("\r" + line.ljust(width))
            stream.flush()
            width = len(line)
            if over.wait(_SPINNER_STEP):
                break
        stream.write("\r" + " " * width + "\r")
        stream.flush()
    except (OSError, ValueError):  # the terminal has gone
        return


def _console(stream: TextIO) -> Console | None:
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(file=stream, highlight=False, markup=False, emoji=False)


def _draw(console: Console, items: Iterable[ThalovantDisplayItem]) -> None:
    from rich.text import Text

    for item in items:
        match item.kind:
            case "table":
                _draw_table(console, table_of(item.data))
            case "image" | "attachment" if (url := safe_url(item.url)) is not None:
                line = Text.assemble((f"{item.kind}: ", "dim"), (f"{label_of(item)} ", "bold"), (url, "blue underline"))
                console.print(line, soft_wrap=True)
            case "choices":
                for choice in to_text([item]).split("\n"):
                    number, _, title = choice.partition(" ")
                    console.print(Text.assemble((f"{number} ", "bold cyan"), title), soft_wrap=True)
            case _:
                console.print(Text(to_text([item])), soft_wrap=True)


def _draw_table(console: Console, table: Table) -> None:
    from rich import box, table as rich_table
    from rich.text import Text

    drawn = rich_table.Table(box=box.ROUNDED, show_header=bool(table.header), header_style="bold")
    drawn.caption = table.left_out or None
    for at in range(max(map(len, (table.header, *table.rows)))):
        drawn.add_column(Text(table.header[at] if at < len(table.header) else ""), overflow="fold")
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    console.print(drawn)
