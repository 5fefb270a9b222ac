"""The thread behind the synchronous client: one private event loop, entered by `call`."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from .errors import ThalovantRuntimeError

T = TypeVar("T")

#: How long an interrupted call may take to clean up before the interrupt goes on to the caller.
CANCEL_WITHIN = 0.15


class Portal:
    """An event loop in a thread of its own. Callable from any thread but that one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        return self._thread is not None

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the loop and wait for its result. Ctrl-C, or any exception here, cancels it."""
        return self._wait(asyncio.run_coroutine_threadsafe(work(), self._start()))

    def run(self, work: Callable[[], T]) -> T:
        """Run a function on the loop and wait for its result."""

        async def on_loop() -> T:
            return work()

        return self.call(on_loop)

    def iterate(self, work: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        """Walk an asynchronous iterator from here; leaving the walk ends it."""
        items = work()

        async def following() -> T:
            return await anext(items)

        async def end() -> None:
            if (aclose := getattr(items, "aclose", None)) is not None:
                await aclose()

        try:
            while True:
                try:
                    item = self.call(following)
                except StopAsyncIteration:
                    return
                yield item
        finally:
            if self.running:
                self.call(end)

    def stop(self) -> None:
        """End the loop and its thread; a later `call` starts new ones."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join()

    def abandon(self) -> None:
        """Forget loop and thread without touching them: in a forked child they are the parent's."""
        self._lock = threading.Lock()
        self._loop = self._thread = None

    def _wait(self, future: Future[T]) -> T:
        try:
            return future.result()
        except CancelledError:
            raise ThalovantRuntimeError("The client was closed while the call was running.", code="closed") from None
        except BaseException as error:
            # Either the coroutine's own error, or an interrupt of this thread: then the coroutine must go.
            if not future.done():
                done = threading.Event()
                future.add_done_callback(lambda _: done.set())
                future.cancel()
                done.wait(CANCEL_WITHIN)
            raise error

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._thread is threading.current_thread():
            raise ThalovantRuntimeError(
                "The synchronous client cannot be used on its own loop thread.",
                code="wrong_thread",
                hint="use AsyncThalovantClient in coroutines",
            )
        with self._lock:
            if self._loop is not None:
                return self._loop
            started: Future[asyncio.AbstractEventLoop] = Future()
            self._thread = threading.Thread(target=_run, args=(started,), name=self._name, daemon=True)
            self._thread.start()
            self._loop = started.result()
            return self._loop


def _run(started: Future[asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner() as runner:  # cancels what is left and closes the loop, generators and threads with it
        loop = runner.get_loop()
        loop.call_soon(started.set_result, loop)
        loop.run_forever()
