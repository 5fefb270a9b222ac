"""What the command writes: nothing raw of a hub, media of a reply, and a spinner on terminals only."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import thalovant
from thalovant import ThalovantReply, cli
from thalovant._commands import terminal
from thalovant.hub import SkillFailure, speech
from thalovant.hub.skills.turn import Turn
from thalovant.logs import VisibleFormatter

from .lab import PATIENCE, Lab, lab
from .test_embedding import environment
from .test_render import HOSTILE, forbidden

WORDS = HOSTILE.replace("\udc80", "")  # no hub can send a lone surrogate
MEDIA = {
    "table": {"columns": ["Part", "Stock"], "rows": [["Cable", 3]]},
    "choices": [{"title": "Cable", "payload": "/p"}, "None"],
    "images": ["https://x.example/p.png"],
    "attachments": [{"title": "Sheet", "url": "https://x.example/p.pdf"}],
}
SHOWN = """\
Two parts.
Part   Stock
-----  -----
Cable  3
attachment: Sheet https://x.example/p.pdf
1) Cable [/p]
2) None
image: p.png https://x.example/p.png
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[Lab]:
    """A hub whose skills are hostile, and one that shows parts."""
    with lab() as made:

        @made.hub.skill("be hostile")
        async def hostile(turn: Turn) -> dict[str, Any]:
            return speech(
                f"hello {WORDS}\nforged",
                table={"columns": [WORDS], "rows": [[WORDS]]},
                choices=[{"title": WORDS, "payload": WORDS}],
                images=[f"https://x.example/{WORDS}", f"https://x.example/?{WORDS}"],
                attachments=[{"title": WORDS, "url": "https://x.example/p.pdf"}],
            )

        @made.hub.skill("fail badly")
        async def fail(turn: Turn) -> None:
            raise SkillFailure(f"broken {WORDS}")

        @made.hub.skill("show parts")
        async def parts(turn: Turn) -> dict[str, Any]:
            return speech("Two parts.", **MEDIA)

        made.identity("opener")  # who may let a skill go on
        yield made


@pytest.fixture
def command(hub: Lab, tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts the command in a process of its own."""

    def starts(*argv: str, variables: dict[str, str] | None = None, **streams: Any) -> subprocess.Popen[bytes]:
        own = {"XDG_CONFIG_HOME": str(tmp_path), "TERM": "xterm-256color", "COLUMNS": "80", "PYTHONUTF8": "1"}
        inherited = {name: value for name, value in environment(hub).items() if name != "NO_COLOR"}
        env = {**inherited, **own, **(variables or {})}
        argv = ("--state-dir", str(hub.state_dir()), "--protocol", "wss", *argv)
        return subprocess.Popen([sys.executable, "-m", "thalovant", *argv], env=env, **streams)

    return starts


@pytest.fixture
def run(command: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command without a terminal: exit code, output, errors."""

    def runs(*argv: str) -> tuple[int, str, str]:
        with command(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out.decode(), err.decode()

    return runs


class Screen:
    """A terminal: what was written to it, and what a person sees in the end."""

    def __init__(self) -> None:
        self._master, self.stream = pty.openpty()
        self.written = ""
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # nobody has it open any more
            while data := os.read(self._master, 65536):
                with self._news:
                    self.written += data.decode()
                    self._news.notify_all()

    def wait(self, text: str) -> None:
        """Wait until a text was written."""
        with self._news:
            assert self._news.wait_for(lambda: text in self.written, PATIENCE), self.written

    def end(self) -> str:
        """What was written, once all who had it open are gone."""
        os.close(self.stream)
        self._thread.join(PATIENCE)
        os.close(self._master)
        return self.written

    @property
    def plain(self) -> str:
        """What was written, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.written)

    @property
    def seen(self) -> list[str]:
        """The lines as they look: a return begins a line anew and overwrites it."""
        lines = []
        for line in self.plain.replace("\r\n", "\n").split("\n"):
            look = ""
            for piece in line.split("\r"):
                look = piece + look[len(piece) :]
            lines.append(look.rstrip())
        return lines


@pytest.fixture
def screen() -> Iterator[Screen]:
    """A terminal."""
    return Screen()


# --- nothing raw ---


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("ask", "be hostile"), "hello \\x1b[2J\\x1b]52;c;ZXZpbA==\\x07\\x9b31m"),
        (("ask", "fail badly"), "broken \\x1b[2J"),
        (("--json", "ask", "fail badly"), "broken \\x1b[2J"),
        (("emit", "test.denied"), "sent"),
        (("health",), "connected=True"),
        (("doctor",), "site_id="),
    ],
)
def test_nothing_raw_is_written(run: Callable[..., tuple[int, str, str]], argv: tuple[str, ...], said: str) -> None:
    """On neither stream, whatever a skill says."""
    _, out, err = run(*argv)

    assert said in f"{out}{err}".replace("\\\\", "\\")
    assert (forbidden(out, allowed="\n"), forbidden(err, allowed="\n")) == ([], [])


def test_json_is_exact(run: Callable[..., tuple[int, str, str]]) -> None:
    """A program gets what the skill said, in printable ASCII."""
    code, out, err = run("--json", "ask", "be hostile")

    assert (code, err, out.isascii(), forbidden(out, allowed="\n")) == (0, "", True, [])
    assert json.loads(out)["events"][0]["data"]["quick_replies"] == [{"title": WORDS, "payload": WORDS}]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ({"utterance": f"{WORDS}\nthalovant: forged"}, "\\x1b[2J"),
        ({"b": "\n\x1b\x7f\u202e", "a": 1}, '{"a":1,"b":"\\n\\u001b\\u007f\\u202e"}'),
    ],
)
def test_no_line_is_forged(hub: Lab, command: Callable[..., Any], data: dict[str, Any], line: str) -> None:
    """An event that is listened to is one line, whatever is in it."""
    process = command("listen", "test.forge", "--max-events", "1", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while process.poll() is None:  # until it listens nobody hears it
        hub.hub.emit_to("shared", "test.forge", data)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    out, err = (stream.decode() for stream in process.communicate(timeout=PATIENCE))

    assert (err, out.count("\n"), out.startswith(line), forbidden(out, allowed="\n")) == ("", 1, True, [])


def test_log_lines() -> None:
    """A record is a line, also where another formatter has put its traceback in already."""
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        record = logging.LogRecord("x", logging.INFO, "", 0, "a %s\nforged", (HOSTILE,), sys.exc_info())
    logging.Formatter().format(record)

    lines = VisibleFormatter("%(levelname)s %(message)s").format(record)

    assert forbidden(lines, allowed="\n") == []
    assert lines.split("\n")[0].endswith("\\U000e0041\\nforged")
    assert lines.split("\n")[1] == "Traceback (most recent call last):"


def test_verbose(run: Callable[..., tuple[int, str, str]], hub: Lab) -> None:
    """The log on standard error, nothing raw in it, and the answer where it always is."""
    code, out, err = run("--verbose", "ask", "be hostile")

    assert (code, out.startswith("hello"), forbidden(err, allowed="\n")) == (0, True, [])
    assert "DEBUG thalovant.link: WSS 127.0.0.1:" in err


def test_one_place_writes() -> None:
    """No command prints by itself."""
    folder = Path(thalovant.__file__).parent
    calls = {
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("click.echo", "click.secho", "print", "echo")
    }

    assert calls == {Path(str(terminal.__file__)).relative_to(folder).as_posix()}


# --- media ---


def test_media_as_text(run: Callable[..., tuple[int, str, str]]) -> None:
    """The text first, then everything else, aligned and numbered."""
    assert run("ask", "show parts") == (0, SHOWN, "")


@pytest.mark.parametrize(
    ("variables", "drawn", "coloured"),
    [({}, True, True), ({"NO_COLOR": "1"}, True, False), ({"TERM": "dumb"}, False, False)],
)
def test_media_on_a_terminal(
    command: Callable[..., Any], screen: Screen, variables: dict[str, str], drawn: bool, coloured: bool
) -> None:
    """Drawn with `rich`, in colour unless that is not wanted; as text where a terminal cannot draw."""
    with command("ask", "show parts", stdout=screen.stream, stderr=subprocess.PIPE, variables=variables) as process:
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == b""
    screen.end()

    assert ("╭" in screen.written, "\x1b[3" in screen.written or ";3" in screen.written) == (drawn, coloured)
    for piece in ("Two parts.", "Part", "Cable", "Sheet https://x.example/p.pdf", "1) Cable [/p]", "p.png https://"):
        assert piece in screen.plain
    if not drawn:
        assert screen.written.replace("\r\n", "\n") == SHOWN


def test_hostile_media_on_a_terminal(command: Callable[..., Any], screen: Screen) -> None:
    """Colours are ours; nothing else there controls anything."""
    with command("ask", "be hostile", stdout=screen.stream, stderr=screen.stream) as process:
        assert process.wait(PATIENCE) == 0
    screen.end()

    assert "╭" in screen.written
    assert forbidden(screen.plain, allowed="\r\n") == []


def test_terminal_without_rich(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Text then, and nothing is said about it."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setattr(terminal, "is_screen", lambda stream: True)
    event = thalovant.ThalovantEvent("speak", {"utterance": "Two parts.", "table": {"a": 1}})

    terminal.show_reply(ThalovantReply.from_events([event]))

    assert capsys.readouterr() == ("Two parts.\na  1\n", "")


@pytest.mark.parametrize(
    ("data", "shown"), [({}, "\n"), ({"image": "https://x/y.png"}, "image: y.png https://x/y.png\n")]
)
def test_reply_without_text(capsys: pytest.CaptureFixture[str], data: dict[str, Any], shown: str) -> None:
    """An empty line where there is nothing; no empty line where there is something."""
    terminal.show_reply(ThalovantReply.from_events([thalovant.ThalovantEvent("speak", data)]))

    assert capsys.readouterr().out == shown


def test_rich_is_loaded_for_terminals_only() -> None:
    """A start costs nothing for it."""
    code = "import sys; from thalovant import cli; cli.main(['--version']); assert 'rich' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert callable(cli.main)


# --- the spinner ---


def test_spinner(hub: Lab, command: Callable[..., Any], screen: Screen) -> None:
    """It is drawn while the hub takes its time, with the phase, and gone before the answer."""
    with command("ask", "two steps spin", stdout=screen.stream, stderr=screen.stream) as process:
        screen.wait("waiting for the hub ...")
        hub.hub.client("opener").emit("test.go", {"gate": "spin"})
        assert process.wait(PATIENCE) == 0
    screen.end()

    assert screen.seen == ["one two", ""]
    assert {line for line in screen.plain.split("\r") if "\x1b" in line} == set()


@pytest.mark.parametrize(("extra", "terminal"), [((), False), (("--json",), True), (("-v",), True)])
def test_no_spinner(
    hub: Lab, command: Callable[..., Any], screen: Screen, extra: tuple[str, ...], terminal: bool
) -> None:
    """Not where nobody looks, and not for programs; however long it takes."""
    stream = screen.stream if terminal else subprocess.PIPE
    with command(*extra, "ask", "hang", "--timeout", "0.8", stdout=subprocess.PIPE, stderr=stream) as process:
        _, err = process.communicate(timeout=PATIENCE)
    written = screen.end() if terminal else err.decode()

    assert "waiting for the hub" not in written
    assert "within 0.8s" in written


def test_no_spinner_after_ctrl_c(hub: Lab, command: Callable[..., Any], screen: Screen) -> None:
    """The line is clean for the prompt of the shell."""
    with command("ask", "hang ctrl-c", stdout=screen.stream, stderr=screen.stream) as process:
        screen.wait("waiting for the hub ...")
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    screen.end()

    assert not any(screen.seen)


class Tty(io.StringIO):
    """A terminal in memory."""

    encoding = "ascii"

    def __init__(self, drawn: threading.Event) -> None:
        super().__init__()
        self._drawn = drawn

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        self._drawn.set()


def test_quick_answers_have_no_spinner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drawn before its time has come, and signs are those that the terminal has."""
    monkeypatch.setenv("TERM", "xterm")
    client: Any = object()
    drawn = threading.Event()
    quick, slow = Tty(drawn), Tty(drawn)
    with terminal.spinner(client, stream=quick, delay=PATIENCE):
        pass
    assert quick.getvalue() == ""
    with terminal.spinner(client, stream=slow, delay=0):
        assert drawn.wait(PATIENCE)

    assert slow.getvalue().startswith("\r| starting ...\r")
    assert slow.getvalue().endswith("\r              \r")
    assert terminal.SPINNER_DELAY == 0.3


def test_spinner_of_a_terminal_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was drawn for goes on."""
    monkeypatch.setenv("TERM", "xterm")
    closed = Tty(threading.Event())
    with terminal.spinner(object(), stream=closed, delay=0):  # type: ignore[arg-type]
        closed.close()
