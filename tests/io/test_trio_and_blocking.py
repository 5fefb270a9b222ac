"""What only trio and the blocking driver have: cancellation, signals, other threads."""

from __future__ import annotations

import gc
import queue
import signal
import subprocess
import sys
import threading
from functools import partial

import pytest
import trio

from tests.io.pki import Pki
from tests.io.running import PATIENCE, Server, echo
from tests.io.stacks import FrameClient, Heard, Opened, Outcome
from thalovant_io.blocking_driver import BlockingDriver
from thalovant_io.trio_driver import TrioDriver


def test_a_trio_run_can_be_cancelled_at_every_checkpoint(pki: Pki) -> None:
    """From the first dial on, over TLS: no socket is left (the fixture counts), and no task (the nursery waits)."""

    async def main(server: Server) -> None:
        for turns in range(60):
            driver = TrioDriver(FrameClient(server.target), on_outcome=lambda outcome: None, tls=pki.client())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(driver.run)
                for _ in range(turns):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            driver.wake()  # harmless now

    with Server(echo, tls=pki.server(), tolerant=True) as server:
        trio.run(main, server)
        gc.collect()


def test_a_trio_driver_that_was_aborted_before_it_ran() -> None:
    """It ends at once, and nothing is dialed."""

    async def main(server: Server) -> None:
        driver = TrioDriver(FrameClient(server.target), on_outcome=lambda outcome: None)
        driver.abort()
        with trio.fail_after(PATIENCE):
            await driver.run()

    with Server(echo) as server:
        trio.run(main, server)


def test_without_trio_the_import_says_what_to_install() -> None:
    """The extra is named."""
    script = "import sys; sys.modules['trio'] = None; import thalovant_io.trio_driver"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.endswith("ImportError: the trio driver needs trio: pip install 'thalovant[trio]'\n")


def test_a_signal_ends_a_blocking_run(pki: Pki) -> None:
    """Ctrl-C comes out of `run`, also while it waits; no socket is left."""
    opened = threading.Event()

    def interrupt() -> None:
        assert opened.wait(PATIENCE)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with Server(echo, tls=pki.server(), tolerant=True) as server:
        thread = threading.Thread(target=interrupt)
        thread.start()
        driver = BlockingDriver(FrameClient(server.target), on_outcome=lambda _: opened.set(), tls=pki.client())
        with pytest.raises(KeyboardInterrupt):
            driver.run()
        thread.join(PATIENCE)
    driver.call_soon(lambda: None)  # without effect, and harmless
    driver.abort()


def test_many_threads_may_call_a_blocking_driver() -> None:
    """`call_soon` is for any thread: nothing is lost, whatever the number of calls that wait."""
    heard: queue.Queue[Outcome] = queue.Queue()
    with Server(echo) as server:
        stack = FrameClient(server.target)
        driver = BlockingDriver(stack, on_outcome=heard.put)
        run = threading.Thread(target=driver.run)
        run.start()
        assert heard.get(timeout=PATIENCE) == Opened(1)

        def call(number: int) -> None:
            for count in range(500):
                driver.call_soon(partial(stack.send, b"%d %d" % (number, count)))

        threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        echoes = [heard.get(timeout=PATIENCE) for _ in range(4000)]
        for thread in threads:
            thread.join(PATIENCE)
        driver.call_soon(stack.stop)
        run.join(PATIENCE)
        assert not run.is_alive()
    assert set(echoes) == {Heard(b"%d %d" % (number, count)) for number in range(8) for count in range(500)}


def test_what_a_call_raises_comes_out_of_a_blocking_run() -> None:
    """The caller's own fault, where the caller's own code runs; nothing is left behind."""
    with Server(echo, tolerant=True) as server:
        driver = BlockingDriver(FrameClient(server.target), on_outcome=lambda outcome: None)

        def fail() -> None:
            raise LookupError("mine")

        driver.call_soon(fail)
        with pytest.raises(LookupError, match="mine"):
            driver.run()
