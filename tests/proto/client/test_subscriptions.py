"""Subscriptions, and *send, then listen*: what followed a send is there for who listens afterwards, once."""

from __future__ import annotations

import pytest

from tests.proto.world import World, echo, ready
from thalovant_proto import events as e
from thalovant_proto.client.subscriptions import KEPT_EVENTS, KEPT_FOR, Subscriptions
from thalovant_proto.outcomes import AskEnded, Delivered, FilterFailed, Outcome


def inbox(*, expecting: bool = True) -> tuple[Subscriptions, list[Outcome]]:
    """An inbox whose client has just sent something, at time 0."""
    told: list[Outcome] = []
    made = Subscriptions(told.append)
    if expecting:
        made.expect(0.0)
    return made, told


def speak(text: object) -> e.Speak:
    """An event to tell apart."""
    return e.Speak(text=str(text))


def given(told: list[Outcome]) -> list[tuple[int, str]]:
    """Who got what, in order."""
    return [
        (one.subscription, one.event.data.get("utterance", one.event.type))
        for one in told
        if isinstance(one, Delivered)
    ]


# --- subscriptions ---


def test_every_subscription_that_matches_has_the_event():
    """By type, by all, by filter."""
    box, told = inbox()
    box.subscribe(1, "speak", 0.0)
    box.subscribe(2, None, 0.0)
    box.subscribe(3, "speak", 0.0, matches=lambda event: event.data["utterance"] == "b")
    box.subscribe(4, "another", 0.0)

    box.on_message(speak("a"), 1.0, keep=True)
    box.on_message(speak("b"), 1.0, keep=True)
    box.on_message(e.Bus(type="else"), 1.0, keep=True)

    assert given(told) == [(1, "a"), (2, "a"), (1, "b"), (2, "b"), (3, "b"), (2, "else")]


def test_subscription_with_a_limit_ends_by_itself():
    """Whoever waits for one event takes one; the next is kept for somebody else."""
    box, told = inbox()
    box.subscribe(1, "speak", 0.0, limit=2)

    for text in "abc":
        box.on_message(speak(text), 1.0, keep=True)
    box.subscribe(2, "speak", 2.0, kept=True)

    assert given(told) == [(1, "a"), (1, "b"), (2, "c")]


def test_filter_may_end_a_subscription_of_another():
    """What a filter does to the list of subscriptions does not upset the round."""
    box, told = inbox()
    box.subscribe(1, "speak", 0.0, matches=lambda event: not box.unsubscribe(2))
    box.subscribe(2, "speak", 0.0)

    box.on_message(speak("a"), 1.0, keep=True)
    box.on_message(speak("b"), 1.0, keep=True)

    assert given(told) == [(1, "a"), (2, "a"), (1, "b")]


def test_filter_that_raises_ends_its_own_subscription():
    """Which is told; the others have the event, and kept ones stay."""
    box, told = inbox()
    fault = ZeroDivisionError()

    def matches(event: e.Bus) -> bool:
        raise fault

    box.subscribe(1, "speak", 0.0, matches=matches)
    box.subscribe(2, "speak", 0.0, limit=1)
    box.on_message(speak("a"), 1.0, keep=True)
    box.on_message(speak("b"), 1.0, keep=True)
    box.subscribe(3, "speak", 1.0, matches=matches, kept=True)
    box.subscribe(4, None, 1.0, kept=True)

    failed = [FilterFailed(subscription=id, error=fault) for id in (1, 3)]
    assert [one for one in told if isinstance(one, FilterFailed)] == failed
    assert given(told) == [(2, "a"), (4, "b")]


class Name(str):
    """A type that counts how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Name.compared += 1
        return str.__eq__(self, other)


@pytest.mark.parametrize("others", [1, 8000])
def test_event_costs_the_same_however_many_listen_to_other_types(others):
    """Neither a name is compared nor a filter called of a subscription for another type; order is by id."""
    box, told = inbox()
    calls: list[e.Bus] = []
    for id in range(others):
        box.subscribe(id, Name(f"other.{id}"), 0.0, matches=lambda event: bool(calls.append(event)))
    for id, name in enumerate(("speak", None, "speak"), others):
        box.subscribe(id, name, 0.0)
    Name.compared = 0

    box.on_message(speak("a"), 1.0, keep=True)

    assert given(told) == [(others, "a"), (others + 1, "a"), (others + 2, "a")]
    assert (calls, Name.compared) == ([], 0)


# --- kept events ---


def test_kept_events_are_given_once_in_order():
    """To the first that asks for kept ones and matches; those of others stay where they are."""
    box, told = inbox()
    for event in (speak("a"), e.Bus(type="else"), speak("b"), speak("c")):
        box.on_message(event, 1.0, keep=True)

    box.subscribe(1, "speak", 2.0)
    assert told == []
    box.subscribe(2, "speak", 2.0, kept=True, matches=lambda event: event.data["utterance"] != "b")
    box.subscribe(3, None, 2.0, kept=True)
    box.subscribe(4, None, 2.0, kept=True)

    assert given(told) == [(2, "a"), (2, "c"), (3, "else"), (3, "b")]


def test_kept_events_are_given_as_many_as_are_wanted():
    """`wait_for_event` twice after two answers: each takes one."""
    box, told = inbox()
    for text in "abc":
        box.on_message(speak(text), 1.0, keep=True)

    box.subscribe(1, "speak", 2.0, kept=True, limit=1)
    box.subscribe(2, "speak", 2.0, kept=True, limit=1)
    box.on_message(speak("d"), 2.0, keep=True)
    box.subscribe(3, "speak", 2.0, kept=True, limit=9)

    assert given(told) == [(1, "a"), (2, "b"), (3, "c"), (3, "d")]


def test_unsubscribed_means_no_more():
    """Ended once or twice, known or not. What it took is not kept for another."""
    box, told = inbox()
    box.subscribe(1, "speak", 0.0)
    box.on_message(speak("a"), 1.0, keep=True)

    box.unsubscribe(1)
    box.unsubscribe(1)
    box.unsubscribe(7)
    box.subscribe(2, "speak", 2.0, kept=True)
    box.unsubscribe(2)
    box.on_message(speak("b"), 2.0, keep=True)

    assert given(told) == [(1, "a")]


def test_only_what_follows_a_send_is_kept():
    """A client that only listens keeps nothing; thirty seconds after the last send it is one of those again."""
    box, told = inbox(expecting=False)
    box.on_message(speak("before"), 0.0, keep=True)
    box.expect(1.0)
    box.on_message(speak("after"), 1.0, keep=True)
    box.on_message(speak("in time"), 1.0 + KEPT_FOR - 0.1, keep=True)
    box.on_message(speak("too late"), 1.0 + KEPT_FOR, keep=True)

    box.subscribe(1, None, 1.0 + KEPT_FOR - 0.1, kept=True)

    assert given(told) == [(1, "after"), (1, "in time")]


@pytest.mark.parametrize("count", [1, KEPT_EVENTS])
def test_kept_events_grow_old(count):
    """Thirty seconds, then they are gone and make way: to no counter, since nobody wanted them."""
    box, told = inbox()
    for number in range(count):
        box.on_message(speak(number), 1.0, keep=True)
    box.expect(20.0)
    box.on_message(speak("new"), 1.0 + KEPT_FOR, keep=True)

    box.subscribe(1, None, 1.0 + KEPT_FOR, kept=True)

    assert (given(told), box.dropped) == ([(1, "new")], 0)


def test_oldest_are_dropped_and_counted():
    """Sixty-four of them, whatever a hub sends."""
    box, told = inbox()
    for number in range(KEPT_EVENTS + 10):
        box.on_message(speak(number), 1.0, keep=True)

    assert box.dropped == 10
    box.subscribe(1, None, 2.0, kept=True)
    assert given(told) == [(1, str(number)) for number in range(10, KEPT_EVENTS + 10)]


# --- in a session ---


def delivered(world: World) -> list[str]:
    """The texts that were delivered, in order."""
    return [one.event.data.get("utterance", one.event.type) for one in world.got(Delivered)]


@pytest.mark.parametrize("generation", [0, 1, 3])
def test_hub_that_answers_before_listen_starts_loses_nothing(generation):
    """Send, then listen: as documented."""
    world = ready(generation)
    world.send(e.Utterance(text="hi"))
    assert delivered(world) == []

    world.stack.subscribe("speak", world.now, kept=True)
    world.drive()

    assert delivered(world) == ["echo: hi"]


def test_what_an_ask_consumed_is_not_kept():
    """Its reply has it; a listener that comes later is not meant. One that is there already hears it, too.

    Asks alone keep nothing: what one leaves behind is not for a listener of another matter.
    """
    world, asking = ready(), ready()
    asking.hub.answer = lambda event: [*echo(event), *echo(event)[:1]]
    asking.ask(e.Utterance(text="hi"))
    world.stack.send(e.Bus(type="status"), world.now)
    world.ask(e.Utterance(text="hi"))
    for each in (world, asking):
        each.stack.subscribe(None, each.now, kept=True)
        assert (delivered(each.drive()), len(each.got(AskEnded))) == ([], 1)

    world.ask(e.Utterance(text="ho"))

    assert delivered(world) == ["echo: ho", e.UTTERANCE_HANDLED]


def test_unsubscribed_session():
    """The session's own words for it, and its counter."""
    world = ready()
    id = world.stack.subscribe("speak", world.now, limit=5)
    world.stack.unsubscribe(id)
    world.stack.send(e.Bus(type="status"), world.now)
    for number in range(KEPT_EVENTS + 3):
        world.hub.peer.send(speak(number), world.now)
    world.drive()

    assert (delivered(world), world.stack.dropped) == ([], 3)
