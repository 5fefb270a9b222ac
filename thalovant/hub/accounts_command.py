"""`thalovant hub accounts`: who may sign in to the control plane of a hub that does not run now."""

from __future__ import annotations

import asyncio
import datetime
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_hex

import click

from .._commands.terminal import say_line
from .storage.sqlite import Store


def accounts_command(arguments: Sequence[str], folder: Callable[[], Path | None]) -> int:
    """Run `accounts ARGUMENTS` on the state in a folder. Raises `click.UsageError`, `HubSetupError`."""
    return int(_accounts.main(list(arguments), "thalovant hub accounts", standalone_mode=False, obj=folder) or 0)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@click.group()
def _accounts() -> None:
    """Accounts of the control plane. The hub must not be running."""


@_accounts.command("add")
@click.argument("email")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--free", is_flag=True, help="An account without a plan: the API asks it for payment.")
@click.option("--max-clients", type=click.IntRange(0), metavar="N", help="How many clients it may have.")
@click.option("--requests-per-minute", type=click.IntRange(1), metavar="N", help="How much it may ask.")
@click.pass_obj
def _add(
    folder: Callable[[], Path | None],
    email: str,
    password_stdin: bool,
    free: bool,
    max_clients: int | None,
    requests_per_minute: int | None,
) -> None:
    """Add an account that signs in as EMAIL, and a private hub of its own."""
    from .api.accounts import add_account, hashed  # slow to import
    from .api.resources import add_hub
    from .storage.records import Records

    if not email.isprintable() or not email.strip():
        raise click.UsageError("EMAIL must be printable text")
    if password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    elif not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask for the password: pipe it in, with --password-stdin")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    if len(password) < 8:
        raise click.UsageError("the password must have 8 characters or more")
    limits = {"max_clients": max_clients, "requests_per_minute": requests_per_minute}
    kept = asyncio.run(hashed(password))
    store = Store.open(folder(), now=_now())
    try:
        records = Records(store, _now)
        with store.transaction():
            account = add_account(records, [email], kept, None, plan="free" if free else "paid", **limits)
            add_hub(
                records,
                account.id,
                {"name": f"Hub of {email}", "slug": f"hub-{token_hex(4)}", "spec": {"version": "1"}},
            )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    finally:
        store.close(now=_now())
    say_line(f"account {email!r} added; start the hub, and sign in: ThalovantControlPlane().login(EMAIL, PASSWORD)")
