"""Synchronous methods made of asynchronous ones: the same parameters, types and documentation, stated once.

class Client:
    ask = blocking(AsyncClient.ask)
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Caller(Protocol):
    """A way to run something on an event loop and wait for it: `Portal` is one."""

    def call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of a coroutine."""

    def iterate(self, work: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
        """The items of an asynchronous iterator."""

    def run(self, work: Callable[[], T]) -> T:
        """The result of a function."""


class Twin(Protocol):
    """An object that does on a loop what an asynchronous one, its original, does."""

    @property
    def _original(self) -> Any: ...

    def _here(self) -> Caller: ...


def blocking(method: Callable[Concatenate[A, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[Twin, P], R]:
    """The twin of a coroutine method: it waits for the result."""

    @functools.wraps(method)
    def twin(self: Twin, /, *args: P.args, **options: P.kwargs) -> R:
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
