"""Several ways to one hub: the next is taken where one does not lead there, and only there.

A real stack and a real hub; each way is a port that the test lets work, or not.
"""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field

from tests.proto.links.https.https_world import response
from tests.proto.world import ACCESS_KEY, Entropy, config, hub_side, stub_key, trust
from thalovant_proto import events as e
from thalovant_proto.client.routes import Route
from thalovant_proto.client.stack import ClientLink, ClientStack, Dial, Run, Stop
from thalovant_proto.dial import DialFailed, DialFault
from thalovant_proto.failures import FailureKind
from thalovant_proto.hub.peer import HubPeer
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


def over(port: int, by: str = "WSS") -> Route:
    """A way to that port; its number is its name."""

    def make_link(known: Trust) -> ClientLink:
        key = Secret(ACCESS_KEY)
        at, agent = f"127.0.0.1:{port}", "tests/1"
        if by == "MQTT":
            prefix = "hivemind/key"
            return MqttClientLink(f"mqtt://{at}", access_key=key, client_id="client", topic_prefix=prefix, secure=True)
        if by == "HTTPS":
            return HttpsClientLink(f"http://{at}", access_key=key, user_agent=agent, secure=True)
        return WssClientLink(f"ws://{at}", access_key=key, user_agent=agent, entropy=Entropy("link"), secure=True)

    return Route(name=f"way {port}", pin_id=f"pin {port}", make_link=make_link)


@define(eq=False)
class Ways:
    """A client with ways, and what is at the end of each: a hub, a fault of the dial, what somebody else answers."""

    ends: dict[int, Any]
    routes: tuple[Route, ...]
    options: dict[str, Any] = field(factory=dict)
    now: float = 1000.0
    dials: list[tuple[float, int]] = field(factory=list)
    outcomes: list[Any] = field(factory=list)
    generation: int = 3
    _serial: int | None = None
    _peer: HubPeer | None = None
    _says: list[bytes] = field(factory=list)
    stack: ClientStack = field(init=False)

    def __attrs_post_init__(self) -> None:
        client = config(self.generation, **self.options)
        self.stack = ClientStack(client, *self.routes, trust=trust(), entropy=Entropy("client"))

    def open(self) -> Ways:
        """Open the session and move."""
        self.stack.open(self.now)
        return self.drive()

    def drive(self) -> Ways:
        """Move everything that can move now."""
        while self._move():
            pass
        return self

    def advance(self, seconds: float) -> Ways:
        """Let time pass, with every timer at its time."""
        end = self.now + seconds
        while (when := self.stack.next_timeout) is not None and when <= end:
            self.now = max(self.now, when)
            self.stack.handle_timeout(self.now)
            self.drive()
        self.now = end
        return self

    def lose(self) -> Ways:
        """The socket breaks."""
        self._peer, self._says = None, []
        self.stack.eof(self.now, "reset")
        return self.drive()

    @property
    def ports(self) -> list[int]:
        """Where it dialed, in order."""
        return [port for _, port in self.dials]

    @property
    def last(self) -> StateChanged:
        """The last change of state."""
        return [one for one in self.outcomes if isinstance(one, StateChanged)][-1]

    def _move(self) -> bool:
        moved = self._obey() or self._exchange()
        for effect in self.stack.effects():
            self.stack.effect_done(effect.id, stub_key(effect), self.now)
            moved = True
        told = self.stack.outcomes()
        self.outcomes += told
        return moved or bool(told)

    def _obey(self) -> bool:
        match self.stack.step():
            case Dial(target=target, serial=serial) if serial != self._serial:
                self._serial, self._peer, self._says = serial, None, []
                self.dials.append((self.now, target.port))
                end = self.ends[target.port]
                if isinstance(end, DialFault):
                    phase = "tls" if end.final else "connect"
                    message = f"port {target.port}: {end.value}"
                    self.stack.dial_failed(DialFailed(phase=phase, fault=end, message=message), self.now)
                else:
                    if end is self:
                        self._peer = self._hub()
                    else:
                        self._says = list(end)
                    self.stack.socket_opened(self.now)
                return True
            case Run():
                return False
            case Stop() | _:
                self._peer = None
        return False

    def _hub(self) -> HubPeer:
        side = hub_side(self.generation)
        known = {Secret(ACCESS_KEY): side}
        return HubPeer(
            WssServerLink(secure=True),
            lambda credentials: known.get(credentials.access_key),
            entropy=Entropy("hub"),
            now=self.now,
        )

    def _exchange(self) -> bool:
        data = self.stack.data_to_send()
        if self._says and data:
            self.stack.receive_data(self._says.pop(0), self.now)
            return True
        if (peer := self._peer) is None:
            return bool(data)
        peer.receive_data(data, self.now)
        for effect in peer.effects():
            peer.effect_done(effect.id, stub_key(effect), self.now)
        for outcome in peer.outcomes():
            if isinstance(outcome, e.Rendezvous):
                peer.send(e.Rendezvous(payload={}), self.now)
        back = peer.data_to_send()
        if back:
            self.stack.receive_data(back, self.now)
        return bool(data or back)


def ways(*ends: Any, **options: Any) -> Ways:
    """A client with a way to each of these ends, ports 1, 2, …; `HUB` is a hub."""
    numbered = dict(enumerate(ends, 1))
    made = Ways(numbered, tuple(over(port) for port in numbered), options)
    made.ends = {port: made if end is HUB else end for port, end in numbered.items()}
    return made


HUB = object()


@pytest.mark.parametrize("obstacle", [REFUSED, DialFault.DNS, UNTRUSTED, PORTAL, BUSY], ids=str)
def test_the_next_way_is_taken_at_once(obstacle: Any) -> None:
    """Whatever keeps the first from leading to the hub; the session is told why it waits, then it is up."""
    world = ways(obstacle, HUB).open()

    assert world.dials == [(1000.0, 1), (1000.0, 2)]
    assert (world.stack.state, world.stack.route) == (SessionState.READY, 1)
    waited = next(one for one in world.outcomes if isinstance(one, StateChanged) and one.failure)
    assert waited.state is SessionState.WAITING
    assert world.stack.failure is None


def test_the_way_that_works_is_not_left() -> None:
    """There is no look at the others while it works, and their order is kept."""
    world = ways(HUB, HUB).open().advance(300)

    assert (world.ports, world.stack.route, world.stack.state) == ([1], 0, SessionState.READY)


def test_a_lost_hub_is_sought_where_it_was() -> None:
    """First on the way that worked, at once; then on the others, the first of them first."""
    world = ways(REFUSED, HUB, HUB).open()
    world.ends[2] = REFUSED

    world.lose()

    assert world.ports == [1, 2, 2, 1, 3]
    assert {when for when, _ in world.dials} == {1000.0}
    assert (world.stack.state, world.stack.route) == (SessionState.READY, 2)


def test_a_hub_is_pinned_on_the_way_that_led_to_it() -> None:
    """Under the name that it has there."""
    world = ways(REFUSED, HUB).open()

    assert list(world.stack.trust.pins) == ["pin 2"]


def test_no_way_leads_to_the_hub() -> None:
    """A try is all ways; the verdict names what each suffers from, the next round begins with the first."""
    world = ways(REFUSED, DialFault.TIMEOUT, attempts=1).open()

    assert world.ports == [1, 2, 1, 2]
    assert world.last.state is SessionState.FAILED
    failure = world.last.failure
    assert (failure.kind, failure.final) == (FailureKind.CONNECT, False)
    assert failure.message == "over way 1: port 1: refused; over way 2: port 2: timeout"


def test_rounds_go_on_until_there_is_a_hub() -> None:
    """With pauses between rounds, none within one."""
    world = ways(REFUSED, REFUSED, attempts=9).open().advance(1.0)
    world.ends[2] = world

    world.advance(5.0)

    assert world.stack.state is SessionState.READY
    assert world.ports == [1, 2] * (len(world.ports) // 2)
    assert all(first == second for (first, _), (second, _) in zip(world.dials[::2], world.dials[1::2], strict=True))
    assert len(set(world.dials[2::2])) == len(world.dials[2::2])


def test_a_way_that_failed_for_good_is_left_out() -> None:
    """A certificate does not mend itself between two tries; the others go on, and a session opened anew asks again."""
    world = ways(UNTRUSTED, REFUSED, attempts=2).open().advance(10)

    assert world.ports == [1, 2, 2, 2]
    assert world.stack.state is SessionState.FAILED

    world.open()
    assert world.ports[:6] == [1, 2, 2, 2, 1, 2]


def test_all_ways_failed_for_good() -> None:
    """Then so has the session, at once, whatever tries are left."""
    world = ways(UNTRUSTED, DialFault.TLS_VERSION, attempts=9).open()

    assert (world.ports, world.stack.state) == ([1, 2], SessionState.FAILED)
    assert world.last.failure is not None and world.last.failure.final

    world.open()
    assert world.ports == [1, 2, 1, 2]


def test_who_asked_to_be_left_alone_is() -> None:
    """A pause that the first way asks for does not hold up the second, but the next round."""
    world = ways(BUSY, REFUSED, attempts=9).open().advance(29)
    assert world.dials == [(1000.0, 1), (1000.0, 2)]

    world.advance(2)
    assert world.dials[2:4] == [(1030.0, 1), (1030.0, 2)]


def test_what_the_hub_refuses_is_asked_nowhere_else() -> None:
    """A wrong access key, password or pinned key is a verdict: the same hub stands at the end of each way."""
    made = ways(HUB, HUB, password=Secret("not the password of this client"))

    made.open()

    assert (made.ports, made.stack.state) == ([1], SessionState.FAILED)
    assert made.last.failure is not None and made.last.failure.kind is FailureKind.WRONG_PASSWORD


@pytest.mark.parametrize(("by", "end"), [("MQTT", NOT_AUTHORIZED), ("HTTPS", (DISCONNECTED, TROUBLE))])
def test_a_refusal_that_is_not_the_hubs_is_of_that_way(by: str, end: Any) -> None:
    """Who runs a broker is not the hub, and over HTTPS older hubs call an unknown access key and trouble the same."""
    world = ways(REFUSED, end, HUB)
    world.routes = (over(1), over(2, by), over(3))
    world.__attrs_post_init__()

    world.open()

    assert (world.ports, world.stack.route) == ([1, 2, 3], 2)
    assert world.stack.state is SessionState.READY


def test_a_session_that_was_up_counts_as_there() -> None:
    """Its loss is no fault of the way, also where the hub proved nothing (v0)."""
    world = ways(HUB, HUB)
    world.generation = 0
    world.options = {}
    world.__attrs_post_init__()
    world.open().advance(5)

    world.lose()

    assert world.ports == [1, 1]
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
