"""`health`, `doctor`, `version`, `completion` and `help`: what there is, and whether it works."""

from __future__ import annotations

from contextlib import closing, nullcontext
from typing import Any

import click

from .._version import __version__
from .app import Command, cli
from .common import make_client, show, waits
from .terminal import say


@click.command(cls=Command)
@click.pass_obj
def health(options: dict[str, Any]) -> int:
    """Connect and say whether the connection works; exit code 0 if it does."""
    from ..errors import ThalovantConnectionError
    from ..models import ThalovantHealth

    try:
        client = make_client(options)
        with waits(client, options), client:
            found = client.healthcheck()
    except ThalovantConnectionError as error:
        found = ThalovantHealth(False, False, False, last_error=str(error))
    show(options, found.as_dict(), "\n".join(found.lines()))
    return 0 if found.ok else 1


@click.command(cls=Command)
@click.pass_obj
def doctor(options: dict[str, Any]) -> int:
    """Find out why there is no connection; exit code 0 if there is one."""
    from ..errors import ThalovantError

    try:
        client = make_client(options)
    except ThalovantError as error:
        from .diagnosis import without_client

        report = without_client(options, error)
    else:
        # Programs may replace the client by one of their own, which has what published commands call.
        with waits(client, options), closing(client) if hasattr(client, "close") else nullcontext():
            report = client.doctor()
    show(options, report.as_dict(), report.format())
    return 0 if report.ok else 1


@click.command(cls=Command)
@click.pass_obj
def version(options: dict[str, Any]) -> None:
    """Print the version."""
    show(options, {"version": __version__}, f"thalovant, version {__version__}")


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that lets a shell complete commands and options.

    \b
    bash: thalovant completion bash > ~/.local/share/bash-completion/completions/thalovant
    zsh:  thalovant completion zsh > DIR/_thalovant, where DIR is one of $fpath
    fish: thalovant completion fish > ~/.config/fish/completions/thalovant.fish
    """
    from click.shell_completion import ShellComplete, get_completion_class

    made = get_completion_class(shell)
    assert made is not None  # noqa: S101 - click has these three
    # Not `source` of the class for bash, which would run a bash to ask for its version.
    say(ShellComplete.source(made(cli, {}, "thalovant", "_THALOVANT_COMPLETE")))


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def help(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Show the help of a command, or of all of them."""
    command: click.Command = cli
    here = ctx.find_root()
    for name in names:
        found = command.get_command(here, name) if isinstance(command, click.Group) else None
        if found is None:
            raise click.UsageError(f"No such command {name!r}.")
        here = click.Context(found, info_name=name, parent=here)
        command = found
    say(command.get_help(here))
