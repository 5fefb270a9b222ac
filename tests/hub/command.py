"""`thalovant hub` in a process of its own, for tests of what it says and does."""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

PATIENCE = 30.0
THALOVANT = (sys.executable, "-m", "thalovant")
FREE = ("--wss-port", "0", "--https-port", "0", "--mqtt-port", "0", "--api-port", "0")


def ended(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command, run to its end."""
    return subprocess.run(
        [*THALOVANT, "hub", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False, **options
    )


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and its ready line; killed at the end if it still runs."""
    command = [*THALOVANT, "hub", *FREE, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, line(process)
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """The next line of its standard output."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], PATIENCE)
    assert readable, "the command says nothing"
    return process.stdout.readline()


def api_line(process: subprocess.Popen[str]) -> str:
    """The line after the ready line; it may have been read along with that."""
    assert process.stdout is not None
    return process.stdout.readline()


def stopped(process: subprocess.Popen[str], signum: int) -> int:
    """Its exit code after a signal."""
    process.send_signal(signum)
    return process.wait(PATIENCE)
