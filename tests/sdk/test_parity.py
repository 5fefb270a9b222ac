"""The synchronous classes are the shadow of the asynchronous ones: same names, parameters, defaults, documentation."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from thalovant import (
    AsyncThalovantClient,
    AsyncThalovantConversation,
    AsyncThalovantSubscription,
    ThalovantClient,
    ThalovantConversation,
    ThalovantSubscription,
)

PAIRS = [
    (AsyncThalovantClient, ThalovantClient),
    (AsyncThalovantSubscription, ThalovantSubscription),
    (AsyncThalovantConversation, ThalovantConversation),
]
ATTRIBUTES = {  # of instances there, properties here
    AsyncThalovantClient: {"identity"},
    AsyncThalovantSubscription: {"event_name", "dropped"},
    AsyncThalovantConversation: set(),
}
MADE_INSIDE = (ThalovantSubscription, ThalovantConversation)  # by the clients, with the client
ENTERING = {"__aenter__": "__enter__", "__aexit__": "__exit__"}
# Where the two have to say different things, this is what differs.
TWO_WORDS = [
    (
        "Call `handler(event)` for every event of that name; coroutine functions are awaited, one event at a time.",
        "Call `handler(event)` for every event of that name, one at a time, on the client's handler thread.",
    ),
    (
        "No more events. A coroutine that handles one now is cancelled, unless it is the caller.",
        "No more events. A handler that runs now goes on to its end.",
    ),
    ("Use it as `async with`,", "Use it as `with`,"),
]


def _public(cls: type) -> dict[str, Any]:
    """The public attributes, under the name of the synchronous class."""
    found = {name: inspect.getattr_static(cls, name) for name in dir(cls)}
    return {
        ENTERING.get(name, name): value
        for name, value in found.items()
        if not name.startswith("_") or name in (*ENTERING, *ENTERING.values(), "__init__")
    }


def _function(value: Any) -> Any:
    return value.__func__ if isinstance(value, classmethod) else value


def _shadowed(text: str) -> str:
    for words, others in TWO_WORDS:
        text = text.replace(words, others)
    return text


def _methods() -> list[Any]:
    return [
        pytest.param(value, _public(shadow)[name], id=f"{shadow.__name__}.{name}")
        for original, shadow in PAIRS
        for name, value in _public(original).items()
        if callable(_function(value)) and not (name == "__init__" and shadow in MADE_INSIDE)
    ]


@pytest.mark.parametrize(("original", "shadow"), PAIRS)
def test_names(original: type[Any], shadow: type[Any]) -> None:
    """Nothing is missing on either side; attributes of instances count too."""
    attributes = ATTRIBUTES[original]

    assert _public(original).keys() | attributes == _public(shadow).keys() | attributes
    for name in attributes:
        assert isinstance(_public(shadow)[name], property)


@pytest.mark.parametrize(("original", "shadow"), _methods())
def test_signatures(original: Any, shadow: Any) -> None:
    """Names, order, kinds, defaults and types of parameters; `async` ones give what the others return."""
    ours, theirs = (inspect.signature(_function(one)) for one in (original, shadow))

    assert ours.parameters == theirs.parameters
    assert type(original) is type(shadow)
    iterators = {"AsyncGenerator[ThalovantEvent, None]": "Iterator[ThalovantEvent]"}
    returned = iterators.get(ours.return_annotation, ours.return_annotation.removeprefix("Async"))
    assert returned == theirs.return_annotation
    assert not inspect.iscoroutinefunction(_function(shadow))


@pytest.mark.parametrize(("original", "shadow"), _methods())
def test_documentation(original: Any, shadow: Any) -> None:
    """The same words, but for those that cannot be."""
    ours, theirs = (inspect.getdoc(_function(one)) or "" for one in (original, shadow))

    assert _shadowed(ours) == theirs
    assert ours or original.__name__.startswith("__")


def test_class_documentation() -> None:
    """After the first line, which says what differs, the clients say the same."""
    first, rest = zip(*((inspect.getdoc(cls) or "").split("\n", 1) for cls in PAIRS[0]), strict=True)

    assert _shadowed(rest[0]) == rest[1]
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
