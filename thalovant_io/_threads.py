"""The one place for threads: blocking calls run beside the event loop, equal ones once for all who ask."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Job(Generic[T]):
    """One call and everybody who waits for it."""

    __slots__ = ("call", "key", "waiters")

    def __init__(self, key: Hashable, call: Callable[[], T]) -> None:
        self.key = key
        self.call = call
        self.waiters: list[Future[T]] = []


class SingleFlight:
    """Runs calls in at most `cap` threads; calls with equal keys that overlap in time run once.

    Threads start when there is work and end when there is none. They are daemons: a name server that never answers
    must not hold up the end of the process. Safe to use from any thread and after a fork.
    """

    def __init__(self, cap: int, name: str) -> None:
        self._cap = cap
        self._name = name
        self._forget()
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Start from nothing; in a forked child the threads are gone and the lock may be held for ever."""
        self._lock = threading.Lock()
        self._jobs: dict[Hashable, _Job[Any]] = {}
        self._queue: deque[_Job[Any]] = deque()
        self._workers = 0

    def submit(self, key: Hashable, call: Callable[[], T]) -> Future[T]:
        """Run `call`, or join the run of an equal key. Cancel the future to lose interest.

        The future's callbacks run in the worker thread. It ends with OSError if no thread can be started.
        """
        waiter: Future[T] = Future()
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                job = self._jobs[key] = _Job(key, call)
                self._queue.append(job)
                if self._workers < self._cap:
                    self._hire()
            job.waiters.append(waiter)
            if not self._workers:
                del self._jobs[self._queue.pop().key]
                waiter.set_exception(OSError(errno.EAGAIN, "no thread can be started"))
        return waiter

    def _hire(self) -> None:
        try:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError:
            return  # the threads that there are will come to it
        self._workers += 1

    def _work(self) -> None:
        while (job := self._next()) is not None:
            value, error = None, None
            try:
                value = job.call()
            except BaseException as exc:  # whatever it is, it belongs to those who wait
                error = exc
            with self._lock:
                del self._jobs[job.key]
            for waiter in job.waiters:
                if not waiter.set_running_or_notify_cancel():
                    continue
                if error is None:
                    waiter.set_result(value)
                else:
                    waiter.set_exception(error)

    def _next(self) -> _Job[Any] | None:
        with self._lock:
            while self._queue:
                job = self._queue.popleft()
                if not all(waiter.cancelled() for waiter in job.waiters):
                    return job
                del self._jobs[job.key]
            self._workers -= 1
            return None
