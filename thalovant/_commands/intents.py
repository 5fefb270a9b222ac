"""`intents`: what the hub understands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ..intents import same_language
from .app import Command
from .common import SECONDS, make_client, show, waits
from .terminal import say_line, show_table

if TYPE_CHECKING:
    from ..intents import HubIntentInventory


@click.command(cls=Command)
@click.option("--lang", "languages", multiple=True, metavar="LANG", help="A language (en-us); can be repeated.")
@click.option("--timeout", type=SECONDS, default=5.0, show_default=True, metavar="S",
              help="Seconds to wait for each answer.")  # fmt: skip
@click.option("--speakable", is_flag=True, help="Sentences as they are said, instead of their patterns.")
@click.option("--all", "every", is_flag=True, help="All sentences instead of two of each intent.")
@click.pass_obj
def intents(options: dict[str, Any], languages: tuple[str, ...], timeout: float, speakable: bool, every: bool) -> None:
    """Print what the hub understands: its skills, their intents, and what to say."""
    client = make_client(options)
    with waits(client, options), client:
        found = client.intents(languages, timeout=timeout)
    if options["as_json"]:
        show(options, found.as_dict(), "")
        return
    if found.denied:
        say_line(f"thalovant: the hub does not tell its sentences ({', '.join(found.denied)}), only names", err=True)
    for asked, used in zip(found.languages, found.listed_in, strict=False):
        if not same_language(asked, used):
            say_line(f"thalovant: {asked} is listed in {used}", err=True)
    show_table(("skill", "intent", "language", "say"), list(_rows(found, speakable, 0 if every else 2)))
    if found.fallbacks:
        say_line(f"Anything else: {', '.join(one.skill_id for one in found.fallbacks)}")


def _rows(found: HubIntentInventory, speakable: bool, limit: int) -> Iterator[tuple[str, ...]]:
    for intent in found.intents:
        name = intent.name if intent.enabled else f"{intent.name} (disabled)"
        for lang in intent.languages or ("",):
            texts = intent.examples(lang, limit, speakable=speakable) or ("",)
            yield from ((intent.skill_id, name, lang, text) for text in texts)
