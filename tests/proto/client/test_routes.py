"""Several ways to one hub: the next is taken where one does not lead there, and only there.

A real stack and a real hub; each way is a port that the test lets work, or not.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.proto.links.https.https_world import response
from tests.proto.links.networks import Network, Socket
from tests.proto.world import ACCESS_KEY, Entropy, World
from thalovant_proto import events as e
from thalovant_proto.carrier import Target
from thalovant_proto.client.routes import Route
from thalovant_proto.client.stack import ClientLink
from thalovant_proto.dial import DialFault
from thalovant_proto.failures import FailureKind
from thalovant_proto.links.https.client import HttpsClientLink
from thalovant_proto.links.mqtt.client import MqttClientLink
from thalovant_proto.links.wss.client import WssClientLink
from thalovant_proto.links.wss.server import WssServerLink
from thalovant_proto.outcomes import SessionState, StateChanged
from thalovant_proto.secret import Secret
from thalovant_proto.trust import Trust

PORTAL = (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 14\r\n\r\n<html>pay here",)
BUSY = (b"HTTP/1.1 503 Busy\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n",)
DISCONNECTED = response(body={"status": "Disconnected"})
TROUBLE = response(500, {"error": "Connection failed"})
NOT_AUTHORIZED = (b"\x20\x02\x00\x05",)  # a broker's CONNACK
REFUSED, UNTRUSTED = DialFault.REFUSED, DialFault.CERTIFICATE_UNTRUSTED


HUB = object()


class Scripted:
    """A socket to somebody who is no hub, and answers each time with the next of these."""

    finished = False

    def __init__(self, answers: tuple[bytes, ...]) -> None:
        self._answers = list(answers)
        self._asked = False

    def receive_data(self, data: bytes, now: float) -> None:
        self._asked = True

    def data_to_send(self) -> bytes:
        asked, self._asked = self._asked, False
        return self._answers.pop(0) if asked and self._answers else b""

    def eof(self, now: float, reason: str = "") -> None:
        pass


class Ways(Network):
    """What is at ports 1, 2, …: a hub, a fault of the dial, what somebody else answers; `by` names what leads there."""

    def __init__(self, ends: tuple[Any, ...], by: dict[int, str]) -> None:
        self.ends = dict(enumerate(ends, 1))
        self.by = by
        self.dials: list[tuple[float, int]] = []
        self._entropy = Entropy("link")

    @property
    def ports(self) -> list[int]:
        """Where it dialed, in order."""
        return [port for _, port in self.dials]

    def routes(self) -> list[Route]:
        return [
            Route(name=f"way {port}", pin_id=f"pin {port}", make_link=partial(self._make, port)) for port in self.ends
        ]

    def fault(self, target: Target) -> DialFault | None:
        self.dials.append((self.world.now, target.port))
        end = self.ends[target.port]
        return end if isinstance(end, DialFault) else None

    def accept(self, link: ClientLink) -> Socket:
        end = self.ends[link.target.port]
        return self.world.join(WssServerLink(secure=True)) if end is HUB else Scripted(end)

    def _make(self, port: int, known: Trust) -> ClientLink:
        key, agent, at = Secret(ACCESS_KEY), "tests/1", f"127.0.0.1:{port}"
        match self.by.get(port):
            case "MQTT":
                options = {"client_id": "client", "topic_prefix": "hivemind/key"}
                self.newest = MqttClientLink(f"mqtt://{at}", access_key=key, secure=True, **options)
            case "HTTPS":
                self.newest = HttpsClientLink(f"http://{at}", access_key=key, user_agent=agent, secure=True)
            case _:
                self.newest = WssClientLink(
                    f"ws://{at}", access_key=key, user_agent=agent, entropy=self._entropy, secure=True
                )
        return self.newest


def ways(*ends: Any, by: dict[int, str] | None = None, generation: int = 3, **options: Any) -> World:
    """A client with a way to each of these ends; `HUB` is a hub."""
    return World(generation, links=Ways(ends, by or {}), **options)


def last(world: World) -> StateChanged:
    """The last change of state."""
    return world.got(StateChanged)[-1]


@pytest.mark.parametrize("obstacle", [REFUSED, DialFault.DNS, UNTRUSTED, PORTAL, BUSY], ids=str)
def test_the_next_way_is_taken_at_once(obstacle: Any) -> None:
    """Whatever keeps the first from leading to the hub; the session is told why it waits, then it is up."""
    world = ways(obstacle, HUB).open()

    assert world.links.dials == [(1000.0, 1), (1000.0, 2)]
    assert (world.stack.state, world.stack.route) == (SessionState.READY, 1)
    waited = next(one for one in world.outcomes if isinstance(one, StateChanged) and one.failure)
    assert waited.state is SessionState.WAITING
    assert world.stack.failure is None


def test_the_way_that_works_is_not_left() -> None:
    """There is no look at the others while it works, and their order is kept."""
    world = ways(HUB, HUB).open().advance(300)

    assert (world.links.ports, world.stack.route, world.stack.state) == ([1], 0, SessionState.READY)


def test_a_lost_hub_is_sought_where_it_was() -> None:
    """First on the way that worked, at once; then on the others, the first of them first."""
    world = ways(REFUSED, HUB, HUB).open()
    world.links.ends[2] = REFUSED

    world.lose()

    assert world.links.ports == [1, 2, 2, 1, 3]
    assert {when for when, _ in world.links.dials} == {1000.0}
    assert (world.stack.state, world.stack.route) == (SessionState.READY, 2)


def test_a_hub_is_pinned_on_the_way_that_led_to_it() -> None:
    """Under the name that it has there."""
    world = ways(REFUSED, HUB).open()

    assert list(world.stack.trust.pins) == ["pin 2"]


def test_no_way_leads_to_the_hub() -> None:
    """A try is all ways; the verdict names what each suffers from, the next round begins with the first."""
    world = ways(REFUSED, DialFault.TIMEOUT, attempts=1).open()

    assert world.links.ports == [1, 2, 1, 2]
    assert last(world).state is SessionState.FAILED
    failure = last(world).failure
    assert (failure.kind, failure.final) == (FailureKind.CONNECT, False)
    assert failure.message == "over way 1: port 1: refused; over way 2: port 2: timeout"


def test_rounds_go_on_until_there_is_a_hub() -> None:
    """With pauses between rounds, none within one."""
    world = ways(REFUSED, REFUSED, attempts=9).open().advance(1.0)
    world.links.ends[2] = HUB

    world.advance(5.0)

    assert world.stack.state is SessionState.READY
    assert world.links.ports == [1, 2] * (len(world.links.ports) // 2)
    assert all(
        first == second for (first, _), (second, _) in zip(world.links.dials[::2], world.links.dials[1::2], strict=True)
    )
    assert len(set(world.links.dials[2::2])) == len(world.links.dials[2::2])


def test_a_way_that_failed_for_good_is_left_out() -> None:
    """A certificate does not mend itself between two tries; the others go on, and a session opened anew asks again."""
    world = ways(UNTRUSTED, REFUSED, attempts=2).open().advance(10)

    assert world.links.ports == [1, 2, 2, 2]
    assert world.stack.state is SessionState.FAILED

    world.open()
    assert world.links.ports[:6] == [1, 2, 2, 2, 1, 2]


def test_all_ways_failed_for_good() -> None:
    """Then so has the session, at once, whatever tries are left."""
    world = ways(UNTRUSTED, DialFault.TLS_VERSION, attempts=9).open()

    assert (world.links.ports, world.stack.state) == ([1, 2], SessionState.FAILED)
    assert last(world).failure is not None and last(world).failure.final

    world.open()
    assert world.links.ports == [1, 2, 1, 2]


def test_who_asked_to_be_left_alone_is() -> None:
    """A pause that the first way asks for does not hold up the second, but the next round."""
    world = ways(BUSY, REFUSED, attempts=9).open().advance(29)
    assert world.links.dials == [(1000.0, 1), (1000.0, 2)]

    world.advance(2)
    assert world.links.dials[2:4] == [(1030.0, 1), (1030.0, 2)]


def test_what_the_hub_refuses_is_asked_nowhere_else() -> None:
    """A wrong access key, password or pinned key is a verdict: the same hub stands at the end of each way."""
    made = ways(HUB, HUB, password=Secret("not the password of this client"))

    made.open()

    assert (made.links.ports, made.stack.state) == ([1], SessionState.FAILED)
    assert last(made).failure is not None and last(made).failure.kind is FailureKind.WRONG_PASSWORD


@pytest.mark.parametrize(("by", "end"), [("MQTT", NOT_AUTHORIZED), ("HTTPS", (DISCONNECTED, TROUBLE))])
def test_a_refusal_that_is_not_the_hubs_is_of_that_way(by: str, end: Any) -> None:
    """Who runs a broker is not the hub, and over HTTPS older hubs call an unknown access key and trouble the same."""
    world = ways(REFUSED, end, HUB, by={2: by}).open()

    assert (world.links.ports, world.stack.route) == ([1, 2, 3], 2)
    assert world.stack.state is SessionState.READY


def test_a_session_that_was_up_counts_as_there() -> None:
    """Its loss is no fault of the way, also where the hub proved nothing (v0)."""
    world = ways(HUB, HUB, generation=0).open().advance(5)

    world.lose()

    assert world.links.ports == [1, 1]
    assert [one.state for one in world.outcomes if isinstance(one, StateChanged)][-4:] == [
        SessionState.WAITING,
        SessionState.CONNECTING,
        SessionState.HANDSHAKE,
        SessionState.READY,
    ]


def test_what_was_queued_travels_on_the_other_way() -> None:
    """Nothing that was to be sent is lost by the change."""
    world = ways(REFUSED, HUB)
    world.stack.open(world.now)
    ask = world.stack.ask(e.Utterance(text="hello"), world.now)

    world.drive()

    assert world.stack.state is SessionState.READY
    assert world.stack.cancel(ask) == "unknown"  # it has left
