"""Recorded sessions of real hubs and clients through `HubConnection`, in both roles.

Where keys and entropy are in a vector, what we write is what was recorded, byte for byte in everything that is not
JSON's own freedom (spaces, and how a text is escaped); there, what is decoded is the same.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from thalovant_proto import events as e
from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.codec.envelope import clear_frame, parse_clear
from thalovant_proto.connection import HubConnection
from thalovant_proto.crypto.noise import Suite, public_key
from thalovant_proto.errors import RemoteProtocolError
from thalovant_proto.events import Generation
from thalovant_proto.secret import Secret
from thalovant_proto.state import Role, State
from thalovant_proto.trust import Trust

from .pair import MQTT, WSS, Pair, client_side, stream
from .puppet import Stage
from .recordings import Recorded, RecordedHub, channel, heard, noise_end, recorded, said, same_json, scripted, secret
from .vectors import load

V0, V1, V3 = Generation.PRESHARED, Generation.PASSWORD, Generation.NOISE


# --- v3: noise_v3.json

NOISE = load("noise_v3")["vectors"]
PINS = {"wss://vector.test:1": bytes.fromhex(NOISE[0]["responder_static_public"])}


def noise_client(vector: dict[str, Any]) -> HubConnection:
    side = client_side(
        password=Secret(vector["psk_password"]),
        trust=Trust(static_key=secret(vector["initiator_static_private"]), pins=PINS),
        pin_id="wss://vector.test:1",
        allow_kk=vector["pattern"] == "KKpsk0",
    )
    return HubConnection(side, WSS, entropy=scripted(bytes.fromhex(vector["initiator_ephemeral_private"])), now=0.0)


def noise_hub(vector: dict[str, Any]) -> HubConnection:
    side = RecordedHub(
        node_id=vector["hello_payload"]["node_id"],
        peer="unused",
        static_key=secret(vector["responder_static_private"]),
        psk=secret(vector["psk"]),
        pinned=bytes.fromhex(vector["initiator_static_public"]),
        said_hello=vector["hello_payload"],
        said_offer=vector["handshake_payload"],
    )
    return HubConnection(side, WSS, entropy=scripted(bytes.fromhex(vector["responder_ephemeral_private"])), now=0.0)


def noise_messages(frames: list[Frame]) -> list[str]:
    return [json.loads(frame.data)["payload"]["noise"]["msg"] for frame in frames]


def transport(vector: dict[str, Any], direction: str) -> list[Frame]:
    """The sealed JSON messages of a vector in one direction."""
    sent = [each for each in vector["transport"] if each["direction"] == direction and each["kind"] == "json"]
    return [Frame(bytes.fromhex(frame), FrameType.BINARY) for each in sent for frame in each["frames"]]


@pytest.mark.parametrize("vector", NOISE, ids=lambda vector: vector["protocol_name"])
def test_a_hub_writes_and_reads_the_vectors(vector):
    """Message for message, then the hello, the utterance, and an empty message that no peer may send."""
    hub = noise_hub(vector)
    opening = said(hub)
    assert [json.loads(each.data)["payload"] for each in opening] == [
        vector["hello_payload"],
        vector["handshake_payload"],
    ]
    first = (e.Xx1 if vector["pattern"] == "XXpsk2" else e.Kk1)(
        suite=vector["suite"], message=bytes.fromhex(vector["message_1"])
    )

    assert heard(hub, clear_frame(first, text=True))[0] == first
    assert noise_messages(said(hub)) == [vector["message_2"]]
    if vector["message_3"] is not None:
        heard(hub, clear_frame(e.Noise3(message=bytes.fromhex(vector["message_3"])), text=True))
    assert hub.state is State.KEYED
    hello, utterance, empty = transport(vector, "initiator_to_responder")
    assert [type(event) for event in heard(hub, hello)] == [e.Proven, e.ClientHello]
    assert [type(event) for event in heard(hub, utterance)] == [e.Utterance]
    assert isinstance(heard(hub, empty)[-1].error, RemoteProtocolError)


@pytest.mark.parametrize(
    "vector",
    [vector for vector in NOISE if vector["suite"] == Suite.CHACHAPOLY.value],  # where it has the choice it takes this
    ids=lambda vector: vector["protocol_name"],
)
def test_a_client_writes_and_reads_the_vectors(vector):
    """Message for message, from the password on, then what the hub speaks."""
    client = noise_client(vector)
    heard(client, clear_frame(e.HubHello(payload=vector["hello_payload"]), text=True))
    heard(client, clear_frame(e.Offer(payload=vector["handshake_payload"]), text=True))

    assert noise_messages(said(client)) == [vector["message_1"]]
    completed = heard(client, clear_frame(e.Noise2(message=bytes.fromhex(vector["message_2"])), text=True))[-1]
    assert completed.psk == secret(vector["psk"])
    third = said(client)[:-2]
    assert noise_messages(third) == [vector["message_3"]] * (vector["message_3"] is not None)
    (speech,) = transport(vector, "responder_to_initiator")
    assert [type(event) for event in heard(client, speech)] == [e.Proven, e.Speak]


# --- v3: capture_ws_next.json

NEXT = load("capture_ws_next")
NEXT_SESSIONS = {
    "first contact": (NEXT["sessions"][0], "XXpsk2"),
    "pinned": (NEXT["sessions"][1], "KKpsk0"),
}
CLIENT_STATIC, HUB_STATIC = secret(NEXT["client_static_private"]), secret(NEXT["hub_static_private"])
every_session = pytest.mark.parametrize(("session", "pattern"), NEXT_SESSIONS.values(), ids=NEXT_SESSIONS)


def ephemerals(session: dict[str, Any]) -> dict[Role, Secret[bytes]]:
    """The ephemeral private key of each side, told apart by its public key in the first message."""
    first = next(each for each in session["frames"] if each["dir"] == "client->hub")
    message = json.loads(first["data"])["payload"]["noise"]["msg"]
    keys = [secret(each) for each in session["ephemeral_privates_in_order"]]
    keys.sort(key=lambda key: not message.startswith(public_key(key).hex()))
    return dict(zip((Role.CLIENT, Role.HUB), keys, strict=True))


@every_session
def test_a_hub_lives_through_a_recorded_session(session, pattern):
    """Every frame of the client is understood; the handshake answers and all that the hub says are as recorded."""
    frames = [recorded(each) for each in session["frames"]]
    hello, offer = (each.envelope["payload"] for each in frames[:2])
    keys = ephemerals(session)
    side = RecordedHub(
        node_id=hello["node_id"],
        peer=hello["peer"],
        static_key=HUB_STATIC,
        password=Secret(NEXT["password"]),
        pinned=public_key(CLIENT_STATIC) if pattern == "KKpsk0" else None,
        said_hello=hello,
        said_offer=offer,
    )
    hub = HubConnection(side, WSS, entropy=scripted(keys[Role.HUB].reveal()), now=0.0)
    client = recorded_client(frames, keys)
    expected = [each for each in frames if each.sender is Role.HUB]

    events, out = [], said(hub)
    for each in frames:
        if each.sender is Role.CLIENT:
            events += heard(hub, each.frame)
        elif each.message is not None:
            hub.send(each.message, 0.0)
        out += said(hub)

    told = [each.message for each in frames if each.sender is Role.CLIENT and each.message is not None]
    assert told == [event for event in events if isinstance(event, e.Message)]
    assert hub.state is State.READY
    completed = next(event for event in events if isinstance(event, e.HandshakeCompleted))
    assert (completed.peer_static, completed.psk) == (public_key(CLIENT_STATIC), secret(NEXT["psk"]))
    assert len(out) == len(expected)
    for written, each in zip(out, expected, strict=True):
        assert each.frame.type is written.type
        if each.message is None:
            assert same_json(each.frame.data, written.data)
        else:
            assert client.open(written, 0.0) == each.message


@every_session
def test_a_client_reads_a_recorded_session(session, pattern):
    """Every sealed frame of the hub opens under the client's keys as what it was."""
    frames = [recorded(each) for each in session["frames"]]
    client = recorded_client(frames, ephemerals(session))

    for each in frames:
        if each.sender is Role.HUB and each.message is not None:
            assert client.open(each.frame, 0.0) == each.message


@every_session
def test_a_client_begins_as_the_recorded_one(session, pattern):
    """With the same key of the moment: pattern, suite and public key are the recorded ones, the wishes are ours."""
    frames = [recorded(each) for each in session["frames"]]
    pins = {"127.0.0.1:15680": bytes.fromhex(next(iter(NEXT["client_pinned"].values())))}
    side = client_side(
        password=Secret(NEXT["password"]),
        trust=Trust(static_key=CLIENT_STATIC, pins=pins),
        pin_id=next(iter(pins)),
    )
    entropy = scripted(ephemerals(session)[Role.CLIENT].reveal())
    client = HubConnection(side, WSS, entropy=entropy, now=0.0)
    for each in frames[:2]:
        heard(client, each.frame)

    (first,) = said(client)

    ours, theirs = (json.loads(data)["payload"]["noise"] for data in (first.data, frames[2].frame.data))
    assert (pattern, theirs["suite"]) == (ours["pattern"], ours["suite"])
    assert theirs["msg"][:64] == ours["msg"][:64]
    assert pattern == client.pattern


def recorded_client(frames: list[Recorded], keys: dict[Role, Secret[bytes]]) -> Any:
    """The client of a recorded session, as far as its keys."""
    shared = {"frames": frames, "psk": secret(NEXT["psk"])}
    hub = noise_end(
        initiator=False,
        static=HUB_STATIC,
        ephemeral=keys[Role.HUB],
        peer_static=public_key(CLIENT_STATIC),
        **shared,
    )
    client = noise_end(
        initiator=True,
        static=CLIENT_STATIC,
        ephemeral=keys[Role.CLIENT],
        peer_static=public_key(HUB_STATIC),
        **shared,
    )
    first, second, *_ = (bytes.fromhex(msg) for msg in noise_messages([each.frame for each in frames[2:4]]))
    assert client.write_message(hub.read_message(first)) == first
    client.read_message(second)
    if not client.finished:
        client.write_message(b"")
    return channel(client)


# --- HTTP and MQTT, whose recordings hold no keys: as far as the frames go

HTTP = load("capture_http_next")["exchanges"]


def http_frames() -> list[tuple[Role, bytes]]:
    """The clear frames of the HTTP session, in order."""
    found = []
    for each in HTTP:
        if each["path"] == "/send_message" and "binary" not in each["form"]:
            found.append((Role.CLIENT, each["form"]["message"].encode()))
        found += [(Role.HUB, text.encode()) for text in each["response"].get("messages", ())]
    return found


def test_the_frames_of_an_http_session_are_read_and_written():
    """Five of the handshake, each of its kind; written again they say the same."""
    frames = http_frames()
    events = [parse_clear(Frame(data, FrameType.TEXT), sender) for sender, data in frames]

    assert [type(event) for event in events] == [e.HubHello, e.Offer, e.Xx1, e.Noise2, e.Noise3]
    for event, (_, data) in zip(events, frames, strict=True):
        again, once = (json.loads(each) for each in (clear_frame(event, text=True).data, data))
        assert once.items() <= again.items()


def test_a_client_does_over_http_what_the_recorded_one_did():
    """It answers the recorded opening with the same pattern and suite, and opens nothing of a session not its own."""
    hello, offer, theirs, answer, _ = http_frames()
    client = HubConnection(client_side(), WSS, entropy=stream("client"), now=0.0)
    for _, data in (hello, offer):
        heard(client, Frame(data, FrameType.TEXT))
    (first,) = said(client)

    ours, recorded_one = (json.loads(data)["payload"]["noise"] for data in (first.data, theirs[1]))
    assert (recorded_one["pattern"], recorded_one["suite"]) == (ours["pattern"], ours["suite"])
    assert heard(client, Frame(answer[1], FrameType.TEXT))[-1].error.code == "wrong_password"


@pytest.mark.parametrize("each", [each for each in HTTP if each["form"] and "binary" in each["form"]], ids=["1", "2"])
def test_a_strangers_sealed_frames_end_a_session(each):
    """The recorded hello and utterance, sent into a session of ours."""
    stage = Stage(Role.HUB).until(State.READY)

    (closed,) = stage.deliver(Frame(base64.b64decode(each["form"]["message"]), FrameType.BINARY))

    assert isinstance(closed.error, RemoteProtocolError)


def test_a_session_over_mqtt_is_shaped_like_the_recorded_one():
    """Who speaks, whether in clear, and of what: frame for frame, the wake-up first (its frames are cut at 160)."""
    on_frames = [each for each in load("capture_mqtt_next")["frames"] if "/testkey123/" in each["topic"]]
    theirs = [
        (each["dir"].partition("->")[0], _shape(each["payload_prefix"]))
        for each in on_frames
        if not each["topic"].endswith("/status")
    ]
    pair = Pair(carrier=MQTT)
    wake = clear_frame(e.ClearHello(payload={"pubkey": "", "session": {}, "site_id": ""}), text=True)
    assert [type(event) for event in pair.arrive(Role.CLIENT, wake)] == [e.ClearHello]
    pair.drive()
    pair.send(Role.HUB, e.Speak(text="hello")).drive()

    ours = [(sender.value, _shape(frame.data.decode("latin-1"))) for sender, frame in pair.travelled]
    assert theirs == ours


def _shape(payload: str) -> str:
    """What the beginning of a frame says about it."""
    if not payload.startswith("{"):
        return "sealed"
    compact = payload.replace(": ", ":").replace(", ", ",")
    for sign in ('"noise":{"pattern":"XXpsk2"', '"noise":{"msg"', '"max_protocol_version":3', '"msg_type":"hello"'):
        if sign in compact:
            return sign
    return compact
