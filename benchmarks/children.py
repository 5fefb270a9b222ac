"""Other processes of a benchmark: the hub, clients, peers in environments of their own. They are asked one at a time.

A child is a script here that calls `serve` with its commands. Only the standard library, since peers' environments
hold nothing else of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TextIO

ROOT = Path(__file__).parent.parent
Commands = Mapping[str, Callable[..., Any]]


class ChildError(Exception):
    """A child could not do what it was asked, or is gone; in its own words."""


class Child:
    """A script of this folder as a process. Use it as `with`: it ends with the block."""

    def __init__(
        self,
        script: str,
        *arguments: str,
        python: Path | None = None,
        root: Path = ROOT,
        journal: IO[str] | None = None,
        **variables: str,
    ) -> None:
        """`python` is the interpreter of another environment, to which nothing of this one leaks; `root` is another
        checkout of ours, of which script and packages are taken; `journal` gets what it says on standard error.
        """
        self._name = script
        if python is not None and journal is None:
            journal = tempfile.TemporaryFile("w+")  # noqa: SIM115 - what peers say is only shown if they fail
        self._journal = journal
        interpreter = [sys.executable] if python is None else [str(python), "-E"]
        if root != ROOT:
            variables["PYTHONPATH"] = str(root)
        self._process = subprocess.Popen(
            [*interpreter, str(root / "benchmarks" / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._journal,
            env={**os.environ, **variables},
            text=True,
        )
        self.pid = self._process.pid

    def ask(self, command: str, **values: Any) -> Any:
        """Have a command carried out, and give its result. Raises `ChildError`."""
        self.start(command, **values)
        return self.result()

    def start(self, command: str, **values: Any) -> None:
        """As `ask`, without waiting for the `result`."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `result` tells
            self._process.stdin.write(json.dumps([command, values]) + "\n")
            self._process.stdin.flush()

    def result(self) -> Any:
        """What the command that was started gave."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ChildError(f"{self._name} ended with exit code {self._process.wait()}\n{self._last_words()}")
        answer = json.loads(line)
        if "error" in answer:
            raise ChildError(f"{self._name}: {answer['error']}")
        return answer["result"]

    def close(self) -> None:
        """End the process, and wait until it has."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        if self._journal is not None:
            self._journal.close()

    def _last_words(self) -> str:
        if self._journal is None:
            return ""
        self._journal.seek(0)
        return self._journal.read()[-1000:]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextlib.contextmanager
def running_hub(*arguments: str, **options: Any) -> Iterator[Child]:
    """A hub of ours, in a process and a folder of its own; `options` are those of `Child`."""
    with tempfile.TemporaryDirectory() as folder, Child("child_hub.py", *arguments, folder, **options) as hub:
        hub.ask("endpoints")  # it is up
        yield hub


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[Path | None]:
    """An earlier state of this repository, in a folder; None where it cannot be had."""
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
        if archive.returncode:
            print(f"Commit {commit} is not here: nothing to compare with.", file=sys.stderr)
            yield None
            return
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        yield Path(folder)


def answers() -> TextIO:
    """The child's way to answer. What it prints from now on goes to standard error: some peers log to the other."""
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return stream


def serve(commands: Commands) -> None:
    """Carry out commands until the parent closes standard input, then end at once, threads or not."""
    stream = answers()
    for line in sys.stdin:
        name, values = json.loads(line)
        try:
            answer = {"result": commands[name](**values)}
        except Exception as error:
            answer = {"error": _words(error)}
        print(json.dumps(answer), file=stream, flush=True)
    os._exit(0)


async def serve_on_loop(commands: Commands) -> None:
    """As `serve`, on the running loop: the commands are coroutine functions, and it returns in the end."""
    stream = answers()
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, values = json.loads(line)
        try:
            answer = {"result": await commands[name](**values)}
        except Exception as error:
            answer = {"error": _words(error)}
        print(json.dumps(answer), file=stream, flush=True)


def _words(error: BaseException | None) -> str:
    """An error and its causes."""
    words = []
    while error is not None:
        words.append(f"{type(error).__name__}: {error}")
        error = error.__cause__
    return "; from ".join(words)


def resident(pid: int | None = None) -> int:
    """Bytes of memory that a process holds, pages shared with others included. Linux only."""
    pages = Path(f"/proc/{pid or 'self'}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def allow_files(count: int) -> None:
    """Let this process, and those that it starts, have as many files open. Raises `SystemExit` if it may not."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise SystemExit(f"{count} open files are needed, and {hard} allowed: see `ulimit -Hn`")
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
