"""The `thalovant` command.

Exit codes: 0 done, 1 it failed (one message on stderr, no traceback), 2 wrong usage, 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ._version import __version__

if TYPE_CHECKING:
    from .client import ThalovantClient
    from .identity import ThalovantIdentity
    from .trust_store import TrustStore

# Commands that live with what they start, loaded when they are called.
_ELSEWHERE = {"hub": "thalovant.hub.cli"}
_HELP_ELSEWHERE = {"hub": "Start a hub on this machine."}


def __getattr__(name: str) -> Any:
    # Kept out of the start: `--help` needs no client.
    if name == "ThalovantClient":
        from .client import ThalovantClient

        return ThalovantClient
    raise AttributeError(name)


class _Commands(click.Group):
    """The group, with commands that are imported only when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_ELSEWHERE})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _ELSEWHERE:
            return super().get_command(ctx, name)
        command: click.Command = getattr(importlib.import_module(_ELSEWHERE[name]), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name in self.list_commands(ctx):
            own = super().get_command(ctx, name)
            rows.append((name, _HELP_ELSEWHERE[name] if own is None else own.get_short_help_str()))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-i", "--identity", "identity_file", metavar="FILE", help="Identity file (default: THALOVANT_* variables)."
)
@click.option("--config", metavar="FILE", help="Config file with profiles.")
@click.option("--profile", metavar="NAME", help="Profile of the config file.")
@click.option("--host", metavar="URL", help="Another default hub URL than the identity's.")
@click.option("--port", type=click.IntRange(1, 65535), metavar="N", help="Another default port than the identity's.")
@click.option("--protocol", type=click.Choice(["wss", "https", "mqtt"]), help="Force a transport.")
@click.option("--fallback", is_flag=True, help="Try the identity's other transports where that one leads nowhere.")
@click.option("--ca-file", metavar="FILE", help="Trust the authorities in this PEM file.")
@click.option("--state-dir", metavar="DIR", help="Folder of keys and pins (default: beside the identity file).")
@click.option("--allow-insecure", is_flag=True, help="Take plain endpoints off this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.version_option(__version__, prog_name="thalovant")
@click.pass_context
def cli(ctx: click.Context, /, **options: Any) -> None:
    """Talk to a Thalovant hub.

    The client identity comes from --identity, from --config or --profile, or else from THALOVANT_* variables.
    """
    ctx.obj = options


@cli.command()
@click.argument("text")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=12.0,
    show_default=True,
    metavar="S",
    help="Seconds to wait for the reply, once connected.",
)
@click.option("--lang", default="en-us", show_default=True)
@click.option("--session-id", metavar="ID")
@click.pass_obj
def ask(options: dict[str, Any], text: str, timeout: float, lang: str, session_id: str | None) -> None:
    """Say TEXT to the hub and print what it says."""
    if not text.strip():
        raise click.UsageError("TEXT is blank: say something to the hub")
    with _client(options) as client:
        reply = client.ask(text, timeout=timeout, lang=lang, session_id=session_id)
    _print(options, reply.as_dict(), reply.text)


@cli.command()
@click.pass_obj
def health(options: dict[str, Any]) -> int:
    """Connect and say whether the connection works; exit code 0 if it does."""
    from .errors import ThalovantConnectionError
    from .models import ThalovantHealth

    try:
        with _client(options) as client:
            found = client.healthcheck()
    except ThalovantConnectionError as error:
        found = ThalovantHealth(False, False, False, last_error=str(error))
    _print(options, found.as_dict(), "\n".join(found.lines()))
    return 0 if found.ok else 1


@cli.command()
@click.pass_obj
def doctor(options: dict[str, Any]) -> int:
    """Find out why there is no connection; exit code 0 if there is one."""
    client = _client(options)
    try:
        report = client.doctor()
    finally:
        client.close()
    _print(options, report.as_dict(), report.format())
    return 0 if report.ok else 1


@cli.command()
@click.argument("event")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Stop after S seconds.")
@click.option("--max-events", type=click.IntRange(min=1), metavar="N", help="Stop after N events.")
@click.option("--session-id", metavar="ID")
@click.pass_obj
def listen(
    options: dict[str, Any], event: str, timeout: float | None, max_events: int | None, session_id: str | None
) -> None:
    """Print events of the hub as they come, one a line."""
    with _client(options) as client:
        for heard in client.listen(event, timeout=timeout, max_events=max_events, session_id=session_id):
            click.echo(_line(heard.as_dict()) if options["as_json"] else heard.text or _line(heard.data))


@cli.command()
@click.argument("event")
@click.option("--data", metavar="JSON", help="The event's data, a JSON object.")
@click.option("--context", metavar="JSON", help="The event's context, a JSON object.")
@click.pass_obj
def emit(options: dict[str, Any], event: str, data: str | None, context: str | None) -> None:
    """Put an event on the hub's bus."""
    fields = _object("--data", data), _object("--context", context)
    with _client(options) as client:
        client.emit(event, *fields)
    _print(options, {"sent": event}, "sent")


@cli.command()
@click.argument("text")
@click.option("--lang", default="en-us", show_default=True)
@click.option("--session-id", metavar="ID")
@click.pass_obj
def utter(options: dict[str, Any], text: str, lang: str, session_id: str | None) -> None:
    """Say TEXT to the hub without waiting for an answer."""
    if not text.strip():
        raise click.UsageError("TEXT is blank: say something to the hub")
    with _client(options) as client:
        client.send_utterance(text, lang=lang, session_id=session_id)
    _print(options, {"sent": text}, "sent")


@cli.group()
def pins() -> None:
    """The keys of hubs that this client trusts."""


@pins.command("list")
@click.pass_obj
def list_pins(options: dict[str, Any]) -> None:
    """Print every pinned hub and the fingerprint of its key."""
    found = {pin: _fingerprint(key) for pin, key in sorted(_trust(options).pins().items())}
    _print(options, found, "\n".join(f"{pin} {shown}" for pin, shown in found.items()) or "no hub is pinned")


@pins.command("show")
@click.argument("pin")
@click.pass_obj
def show_pin(options: dict[str, Any], pin: str) -> None:
    """Print the fingerprint of PIN's key, to compare it with the hub's own."""
    known = _trust(options).pins()
    if pin not in known:
        raise _unknown_pin(pin, known)
    _print(options, {"pin": pin, "fingerprint": _fingerprint(known[pin])}, _fingerprint(known[pin]))


@pins.command("forget")
@click.argument("pin")
@click.pass_obj
def forget_pin(options: dict[str, Any], pin: str) -> None:
    """Forget PIN's key: the next one that the hub shows is trusted."""
    trust = _trust(options)
    if not trust.forget(pin):
        raise _unknown_pin(pin, trust.pins())
    _print(options, {"forgotten": pin}, f"forgotten: {pin}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (the process's arguments if None); returns the exit code."""
    try:
        result = cli.main(args=None if argv is None else list(argv), prog_name="thalovant", standalone_mode=False)
    except click.UsageError as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # of newer releases
            error.show()
            return error.exit_code
        command = "thalovant" if error.ctx is None else error.ctx.command_path
        _complain(error.format_message(), f"Try `{command} --help`.")
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; what is left of it has to go somewhere when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # one message, whatever it is
        _complain(str(error) or type(error).__name__, getattr(error, "hint", ""))
        return 1
    return result if isinstance(result, int) else 0


def _complain(message: str, hint: str) -> None:
    click.echo(f"thalovant: {' '.join(message.split())}", err=True)
    if hint:
        click.echo(f"  {' '.join(hint.split())}", err=True)


def _trust(options: dict[str, Any]) -> TrustStore:
    from .trust_store import TrustStore

    return TrustStore(options["state_dir"], _identity(options))


def _fingerprint(key: bytes) -> str:
    from thalovant_proto.trust import fingerprint

    return fingerprint(key)


def _unknown_pin(pin: str, known: Mapping[str, bytes]) -> Exception:
    from .errors import ThalovantIdentityError

    names = ", ".join(sorted(known)) or "none"
    return ThalovantIdentityError(f"No hub is pinned as {pin}.", code="unknown_pin", hint=f"Pinned are: {names}.")


def _client(options: dict[str, Any]) -> ThalovantClient:
    given = {**options, "noise_state_dir": options["state_dir"]}
    names = ("protocol", "ca_file", "noise_state_dir", "fallback", "allow_insecure")
    settings = {name: given[name] for name in names if given[name] not in (None, False)}
    made: ThalovantClient = sys.modules[__name__].ThalovantClient(_identity(options), **settings)
    return made


def _identity(options: dict[str, Any]) -> ThalovantIdentity:
    from dataclasses import replace

    from .errors import ThalovantIdentityError
    from .identity import ThalovantIdentity

    if options["identity_file"] is not None:
        identity = ThalovantIdentity.from_file(options["identity_file"])
    elif options["config"] is not None or options["profile"] is not None:
        identity = ThalovantIdentity.from_config(options["config"], profile=options["profile"])
    elif any(name.startswith("THALOVANT_") for name in os.environ):
        identity = ThalovantIdentity.from_env()
    else:
        raise ThalovantIdentityError(
            "There is no client identity.",
            code="missing_identity",
            hint="Give one: --identity FILE, --profile NAME, or THALOVANT_* variables.",
        )
    if options["host"] is not None:
        identity = replace(identity, default_master=options["host"].rstrip("/"))
    if options["port"] is not None:
        identity = replace(identity, default_port=options["port"])
    return identity


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


def _line(fields: Any) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def _print(options: dict[str, Any], fields: Any, text: str) -> None:
    click.echo(json.dumps(fields, indent=2, sort_keys=True) if options["as_json"] else text)


if __name__ == "__main__":
    sys.exit(main())
