"""`chat` and `watch`: what they print while they stay, and how they end."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from thalovant import cli

from .command import Run
from .lab import PATIENCE, Lab
from .test_embedding import environment

THALOVANT = (sys.executable, "-m", "thalovant", "--protocol", "wss")


class Terminal:
    """The command on a terminal, with a person in front of it."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self.process = process
        self._screen = screen
        self._shown = b""
        self._seen = b""

    def until(self, text: str) -> None:
        """Wait until it shows that text, after what was waited for before."""
        if not self._shows(text, PATIENCE):
            raise AssertionError(f"after {self._seen!r} only {self._shown!r} is shown")
        self._shown = self._shown.partition(text.encode())[2]

    def interrupt(self, text: str) -> None:
        """Press Ctrl-C, again if it does nothing, until it shows that text.

        While a line is typed, one that comes between two keys is not seen before the next.
        """
        self.process.send_signal(signal.SIGINT)
        if not self._shows(text, 3):
            self.process.send_signal(signal.SIGINT)
        self.until(text)

    def _shows(self, text: str, within: float) -> bool:
        while text.encode() not in self._shown:
            if not select.select([self._screen], [], [], within)[0]:
                return False
            news = os.read(self._screen, 4096)
            self._shown += news
            self._seen += news
        return True

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._screen, text.encode())


@contextlib.contextmanager
def terminal(lab: Lab, *argv: str) -> Iterator[Terminal]:
    """Runs the command on a pseudo-terminal."""
    screen, inside = pty.openpty()
    env = {**environment(lab), "TERM": "xterm", "INPUTRC": os.devnull}
    command = [*THALOVANT, "--state-dir", str(lab.state_dir()), *argv]
    with subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, env=env) as process:
        os.close(inside)
        try:
            yield Terminal(process, screen)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            os.close(screen)


def test_chat_on_a_terminal(own: Lab) -> None:
    """One conversation; Ctrl-C ends a reply, or a line that is not sent; lines come back; Ctrl-D leaves."""
    with terminal(own, "chat", "--timeout", "600") as person:
        person.until("> ")
        person.type("which session\n")
        person.until("thalovant-session-")
        person.until("> ")
        person.type("hang for the command\n")
        own.hub.wait_for("recognizer_loop:utterance", timeout=PATIENCE, predicate=lambda event: "hang" in event.text)
        person.interrupt("(given up)")
        person.until("> ")
        person.type("not sent")
        person.until("not sent")
        person.interrupt("> ")
        person.type("say still here\n")
        person.until("still here\r\n")  # as it was typed
        person.until("still here\r\n")
        person.until("> ")
        person.type("\x1b[A\n")
        person.until("say still here\r\n")
        person.until("still here\r\n")
        person.until("> ")
        person.type("\x04")
    sessions = {event.session_id for event in own.hub.heard if event.name == "recognizer_loop:utterance"}
    assert len(sessions) == 1


def test_chat_from_a_pipe(good: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is said; a failure is told, what follows is said nevertheless, and the exit code is 1."""
    lines = "say one\n\nfail because of rain\nwhich session\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    code, out, err = good("chat", "--session-id", "S-chat")
    assert (code, out.splitlines()) == (1, ["one", "S-chat"])
    assert (len(err.splitlines()) <= 2, "rain" in err) == (True, True)

    monkeypatch.setattr("sys.stdin", io.StringIO("say one\nsay two\n"))
    code, out, err = good("chat", "--json")
    assert (code, err, [json.loads(line)["text"] for line in out.splitlines()]) == (0, "", ["one", "two"])


def test_chat_goes_on_with_a_question(good: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hub asks back is answered by the next line."""
    monkeypatch.setattr("sys.stdin", io.StringIO("guess\nthe red one\n"))

    assert good("chat") == (0, "Which one?\nIt was the red one.\n", "")


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ([], 'test.tick  {"n":1}'),
        (["test.*", "other"], 'test.tick  {"n":1}'),
        (["speak"], "speak  red \\x1b[31m\\nfoo"),
    ],
)
def test_watch(own: Lab, extra: list[str], expected: str, tmp_path: Path) -> None:
    """Time, name and what is said, on one line, with nothing raw in it."""
    command = [*THALOVANT, "watch", *extra, "--max-events", "1"]
    env = {**environment(own), "XDG_CONFIG_HOME": str(tmp_path)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:  # until it watches nobody hears it
            own.hub.emit_to("shared", "test.tick", {"n": 1})
            if extra:
                own.hub.emit_to("shared", "speak", {"utterance": "red \x1b[31m\nfoo"})
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        out, _ = process.communicate(timeout=PATIENCE)

    time, _, rest = out.rstrip("\n").partition(" ")
    assert (rest, len(time)) == (expected, 8)


def test_watch_that_saw_nothing(good: Run) -> None:
    """It ends in time, and says so."""
    assert good("watch", "--timeout", "0.01")[1:] == ("", "thalovant: no event at all within 0.01 s\n")
    assert good("watch", "a.*", "b", "--timeout", "0.01")[2] == "thalovant: no event a.* b within 0.01 s\n"


@pytest.mark.parametrize("argv", [["chat"], ["watch"]])
def test_ctrl_c(own: Lab, argv: list[str], tmp_path: Path) -> None:
    """Without a terminal it ends both: exit code 130, and nothing is said."""
    env = {**environment(own), "XDG_CONFIG_HOME": str(tmp_path)}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([*THALOVANT, *argv], env=env, text=True, **pipes) as process:
        assert own.hub.wait_for_connection("shared", timeout=PATIENCE)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
        assert (process.stdout.read(), process.stderr.read().strip()) == ("", "")


def test_chat_tells_of_an_error_after_ctrl_c(good: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ctrl-C that ended a line is over: what goes wrong later is told, and not taken for the end of the command."""
    lines = iter([None, "hi"])

    def typed(prompt: str = "") -> str:
        line = next(lines)
        if line is None:
            cli._interrupt(signal.SIGINT, None)
        return str(line)

    def fails(*args: object, **options: object) -> None:
        raise ZeroDivisionError("a bug")

    keyboard = io.StringIO()
    monkeypatch.setattr(keyboard, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", keyboard)
    monkeypatch.setattr("builtins.input", typed)
    monkeypatch.setattr("thalovant.conversation.ThalovantConversation.ask", fails)

    code, _, err = good("chat")

    assert (code, err.splitlines()[-1]) == (1, "thalovant: a bug")
