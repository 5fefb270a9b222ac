"""Options of clients: defaults, checks, and the constructors that take them. Cheap to import."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self

from .._version import __version__

if TYPE_CHECKING:
    from ..identity import ThalovantIdentity

DEFAULT_USERAGENT: Final = f"ThalovantPythonSDK/{__version__}"
#: The warning about a client that was neither closed nor left by its `with`.
UNCLOSED: Final = "a Thalovant client was not closed: use it in a `with` block, or call close()"
#: Events that wait for the consumer of `listen`; beyond it the subscription ends with an error.
LISTEN_BUFFER: Final = 256


def seconds(timeout: float) -> float:
    """A timeout that can be counted. Raises `ValueError` for what is no number, or negative."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise ValueError(f"timeout must be a number of seconds, 0 or more, not {timeout!r}")
    return timeout


def whole(name: str, value: int, least: int) -> int:
    """A whole number that is not too small. Raises `ValueError` that names it."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number, {least} or more, not {value!r}")
    return value


def text(given: str, what: str) -> str:
    """Text that says something. Raises `ValueError` for anything else."""
    if not isinstance(given, str) or not given.strip():
        raise ValueError(f"{what} must be text, not {given!r}")
    return given


def function(given: Any, what: str, *, plain: str = "") -> Any:
    """A function that can be called back; with `plain` it may not be a coroutine function, for that reason.

    Raises `TypeError` for anything else, since nobody would hear of it later.
    """
    from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction

    if not callable(given):
        raise TypeError(f"{what} must be a function, not {type(given).__name__}: pass it by its name, without ()")
    kinds = (given, getattr(given, "__call__", None))  # noqa: B004 - an object's own may be a coroutine function
    if any(isgeneratorfunction(one) or isasyncgenfunction(one) for one in kinds):
        raise TypeError(f"{what} has a `yield` in it, so that calling it does nothing: return or await instead")
    if plain and any(map(iscoroutinefunction, kinds)):
        raise TypeError(f"{what} is a coroutine function, and {plain}")
    return given


def mapping(given: Any, what: str) -> dict[str, Any]:
    """A copy of a mapping, empty for None. Raises `TypeError` for what is none."""
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f'{what} must be a mapping like {{"key": "value"}}, not {type(given).__name__}')
    return dict(given or {})


def session_of(context: Mapping[str, Any] | None) -> str | None:
    """The session that a context names, None for the one that all clients of a hub share."""
    from thalovant_proto.events import session_id_of

    found = session_id_of(mapping(context, "context"))
    return None if found == "default" else found


class AsyncOnly:
    """A class that is entered by `async with`. `with` says so."""

    if not TYPE_CHECKING:  # type checkers know better words

        def __enter__(self) -> None:
            raise TypeError(_enter_by("async with", "in a coroutine", self))

        def __exit__(self, *exc: object) -> None: ...


class SyncOnly:
    """A class that is entered by `with`. `async with` says so."""

    if not TYPE_CHECKING:

        def __aenter__(self) -> None:
            raise TypeError(_enter_by("with", "without `async`", self))

        def __aexit__(self, *exc: object) -> None: ...


def _enter_by(word: str, where: str, given: object) -> str:
    name = type(given).__name__
    twin = name.removeprefix("Async") if name.startswith("Async") else f"Async{name}"
    return f"{name} is entered by `{word}`, {where}; its twin is {twin}"


_MAY_BE_ZERO: Final = ("reply_settle_seconds", "empty_reply_wait_seconds", "admission_timeout")


def check_times(**times: float) -> None:
    """Raises `ValueError` that names the first of these settings that is no positive number; waits of asks may be 0."""
    for name, value in times.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < math.inf or (value == 0 and name not in _MAY_BE_ZERO):
            raise ValueError(f"{name} must be a positive number of seconds, not {value!r}")


class FromStored:
    """A class whose objects are made of an identity and options."""

    def __init__(self, identity: ThalovantIdentity, **options: Any) -> None:
        raise NotImplementedError

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled, since it holds a connection: make one in each process, with "
            f"{type(self).__name__}.from_identity_file or from_config"
        )

    @classmethod
    def from_identity_file(cls, path: str | os.PathLike[str], **options: Any) -> Self:
        """A client for the identity in a JSON file; `options` are the constructor's."""
        from ..identity import ThalovantIdentity

        return cls(ThalovantIdentity.from_file(path), **options)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """A client for the identity in `THALOVANT_*` variables; `options` are the constructor's."""
        from ..identity import ThalovantIdentity

        return cls(ThalovantIdentity.from_env(), **options)

    @classmethod
    def from_config(
        cls, path: str | os.PathLike[str] | None = None, *, profile: str | None = None, **options: Any
    ) -> Self:
        """A client for a profile of the config file; `options` are the constructor's."""
        from ..identity import ThalovantIdentity

        return cls(ThalovantIdentity.from_config(path, profile=profile), **options)
