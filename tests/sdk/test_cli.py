"""The `thalovant` command: what each command prints, its exit codes, and one message for each mistake."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thalovant import ThalovantClient, ThalovantReply, TrustStore, __version__, cli
from thalovant_proto.trust import fingerprint

from .command import Run
from .lab import PATIENCE, Lab, free_port
from .test_embedding import environment


def _at(url: str) -> dict[str, Any]:
    return {"default_master": url, "data_plane_endpoints": {"wss": url}}


# --- what the commands do ---


def test_ask(good: Run) -> None:
    """The reply as text, or all of it as JSON."""
    assert good("ask", "say one and two") == (0, "one two\n", "")

    code, out, err = good("--json", "ask", "hi", "--session-id", "S-cli", "--lang", "de-de", "--timeout", "5")
    reply = json.loads(out)
    assert (code, err, reply["text"], reply["ok"], reply["session_id"]) == (0, "", "You said: hi", True, "S-cli")


def test_health(good: Run) -> None:
    """All is well, as lines or as JSON."""
    facts = "connected=True\nhandshake_complete=True\ntransport_alive=True\n"
    assert good("health") == (0, f"ok\n{facts}", "")

    code, out, _ = good("--json", "health")
    assert (code, json.loads(out)["ok"]) == (0, True)


def test_health_of_a_hub_that_is_not_there(run: Run, write: Callable[..., Path]) -> None:
    """A report too, with the reason, and exit code 1."""
    file = write(**_at(f"wss://127.0.0.1:{free_port()}"))

    code, out, err = run("-i", file, "--protocol", "wss", "health")
    assert (code, err) == (1, "")
    assert out.startswith("failed\nconnected=False\nhandshake_complete=False\ntransport_alive=False\nlast_error=Cannot")

    code, out, _ = run("-i", file, "--protocol", "wss", "--json", "health")
    found = json.loads(out)
    assert (code, found["ok"], "refused" in found["last_error"]) == (1, False, True)


def test_emit_and_utter(good: Run, v3: Lab) -> None:
    """They say `sent`, and the hub hears it."""
    assert good("emit", "test.note", "--data", '{"a": 1}', "--context", '{"request_id": "C-1"}') == (0, "sent\n", "")
    assert good("--json", "utter", "over to you", "--session-id", "S") == (0, '{\n  "sent": "over to you"\n}\n', "")

    noted = v3.hub.wait_for("test.note", timeout=PATIENCE, predicate=lambda event: event.request_id == "C-1")
    assert noted.data == {"a": 1}
    v3.hub.wait_for(
        "recognizer_loop:utterance", timeout=PATIENCE, predicate=lambda event: "over to you" in event.utterances
    )


def test_listen(own: Lab, tmp_path: Path) -> None:
    """Text where there is text, else the data on one line; JSON lines if asked for; it ends after `--max-events`."""
    printed = []
    for extra, event, data in (
        ([], "speak", {"utterance": "hello"}),
        ([], "test.tick", {"b": 1, "a": 2}),
        (["--json"], "test.tick", {"n": 1}),
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", "thalovant", *extra, "--protocol", "wss", "listen", event, "--max-events", "1"],
            env={**environment(own), "XDG_CONFIG_HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        while process.poll() is None:  # until it listens nobody hears it
            own.hub.emit_to("shared", event, data)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        out, _ = process.communicate(timeout=PATIENCE)
        printed.append(out)

    assert printed[:2] == ["hello\n", '{"a":2,"b":1}\n']
    assert json.loads(printed[2])["data"] == {"n": 1}


def test_listen_ends_in_time(good: Run) -> None:
    """With exit code 0, and one line on standard error if it heard nothing."""
    assert good("listen", "nothing", "--timeout", "0.01") == (0, "", "thalovant: no event 'nothing' within 0.01 s\n")


def test_pins(good: Run, v3: Lab) -> None:
    """List, show and forget the keys of hubs; a pin that is not there is an error that names those that are."""
    trust = TrustStore(v3.state_dir(), v3.identity())
    good("ask", "hi")
    ((pin, key),) = ((pin, key) for pin, key in trust.pins().items() if pin.startswith("wss:"))
    shown = fingerprint(key)

    assert f"{pin} {shown}" in good("pins", "list")[1].splitlines()
    assert shown == json.loads(good("--json", "pins", "list")[1])[pin]
    assert good("pins", "show", pin) == (0, f"{shown}\n", "")
    code, out, err = good("pins", "show", "wss://other:1")
    assert (code, out, pin in err) == (1, "", True)
    assert good("pins", "forget", pin) == (0, f"forgotten: {pin}\n", "")
    code, _, err = good("pins", "forget", pin)
    assert (code, f"No hub is pinned as {pin}." in err) == (1, True)
    good("ask", "hi")
    assert trust.pins()[pin] == key


def test_no_pins(run: Run, write: Callable[..., Path], tmp_path: Path) -> None:
    """Before first contact."""
    assert run("-i", write(), "--state-dir", tmp_path, "pins", "list") == (0, "no hub is pinned\n", "")


def test_profile_and_variables(run: Run, values: dict[str, Any], v3: Lab, tmp_path: Path) -> None:
    """The identity may come from a config file too, or from the environment of the process."""
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"profiles": {"lab": values}}))
    config.chmod(0o600)

    options = ("--config", config, "--profile", "lab", "--state-dir", v3.state_dir(), "--protocol", "wss")
    assert run(*options, "ask", "hi") == (0, "You said: hi\n", "")

    command = [sys.executable, "-m", "thalovant", "--state-dir", str(v3.state_dir()), "--protocol", "wss", "ask", "hi"]
    done = subprocess.run(command, env=environment(v3), capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "You said: hi\n", "")


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["ask", "--help"], ["pins", "--help"], ["hub", "--help"]])
def test_help(run: Run, argv: list[str]) -> None:
    """Help is no error, and names the commands."""
    code, out, err = run(*argv)

    assert (code, err) == (0, "")
    assert out.startswith("Usage: thalovant")
    if len(argv) == 1:
        for command in ("ask", "doctor", "emit", "health", "hub", "listen", "pins", "utter"):
            assert f"\n  {command} " in out


@pytest.mark.parametrize("argv", [[], ["pins"]])
def test_nothing_to_do(run: Run, argv: list[str]) -> None:
    """Without a command there is help, and it is wrong usage."""
    code, out, err = run(*argv)

    assert code == 2
    assert f"{out}{err}".startswith("Usage: thalovant")
    assert len(f"{out}{err}".splitlines()) > 5


def test_version(run: Run) -> None:
    """It is the package's."""
    assert run("--version") == (0, f"thalovant, version {__version__}\n", "")


def test_client_is_made_from_the_identity_alone(
    run: Run, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs put their own in the place of `cli.ThalovantClient`; without options it gets nothing else."""
    made: list[tuple[Any, ...]] = []

    class Fake:
        def __init__(self, *args: Any, **options: Any) -> None:
            made.append((*args, options))

        def __enter__(self) -> Fake:
            return self

        def __exit__(self, *exc: object) -> None:
            pass

        def ask(self, text: str, **options: Any) -> ThalovantReply:
            return ThalovantReply(text=f"fake {text}")

    assert getattr(cli, "ThalovantClient") is ThalovantClient  # noqa: B009 - loaded when it is asked for
    monkeypatch.setattr(cli, "ThalovantClient", Fake)

    assert run("-i", write(), "ask", "hi") == (0, "fake hi\n", "")
    ((identity, options),) = made
    assert (identity.site_id, options) == ("shared", {})


def test_host_and_port(run: Run, write: Callable[..., Path]) -> None:
    """That hub is dialed, whatever endpoints the identity has."""
    port = free_port()
    file = write()

    for options, where in (
        (["--host", "https://127.0.0.1/", "--port", port], f"127.0.0.1:{port}"),
        (["--host", f"wss://127.0.0.1:{port}"], f"127.0.0.1:{port}"),
        (["--host", f"https://127.0.0.1:{port}", "--protocol", "wss"], f"127.0.0.1:{port}"),
        (["--host", f"[::1]:{port}"], f"::1]:{port}"),
        (["--port", port, "--protocol", "https"], f"127.0.0.1:{port}"),
        (["--host", "wss://no-such-host.invalid"], "no-such-host.invalid"),
    ):
        code, _, err = run("-i", file, *options, "ask", "hi")
        assert (code, where in err) == (1, True), err


def test_another_name_for_the_hub(good: Run, values: dict[str, Any]) -> None:
    """A name without a scheme keeps port and scheme."""
    assert good("ask", "hi", "--host", "localhost") == (0, "You said: hi\n", "")


def test_options_behind_the_command(run: Run, write: Callable[..., Path], v3: Lab) -> None:
    """All options stand on either side; the later one counts."""
    shared = ["-i", write(), "--state-dir", v3.state_dir(), "--protocol", "wss"]

    assert run("ask", "say", "one", *shared) == (0, "one\n", "")
    assert run("-i", "/no/file", "pins", "list", *shared)[0] == 0
    assert json.loads(run("health", "--json", *shared)[1])["ok"]
    assert json.loads(run("pins", "--json", "list", *shared)[1])


def test_words_and_standard_input(good: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Words need no quotes, and `-` reads them from a pipe."""
    assert good("ask", "over", "the", "hills", "--lang", "de-de")[1] == "You said: over the hills\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe\n"))
    assert good("ask", "-") == (0, "You said: from a pipe\n", "")
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert good("ask", "-")[0] == 2


def test_help_and_version_as_commands(run: Run) -> None:
    """They say what the options say."""
    assert run("help") == run("--help")
    assert run("help", "pins", "forget") == run("pins", "forget", "--help")
    assert run("version") == run("--version")
    assert json.loads(run("version", "--json")[1]) == {"version": __version__}


def test_errors_as_json(good: Run, run: Run, write: Callable[..., Path], v3: Lab) -> None:
    """One object on standard error, by which a script tells the kinds apart."""
    found = {}
    for what, ended in {
        "timeout": good("--json", "ask", "hang", "--timeout", "0.05"),
        "usage": run("--json", "ask"),
        "identity": run("--json", "-i", "/no/file", "ask", "hi"),
        "connection": run(
            "--json", "-i", write(**_at(f"wss://127.0.0.1:{free_port()}")), "--protocol", "wss", "ask", "hi"
        ),
        "refusal": run("--json", "-i", write(access_key="AK-wrong"), "--protocol", "wss", "ask", "hi"),
    }.items():
        code, out, err = ended
        fields = json.loads(err)
        assert list(fields) == ["type", "name", "code", "message", "hint", "retryable", "delivery"]
        assert out == ""
        found[what] = (code, fields["type"], fields["retryable"], fields["delivery"])

    assert found == {
        "usage": (2, "UsageError", False, None),
        "identity": (1, "ThalovantIdentityError", False, None),
        "connection": (1, "ThalovantConnectionError", True, None),
        "refusal": (1, "ThalovantHubRefusedError", False, None),
        "timeout": (1, "ThalovantTimeoutError", True, "unknown"),
    }


# --- how it ends ---


@pytest.mark.parametrize("argv", [["ask", "hang for the command", "--timeout", "600"], ["listen", "nothing"]])
def test_ctrl_c(own: Lab, argv: list[str], tmp_path: Path) -> None:
    """Exit code 130, and nothing is said."""
    process = subprocess.Popen(
        [sys.executable, "-m", "thalovant", "--state-dir", str(own.state_dir()), "--protocol", "wss", *argv],
        env={**environment(own), "XDG_CONFIG_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if argv[0] == "ask":
        own.hub.wait_for("recognizer_loop:utterance", timeout=PATIENCE)
    else:
        assert own.hub.wait_for_connection("shared", timeout=PATIENCE)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, out, err.strip()) == (130, "", "")


def _command(v3: Lab, *argv: str, **extra: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "thalovant", "--state-dir", str(v3.state_dir()), "--protocol", "wss", *argv]
    return subprocess.run(command, **{"capture_output": True, "timeout": PATIENCE, "env": environment(v3), **extra})


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_signs_that_the_terminal_lacks(v3: Lab, encoding: str) -> None:
    """They are replaced in what is printed; what is said reaches the hub whole."""
    env = {**environment(v3), "PYTHONIOENCODING": encoding}

    done = _command(v3, "ask", "say K\u00e4fer \U0001f41e fertig", env=env)
    assert (done.returncode, done.stdout[-8:], done.stderr) == (0, b" fertig\n", b"")
    exact = _command(
        v3,
        "--json",
        "ask",
        "hi K\u00e4fer",
        env={**env, "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    )
    assert json.loads(exact.stdout)["text"] == "You said: hi K\u00e4fer"


def test_full_disk(v3: Lab) -> None:
    """One line, and exit code 1."""
    with open("/dev/full", "wb") as full:
        done = _command(v3, "ask", "hi", capture_output=False, stdout=full, stderr=subprocess.PIPE)

    assert (done.returncode, done.stderr.count(b"\n"), b"cannot be written" in done.stderr) == (1, 1, True)


def test_ctrl_c_before_anything_is_imported() -> None:
    """The entry handles it first: nothing of the rest has to be there."""
    program = (
        "import os, signal, sys\n"
        "import thalovant.cli\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "sys.exit(thalovant.cli.main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=PATIENCE)

    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_reader_that_leaves(v3: Lab) -> None:
    """`thalovant … | head -0` is no reason for a traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "thalovant", "--state-dir", str(v3.state_dir()), "--protocol", "wss", "ask", "hi"],
            env=environment(v3),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
        )
    finally:
        os.close(writing)

    assert (done.returncode, done.stderr) == (1, "")
