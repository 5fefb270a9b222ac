"""Mistakes that people make on the command line: each names what is wrong and the way out, on three lines at most."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from thalovant import cli

from .command import Run
from .lab import Lab, free_port

Fields = Mapping[str, Any]
NOWHERE = "wss://no-such-host.invalid:1"


class Mistake(NamedTuple):
    """A command line, what it must say, and what else there is: files, variables, standard input.

    A file is text, or changes to the good identity; `good.json` is always there. In all of them `{port}` is one where
    nobody listens, `{wss}` and `{https}` are the hub's host and port.
    """

    argv: str
    words: tuple[str, ...]
    code: int = 1
    files: Mapping[str, str | Fields] = {}
    env: Mapping[str, str] = {}
    stdin: str = ""


def usage(argv: str, *words: str) -> Mistake:
    """Wrong usage, which leads to the help."""
    return Mistake(f"-i good.json {argv}", (*words, "Try `thalovant", "--help`"), 2)


def identity(changes: str | Fields, *words: str, argv: str = "--protocol wss ask hi") -> Mistake:
    """Another identity than the good one."""
    return Mistake(f"-i mine.json {argv}", words, files={"mine.json": changes})


def at(url: str) -> Fields:
    """An identity for another place."""
    return {"default_master": url, "data_plane_endpoints": {"wss": url}}


def config(text: str, *words: str, argv: str = "--profile home") -> Mistake:
    """A config file."""
    return Mistake(f"--config config.yaml {argv} ask hi", words, files={"config.yaml": text})


def variables(*words: str, **env: str) -> Mistake:
    """Variables of the environment."""
    return Mistake("ask hi", words, env={f"THALOVANT_{name}": value for name, value in env.items()})


def hub(argv: str, *words: str, files: Mapping[str, str] | None = None) -> Mistake:
    """A hub that cannot start."""
    return Mistake(f"hub {argv}", words, 2, files or {})


MISTAKES = [
    # words and options
    usage("ask", "Missing argument 'TEXT'"),
    usage("ask ' '", "TEXT is blank"),
    usage("utter ''", "TEXT is blank"),
    usage("ask -", "TEXT is blank"),
    usage("aks hi", "No such command 'aks'", "ask"),
    usage("hello", "No such command 'hello'"),
    usage("--profil x ask hi", "No such option", "--profile"),
    usage("ask hi --time 3", "No such option", "--timeout"),
    usage("ask hi --timeout", "'--timeout' requires an argument"),
    usage("ask hi --timeout soon", "'soon' is not a valid float"),
    usage("ask hi --timeout -1", "-1.0 is not in the range"),
    usage("ask hi --timeout 0", "0.0 is not in the range"),
    usage("ask hi --timeout nan", "--timeout", "nan"),
    usage("ask hi --json=yes", "--json", "does not take a value"),
    usage("help aks", "No such command 'aks'"),
    usage("help pins drop", "No such command 'drop'"),
    usage("version now", "unexpected extra argument (now)"),
    usage("health now", "unexpected extra argument (now)"),
    usage("--host mqtt://h ask hi", "--host takes"),
    usage("--host https://h --protocol mqtt ask hi", "do not move the broker"),
    usage("ask hi --host wss://h --protocol https", "needs an https:// address"),
    usage("ask hi --host wss://user:word@h", "--host takes"),
    usage("ask hi --host wss://h:many", "--host takes"),
    usage("ask hi --host /", "--host takes"),
    usage("ask hi --port 0", "0 is not in the range"),
    usage("--port 99999 ask hi", "99999 is not in the range"),
    usage("--port https ask hi", "'https' is not a valid integer"),
    usage("--protocol coap ask hi", "'coap' is not one of 'wss', 'https', 'mqtt'"),
    usage("listen", "Missing argument 'EVENT'"),
    usage("listen speak --max-events 0", "0 is not in the range"),
    usage("listen speak stop", "unexpected extra argument (stop)"),
    usage("watch --max-events -3", "-3 is not in the range"),
    usage("chat hello", "unexpected extra argument (hello)"),
    usage("emit", "Missing argument 'EVENT'"),
    usage("emit x --data {", "--data must be valid JSON"),
    usage("emit x --data hello", "--data must be valid JSON"),
    usage("emit x --context [1]", "--context must be a JSON object"),
    usage("pins drop", "No such command 'drop'"),
    usage("pins show", "Missing argument 'PIN'"),
    usage("pins forget", "Missing argument 'PIN'"),
    usage("identity test", "No such command 'test'"),
    usage("config show --origins", "No such option", "--origin"),
    usage("completion", "Missing argument '{bash|zsh|fish}'"),
    usage("completion tcsh", "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
    # no identity
    Mistake("ask hi", ("no client identity", "--identity FILE")),
    Mistake("-i none.json ask hi", ("none.json", "no such file", "check the path")),
    Mistake("-i no/folder/none.json ask hi", ("no/folder/none.json", "check the path")),
    Mistake("-i . ask hi", ("identity file", "has no _identity.json", "thalovant hub --write")),
    Mistake("-i '' ask hi", ("identity",)),
    Mistake("--profile prod ask hi", ("config.yaml", "check the path")),
    Mistake("--config none.yaml ask hi", ("none.yaml", "check the path")),
    Mistake("identity show", ("no client identity", "--identity FILE")),
    Mistake("pins list", ("no client identity", "--identity FILE")),
    # identity files
    identity("", "mine.json", "not valid JSON", "empty"),
    identity('{"host": "https://h",\n "site": "x",}', "mine.json", "not valid JSON", "line 2"),
    identity("[]", "mine.json", "JSON object"),
    identity("host: https://h", "mine.json", "not valid JSON", "line 1, column 1"),
    identity({"access_key": None}, "access_key", "Add `access_key`", "mine.json"),
    identity({"password": None}, "password", "Add `password`"),
    identity({"password": ""}, "password", "empty"),
    identity({"default_port": "many"}, "default_port", "from 1 to 65535"),
    identity({"default_port": 65536}, "default_port", "from 1 to 65535"),
    identity({"default_master": "hub", "data_plane_endpoints": None}, "look up hub", "host name", argv="ask hi"),
    identity({"mqtt": None}, "MQTT", "another protocol", argv="--protocol mqtt ask hi"),
    identity({"ca_file": "none.pem"}, "none.pem", "ca_file"),
    identity({"ca_file": "mine.json"}, "holds no certificate", "ca_file"),
    identity({"access_key": None}, "access_key", argv="identity check"),
    identity({"access_key": None}, "access_key", argv="config show --origin"),
    identity({"access_key": None}, "access_key", argv="pins list"),
    identity({}, "none.pem", "--ca-file", argv="--protocol wss --ca-file none.pem ask hi"),
    identity({}, "good.json/x", "--state-dir", argv="--protocol wss --state-dir good.json/x ask hi"),
    # config files and variables
    config("profiles: {lab: {host: https://h}}", "profile: home", "these profiles: lab"),
    config("profiles:\n\thome: {}", "config.yaml", "not valid YAML", "line 2"),
    config("profiles: {home: {host: https://h}}", "access_key", "config.yaml"),
    config("- home", "config.yaml", "YAML object"),
    config("", "access_key", argv=""),
    variables("access_key", "THALOVANT_ACCESS_KEY", PASSWORD="PW-1"),
    variables("password", "THALOVANT_PASSWORD", ACCESS_KEY="AK-1"),
    variables("THALOVANT_SITE_ID", ACCESS_KEY="AK-1", PASSWORD="PW-1", HUB_WSS_HOST="wss://h"),
    variables("THALOVANT_HUB_WSS_HOST", ACCESS_KEY="AK-1", PASSWORD="PW-1", SITE_ID="s"),
    # the way to the hub
    identity(at(NOWHERE), "no-such-host.invalid", "host name"),
    identity(at("wss://127.0.0.1:{port}"), "127.0.0.1:{port}", "check host and port"),
    identity(at("ws://192.0.2.1:5678"), "not encrypted", "wss://", "--allow-insecure"),
    identity(at("ws://{wss}"), "lost", "use wss://"),
    identity({"ca_file": None}, "authority unknown", "ca_file"),
    identity({}, "check scheme, port", argv="--host https://{wss} --protocol https ask hi"),
    identity({}, "no WebSocket there", "check the path", argv="--host wss://{https} ask hi"),
    identity({"access_key": "AK-wrong"}, "access key", "access_key"),
    identity({"password": "PW-wrong"}, "password", "password"),
    Mistake("-i good.json --protocol wss pins show wss://h", ("No hub is pinned as wss://h",)),
    Mistake("-i good.json --protocol wss pins forget wss://h", ("No hub is pinned as wss://h", "Pinned are")),
    # what the hub says to it
    Mistake("-i good.json --protocol wss ask 'fail because the lamp is gone'", ("the lamp is gone", "log")),
    Mistake("-i good.json --protocol wss ask hang --timeout 0.05", ("did not finish", "0.05s", "--timeout")),
    Mistake("-i good.json --protocol wss chat", ("the lamp is gone",), stdin="fail because the lamp is gone\n"),
    Mistake("-i good.json --protocol wss chat --timeout 0.05", ("did not finish", "--timeout"), stdin="hang\n"),
    # the hub's own command
    hub("--ephemeral --state x", "--state", "--ephemeral"),
    hub("--ephemeral --run", "no command to run", "--run"),
    hub("--ephemeral thing", "'thing'", "--run"),
    hub("--ephemeral --run no-such-command", "'no-such-command'", "--run"),
    hub("--ephemeral --broker mqtts://h --mqtt-port 0", "--broker", "--mqtt-port"),
    hub("--ephemeral --broker-ca x.pem", "--broker-ca", "--broker"),
    hub("--ephemeral --broker nonsense", "mqtts://", "--broker"),
    hub("--ephemeral --wss-port 99999", "99999", "--wss-port"),
    hub("--ephemeral --https-port on", "'on'", "--https-port"),
    hub("--ephemeral --generation 2", "'2'", "'3', '1', '0'"),
    hub("--ephemeral --name ''", "--name"),
    hub("--ephemeral --nam x", "--nam", "--name"),
    hub("--ephemeral --mqtt-port off --host no-such-host.invalid", "no-such-host.invalid", "--host"),
    hub("--state good.json --mqtt-port off --wss-port 0 --https-port 0", "good.json", "--state"),
    hub("--ephemeral --mqtt-port off --write good.json", "good.json", "--write"),
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.argv)
def test_mistake(
    mistake: Mistake,
    run: Run,
    v3: Lab,
    values: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The exit code, nothing on the output, and one message without traceback and secrets."""
    at_hub = {name: str(v3.identity().endpoint_for(name)).partition("://")[2] for name in ("wss", "https")}
    places = {**at_hub, "port": str(free_port())}

    def placed(text: str) -> str:
        for name, place in places.items():
            text = text.replace(f"{{{name}}}", place)
        return text

    for name, content in {"good.json": {}, **mistake.files}.items():
        if not isinstance(content, str):
            changed = {**values, "noise_state_dir": str(v3.state_dir()), **content}
            content = json.dumps({key: value for key, value in changed.items() if value is not None})
        (tmp_path / name).write_text(placed(content))
        (tmp_path / name).chmod(0o600)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO(mistake.stdin))
    for name, value in mistake.env.items():
        monkeypatch.setenv(name, value)

    code, out, err = run(*shlex.split(placed(mistake.argv)))

    assert (code, out) == (mistake.code, "")
    assert err.startswith("thalovant")
    assert len(err.splitlines()) <= 3
    assert "Traceback" not in err
    for secret in (values["access_key"], values["password"]):
        assert secret not in err
    for word in mistake.words:
        assert placed(word).lower() in err.lower()


def test_mode_of_the_identity_file(run: Run, write: Any) -> None:
    """Others may not read it."""
    code, out, err = run("-i", write(mode=0o644), "ask", "hi")

    assert (code, out, "too permissive" in err, "chmod 600" in err) == (1, "", True, True)


def test_no_home(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that can keep its state nowhere names the option."""
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", _nobody)

    code, out, err = run("hub", "--mqtt-port", "off", "--wss-port", "0", "--https-port", "0")
    assert (code, out, len(err.splitlines()), "--state" in err) == (2, "", 1, True)


def _nobody(uid: int) -> None:
    raise KeyError(uid)


def test_bug_is_one_message(run: Run, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong: no traceback."""

    def fails(*args: Any, **options: Any) -> None:
        raise ZeroDivisionError("first line\nsecond line")

    monkeypatch.setattr(cli, "ThalovantClient", fails)

    assert run("-i", write(), "ask", "hi") == (1, "", "thalovant: first line second line\n")
