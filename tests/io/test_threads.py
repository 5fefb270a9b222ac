"""Blocking calls beside the loop: equal ones once, few at a time, and no thread left when there is nothing to do."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import CancelledError, Future

import pytest

from tests.io.running import PATIENCE
from thalovant_io._threads import SingleFlight
from thalovant_io.derivation import CONCURRENCY, start_derivation
from thalovant_proto.crypto.kdf import DeriveKey, Kdf, derive
from thalovant_proto.secret import Secret


class Gate:
    """A call that waits to be let through, and counts."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.runs = 0
        self.inside = 0
        self.most = 0
        self._lock = threading.Lock()

    def __call__(self) -> int:
        with self._lock:
            self.runs += 1
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.entered.release()
        assert self.open.wait(PATIENCE)
        with self._lock:
            self.inside -= 1
        return self.runs


def test_equal_calls_run_once() -> None:
    """Those who ask while a call runs share its result; who asks later starts another."""
    flight, gate = SingleFlight(2, "test"), Gate()
    first = flight.submit("key", gate)
    assert gate.entered.acquire(timeout=PATIENCE)
    others = [flight.submit("key", gate) for _ in range(10)]
    gate.open.set()
    assert {future.result(PATIENCE) for future in [first, *others]} == {1}
    assert flight.submit("key", gate).result(PATIENCE) == 2


def test_no_more_threads_than_allowed() -> None:
    """Different calls run at the same time, up to the cap; the others wait their turn."""
    flight, gate = SingleFlight(2, "test"), Gate()
    futures = [flight.submit(number, gate) for number in range(6)]
    for _ in range(2):
        assert gate.entered.acquire(timeout=PATIENCE)
    assert sum(thread.name == "test" for thread in threading.enumerate()) == 2
    gate.open.set()
    for future in futures:
        future.result(PATIENCE)
    assert (gate.runs, gate.most) == (6, 2)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)])
def test_what_a_call_raises_comes_to_all_who_asked(error: BaseException) -> None:
    """And the thread lives on for the next call."""
    flight, entered = SingleFlight(1, "test"), threading.Event()

    def call() -> None:
        assert entered.wait(PATIENCE)
        raise error

    futures = [flight.submit("key", call) for _ in range(2)]
    after = flight.submit("other", lambda: "fine")
    entered.set()
    assert [future.exception(PATIENCE) for future in futures] == [error, error]
    assert after.result(PATIENCE) == "fine"


def test_calls_that_nobody_wants_are_not_made() -> None:
    """Cancelled before its turn by all who asked: the call does not run. By some: it does, for the others."""
    flight, gate = SingleFlight(1, "test"), Gate()
    running = flight.submit("running", gate)
    assert gate.entered.acquire(timeout=PATIENCE)
    unwanted = flight.submit("unwanted", gate)
    shared = [flight.submit("shared", gate) for _ in range(2)]
    assert unwanted.cancel()
    assert shared[0].cancel()
    assert running.cancel()  # too late for the call, but not for who asked
    gate.open.set()
    assert shared[1].result(PATIENCE) == 2
    for future in (unwanted, shared[0], running):
        with pytest.raises(CancelledError):
            future.result(PATIENCE)
    again = flight.submit("unwanted", gate)
    assert again.result(PATIENCE) == 3


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call fails if nobody could do the work; otherwise the thread that is there does it later."""
    flight, gate = SingleFlight(2, "test"), Gate()
    first = flight.submit("first", gate)
    assert gate.entered.acquire(timeout=PATIENCE)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        second = flight.submit("second", gate)
        alone = SingleFlight(1, "test")
        with pytest.raises(OSError, match="no thread can be started"):
            alone.submit("key", gate).result(PATIENCE)
    assert alone.submit("key", lambda: 2).result(PATIENCE) == 2  # later there may be one
    gate.open.set()
    first.result(PATIENCE)
    assert second.result(PATIENCE) == 2


def test_a_forked_child_starts_afresh() -> None:
    """A call was running and the lock was held when the process forked: the child can still use the pool."""
    script = """if True:
        import os, threading
        from thalovant_io._threads import SingleFlight
        flight, entered, over = SingleFlight(1, "test"), threading.Event(), threading.Event()
        running = flight.submit("key", lambda: (entered.set(), over.wait()))
        assert entered.wait(30)
        with flight._lock:
            child = os.fork()
            if not child:
                assert "child" == flight.submit("key", lambda: "child").result(30)
                os._exit(7)
        assert 7 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        over.set()
        running.result(30)
        print("well")
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "well\n", done.stderr


def test_a_call_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    """Threads are daemons: a name server that never answers keeps nobody from leaving."""
    script = """if True:
        import threading
        from thalovant_io._threads import SingleFlight
        entered = threading.Event()
        SingleFlight(1, "test").submit("key", lambda: (entered.set(), threading.Event().wait()))
        assert entered.wait(30)
    """
    subprocess.run([sys.executable, "-c", script], timeout=60, check=True)


def test_equal_derivations_share_one_run() -> None:
    """All drivers of the process share the derivations; different secrets, salts and functions are kept apart."""
    effects = [
        DeriveKey(id=number, kdf=Kdf.PBKDF2, secret=Secret(secret), salt=salt)
        for number, (secret, salt) in enumerate([(b"a", b"x"), (b"b", b"x"), (b"a", b"y"), (b"a", b"x")])
    ]
    futures: list[Future[Secret[bytes]]] = [start_derivation(effect) for effect in effects]
    keys = [future.result(PATIENCE) for future in futures]
    assert [derive(effect) for effect in effects] == keys
    assert keys[0] is keys[3]
    assert len(set(keys)) == 3
    assert CONCURRENCY == 2
