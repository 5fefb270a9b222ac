"""The threads behind the synchronous client, and its methods, which are made of the asynchronous ones.

One thread has a private event loop, one runs handlers of users. A method keeps the parameters, types and documentation
of its original, stated once:

    class Client:
        ask = blocking(AsyncClient.ask)
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, Protocol, TypeVar

from ..errors import ThalovantError, ThalovantRuntimeError

# Imported with the first thread, since there are programs that import a client and make none.
if TYPE_CHECKING:
    import asyncio

    from typing_extensions import TypeVar as TypeVarWithDefault

    from ..events import ThalovantEvent

    #: The default is for twins of methods that give an event of a class: mypy forgets that of their own variable.
    R = TypeVarWithDefault("R", default=ThalovantEvent)
else:
    R = TypeVar("R")

A = TypeVar("A")
P = ParamSpec("P")
T = TypeVar("T")

#: How long an interrupted call may take to clean up before the interrupt goes on to the caller, in seconds.
CANCEL_WITHIN: Final = 0.1

#: Set at the end of the interpreter, when all threads that wait for a call are daemon threads.
interpreter_ends: Final = threading.Event()


class Portal:
    """An event loop in a daemon thread of its own, which comes with the first call and goes with `stop`.

    Callable from any thread. Coroutines of the loop cannot wait for themselves: `call` and `iterate` refuse that.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        return self._thread is not None

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the loop and wait for its result. Ctrl-C, or any exception here, cancels it."""
        __tracebackhide__ = True
        if self.inside:
            raise ThalovantRuntimeError(
                "The synchronous client cannot wait on its own loop thread.",
                name="wrong_thread",
                hint="Call it from handlers or threads, not from predicates.",
            )
        call = _Call(work)
        try:
            with self._lock:  # what is scheduled before the loop is stopped is run, and told that it is stopped
                loop = self._loop or self._start()
                loop.call_soon_threadsafe(call.start, loop)
            call.over.acquire()
        except BaseException:
            call.cancel(self._loop)
            raise
        if interpreter_ends.is_set() and threading.current_thread() is not threading.main_thread():
            threading.Event().wait()  # a daemon thread, which is gone in a moment: an error would only be printed
        return call.result()

    def run(self, work: Callable[[], T]) -> T:
        """Run a function on the loop and wait for its result."""
        if self.inside:
            return work()

        async def on_loop() -> T:
            return work()

        return self.call(on_loop)

    def visit(self, work: Callable[[], T]) -> T:
        """The same without starting a loop: where there is none, nothing can happen meanwhile."""
        if not self.running:
            return work()
        return self.run(work)

    def iterate(self, work: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        """Walk an asynchronous iterator from here; leaving the walk ends it."""
        return self._walk(work())

    def _walk(self, items: AsyncIterator[T]) -> Iterator[T]:
        running = False

        async def following() -> T:
            nonlocal running
            running = True
            try:
                return await anext(items)
            finally:
                running = False

        async def end() -> None:  # one that was interrupted, and is still leaving, ends by itself
            if not running and (aclose := getattr(items, "aclose", None)) is not None:
                await aclose()

        try:
            while True:
                try:
                    item = self.call(following)
                except StopAsyncIteration:
                    return
                yield item
        finally:
            if self.running and not self.inside:
                self.call(end)

    def finish(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """`call` what closes something, if the thread is there; another thread that stops it meanwhile closes, too."""
        try:
            if self.running:
                self.call(work)
        except ThalovantRuntimeError as error:
            if error.name != "closed":
                raise

    def close(self, work: Callable[[], Coroutine[Any, Any, None]], last: Callable[[], None]) -> None:
        """`finish` it, then `stop`, whatever comes of it."""
        if self.running:
            try:
                self.finish(work)
            finally:
                if not self.inside:
                    self.stop(last)

    def stop(self, last: Callable[[], None] = lambda: None) -> None:
        """Run `last` on the loop, end it, and wait for its thread. Calls that wait are told."""
        thread = self.leave(last)
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def leave(self, last: Callable[[], None] = lambda: None) -> threading.Thread | None:
        """The same without waiting: gives the thread, None if there was none."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
            if loop is not None:
                loop.call_soon_threadsafe(last)
                loop.call_soon_threadsafe(loop.stop)
        return thread

    @property
    def inside(self) -> bool:
        """Whether the caller is on the loop's thread."""
        return self._thread is threading.current_thread()

    def _start(self) -> asyncio.AbstractEventLoop:
        started: Future[asyncio.AbstractEventLoop] = Future()
        thread = threading.Thread(target=_run_loop, args=(started,), name=self._name, daemon=True)
        thread.start()
        self._loop, self._thread = started.result(), thread
        return self._loop


class _Call(Generic[T]):
    """A coroutine on its way through the loop, and the thread that waits for its result.

    A lock is the cheapest thing to wait for: the result is in place before it is released, and one wake-up takes it.
    """

    __slots__ = ("_error", "_result", "_task", "_work", "over")

    _result: T

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._work: Callable[[], Coroutine[Any, Any, T]] | None = work
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self.over = threading.Lock()  # held until there is a result
        self.over.acquire()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; called on the loop."""
        self._task = loop.create_task(self._run())
        self._task.add_done_callback(self._ended)

    async def _run(self) -> None:
        import asyncio

        work, self._work = self._work, None
        assert work is not None  # noqa: S101 - it is run once
        try:
            coroutine = work()
            del work  # it holds the client, which its user may drop as soon as there is a result
            self._result = await coroutine
        except BaseException as error:  # it belongs to the caller
            self._error = _closed() if isinstance(error, asyncio.CancelledError) else error
        self.over.release()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before its first step, so that nothing of the above has run
            self._error = _closed()
            self.over.release()

    def cancel(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Cancel the coroutine on its loop, if there is one, and give it a moment to leave in order."""
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the coroutine with it
                loop.call_soon_threadsafe(self._cancel)
            self.over.acquire(timeout=CANCEL_WITHIN)

    def result(self) -> T:
        """The result, once it is there; raises what the coroutine raised."""
        __tracebackhide__ = True
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            # What we raise on purpose says what happened: the frames of the loop would only hide the caller's line.
            raise error.with_traceback(None) if isinstance(error, ThalovantError | ValueError) else error
        finally:
            del error  # its traceback holds this frame

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


class Waiter(Protocol):
    """A way to run a coroutine on an event loop and wait for it: `Portal` is one."""

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of a coroutine."""


class Twin(Protocol):
    """An object that does on a loop what an asynchronous one, its original, does."""

    @property
    def _original(self) -> Any: ...

    def _here(self) -> Portal: ...


class WaitingTwin(Protocol):
    """A twin that only waits for coroutines."""

    @property
    def _original(self) -> Any: ...

    def _here(self) -> Waiter: ...


def blocking(method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[WaitingTwin, P], R]:
    """The twin of a coroutine method: it waits for the result."""

    @functools.wraps(method)
    def twin(self: WaitingTwin, /, *args: P.args, **options: P.kwargs) -> R:
        __tracebackhide__ = True  # from notebooks and test runners, which then show the caller's line
        return self._here().call(lambda: method(self._original, *args, **options))

    return twin


def iterating(
    method: Callable[Concatenate[A, P], AsyncIterator[R]],
) -> Callable[Concatenate[Twin, P], Iterator[R]]:
    """The twin of a method that gives an asynchronous iterator: it waits for each item."""

    @functools.wraps(method)
    def twin(self: Twin, /, *args: P.args, **options: P.kwargs) -> Iterator[R]:
        return self._here().iterate(lambda: method(self._original, *args, **options))

    return twin


def running(method: Callable[Concatenate[A, P], R]) -> Callable[Concatenate[Twin, P], R]:
    """The twin of a method that has to be called on the loop and does not wait."""

    @functools.wraps(method)
    def twin(self: Twin, /, *args: P.args, **options: P.kwargs) -> R:
        return self._here().run(lambda: method(self._original, *args, **options))

    return twin


def shaped(
    original: Callable[Concatenate[A, P], object],
) -> Callable[[Callable[Concatenate[T, ...], R]], Callable[Concatenate[T, P], R]]:
    """Give a method that is written out the parameters and documentation of its original."""

    def shape(method: Callable[Concatenate[T, ...], R]) -> Callable[Concatenate[T, P], R]:
        return functools.wraps(original)(method)

    return shape


class Handlers:
    """Daemon threads, one if nothing is said, that run handlers in order; they come with the first and go with `stop`.

    The thread pools of the standard library would hold up the end of the process for a handler that hangs.
    """

    def __init__(self, name: str, *, threads: int = 1) -> None:
        self._name = name
        self._threads = threads
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] | None = None

    def submit(self, handler: Callable[..., T], *args: Any) -> Future[T]:
        """Run `handler(*args)` after those that were submitted before."""
        future: Future[T] = Future()
        with self._lock:
            if self._work is None or self._pid != os.getpid():  # a forked child has the queue, and no thread
                self._work, self._pid = queue.SimpleQueue(), os.getpid()
                for _ in range(self._threads):
                    threading.Thread(target=_run_handlers, args=(self._work,), name=self._name, daemon=True).start()
            self._work.put((future, lambda: handler(*args)))
        return future

    def stop(self) -> None:
        """No more handlers; one that runs goes on to its end, without anybody waiting for it."""
        with self._lock:
            if self._work is not None:
                for _ in range(self._threads):
                    self._work.put(None)
            self._work = None


def _closed() -> ThalovantRuntimeError:
    return ThalovantRuntimeError("The client was closed while the call was running.", name="closed")


def _run_loop(started: Future[asyncio.AbstractEventLoop]) -> None:
    import asyncio

    with asyncio.Runner() as runner:  # cancels what is left and closes the loop, generators and threads with it
        loop = runner.get_loop()
        loop.call_soon(started.set_result, loop)
        loop.run_forever()


def _run_handlers(work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]) -> None:
    while (item := work.get()) is not None:
        future, handler = item
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(handler())
        except Exception as error:  # it belongs to who submitted it
            future.set_exception(error)
        except BaseException as error:  # sys.exit(): as it is it would end the loop of who waits for it
            future.set_exception(
                ThalovantRuntimeError(f"A handler raised {type(error).__name__}.", name="handler_exit")
            )
        del future, handler, item  # nothing is kept alive while there is nothing to do
