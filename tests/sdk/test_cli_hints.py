"""What the command says to do about a mistake: in the words of the command line, ready to paste."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .command import Run
from .lab import Lab, free_port


def test_changed_hub_key(run: Run, good: Run, write: Callable[..., Path], v3: Lab, tmp_path: Path) -> None:
    """The line to paste makes the next ask work."""
    state = tmp_path / "keys of mine"
    assert good("ask", "hi")[0] == 0
    shutil.copytree(v3.state_dir(), state)
    node = state / "_identity.json"
    fields = json.loads(node.read_text())
    fields["pinned_noise_keys"] = dict.fromkeys(fields["pinned_noise_keys"], "ab" * 32)
    node.write_text(json.dumps(fields))
    ask = ["-i", write(), "--state-dir", state, "--protocol", "wss", "ask", "hi"]

    code, out, err = run(*ask)
    assert (code, out, len(err.splitlines())) == (1, "", 2)
    command, *words = shlex.split(err.partition("really replaced: ")[2])
    assert (command, words[-3:-1]) == ("thalovant", ["pins", "forget"])
    assert run(*words)[::2] == (0, "")
    assert run(*ask) == (0, "You said: hi\n", "")


def test_no_answer_in_time(good: Run) -> None:
    """It names the option."""
    code, _, err = good("ask", "hang", "--timeout", "0.05")

    assert (code, "--timeout" in err) == (1, True)


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"default_master": "ws://192.0.2.1:5678", "data_plane_endpoints": None}, "--allow-insecure"),
        ({"ca_file": None}, "--ca-file"),
    ],
)
def test_hints_name_options(
    run: Run,
    write: Callable[..., Path],
    fields: dict[str, Any],
    option: str,
) -> None:
    """Not the parameters of Python's calls."""
    code, _, err = run("-i", write(**fields), "--protocol", "wss", "ask", "hi")

    assert (code, option in err, "=True" in err) == (1, True, False)


def test_missing_extra(run: Run, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The line for pip."""
    monkeypatch.setitem(sys.modules, "amqtt", None)
    monkeypatch.setattr("thalovant.cli.ThalovantClient", lambda *_, **__: __import__("amqtt"), raising=False)

    code, _, err = run("-i", write(), "ask", "hi")
    assert (code, err) == (
        1,
        "thalovant: This needs the package amqtt, which is not installed.\n  pip install 'thalovant[hub]'\n",
    )


def test_doctor_without_credentials(run: Run, write: Callable[..., Path], v3: Lab) -> None:
    """It says where the hub would be, and whether anything listens there."""
    file = write(password=None)

    code, out, err = run("-i", file, "--protocol", "wss", "doctor")
    first, identity, endpoint, connect, transport = out.splitlines()
    assert (code, err, first) == (1, "", "Thalovant doctor: failed")
    assert "- identity: failed - " in identity
    assert "password" in identity
    assert endpoint == f"- endpoint: ok - {v3.identity().endpoint_for('wss')}"
    assert "- connect: ok (" in connect
    assert "- transport: failed - not looked at" in transport

    port = free_port()
    code, out, _ = run("-i", file, "--protocol", "wss", "--port", port, "--json", "doctor")
    checks = json.loads(out)["checks"]
    assert (code, [check["ok"] for check in checks]) == (1, [False, True, False, False])
    assert f":{port}" in checks[2]["detail"]


@pytest.mark.parametrize("content", ["", "[]", "{", '{"host": ""}'])
def test_doctor_of_no_identity(run: Run, tmp_path: Path, content: str) -> None:
    """Four checks, all of them failed."""
    file = tmp_path / "identity.json"
    file.write_text(content)
    file.chmod(0o600)

    code, out, err = run("-i", file, "doctor")
    assert (code, err, out.count(": failed - ")) == (1, "", 4)
