"""The group of all commands, and the options that each of them takes, before or behind its name."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from .._version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: Each command: the module that has it, which is imported when it runs, and its line of help.
COMMANDS = {
    "ask": ("thalovant._commands.talk", "Say TEXT to the hub and print what it says."),
    "chat": ("thalovant._commands.live", "Talk to the hub, line by line."),
    "completion": ("thalovant._commands.state", "Print the completion script of a shell."),
    "config": ("thalovant._commands.identity", "The settings that count, and where they come from."),
    "doctor": ("thalovant._commands.state", "Find out why there is no connection."),
    "emit": ("thalovant._commands.talk", "Put an event on the hub's bus."),
    "health": ("thalovant._commands.state", "Connect and say whether the connection works."),
    "help": ("thalovant._commands.state", "Show the help of a command."),
    "hub": ("thalovant.hub.cli", "Start a hub on this machine."),
    "identity": ("thalovant._commands.identity", "The client's identity: show it, check it, see its protocols."),
    "intents": ("thalovant._commands.intents", "Print what the hub understands."),
    "listen": ("thalovant._commands.talk", "Print events of the hub as they come, one a line."),
    "pins": ("thalovant._commands.pins", "The keys of hubs that this client trusts."),
    "utter": ("thalovant._commands.talk", "Say TEXT to the hub without waiting for an answer."),
    "version": ("thalovant._commands.state", "Print the version."),
    "watch": ("thalovant._commands.live", "Print all that the hub sends, as it comes."),
}


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    # The value behind the command wins over the one before it; a default over neither.
    options = ctx.ensure_object(dict)
    name = str(param.name)
    given = ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    if given or name not in options:
        options[name] = value


_FILE = {"type": click.Path(), "metavar": "FILE"}
_SHARED: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (("-i", "--identity", "identity_file"), {**_FILE, "help": "Identity file (else THALOVANT_* variables)."}),
    (("--config",), {**_FILE, "help": "Config file with profiles."}),
    (("--profile",), {"metavar": "NAME", "help": "Profile of the config file."}),
    (("--host",), {"metavar": "URL", "help": "Another hub than the identity's: wss://NAME, https://NAME or NAME."}),
    (("--port",), {"type": click.IntRange(1, 65535), "metavar": "N", "help": "Another port than the identity's."}),
    (("--protocol",), {"type": click.Choice(["wss", "https", "mqtt"]), "help": "Force a transport."}),
    (("--fallback",), {"is_flag": True, "help": "Try the identity's other transports where that one leads nowhere."}),
    (("--ca-file",), {**_FILE, "help": "Trust the authorities in this PEM file."}),
    (("--state-dir",), {**_FILE, "help": "Folder of keys and pins (default: beside the identity file)."}),
    (("--allow-insecure",), {"is_flag": True, "help": "Take plain endpoints off this machine."}),
    (("--json", "as_json"), {"is_flag": True, "help": "Print JSON; errors too, as one object on standard error."}),
    (("-v", "--verbose"), {"is_flag": True, "help": "Log what happens to standard error."}),
)  # fmt: skip


def shared_options(*, hidden: bool) -> Iterator[click.Option]:
    """The options of every command, which `ctx.obj` has by name."""
    for names, extra in _SHARED:
        yield click.Option(list(names), **extra, hidden=hidden, expose_value=False, callback=_remember)


_SETTINGS = {"help_option_names": ["-h", "--help"]}


class Command(click.Command):
    """A command that takes the shared options behind its name too."""

    def __init__(self, *args: Any, **extra: Any) -> None:
        extra.setdefault("epilog", "Options of every command: `thalovant --help`.")
        super().__init__(*args, **extra)
        self.context_settings.update(_SETTINGS)
        self.params.extend(shared_options(hidden=True))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        hidden = (one for one in self.params if isinstance(one, click.Option) and one.hidden)
        names = ((name, one.help) for one in hidden for name in one.opts if incomplete[:1] == "-")
        more = [CompletionItem(name, help=text) for name, text in names if name.startswith(incomplete)]
        return super().shell_complete(ctx, incomplete) + more


class Group(click.Group):
    """A group of commands, all of which take the shared options."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, hidden_options: bool = True, **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.context_settings.update(_SETTINGS)
        self.params.extend(shared_options(hidden=hidden_options))

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            close = get_close_matches(args[0], self.list_commands(ctx))
            if close and not getattr(error, "possibilities", None):  # newer releases find it where all is loaded
                raise click.UsageError(f"{error.message} Did you mean {close[0]!r}?", ctx) from None
            raise


class _Commands(Group):
    """The group of the commands above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        found = [CompletionItem(one, help=text) for one, (_, text) in COMMANDS.items() if one.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)  # the group's would load every command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Commands, hidden_options=False)
@click.version_option(__version__, prog_name="thalovant")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Talk to a Thalovant hub.

    The client identity comes from --identity, from --config or --profile, or else from THALOVANT_* variables. Options
    stand before or behind the command.
    """
