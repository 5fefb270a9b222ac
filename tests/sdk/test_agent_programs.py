"""Agents as programs: signals, the end of handlers that run, and both classes as users write them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from thalovant import (
    ThalovantAgent,
    ThalovantEvent,
)
from thalovant.testing import CLIENT

from .agents import Heard, make, running
from .lab import PATIENCE, Lab


def _signal_main(number: int) -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains_threads(v3: Lab, number: int, nothing_left: None) -> None:
    """The handler that runs finishes, then `run_forever` returns; what the signal did before, it does again."""
    agent, ended = make(v3, ThalovantAgent), Heard()

    @agent.on("test.tick")
    def handle(event: ThalovantEvent) -> None:
        _signal_main(number)
        ended(agent.ask("still there").text)

    before = signal.getsignal(number)
    agent.client.on_state(lambda state, error: state == "ready" and agent.send_utterance("count to 1"))
    agent.run_forever(poll_interval=0.01)
    assert ended.all == ["You said: still there"]
    assert signal.getsignal(number) is before


def test_sigterm_drains_coroutines(v3: Lab, each_loop: str) -> None:
    """The same on every loop, in a program's only coroutine."""
    agent, ended = make(v3), Heard()

    @agent.on("test.tick")
    async def handle(event: ThalovantEvent) -> None:
        _signal_main(signal.SIGTERM)
        ended((await agent.ask("still there")).text)

    async def main() -> None:
        sending = asyncio.create_task(agent.send_utterance("count to 1"))
        await agent.run_forever()
        await sending

    asyncio.run(main())
    assert ended.all == ["You said: still there"]


async def test_sigterm_of_the_program(v3: Lab) -> None:
    """A program that handles it itself goes on to do so."""
    agent, mine = make(v3), Heard()
    before = signal.signal(signal.SIGTERM, lambda *_: mine("mine"))
    try:
        async with running(agent) as run:
            _signal_main(signal.SIGTERM)
            await mine.first(1)
            assert not run.done()
    finally:
        signal.signal(signal.SIGTERM, before)


WORKER = """
from thalovant import EVENT_SPEAK, ThalovantAgent

worker = ThalovantAgent.from_identity_file("_identity.json")


@worker.on(EVENT_SPEAK)
def say(event):
    print(event.text, flush=True)


worker.run_forever()
"""
ASYNC_WORKER = """
import asyncio

from thalovant import EVENT_SPEAK, AsyncThalovantAgent

worker = AsyncThalovantAgent.from_identity_file("_identity.json")


@worker.on(EVENT_SPEAK)
async def say(event):
    print(event.text, flush=True)


asyncio.run(worker.run_forever())
"""


@pytest.mark.parametrize("program", [WORKER, ASYNC_WORKER], ids=["threads", "coroutines"])
def test_program(own: Lab, program: str, tmp_path: Path) -> None:
    """The shortest programs: they print what the hub says, and SIGTERM ends them well."""
    own.identity(CLIENT).save(tmp_path / "_identity.json")
    (tmp_path / "worker.py").write_text(program)
    argv = [sys.executable, "-X", "dev", "-W", "error", "worker.py"]
    with subprocess.Popen(argv, cwd=tmp_path, stdout=-1, stderr=-1, text=True) as worker:
        assert worker.stdout is not None
        assert own.hub.wait_for_connection(CLIENT, timeout=PATIENCE)
        own.hub.speak_to(CLIENT, "Dinner is ready.")
        assert worker.stdout.readline() == "Dinner is ready.\n"
        worker.terminate()
        assert worker.communicate(timeout=PATIENCE) == ("", "")
    assert worker.returncode == 0
