"""v3 over `HubConnection`: first contact and pinned, both roles; what each end notices when something is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from thalovant_proto import events as e
from thalovant_proto.connection import HubConnection
from thalovant_proto.crypto.kdf import Kdf, derive
from thalovant_proto.crypto.noise import public_key
from thalovant_proto.errors import (
    CredentialsMissing,
    CredentialsRefused,
    LocalProtocolError,
    PeerKeyChanged,
    RemoteProtocolError,
)
from thalovant_proto.events import Generation
from thalovant_proto.handshake.hub import HubSide
from thalovant_proto.secret import Secret
from thalovant_proto.state import Role, State
from thalovant_proto.trust import Trust, fingerprint

from ..pair import (
    ACCESS_KEY,
    CARRIERS,
    CLIENT_STATIC,
    HUB_STATIC,
    NODE_ID,
    PASSWORD,
    PIN_ID,
    WSS,
    Pair,
    client_side,
    hub_side,
    stream,
)
from ..puppet import Stage

OTHER_STATIC = Secret(b"\x11" * 32)
OTHER_PASSWORD = Secret("another password, also long")
CLIENT_PUBLIC, HUB_PUBLIC = public_key(CLIENT_STATIC), public_key(HUB_STATIC)

every_carrier = pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
both_patterns = pytest.mark.parametrize("pinned", [False, True], ids=["XX", "KK"])


class AesHub(HubSide):
    """A hub that offers the other suite only."""

    def offer(self) -> e.Offer:
        payload = super().offer().payload
        return e.Offer(payload=payload | {"noise": payload["noise"] | {"suites": ["25519_AESGCM_SHA256"]}})


def sides(kind: type[HubSide], **changes: Any) -> tuple[HubConnection, HubConnection]:
    """A client, and a hub of another kind."""
    plain = hub_side(pinned=changes.get("pinned", False))
    fields = {name: getattr(plain, name) for name in ("node_id", "static_key", "peer", "password", "pinned")}
    hub = HubConnection(kind(**fields), WSS, entropy=stream("hub"), now=0.0)
    return HubConnection(client_side(**changes), WSS, entropy=stream("client"), now=0.0), hub


def fact(events: list[e.Event], kind: type[e.Event]) -> Any:
    """The one event of that kind."""
    (found,) = [event for event in events if isinstance(event, kind)]
    return found


# --- both ends agree


@every_carrier
@both_patterns
def test_the_handshake_completes_and_both_ends_are_proven(carrier, pinned):
    """Hello, offer, Noise messages, the sealed hello with a rendezvous; the answer to it proves the hub."""
    pair = Pair(pinned=pinned, carrier=carrier).drive()

    assert State.READY is pair.client.state is pair.hub.state
    assert Generation.NOISE is pair.client.generation is pair.hub.generation
    assert ("KKpsk0" if pinned else "XXpsk2") == pair.client.pattern == pair.hub.pattern
    assert pair.heard_by_hub[-3:] == [e.Proven(), e.ClientHello(payload=_hello()), e.Rendezvous()]
    assert (pair.client.proven, pair.hub.proven) == (False, True)

    pair.send(Role.HUB, e.Rendezvous(payload={"status": "error"})).drive()

    assert pair.heard_by_client[-2:] == [e.Proven(), e.Rendezvous(payload={"status": "error"})]
    assert pair.client.proven


@both_patterns
def test_both_ends_learn_what_they_must_remember(pinned):
    """The other's static key, the node id, and the PSK if it was derived for this."""
    pair = Pair(pinned=pinned).drive()

    at_client, at_hub = (fact(heard, e.HandshakeCompleted) for heard in (pair.heard_by_client, pair.heard_by_hub))
    assert (at_client.peer_static, at_hub.peer_static) == (HUB_PUBLIC, CLIENT_PUBLIC)
    assert NODE_ID == at_client.node_id == at_hub.node_id
    assert at_client.psk == at_hub.psk != Secret(bytes(32))
    assert Generation.NOISE is at_client.generation is at_hub.generation


def test_what_was_learnt_makes_the_next_connection_cheap():
    """With pins and PSKs on both sides there is one message each way, and nothing to derive."""
    learnt = fact(Pair().drive().heard_by_client, e.HandshakeCompleted)
    trust = Trust(static_key=CLIENT_STATIC).with_pin(PIN_ID, learnt.peer_static)
    trust = trust.with_psk(ACCESS_KEY, learnt.node_id, PASSWORD, learnt.psk)

    pair = Pair(pinned=True, client={"trust": trust}, hub={"psk": learnt.psk}, derive=None).drive()

    assert State.READY is pair.client.state is pair.hub.state
    assert pair.client.pattern == "KKpsk0"
    assert fact(pair.heard_by_client, e.HandshakeCompleted).psk is None
    assert fact(pair.heard_by_hub, e.HandshakeCompleted).psk is None


def test_the_psk_is_derived_from_password_and_node_id():
    """argon2id on both sides, of the same; the real one ends in the same handshake."""
    pair = Pair(derive=None).drive()
    role, effect = pair.derivations[0]
    assert (role, effect.kdf, effect.secret.reveal()) == (Role.CLIENT, Kdf.ARGON2ID, PASSWORD.as_bytes())

    pair.answer(derive)
    pair.drive()
    pair.answer(derive)
    pair.drive()

    assert State.READY is pair.client.state is pair.hub.state


@both_patterns
def test_the_other_suite_is_spoken_where_it_is_all_there_is(pinned):
    """Small clients and hubs have AESGCM only."""
    client, hub = sides(AesHub, pinned=pinned)
    for _ in range(4):
        for sender, receiver in ((hub, client), (client, hub)):
            for frame, _token in sender.frames_to_send():
                receiver.receive(frame, 0.0)
                for end in (client, hub):
                    for effect in end.effects():
                        end.effect_done(effect.id, Secret(b"k" * 32), 0.0)

    assert State.READY is client.state is hub.state


def test_unknown_fields_of_the_opening_are_hashed_too():
    """A newer hub may say more: the client hashes what it received, whole."""

    class Newer(HubSide):
        def hello(self) -> e.HubHello:
            return e.HubHello(payload={"zz": [1, {"ü": None}], **super().hello().payload})

        def offer(self) -> e.Offer:
            return e.Offer(payload={"a": 1.5, **super().offer().payload, "aa": "\u2028"})

    client, hub = sides(Newer)
    for frame, _ in hub.frames_to_send():
        client.receive(frame, 0.0)
    (effect,) = client.effects()
    client.effect_done(effect.id, Secret(b"k" * 32), 0.0)
    ((first, _),) = client.frames_to_send()

    hub.receive(first, 0.0)
    (effect,) = hub.effects()
    events = hub.effect_done(effect.id, Secret(b"k" * 32), 0.0)

    assert events == []
    assert hub.state is State.XX_ANSWERED


@pytest.mark.parametrize("client_wants", [False, True])
@pytest.mark.parametrize("hub_offers", [False, True])
def test_the_client_decides_on_bit_frames(client_wants, hub_offers):
    """Whatever the offer says (real-hubs.md §4); both directions follow, and mean the same."""
    plain = Pair().drive()
    pair = Pair(client={"binarize": client_wants}, hub={"binarize": hub_offers}).drive()

    for sender, heard in ((Role.CLIENT, pair.heard_by_hub), (Role.HUB, pair.heard_by_client)):
        message = e.Query(payload={"n": 1}, metadata={"query_id": "q"})
        sizes = []
        for each in (pair, plain):
            each.send(sender, message).drive()
            sizes.append(len(each.travelled[-1][1].data))
        assert heard[-1] == message
        assert (sizes[0] < sizes[1]) is client_wants


@every_carrier
@both_patterns
def test_binaries_and_long_messages_travel_both_ways(carrier, pinned):
    """In chunks where they must."""
    pair = Pair(pinned=pinned, carrier=carrier).drive()
    audio = e.Binary(bin_type=e.BinType.RAW_AUDIO, payload=bytes(200_000), metadata={"sample_rate": 16000})
    text = e.Bus(type="long", data={"text": "ü" * 100_000})

    for sender, heard in ((Role.CLIENT, pair.heard_by_hub), (Role.HUB, pair.heard_by_client)):
        pair.send(sender, audio, text, e.Ping()).drive()
        assert heard[-3:] == [audio, text, e.Ping()]


def test_the_token_of_a_message_goes_with_its_last_frame():
    """What the link reports as taken is the whole message."""
    pair = Pair().drive()

    pair.client.send(e.Binary(payload=bytes(150_000)), 0.0, token=7)
    pair.client.send(e.Ping(), 0.0, token=8)
    pair.client.send(e.Ping(), 0.0)

    assert [token for _, token in pair.client.frames_to_send()] == [None, None, 7, 8, None]


@pytest.mark.parametrize(
    "answer",
    [e.SealedHandshake(payload={}), e.SharedBus(), e.ThirdParty(), e.Bus(type="any.thing")],
    ids=lambda event: event.msg_type,
)
def test_any_authentic_frame_proves_the_hub(answer):
    """Also one that means nothing to us."""
    stage = Stage(Role.CLIENT).until(State.READY)

    events = stage.say(answer)

    assert events[0] == e.Proven()
    assert stage.end.proven


# --- wrong password


def test_a_wrong_password_shows_at_the_client_at_first_contact():
    """The hub notices nothing; the client says whose password is wrong, and does not send the third message."""
    pair = Pair(client={"password": OTHER_PASSWORD}).drive()

    closed = fact(pair.heard_by_client, e.Closed)
    assert isinstance(closed.error, CredentialsRefused)
    assert closed.error.code == "wrong_password"
    assert closed.error.hint
    assert pair.hub.state is State.XX_ANSWERED
    assert [type(event) for event in pair.heard_by_hub] == [e.Xx1]


REFUSED = {
    "wrong password": (True, {"password": OTHER_PASSWORD}, {}),
    "no password at the hub": (True, {}, {"password": None}),
    "no password at the hub, XX": (False, {}, {"password": None}),
    "the hub's key changed": (True, {}, {"static_key": OTHER_STATIC}),
    "the client's key changed": (True, {"trust": Trust(static_key=OTHER_STATIC, pins={PIN_ID: HUB_PUBLIC})}, {}),
}


@pytest.mark.parametrize(("pinned", "client", "hub"), REFUSED.values(), ids=REFUSED)
def test_what_a_hub_refuses_has_one_goodbye(pinned, client, hub):
    """One text for every cause (real-hubs.md §6), and no word to the client of what it was."""
    pair = Pair(pinned=pinned, client=client, hub=hub).drive()

    closed = fact(pair.heard_by_hub, e.Closed)
    assert isinstance(closed.error, CredentialsRefused)
    assert closed.code == 1008
    assert pair.client.state is (State.KK_SENT if pinned else State.XX_SENT)
    assert closed.reason == "handshake failure"
    assert str(closed.error) == (closed.reason if "password" not in hub else "this client has no password at the hub")


def test_a_client_without_a_password_is_told_at_once():
    """It is the identity that lacks something."""
    pair = Pair(client={"password": None}).drive()

    error = fact(pair.heard_by_client, e.Closed).error
    assert isinstance(error, CredentialsMissing)
    assert "password" in str(error)
    assert pair.heard_by_hub == []


# --- wrong keys


def test_a_changed_hub_key_is_refused_with_both_fingerprints():
    """After XX, where the hub has proven the password: both keys are named, the pin stays, nothing was sealed."""
    pair = Pair(pinned=True, client={"allow_kk": False}, hub={"static_key": OTHER_STATIC}).drive()

    error = fact(pair.heard_by_client, e.Closed).error
    assert isinstance(error, PeerKeyChanged)
    assert (error.expected, error.received) == (fingerprint(HUB_PUBLIC), fingerprint(public_key(OTHER_STATIC)))
    assert error.expected in str(error)
    assert error.received in str(error)
    assert [type(event) for event in pair.heard_by_hub] == [e.Xx1]


def test_a_client_key_that_is_not_the_pinned_one_is_rejected_after_xx():
    """The client believes itself ready by then; it learns from the close, whose reason real hubs give too."""
    pair = Pair(pinned=True, client={"trust": Trust(static_key=OTHER_STATIC)}).drive()

    closed = fact(pair.heard_by_hub, e.Closed)
    assert isinstance(closed.error, CredentialsRefused)
    assert closed.error.code == "client_key_rejected"
    assert (closed.code, closed.reason) == (1008, "client Noise static key contradicts the pinned key")
    assert not pair.hub.proven
    assert (pair.client.state, pair.client.proven) == (State.READY, False)


@both_patterns
def test_an_answer_that_does_not_authenticate_ends_it(pinned):
    """At first contact it means another password; pinned, the hub could read us, so it does not."""
    stage = Stage(Role.CLIENT, pinned=pinned).until(State.KK_SENT if pinned else State.XX_SENT)
    genuine = stage.puppet.due.popleft()

    (closed,) = stage.say(e.Noise2(message=genuine.message[:-1] + bytes([genuine.message[-1] ^ 1])))

    assert pinned is not isinstance(closed.error, CredentialsRefused)
    assert isinstance(closed.error, RemoteProtocolError)


def test_a_pinned_key_that_cannot_be_one_is_our_own_fault():
    """A trust that somebody broke makes a local error, not a raise, and not the hub's fault."""
    pair = Pair(pinned=True, client={"trust": Trust(static_key=CLIENT_STATIC, pins={PIN_ID: bytes(32)})}).drive()

    closed = fact(pair.heard_by_client, e.Closed)
    assert isinstance(closed.error, LocalProtocolError)
    assert (closed.code, closed.reason) == (1011, "internal error")


# --- a hub's side must be whole


@pytest.mark.parametrize(
    "change",
    [
        {"static_key": Secret(b"short")},
        {"psk": Secret(b"short")},
        {"pinned": b"short"},
        {"crypto_key": Secret("short")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_hub_side_with_a_key_that_cannot_be_one_is_refused_at_once(change):
    """Where it is made, with its name, and not in the middle of a handshake."""
    with pytest.raises(ValueError, match=next(iter(change))) as refused:
        evolve(hub_side(), **change)

    assert "short" not in str(refused.value)


def _hello() -> dict[str, Any]:
    return {"pubkey": "", "session": {"session_id": "session-1", "site_id": "kitchen"}, "site_id": "kitchen"}
