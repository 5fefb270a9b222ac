"""The synchronous classes are twins of the asynchronous ones: same names, parameters, defaults, documentation."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from thalovant import (
    AsyncThalovantAgent,
    AsyncThalovantClient,
    AsyncThalovantConversation,
    AsyncThalovantSubscription,
    ThalovantAgent,
    ThalovantClient,
    ThalovantConversation,
    ThalovantSubscription,
)
from thalovant._internal.options import AsyncOnly, SyncOnly
from thalovant.expectations import AsyncThalovantExpectation, ThalovantExpectation

PAIRS = [
    (AsyncThalovantClient, ThalovantClient),
    (AsyncThalovantSubscription, ThalovantSubscription),
    (AsyncThalovantConversation, ThalovantConversation),
    (AsyncThalovantExpectation, ThalovantExpectation),
    (AsyncThalovantAgent, ThalovantAgent),
]
ATTRIBUTES = {  # of instances there, properties here
    AsyncThalovantClient: {"identity"},
    AsyncThalovantSubscription: {"event_name", "dropped"},
    AsyncThalovantConversation: set(),
    AsyncThalovantExpectation: set(),
    AsyncThalovantAgent: {"client"},
}
ENTERING = {"__aenter__": "__enter__", "__aexit__": "__exit__"}
# A task can be cancelled, a thread cannot; Ctrl-C cancels what is awaited, and stops what a thread waits for.
OWN_WORDS = (ThalovantSubscription.close, ThalovantSubscription.unsubscribe, ThalovantAgent.run_forever)
#: Made by calls of a client.
MADE = (ThalovantSubscription, ThalovantExpectation)


def _public(cls: type) -> dict[str, Any]:
    """The public attributes, under the name of the synchronous class."""
    refusing = [*vars(AsyncOnly).values(), *vars(SyncOnly).values()]  # to be entered the other way
    found = {name: inspect.getattr_static(cls, name) for name in dir(cls)}
    return {
        ENTERING.get(name, name): value
        for name, value in found.items()
        if not any(value is one for one in refusing)
        if not name.startswith("_") or name in (*ENTERING, *ENTERING.values(), "__init__")
    }


def _function(value: Any) -> Any:
    return value.__func__ if isinstance(value, classmethod) else value


def _methods() -> list[Any]:
    return [
        pytest.param(value, _public(shadow)[name], id=f"{shadow.__name__}.{name}")
        for original, shadow in PAIRS
        for name, value in _public(original).items()
        if callable(_function(value)) and not (name == "__init__" and shadow in MADE)
    ]


@pytest.mark.parametrize(("original", "shadow"), PAIRS)
def test_names(original: type[Any], shadow: type[Any]) -> None:
    """Nothing is missing on either side; attributes of instances count too."""
    attributes = ATTRIBUTES[original]

    assert _public(original).keys() | attributes == _public(shadow).keys() | attributes
    for name in attributes:
        assert isinstance(_public(shadow)[name], property)


@pytest.mark.parametrize(("original", "shadow"), _methods())
def test_methods(original: Any, shadow: Any) -> None:
    """The same parameters and the same words for users; nothing is left to be awaited."""
    ours, theirs = _function(original), _function(shadow)

    assert type(original) is type(shadow)
    assert inspect.signature(theirs).parameters == inspect.signature(ours).parameters
    assert not inspect.iscoroutinefunction(theirs)
    assert ours.__doc__ or ours.__name__.startswith("__")
    assert theirs.__doc__ == ours.__doc__ or theirs in OWN_WORDS


def test_class_documentation() -> None:
    """After the first line, which says what differs, the clients say the same."""
    first, rest = zip(*((inspect.getdoc(cls) or "").split("\n", 1) for cls in PAIRS[0]), strict=True)

    assert rest[1] == rest[0].replace("`async with`", "`with`")
    assert first == (
        "Talks to one hub as one client identity, on the running asyncio loop.",
        "Talks to one hub as one client identity, from any thread.",
    )


def test_aliases() -> None:
    """Both names of a method are one method."""
    for original, shadow in PAIRS:
        for name, alias in (("close", "disconnect"), ("close", "unsubscribe")):
            if hasattr(original, alias):
                assert _public(original)[name] is _public(original)[alias]
                assert _public(shadow)[name] is _public(shadow)[alias]
