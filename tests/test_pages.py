"""README and the pages of `docs/`: every program and command is run as it stands there, page by page, in order."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SNIPPET = re.compile(r"^```(python|sh)(?: title=\"([\w.]+)\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Comments behind a `print`: the line that it prints.
EXPECTED = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)
#: Commands that change the machine; what they name has to be there.
INSTALLS = re.compile(r"(?:git clone|make|pip install) ")
#: Ports that every test can have at the same time, instead of the usual ones.
PORTS = "thalovant hub --wss-port 0 --https-port 0 --mqtt-port off --api-port 0"
#: A broker that is not there.
ELSEWHERE = "mqtts://broker.example:8883"


class Snippet(NamedTuple):
    """A program or some commands of a page."""

    kind: str
    file: str
    text: str
    line: int


def snippets(page: Path) -> list[Snippet]:
    """All of a page, in order."""
    text = page.read_text("utf-8")
    return [
        Snippet(found[1], found[2] or "snippet.py", found[3], text.count("\n", 0, found.start()) + 1)
        for found in SNIPPET.finditer(text)
    ]


class Reader:
    """Somebody who follows a page to the letter, with an empty HOME and a folder of their own."""

    def __init__(self, home: Path, folder: Path) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("THALOVANT_", "XDG_"))}
        path = os.pathsep.join((str(Path(sys.executable).parent), kept["PATH"]))
        self.env = {**kept, "HOME": str(home), "PATH": path}
        self.folder = folder
        self.hubs: list[subprocess.Popen[str]] = []
        self.api = ""  # of the latest hub

    def follow(self, snippet: Snippet, later: str) -> str:
        """Run it, or store it where the page runs it `later`; gives what went to standard output."""
        if snippet.kind == "sh":
            text = snippet.text.replace("\\\n", " ")
            return "".join(self.command(line) for line in map(str.strip, text.splitlines()) if line)
        (self.folder / snippet.file).write_text(snippet.text)
        if f" {snippet.file}" in later:
            return ""
        if "def test_" in snippet.text:
            return self.run(sys.executable, "-m", "pytest", "-q", snippet.file)
        return self.run(sys.executable, snippet.file)

    def command(self, line: str) -> str:
        line = line.replace(".venv/bin/", "")
        words = shlex.split(line, comments=True)
        if not words or INSTALLS.match(line) or ELSEWHERE in words:
            return ""
        if words[0] == "cd":
            self.folder /= "" if words[1] == "thalovant-python-sdk" else words[1]
            return ""
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.env[name] = self.api if name == "THALOVANT_API_URL" else value
            return ""
        line = line.replace("thalovant hub", PORTS)
        if words[:2] == ["thalovant", "hub"] and "--run" not in words:
            return self.start_hub(line)
        return self.run("bash", "-c", line)

    def start_hub(self, line: str) -> str:
        """Leave it running until the page is at its end, with its keys in a folder of this page."""
        hub = subprocess.Popen(shlex.split(line, comments=True), cwd=self.folder, env=self.env, text=True, stdout=-1)
        self.hubs.append(hub)
        assert hub.stdout is not None
        ready = hub.stdout.readline()
        assert "hub ready" in ready
        self.api = hub.stdout.readline().rpartition("=")[2].strip()
        return ready

    def run(self, *argv: str) -> str:
        done = subprocess.run(
            argv, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=60, check=False
        )
        quiet = done.stderr if argv[0] == sys.executable else ""
        assert (done.returncode, quiet) == (0, ""), f"{argv[-1]}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def leave(self) -> None:
        """Stop the hubs that were started."""
        for hub in self.hubs:
            hub.send_signal(signal.SIGTERM)
        for hub in self.hubs:
            hub.communicate(timeout=30)


@contextmanager
def reader(folder: Path) -> Iterator[Reader]:
    """A reader in a new folder."""
    for name in ("home", "work"):
        (folder / name).mkdir()
    reading = Reader(folder / "home", folder / "work")
    try:
        yield reading
    finally:
        reading.leave()


@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page)], ids=lambda page: page.stem)
def test_page_holds_to_the_letter(page: Path, tmp_path: Path) -> None:
    """Each snippet ends well and prints what its comments say; the hub is that of `thalovant hub --write`."""
    with reader(tmp_path) as reading:
        found = snippets(page)
        if not any("hub --write" in one.text for one in found[:3] if one.kind == "sh"):
            reading.command("thalovant hub --write .")
        for at, snippet in enumerate(found, 1):
            later = "".join(one.text for one in found[at:] if one.kind == "sh")
            printed = reading.follow(snippet, later).splitlines()

            wide = [line for line in snippet.text.splitlines() if len(line) > 88]  # the site shows no more at once
            assert wide == []
            missing = [line for line in EXPECTED.findall(snippet.text) if line not in printed]
            assert (f"{page.name}:{snippet.line}", missing) == (f"{page.name}:{snippet.line}", [])
