"""The control plane of `thalovant hub`, as people and machines find it on the command line."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path

import pytest

from .command import api_line, ended, running


def add_account(home: Path, password: str, *options: str) -> subprocess.CompletedProcess[str]:
    """`thalovant hub accounts add`, with the password on standard input."""
    return ended("--state", str(home / "hub"), "accounts", "add", *options, "--password-stdin", input=f"{password}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["accounts", "add", "me@example.com"], "there is no terminal to ask for the password: pipe it in"),
        (["--api-port", "nope"], "'nope' is neither a port from 0 to 65535 nor \"off\""),
        (["--mqtt-port", "70000"], "'70000' is neither a port from 0 to 65535 nor \"off\""),
    ],
)
def test_what_cannot_be_meant(home: Path, arguments: list[str], message: str) -> None:
    """One line that says what to write."""
    done = ended("--state", str(home / "hub"), *arguments, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout, message in done.stderr) == (2, "", True)
    assert "Traceback" not in done.stderr


def test_an_account_is_made_and_signs_in(home: Path) -> None:
    """It has a private hub of its own; the ready line says what to paste."""
    done = add_account(home, "correct horse", "me@example.com", "--max-clients", "3")
    assert (done.returncode, done.stdout) == (
        0,
        "account 'me@example.com' added; start the hub, and sign in: ThalovantControlPlane().login(EMAIL, PASSWORD)\n",
    )
    with running("--state", str(home / "hub")) as (process, _):
        ready = api_line(process)
        url = ready.rpartition("=")[2].strip()
        assert ready == f"control plane at {url}; sign in with your account: export THALOVANT_API_URL={url}\n"
        body = json.dumps({"email": "me@example.com", "password": "correct horse"}).encode()
        request = urllib.request.Request(f"{url}/v1/auth/token", body, {"Content-Type": "application/json"})
        token = json.load(urllib.request.urlopen(request))["access_token"]
        mine = urllib.request.Request(f"{url}/v1/hubs", headers={"Authorization": f"Bearer {token}"})
        assert [hub["name"] for hub in json.load(urllib.request.urlopen(mine))["data"]] == ["Hub of me@example.com"]
        assert "is in use by another hub" in add_account(home, "correct horse", "you@example.com").stderr


@pytest.mark.parametrize(
    ("password", "options", "said"),
    [
        ("correct horse", ("me@example.com",), "there is an account 'me@example.com' already"),
        ("short", ("you@example.com",), "the password must have 8 characters or more"),
        ("correct horse", (" ",), "EMAIL must be printable text"),
    ],
)
def test_an_account_that_cannot_be_is_refused(home: Path, password: str, options: tuple[str, ...], said: str) -> None:
    """On one line, with exit code 2."""
    add_account(home, "correct horse", "me@example.com")
    done = add_account(home, password, *options)
    assert (done.returncode, said in done.stderr) == (2, True)


def test_a_demonstration_says_how_to_sign_in(home: Path) -> None:
    """And that it is one."""
    with running("--ephemeral", "--demo") as (process, _):
        assert "; demonstration: sign in as you@example.com with the password 'password': export" in api_line(process)


def test_without_an_api_there_is_no_line_of_it(home: Path) -> None:
    """Nor a port."""
    with running("--ephemeral", "--json", "--api-port", "off") as (_, ready):
        assert json.loads(ready)["api_url"] is None
