"""What the command says on standard error when something is wrong: two lines, or one JSON object with --json."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import click

from ..errors import ThalovantError, ThalovantHubKeyChangedError
from .terminal import json_text, say, say_line

#: What hints call by the names of Python's parameters, and what it is on the command line.
_ON_THE_COMMAND_LINE: Final = (
    ("allow_insecure=True", "--allow-insecure"),
    (", or pass allow_legacy=True", ""),
    (", or allow more to wait: max_buffered_events", ""),
    ("ca_file, in the identity or as an argument,", "--ca-file FILE, as ca_file in the identity,"),
    ("Let noise_state_dir name", "Let --state-dir name"),
    (", or allow more time (send_timeout=)", ""),
    ("; if it wants a client certificate, pass an ssl_context", ""),
    ("(timeout=)", "(--timeout)"),
    ("Call again:", "Run the command again:"),
)
#: Packages that are not always there, and the extra that brings each.
_EXTRAS: Final = {"amqtt": "hub", "rich": "cli", "orjson": "speed", "trio": "trio", "keyring": "keyring"}


def complain(options: dict[str, Any], error: Exception) -> None:
    """Say what is wrong and what to do about it, each on one line."""
    message = str(error) or type(error).__name__
    hint = getattr(error, "hint", "")
    match error:
        case click.UsageError():
            message = error.format_message()
            hint = f"Try `{'thalovant' if error.ctx is None else error.ctx.command_path} --help`."
        case click.ClickException():
            message = error.format_message()
        case ThalovantHubKeyChangedError():
            hint = _forget(options) or hint
        case ModuleNotFoundError():
            package = (error.name or "").partition(".")[0]
            extra = f"thalovant[{_EXTRAS[package]}]" if package in _EXTRAS else "thalovant"
            message = f"This needs the package {package}, which is not installed."
            hint = f"pip install '{extra}'"
    message, hint = " ".join(message.split()), " ".join(in_options(hint).split())
    if options.get("as_json"):
        say(json_text(_as_dict(error, message, hint), indent=None, sort=False), err=True)
        return
    say_line(f"thalovant: {message}", err=True)
    if hint:
        say_line(f"  {hint}", err=True)


def in_options(hint: str) -> str:
    """The hint with options in place of Python's parameters."""
    for parameter, option in _ON_THE_COMMAND_LINE:
        hint = hint.replace(parameter, option)
    return hint


def _as_dict(error: Exception, message: str, hint: str) -> dict[str, Any]:
    usage = isinstance(error, click.ClickException)
    ours = error if isinstance(error, ThalovantError) else None
    return {
        "type": getattr(error, "kind", "UsageError") if usage else type(error).__name__,
        "name": ours.name if ours else getattr(error, "name", "usage") if usage else "error",
        "code": ours.code if ours else None,
        "message": message,
        "hint": hint,
        "retryable": ours is not None and ours.retryable,
        "delivery": ours.delivery if ours else None,
    }


def _forget(options: dict[str, Any]) -> str:
    """What to do about a hub's new key, with the command to paste."""
    import shlex

    from .._client.settings import choose_protocol
    from ..trust_store import pin_id
    from .sources import read_identity

    with suppress(Exception):  # an identity that can be read no more: the error's own hint has to do
        identity = read_identity(options)
        pin = pin_id(identity, choose_protocol(identity, options["protocol"]))
        named = {"-i": "identity_file", "--config": "config", "--profile": "profile", "--state-dir": "state_dir"}
        given = [word for option, name in named.items() if options[name] for word in (option, str(options[name]))]
        command = shlex.join(["thalovant", *given, "pins", "forget", pin])
        return f"Somebody may be in between. If the hub was really replaced: {command}"
    return ""
