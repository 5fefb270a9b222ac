"""`thalovant hub` as people and machines run it: in a process of its own, on this machine."""

from __future__ import annotations

import ast
import contextlib
import datetime
import json
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from thalovant.cli import main
from thalovant.client import ThalovantClient
from thalovant.errors import ThalovantClientKeyRejectedError
from thalovant.hub.storage.sqlite import Store
from thalovant.identity import ThalovantIdentity

from .command import FREE, PATIENCE, THALOVANT, api_line, ended, running, stopped

# --- ready and stopped -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_says_when_it_is_ready_and_stops_when_told(home: Path, signum: int, code: int) -> None:
    """One line on standard output; nothing on standard error; the documented exit code."""
    with running() as (process, ready):
        assert ready.startswith("hub ready at wss://127.0.0.1:")
        assert " https://127.0.0.1:" in ready
        assert " mqtts://127.0.0.1:" in ready
        assert "'demo'" in ready
        assert api_line(process).startswith("control plane at http://127.0.0.1:")
        assert stopped(process, signum) == code
        assert process.stdout is not None
        assert process.stderr is not None
        assert (process.stdout.read(), process.stderr.read()) == ("", "")


def test_machines_read_json(home: Path) -> None:
    """Endpoints, authority, client, files and process id, on one line."""
    with running("--json", "--name", "kiosk", "--write", str(home / "out")) as (process, ready):
        found = json.loads(ready)
        assert (found["ready"], found["client"], found["pid"]) == (True, "kiosk", process.pid)
        assert list(found["endpoints"]) == ["wss", "https", "mqtt"]
        assert "BEGIN CERTIFICATE" in Path(found["ca_file"]).read_text()
        assert found["files"]["_identity.json"] == str(home / "out" / "_identity.json")
        identity = ThalovantIdentity.from_file(home / "out" / "_identity.json")
        assert found["endpoints"]["wss"] == identity.endpoint_for("wss")
        assert identity.access_key not in ready


def test_sigterm_drains(home: Path) -> None:
    """An answer that is on its way is heard before the hub goes."""
    with running("--ephemeral", "--write", str(home / "out")) as (process, _), _client(home / "out") as client:
        client.send_utterance("Take your time")
        client.ask("first")  # the hub has the other one now
        process.send_signal(signal.SIGTERM)
        assert client.wait_for_event("speak").text == "That took two seconds."
        assert process.wait(PATIENCE) == 0


def _client(folder: Path) -> ThalovantClient:
    return ThalovantClient.from_identity_file(folder / "_identity.json", auto_reconnect=False)


# --- what it hands out -----------------------------------------------------------------------------------------------


def test_what_it_writes_is_for_nobody_else(home: Path) -> None:
    """0600 in 0700, whatever the umask."""
    before = os.umask(0)
    try:
        with running("--write", str(home / "a" / "out")):
            pass
    finally:
        os.umask(before)
    files = [path for path in (home / "a" / "out").rglob("*") if path.is_file()]

    assert {"_identity.json", "config.yaml", "variables.env", "ca.pem"} < {path.name for path in files}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (home / "a", home / "a" / "out")} == {0o700}


@pytest.mark.parametrize("generation", ["3", "1", "0"])
def test_every_form_of_the_identity_works(home: Path, generation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """File, config and variables lead to the same hub; the folder may be moved."""
    out = home / "out"
    with running("--write", str(out), "--generation", generation):
        moved = out.rename(home / "moved")
        with contextlib.closing(ThalovantClient.from_identity_file(moved / "_identity.json")) as client:
            assert client.ask("file").text == "You said: file"
        with contextlib.closing(ThalovantClient.from_config(moved / "config.yaml")) as client:
            assert client.ask("config").text == "You said: config"
        for exported in (moved / "variables.env").read_text().splitlines():
            name, _, value = exported.removeprefix("export ").partition("=")
            monkeypatch.setenv(name, value.strip("'"))
        monkeypatch.setenv("THALOVANT_CA_FILE", str(moved / "ca.pem"))
        monkeypatch.setenv("THALOVANT_NOISE_STATE_DIR", str(moved / "hivemind"))
        with contextlib.closing(ThalovantClient.from_env()) as client:
            assert client.ask("variables").text == "You said: variables"
    assert {file.parent for file in home.rglob("*_noise.key")} == {moved / "hivemind"}


def test_the_written_client_knows_the_hub_already(home: Path) -> None:
    """Its key is pinned on both sides: whoever else listens at that address is refused."""
    with running("--ephemeral", "--write", str(home / "out")):
        node = json.loads((home / "out" / "hivemind" / "_identity.json").read_text())
        assert {pin.partition(":")[0] for pin in node["pinned_noise_keys"]} == {"wss", "https"}
        other = ThalovantClient.from_identity_file(home / "out" / "_identity.json", noise_state_dir=home / "other")
        with contextlib.closing(other), pytest.raises(ThalovantClientKeyRejectedError):
            other.ask("hi")


def test_a_new_hub_takes_the_place_of_an_old_one(home: Path) -> None:
    """What an earlier hub at the same address left in the folder does not keep the client out."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    for generation in ("3", "1"):
        arguments = ("--ephemeral", "--wss-port", port, "--generation", generation, "--write", str(home / "out"))
        with running(*arguments), ThalovantClient.from_identity_file(home / "out" / "_identity.json") as client:
            assert client.ask("hi").text == "You said: hi"
        result = ended(*FREE, *arguments, "--run", *THALOVANT, "ask", "What now?")
        assert (result.returncode, result.stdout) == (0, "You said: What now?\n"), result.stderr


def test_clients_and_keys_survive_a_restart(home: Path) -> None:
    """The state is in the user's data folder unless it is ephemeral or elsewhere."""
    nodes = []
    for _ in range(2):
        with running("--write", str(home / "out")):
            nodes.append((home / "out" / "_identity.json").read_text().split('"default_master"')[0])
    with running("--state", str(home / "other"), "--write", str(home / "out")):
        nodes.append((home / "out" / "_identity.json").read_text().split('"default_master"')[0])

    assert nodes[0] == nodes[1] != nodes[2]
    assert (home / "xdg_data_home" / "thalovant" / "hub" / "hub.sqlite3").is_file()
    assert (home / "other" / "hub.sqlite3").is_file()


# --- --run -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "expected"), [("sys.exit(7)", 7), ("pass", 0), ("os.kill(os.getpid(), 9)", 128 + 9)])
def test_run_ends_as_its_command_does(home: Path, code: str, expected: int) -> None:
    """With its exit code, and its standard output alone."""
    result = ended(
        *FREE, "--ephemeral", "--run", sys.executable, "-c", f"import os, sys; print('out'); sys.stdout.flush(); {code}"
    )

    assert (result.returncode, result.stdout) == (expected, "out\n")
    assert result.stderr.startswith("hub ready at wss://127.0.0.1:")


def test_run_gives_the_identity_to_its_command(home: Path) -> None:
    """In `THALOVANT_*` variables; options after the command are the command's."""
    result = ended(*FREE, "--ephemeral", "--run", *THALOVANT, "--json", "ask", "Say hello.")

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["text"] == "Hello!"


@pytest.mark.parametrize("options", [(), ("--ephemeral",)])
def test_the_command_has_that_identity_alone(home: Path, options: tuple[str, ...]) -> None:
    """Keys in a folder of the hub's, which is gone with it if it is ephemeral; no variable of another identity."""
    show = "import os; print({key: os.environ[key] for key in os.environ if key.startswith('THALOVANT_')})"
    others = {"THALOVANT_HUB_HTTP_HOST": "https://real.example", "THALOVANT_MQTT_QOS": "0", "THALOVANT_LOG": "info"}
    state = home / "xdg_data_home/thalovant/hub"

    result = ended(*FREE, *options, "--run", sys.executable, "-c", show, env={**os.environ, **others})

    assert result.returncode == 0, result.stderr
    found = ast.literal_eval(result.stdout)
    assert {key: found.get(key) for key in others} == dict.fromkeys(others) | {"THALOVANT_LOG": "info"}
    folder = Path(found["THALOVANT_NOISE_STATE_DIR"])
    assert (folder == state / "hivemind", folder.exists()) == ((True, True) if not options else (False, False))


def test_ephemeral_leaves_the_user_alone(home: Path) -> None:
    """Nothing of the user's is read or written, pins of a real hub at that address least of all; two at once work."""
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        (home / name.lower()).mkdir(mode=0)
    run = ("--run", *THALOVANT, "hub", "--ephemeral", "--run", *THALOVANT, "ask", "both")

    result = subprocess.run(
        [sys.executable, "-c", WATCHED, str(home), "hub", "--ephemeral", "--write", str(home / "out"), *run],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )

    assert (result.returncode, result.stdout) == (0, "You said: both\n"), result.stderr
    assert result.stderr.count("hub ready at") == 2
    assert "touched" not in result.stderr
    assert [path.name for path in home.iterdir() if any(path.iterdir())] == ["out"]


#: The command in a process that tells what it opens in a user's folders.
WATCHED = """
import os, sys
folders = tuple(os.path.join(sys.argv[1], name) for name in ("home", "xdg_data_home", "xdg_config_home"))
def heard(event, values):
    if event in ("open", "os.listdir", "os.mkdir", "os.scandir") and str(values[0]).startswith(folders):
        print("touched", event, values, file=sys.stderr)
sys.addaudithook(heard)
from thalovant.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(shutil.which("git") is None, reason="asks git")
@pytest.mark.parametrize("before", [None, "*.pyc", "# mine\n/ca.pem\n"])
def test_what_it_writes_is_ignored_by_git(home: Path, before: str | None) -> None:
    """Also in a folder that has a list already, which keeps what it has."""
    out = home / "out"
    out.mkdir()
    if before is not None:
        (out / ".gitignore").write_text(before)
    for _ in range(2):
        with running("--ephemeral", "--write", str(out)):
            pass
    subprocess.run(["git", "init", "-q"], cwd=home, check=True)
    (out / "app.py").touch()

    status = subprocess.run(
        ["git", "status", "--porcelain", "-uall"], cwd=home, capture_output=True, text=True, check=True
    )

    listed = {line[3:] for line in status.stdout.splitlines()}
    assert listed == {"out/app.py"} | ({"out/.gitignore"} if before else set())
    lines = (out / ".gitignore").read_text().splitlines()
    assert lines[: len((before or "").splitlines())] == (before or "").splitlines()
    assert len(lines) == len(set(lines))


def test_the_ready_line_ends_with_the_command_to_paste(home: Path) -> None:
    """In another terminal, in another folder, it gives an answer."""
    with running("--ephemeral", "--write", str(home / "my out")) as (_, ready):
        command = shlex.split(ready.partition("; try: ")[2])
        assert command[-4:] == ["-i", str(home / "my out"), "ask", "Say hello."]
        result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd="/")
    assert (result.returncode, result.stdout) == (0, "Hello!\n"), result.stderr


def test_sigterm_ends_the_command_too(home: Path) -> None:
    """The hub waits for it, and ends with its code."""
    script = (
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(5)); print('up', flush=True); time.sleep(60)"
    )
    with running("--ephemeral", "--run", sys.executable, "-c", script) as (process, first):
        assert first == "up\n"
        assert stopped(process, signal.SIGTERM) == 5


# --- bad input -------------------------------------------------------------------------------------------------------


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which the command refuses to start; exit code 2, nothing on standard output."""
    code = main(["hub", *arguments])
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), err
    assert len(err.splitlines()) == 1, err
    assert err.startswith("thalovant hub: ")
    return err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--generation", "7"), ("--generation", "'7'")),
        (("--wss-port", "70000"), ("--wss-port", "70000")),
        (("--wss-port", "http"), ("--wss-port", "http")),
        (("--nonsense",), ("--nonsense",)),
        (("--run",), ("--run",)),
        (("echo",), ("echo", "--run")),
        (("--ephemeral", "--state", "x"), ("--state", "--ephemeral")),
        ((*FREE, "--ephemeral", "--name", "a::b"), ("a::b", "--name")),
        ((*FREE, "--ephemeral", "--host", "192.0.2.1"), ("192.0.2.1", "--host")),
        ((*FREE, "--ephemeral", "--run", "/no/such/command"), ("/no/such/command", "--run")),
        ((*FREE, "--state", "/dev/null/x"), ("/dev/null/x", "--state", "--ephemeral")),
        ((*FREE, "--ephemeral", "--write", "/dev/null/x"), ("/dev/null/x", "--write")),
    ],
)
def test_bad_input_is_named_with_the_option_to_change(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """One line, no traceback, and nothing is left behind in the user's folders."""
    message = refusal(capsys, *arguments)

    assert all(word in message for word in words), message
    assert not (home / "xdg_data_home").exists()


def test_a_user_without_a_home_is_told(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container; with the option that helps."""

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setattr(Path, "home", nowhere)

    message = refusal(capsys, *FREE)

    assert "no home folder" in message
    assert "--state" in message


@pytest.mark.parametrize("option", ["--wss-port", "--api-port"])
def test_a_taken_port_is_named(home: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    """With the number and the option."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        message = refusal(capsys, option, port, "--ephemeral")

    assert f"Port {port} on 127.0.0.1 is taken" in message
    assert option in message


def test_a_state_in_use_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its folder; the first hub goes on, and `--write` of the second one has written nothing."""
    with running("--write", str(home / "out")):
        message = refusal(capsys, *FREE, "--write", str(home / "other"))
        with _client(home / "out") as client:
            assert client.ask("hi").text == "You said: hi"

    assert "in use by another hub" in message
    assert "--state" in message
    assert not (home / "other").exists()


def test_a_clock_that_was_set_back_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rather than certificates and pins that make no sense."""
    future = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=30)
    Store.open(home / "hub", now=future).close(now=future)

    message = refusal(capsys, *FREE, "--state", str(home / "hub"))

    assert "set back" in message
    assert "--state" in message


@pytest.mark.parametrize(
    ("arguments", "kind", "name"),
    [
        (("--wss-port", "99999"), "UsageError", "usage"),
        (("--ephemeral", "--state", "x"), "UsageError", "usage"),
        (("--ephemeral", "--host", "192.0.2.1"), "HubSetupError", "hub_setup"),
    ],
)
def test_bad_input_as_json(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], kind: str, name: str
) -> None:
    """With --json it is one object on standard error."""
    code = main(["hub", "--json", *arguments])
    out, err = capsys.readouterr()
    found = json.loads(err)

    assert (code, out, found["type"], found["name"]) == (2, "", kind, name)
    assert list(found) == ["type", "name", "code", "message", "hint", "retryable", "delivery"]


def test_help_names_every_option() -> None:
    """In few lines."""
    result = ended("--help")

    assert result.returncode == 0
    for option in ("--host", "--wss-port", "--state", "--ephemeral", "--write", "--run", "--json", "--generation"):
        assert option in result.stdout
