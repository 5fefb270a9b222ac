"""The hub's end of one client: who is let in, what is heard of whom, what is said to whom, and how it ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.examples import examples
from tests.proto.links.frame_link import FrameLink, FrameLinks, record
from tests.proto.world import (
    ACCESS_KEY,
    CRYPTO_KEY,
    Entropy,
    Hub,
    World,
    echo,
    hub_side,
    ready,
    stub_key,
)
from thalovant_proto import events as e
from thalovant_proto.carrier import Carrier, CloseKind, Credentials, Frame, FrameType
from thalovant_proto.codec.envelope import clear_frame
from thalovant_proto.errors import HandshakeTimeout, LocalProtocolError, RemoteProtocolError
from thalovant_proto.handshake.hub import HubSide
from thalovant_proto.hub.peer import HubPeer, PeerClosed, PeerIdentified
from thalovant_proto.limits import Limits
from thalovant_proto.links.base import LinkClosed
from thalovant_proto.links.wss.client import WssClientLink
from thalovant_proto.links.wss.server import WssServerLink
from thalovant_proto.secret import Secret

GENERATIONS = [0, 1, 3]
PLAIN = Carrier(secure=True)
KEY = Secret(ACCESS_KEY)
BUS = Frame(b'{"msg_type": "bus", "payload": {"type": "speak", "data": {}, "context": {}}}', FrameType.TEXT)


class Door:
    """A peer, and the client's end of its link for the test to say anything with."""

    def __init__(self, side: HubSide | None = None, *, limits: Limits = Limits(), **link: Any) -> None:  # noqa: B008
        self.asked: list[Credentials] = []
        self.fault: Exception | None = None  # of the hub, where it looks for the client
        self.side = side or hub_side()
        self.link = FrameLink(PLAIN, **link)
        self.peer = HubPeer(self.link, self._register, entropy=Entropy("hub"), now=0.0, limits=limits)
        self.client = FrameLink(PLAIN, access_key=KEY)
        self.outcomes: list[Any] = []

    def _register(self, credentials: Credentials) -> HubSide | None:
        self.asked.append(credentials)
        if self.fault is not None:
            raise self.fault
        return self.side if credentials.access_key == KEY else None

    def enter(self, key: Secret[str] = KEY) -> Door:
        """The client opens the link."""
        self.client.access_key = key
        self.client.socket_opened(0.0)
        return self.move()

    def say(self, *frames: Frame) -> Door:
        """The client says something."""
        for frame in frames:
            self.client.send(frame, 0.0)
        return self.move()

    def move(self, now: float = 0.0) -> Door:
        """Bytes to the peer; what it makes of them."""
        self.peer.receive_data(self.client.data_to_send(), now)
        self.outcomes += self.peer.outcomes()
        return self

    def heard(self) -> list[Any]:
        """The frames and the end that the client got."""
        return list(self.client.receive_data(self.peer.data_to_send(), 0.0))

    def closed(self) -> PeerClosed:
        """The last outcome, the only one of its kind."""
        (one,) = [outcome for outcome in self.outcomes if isinstance(outcome, PeerClosed)]
        assert one is self.outcomes[-1]
        return one


# --- before the proof ---


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("cut", [None, 1])
def test_nothing_is_heard_before_the_proof(generation, cut):
    """First who it claims to be, then the keys with the proof, then what it says; in any cut, in every generation."""
    world = ready(generation, cut=cut)

    world.ask(e.Utterance(text="hi"))

    kinds = [type(outcome) for outcome in world.hub.outcomes]
    keys = [e.HandshakeCompleted] if generation else []
    assert kinds[: 3 + len(keys)] == [PeerIdentified, *keys, e.Proven, e.ClientHello]
    assert not {e.Xx1, e.Kk1, e.Noise3, e.Proof, e.ClearHello} & set(kinds)
    assert world.texts() == [["echo: hi"]]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_nothing_in_clear_proves_anything(generation):
    """A hello wakes the hub and nothing more (security.md §1); of messages none is taken."""
    door = Door(hub_side(generation)).enter()

    door.say(clear_frame(e.ClearHello(payload={"session": "me", "site_id": "here"}), text=True))

    assert [type(outcome) for outcome in door.outcomes] == [PeerIdentified]
    assert not door.peer.proven
    with pytest.raises(LocalProtocolError):
        door.peer.send(e.Speak(text="no"), 0.0)
    door.say(BUS)
    assert (door.closed().kind, door.closed().code) == (CloseKind.CLOSED, 1008)
    assert isinstance(door.closed().error, RemoteProtocolError)
    assert [type(outcome) for outcome in door.outcomes] == [PeerIdentified, PeerClosed]


def test_unknown_access_key_is_told_so():
    """1008 `invalid api key`, in place of a hello; the key stays out of the outcomes."""
    door = Door().enter(Secret("nobody's key"))

    (closed,) = door.heard()

    assert (closed.kind, closed.code, closed.reason) == (CloseKind.REFUSED, 1008, "invalid api key")
    assert [type(outcome) for outcome in door.outcomes] == [PeerClosed]
    assert "nobody" not in repr(door.outcomes)
    assert door.peer.finished


def test_hub_that_cannot_say_whom_it_knows_loses_this_client_only():
    """What `register` raised is told, to be logged; the client learns that it is not its fault."""
    door = Door()
    fault = RuntimeError("the database is locked")
    door.fault = fault

    door.enter()

    assert door.closed() == PeerClosed(kind=CloseKind.CLOSED, code=1011, cause=fault)
    assert door.heard() == [LinkClosed(kind=CloseKind.REFUSED, code=1011)]


#: Calls that are not legal, with the time.
MISUSES: dict[str, Callable[[HubPeer, float], object]] = {
    "effect_done": lambda peer, now: peer.effect_done(7, Secret(b"\0" * 32), now),
    "send": lambda peer, now: peer.send(e.Bus(type="x"), now - 1),
    "close": lambda peer, now: peer.close(now - 1),
    "receive_data": lambda peer, now: peer.receive_data(b"x", now - 1),
    "eof": lambda peer, now: peer.eof(now - 1),
    "handle_timeout": lambda peer, now: peer.handle_timeout(math.nan),
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_misuse_is_an_error_at_the_call(misuse):
    """A derivation that there never was, and times that run back. The session goes on."""
    world = ready()

    with pytest.raises(LocalProtocolError):
        MISUSES[misuse](world.hub.peer, world.now)

    assert world.drive().hub.peer.proven


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("size", [0, 15, 17])
def test_entropy_of_another_length_is_an_error_at_the_call(generation, size):
    """Where an answer is sealed with it, or earlier, in the handshake."""
    world = World(generation)
    world.hub.answer = echo
    world.hub_entropy = lambda _: bytes(size)

    with pytest.raises(LocalProtocolError) as caught:
        world.open().stack.ask(e.Utterance(text="x"), world.now)
        world.drive()

    assert "entropy(" in str(caught.value)


def test_hub_is_asked_once():
    """About each connection, whatever comes over it later."""
    links = FrameLinks(outlives_sockets=True)
    world = World(links=links)
    asked: list[Credentials] = []
    world.hub.register = lambda credentials: asked.append(credentials) or world.hub.side  # type: ignore[func-returns-value]
    world.hub.answer = echo
    world.open()
    links.hubs[-1].let_go()
    world.drive()
    world.ask(e.Utterance(text="hi"))

    assert len(asked) == 1
    assert (asked[0].access_key.reveal(), len(world.dials)) == (ACCESS_KEY, 2)


@pytest.mark.parametrize("opened", [False, True])
def test_handshake_that_never_ends_is_closed(opened):
    """A socket without an upgrade, as scanners leave them, or a client that does nothing but knock: one deadline."""
    door = Door(limits=Limits(handshake_time=5))
    if opened:
        door.enter().say(clear_frame(e.ClearHello(payload={}), text=True))
    before = len(door.outcomes)
    assert door.peer.next_timeout == 5.0
    door.peer.handle_timeout(4.9)
    assert door.peer.outcomes() == []

    door.peer.handle_timeout(5.0)
    door.move(5.0)

    assert (door.closed().code, door.peer.next_timeout) == (1008 if not opened else door.closed().code, None)
    assert isinstance(door.closed().error, HandshakeTimeout)
    assert len(door.outcomes) == before + 1


def test_link_that_opens_too_late_opens_nothing():
    """After the peer has ended nobody is identified any more, whatever its link still has to say."""
    door = Door(lingers=True)
    door.peer.close(0.0, code=1001)

    door.enter().say(BUS)

    assert [type(outcome) for outcome in door.outcomes] == [PeerClosed]
    assert door.asked == []


@pytest.mark.parametrize("generation", [1, 3])
def test_late_derivation_is_dropped(generation):
    """The client went while its key was derived."""
    world = World(generation)
    world.held = True
    world.open()
    for effect in world.stack.effects():
        world.stack.effect_done(effect.id, stub_key(effect), world.now)
    world.drive()
    peer = world.hub.peer
    (effect,) = peer.effects()
    peer.eof(world.now)

    peer.effect_done(effect.id, stub_key(effect), world.now)

    assert [type(outcome) for outcome in peer.outcomes()] == [PeerClosed]
    assert peer.data_to_send() == b""


# --- once it is proven ---


@pytest.mark.parametrize("generation", GENERATIONS)
def test_proven_client_is_spoken_to(generation):
    """In its generation. A message that cannot be framed is raised, and the session lives."""
    world = ready(generation)

    with pytest.raises(LocalProtocolError, match="metadata"):
        world.hub.peer.send(e.Binary(metadata={"k": Entropy("noise")(600).hex()}), world.now)
    world.hub.peer.send(e.Speak(text="welcome"), world.now)
    world.drive().ask(e.Utterance(text="hi"))

    assert world.got(e.Speak)[0].text == "welcome"
    assert world.hub.peer.generation is e.Generation(generation)
    assert (world.texts(), len(world.dials)) == ([["echo: hi"]], 1)


@pytest.mark.parametrize(("generation", "survives"), [(1, True), (3, False)])
def test_frame_that_the_link_does_not_take(generation, survives):
    """The caller is told; a Noise session cannot go on without that number, a legacy one does not mind."""
    links = FrameLinks()
    world = ready(generation, links=links)
    links.hubs[-1].largest = 1000

    with pytest.raises(LocalProtocolError, match="over 1000"):
        world.hub.peer.send(e.Speak(text="x" * 1000), world.now)

    assert world.hub.peer.proven == survives
    world.drive()
    assert (len(world.dials) == 1) == survives
    assert (
        [one.code for one in world.hub.closed] == [] if survives else [one.code for one in world.hub.closed] == [1011]
    )


def test_a_greeting_that_the_link_does_not_take_is_the_end():
    """A client that misses half of it would wait for the rest until its deadline."""
    door = Door(largest=150).enter()

    (closed,) = [one for one in door.outcomes if isinstance(one, PeerClosed)]
    assert (closed.code, closed.error) == (1011, None)
    assert door.peer.next_timeout is None


@pytest.mark.parametrize("by", ["sending", "hearing"])
def test_used_up_keys_end_the_session_without_blame(by):
    """1001: the client comes back. Our clients are quicker, those of others count nothing."""
    world = ready(1, hub_limits=Limits(legacy_frames=20))
    world.hub.answer = lambda event: ()
    number = 0

    while not world.hub.closed:
        number += 1
        if by == "sending":
            world.hub.peer.send(e.Speak(text="on and on"), world.now)
        else:
            world.stack.send(e.Bus(type="status"), world.now)
        world.drive()

    assert [(one.code, one.error) for one in world.hub.closed] == [(1001, None)]
    assert 15 < number < 20
    assert len(world.dials) == 2


@pytest.mark.parametrize("generation", GENERATIONS)
def test_close_says_goodbye(generation):
    """With code and reason, after what was said before; nothing can be sent afterwards, and twice is once."""
    world = ready(generation, auto_reconnect=False)
    peer = world.hub.peer
    peer.send(e.Speak(text="last words"), world.now)

    peer.close(world.now, code=1001, reason="closing time")
    peer.close(world.now, code=1008)
    assert not peer.proven
    with pytest.raises(LocalProtocolError, match="gone"):
        peer.send(e.Speak(text="one more thing"), world.now)
    world.drive()

    assert [speak.text for speak in world.got(e.Speak)] == ["last words"]
    assert [(one.code, one.reason, one.error) for one in world.hub.closed] == [(1001, "closing time", None)]
    assert "closing time" in world.stack.failure.message


def test_finished_when_the_goodbye_is_over():
    """The socket stays until the client has answered the close, or the time for that is up."""
    world = ready()
    world.hears = False
    peer = world.hub.peer
    peer.close(world.now)

    assert not peer.finished
    assert peer.data_to_send()
    assert not peer.finished
    peer.handle_timeout(world.now + 2)

    assert (peer.finished, peer.next_timeout) == (True, None)
    left = ready().close()  # a client's goodbye is the end, answered by ours
    assert [(one.code, one.error) for one in left.hub.closed] == [(1000, None)]
    assert left.hub.peer.finished


def test_finished_at_once_when_the_socket_is_gone():
    """Nothing is left to write, and nobody to write it to; the reason is the driver's."""
    world = ready()
    peer = world.hub.peer

    peer.eof(world.now, "reset by peer")

    assert (peer.finished, peer.data_to_send()) == (True, b"")
    (closed,) = [outcome for outcome in peer.outcomes() if isinstance(outcome, PeerClosed)]
    assert (closed.kind, closed.reason) == (CloseKind.LOST, "reset by peer")
    peer.eof(world.now)
    peer.receive_data(b"\x81\x00", world.now)
    assert peer.outcomes() == []


def test_time_of_the_link_is_the_peers():
    """Pings of the link, deadlines of the connection: one timer, which moves."""
    world = ready()
    peer = world.hub.peer
    when = peer.next_timeout
    assert when is not None and when > world.now

    peer.handle_timeout(when)

    assert peer.next_timeout is not None and peer.next_timeout > when
    assert peer.data_to_send()


# --- whatever comes ---


@examples(60)
@given(st.lists(st.binary(max_size=60), max_size=6), st.sampled_from(GENERATIONS), st.booleans())
def test_garbage_is_the_clients_fault(pieces, generation, upgraded):
    """Before or after the upgrade: nothing is raised, nobody is proven, there is one end at most, and it is last."""
    hub = Hub(hub_side(generation))
    peer = HubPeer(WssServerLink(secure=True), hub.known, entropy=Entropy("hub"), now=0.0)
    if upgraded:
        client = WssClientLink(
            "ws://127.0.0.1:5678", access_key=KEY, user_agent="tests/1", entropy=Entropy("link"), secure=True
        )
        client.socket_opened(0.0)
        peer.receive_data(client.data_to_send(), 0.0)

    for piece in pieces:
        peer.receive_data(piece, 0.0)
    peer.handle_timeout(100.0)
    peer.eof(100.0)

    outcomes = peer.outcomes()
    assert not peer.proven
    assert [type(one) for one in outcomes if not isinstance(one, PeerIdentified)] == [PeerClosed]
    assert isinstance(outcomes[-1], PeerClosed)


@examples(60)
@given(
    st.lists(st.tuples(st.sampled_from([b"T", b"B", b"U"]), st.binary(max_size=80)), max_size=5),
    st.sampled_from(GENERATIONS),
)
def test_garbage_in_frames_is_the_clients_fault(frames, generation):
    """Inside a link that is open: at most the handshake ends, with the client's error."""
    door = Door(hub_side(generation)).enter()

    for letter, body in frames:
        door.peer.receive_data(record(letter, body), 0.0)
    door.move()

    assert not door.peer.proven
    for one in door.outcomes[1:]:
        assert isinstance(one, PeerClosed)
        assert isinstance(one.error, RemoteProtocolError)


def test_secrets_stay_inside():
    """What a peer tells and shows holds no key of either side."""
    world = ready(0)

    shown = repr(world.hub.outcomes) + repr(world.hub.peer) + repr(world.outcomes) + repr(world.stack)

    assert not [secret for secret in (ACCESS_KEY, CRYPTO_KEY) if secret in shown]
