"""`identity`, `config` and `completion`: what the command knows without a hub."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .command import Run
from .identities import FULL

Write = Callable[..., Path]
VARIABLES = {
    "THALOVANT_ACCESS_KEY": "AK-secret",
    "THALOVANT_PASSWORD": "PW-secret",
    "THALOVANT_SITE_ID": "kitchen",
    "THALOVANT_HUB_WSS_HOST": "wss://hub.example",
}


def test_identity_show(run: Run, write: Write, values: dict[str, Any]) -> None:
    """All but the secrets."""
    file = write()
    code, out, err = run("-i", file, "identity", "show")

    assert (code, err) == (0, "")
    assert f"source: {file}\nsite_id: {values['site_id']}\n" in out
    assert f"  wss: {values['data_plane_endpoints']['wss']}\n" in out
    fields = json.loads(run("-i", file, "identity", "show", "--json")[1])
    assert (fields["source"], fields["data_plane_endpoints"]["wss"]) == (
        str(file),
        values["data_plane_endpoints"]["wss"],
    )
    for secret in (values["access_key"], values["password"]):
        assert secret not in out + json.dumps(fields)


def test_identity_check(run: Run, write: Write, values: dict[str, Any], tmp_path: Path) -> None:
    """Endpoint, authorities and keys, without a connection."""
    state = tmp_path / "state"
    checked = run("-i", write(), "--state-dir", state, "--protocol", "wss", "identity", "check")

    assert checked[::2] == (0, "")
    assert checked[1].splitlines() == [
        f"- identity: ok - site_id={values['site_id']}, from {tmp_path / 'identity.json'}",
        f"- endpoint: ok - {values['data_plane_endpoints']['wss']}",
        f"- ca_file: ok - {values['ca_file']}",
        f"- keys: ok - 0 hubs pinned in {state}",
    ]


@pytest.mark.parametrize(
    ("fields", "options", "failed", "words"),
    [
        ({"data_plane_endpoints": {"wss": "ws://192.0.2.1:1"}}, ["--protocol", "wss"], "endpoint", "--allow-insecure"),
        ({"mqtt": None}, ["--protocol", "mqtt"], "endpoint", "MQTT broker credentials"),
        ({"ca_file": "/no/ca.pem"}, ["--protocol", "wss"], "ca_file", "/no/ca.pem"),
    ],
)
def test_identity_check_that_fails(
    run: Run, write: Write, fields: dict[str, Any], options: list[str], failed: str, words: str
) -> None:
    """The line of what fails says what to do; exit code 1."""
    code, out, err = run("-i", write(**fields), *options, "identity", "check", "--json")

    checks = {one["name"]: one for one in json.loads(out)["checks"]}
    assert (code, err, {name for name, one in checks.items() if not one["ok"]}) == (1, "", {failed})
    assert words in checks[failed]["detail"]


def test_identity_protocols(run: Run, tmp_path: Path) -> None:
    """Each with its endpoint, and the one that a client takes."""
    file = tmp_path / "identity.json"
    file.write_text(json.dumps(FULL))
    file.chmod(0o600)

    assert run("-i", file, "identity", "protocols") == (
        0,
        "wss   on   wss://hub.example/voice  (chosen)\n"
        "https on   https://hub.example:443/voice\n"
        "mqtt  off  mqtts://broker.example:8883\n",
        "",
    )
    found = json.loads(run("-i", file, "identity", "protocols", "--protocol", "https", "--json")[1])
    assert [one["chosen"] for one in found] == [False, True, False]


def test_config_show_origin(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An option, a variable, a file or a profile of it, or nothing but the defaults; secrets are hidden."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "state"
    code, out, err = run("config", "show", "--origin", "--state-dir", folder)
    assert (code, err, out.splitlines()) == (
        0,
        "",
        [
            "access_key: (hidden)  (THALOVANT_ACCESS_KEY)",
            "password: (hidden)  (THALOVANT_PASSWORD)",
            "site_id: kitchen  (THALOVANT_SITE_ID)",
            "wss: wss://hub.example  (THALOVANT_HUB_WSS_HOST)",
            "https: https://hub.example:5679  (THALOVANT_HUB_WSS_HOST)",
            "protocol: wss  (found by itself)",
            f"state_dir: {folder}  (--state-dir)",
        ],
    )
    config = tmp_path / "config.yaml"
    config.write_text("profiles: {home: {access_key: AK-secret, password: PW-secret, host: 'https://hub.example'}}")
    config.chmod(0o600)
    argv = ("config", "show", "--config", config, "--profile", "home", "--host", "wss://other.example")
    found = json.loads(run(*argv, "--origin", "--json")[1])
    assert found["password"] == {"value": "(hidden)", "origin": f"{config}, profile home"}
    assert found["site_id"] == {"value": "unknown", "origin": "found by itself"}
    assert found["wss"] == {"value": "wss://other.example", "origin": "--host"}
    assert json.loads(run(*argv, "--json")[1])["wss"] == "wss://other.example"
    assert "secret" not in str(run(*argv)) + str(found)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(run: Run, shell: str) -> None:
    """A script for that shell, which it can read if it is here."""
    code, out, err = run("completion", shell)

    assert (code, err, "_THALOVANT_COMPLETE" in out) == (0, "", True)
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=out, text=True, check=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["co"], ["plain,completion", "plain,config"]),
        (["ask", "--time"], ["plain,--timeout"]),
        (["ask", "--js"], ["plain,--json"]),
        (["--js"], ["plain,--json"]),
        (["identity", ""], ["plain,show", "plain,check", "plain,protocols"]),
        (["completion", "z"], ["plain,zsh"]),
        (["ask", "-i", "iden"], ["file,iden"]),
    ],
)
def test_what_is_completed(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    expected: list[str],
) -> None:
    """Commands, options on either side of them, values and files."""
    monkeypatch.setenv("_THALOVANT_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", " ".join(["thalovant", *words]))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))

    with pytest.raises(SystemExit) as ended:
        run()
    assert (ended.value.code, sorted(capsys.readouterr().out.split())) == (0, sorted(expected))
