"""Everything that crosses a hub connection, and what became true of it: the public event names.

Three groups:

- *wire kinds*: one class for each thing that travels; the keys of the transition table in `state.py`. Clear and sealed
  hello are different kinds, and so are the first messages of the two Noise patterns.
- *typed views* of `Bus`: `Utterance`, `Speak`, … A view is a `Bus`; bus messages without a view stay plain `Bus`.
- *local facts*: `HandshakeCompleted`, `Proven`, `Skipped`, `Closed`. They never travel and are in no table.

An event is complete when it exists. Unknown fields of payload, data, context and metadata survive a round trip.

One is made for each message: they have no slots, with which a frozen object takes longer to fill, and kinds that add no
field have no generated methods of their own, which take half a millisecond each to import.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, TypeAlias

from attrs import Factory, field, frozen
from attrs.validators import min_len

from .carrier import CloseKind
from .errors import ProtocolError
from .secret import Secret

Json: TypeAlias = dict[str, Any]
_MAPPING: Final = (dict, Mapping)  # in this order it is quick for what comes from a hub


class Generation(enum.IntEnum):
    """The wire generation of a session (wire.md §1.1). What dual hubs call v2 is v1 with binary framing."""

    PRESHARED = 0
    PASSWORD = 1
    NOISE = 3


@frozen(kw_only=True, slots=False)
class Event:
    """Base of everything that crosses a hub connection, in either direction, and of the local facts."""

    #: The class that the transition table knows this event by; views of `Bus` are `Bus` there.
    wire_kind: ClassVar[type[Event]]

    def __init_subclass__(cls) -> None:
        cls.wire_kind = cls


WireKind: TypeAlias = type[Event]


# --- wire kinds in clear: the handshake ------------------------------------------------------------------------------


@frozen(kw_only=True)
class ClearHello(Event):
    """A client's hello in clear: wakes a hub on MQTT, opens a v0 session of older clients. Proves nothing."""

    payload: Json = field(repr=False)


@frozen(kw_only=True)
class HubHello(Event):
    """The hub's first frame: `pubkey`, `peer`, `node_id`. Kept whole, since v3 hashes it."""

    payload: Json = field(repr=False)


@frozen(kw_only=True)
class Offer(Event):
    """The hub's second frame: which handshakes it takes. Kept whole, since v3 hashes it."""

    payload: Json = field(repr=False)


@frozen(kw_only=True)
class Xx1(Event):
    """The client's first Noise message at first contact (`XXpsk2`)."""

    suite: str
    message: bytes = field(repr=False)


@frozen(kw_only=True)
class Kk1(Event):
    """The client's first Noise message when both keys are pinned (`KKpsk0`)."""

    suite: str
    message: bytes = field(repr=False)


@frozen(kw_only=True)
class Noise2(Event):
    """The hub's Noise message, in either pattern."""

    message: bytes = field(repr=False)


@frozen(kw_only=True)
class Noise3(Event):
    """The client's second Noise message, `XXpsk2` only."""

    message: bytes = field(repr=False)


@frozen(kw_only=True)
class Proof(Event):
    """The client's proof of the password (v1), with what it can read."""

    envelope: str = field(repr=False)
    encodings: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()
    binarize: bool = False


@frozen(kw_only=True)
class ProofAnswer(Event):
    """The hub's proof of the password (v1), with its choice of encoding and cipher."""

    envelope: str = field(repr=False)
    encoding: str = "JSON-HEX"
    cipher: str = "AES-GCM"


#: The kinds that travel in clear.
ClearEvent: TypeAlias = ClearHello | HubHello | Offer | Xx1 | Kk1 | Noise2 | Noise3 | Proof | ProofAnswer


# --- wire kinds inside a session -------------------------------------------------------------------------------------


@frozen(kw_only=True, slots=False)
class Message(Event):
    """Base of what travels sealed; the fields are those of the envelope. `msg_type` is its name on the wire.

    `node` and `source_peer` are set by each hop for itself: never trust them.
    """

    msg_type: ClassVar[str] = ""
    metadata: Json = Factory(dict)
    route: list[Any] = Factory(list)
    node: str | None = None
    target_site_id: str | None = None
    target_pubkey: str | None = field(default=None, repr=False)
    source_peer: str | None = None


@frozen(kw_only=True, slots=False)
class PayloadMessage(Message):
    """A message whose payload is a JSON object of its own shape."""

    payload: Json = Factory(dict)


class ClientHello(PayloadMessage):
    """The client's sealed hello: `session`, `site_id`, `pubkey`. Makes replies routable; may come again."""

    msg_type = "hello"

    @property
    def site_id(self) -> str | None:
        """The client's site, None if it names none."""
        found = self.payload.get("site_id")
        return found if isinstance(found, str) and found else None


class SealedHandshake(PayloadMessage):
    """A handshake frame inside an open session. Harmless: real peers send it, everybody ignores it."""

    msg_type = "shake"


class SharedBus(PayloadMessage):
    """A bus message shown to the hub, not injected."""

    msg_type = "shared_bus"


class Broadcast(PayloadMessage):
    """An envelope for all peers of a hub."""

    msg_type = "broadcast"


class Propagate(PayloadMessage):
    """An envelope for the whole mesh."""

    msg_type = "propagate"


class Escalate(PayloadMessage):
    """An envelope for the hubs above."""

    msg_type = "escalate"


class Query(PayloadMessage):
    """A question up the chain of hubs, and each piece of its answer (`metadata.query_id`)."""

    msg_type = "query"


class Cascade(PayloadMessage):
    """A question to the whole mesh, and each piece of each answer."""

    msg_type = "cascade"


class Ping(PayloadMessage):
    """Mesh discovery; only inside `propagate` does it mean anything."""

    msg_type = "ping"


class Rendezvous(PayloadMessage):
    """The mailbox of a mesh. An empty one, answered under the keys, is what proves a v3 session."""

    msg_type = "rendezvous"


class ThirdParty(PayloadMessage):
    """A type that only legacy peers know."""

    msg_type = "3rdparty"


class Intercom(PayloadMessage):
    """An envelope sealed to one node's RSA key (wire.md §2.4), which this package passes on and never opens."""

    msg_type = "intercom"


class BinType(enum.IntEnum):
    """The content type of a `Binary` (wire.md §4.4)."""

    UNDEFINED = 0
    RAW_AUDIO = 1
    NUMPY_IMAGE = 2
    FILE = 3
    STT_TRANSCRIBE = 4
    STT_HANDLE = 5
    TTS_AUDIO = 6
    STT_AUDIO_TRANSCRIBE = 4  # what others call these two
    STT_AUDIO_HANDLE = 5


@frozen(kw_only=True, slots=False)
class Binary(Message):
    """Raw bytes with a subtype: audio, an image, a file. Subtypes without a name stay numbers (0 to 15)."""

    msg_type = "bin"
    bin_type: int = BinType.UNDEFINED
    payload: bytes = field(default=b"", repr=False)

    @property
    def name(self) -> str:
        """The subtype in lower case, or `binary:<n>`."""
        return _BIN_NAMES.get(self.bin_type) or f"binary:{self.bin_type}"


_BIN_NAMES: Final[Mapping[int, str]] = {int(kind): kind.name.lower() for kind in BinType if kind}


@frozen(kw_only=True, slots=False)
class Bus(Message):
    """A message of the hub's bus: `type`, `data`, `context`. The typed views below are subclasses."""

    msg_type = "bus"
    type: str = field(validator=min_len(1))
    data: Json = Factory(dict)
    context: Json = Factory(dict)

    def __init_subclass__(cls) -> None:
        """Keep `Bus` as the `wire_kind` of a view."""

    @property
    def payload(self) -> Json:
        """The payload of the envelope, as with the other messages."""
        return {"type": self.type, "data": self.data, "context": self.context}

    @property
    def session_id(self) -> str | None:
        """`context.session.session_id` or `context.session_id`."""
        return session_id_of(self.context)

    @property
    def request_id(self) -> str | None:
        """The request this belongs to: the first of three names in context, session, data."""
        return request_id_of(self.context, self.data)


def session_id_of(context: Mapping[str, Any]) -> str | None:
    """The session id in a message's context: `session.session_id` or `session_id`."""
    session = context.get("session")
    found = (session.get("session_id") if isinstance(session, _MAPPING) else None) or context.get("session_id")
    return str(found) if found else None


def same_session(found: str, wanted: str | None) -> bool:
    """Whether a hub means our session: some hand an id back as `namespace:id`."""
    return wanted is not None and (found == wanted or found.endswith(f":{wanted}"))


def request_id_of(context: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> str | None:
    """The request id of a message: the first of three names in context, session, data."""
    for place in (context, context.get("session"), data):
        if isinstance(place, _MAPPING):
            for name in ("request_id", "thalovant_request_id", "correlation_id"):
                if found := place.get(name):
                    return str(found)
    return None


# --- typed views of Bus ----------------------------------------------------------------------------------------------

UTTERANCE: Final = "recognizer_loop:utterance"
SPEAK: Final = "speak"
OVOS_SPEAK: Final = "ovos.utterance.speak"
AUDIO_QUEUE: Final = "mycroft.audio.queue"
UTTERANCE_HANDLED: Final = "ovos.utterance.handled"
INTENT_FAILURE: Final = "complete_intent_failure"
INTENT_UNMATCHED: Final = "ovos.intent.unmatched"
POLICY_DENIED: Final = "hive.policy.denied"
QUERY_COMPLETE: Final = "hive.query.complete"
QUERY_TIMEOUT: Final = "hive.query.timeout"


@frozen(kw_only=True, slots=False)
class Utterance(Bus):
    """An utterance of a client: `data.utterances[0]` and `data.lang`."""

    type: str = UTTERANCE
    text: str = field(validator=min_len(1))
    lang: str = "en-us"

    def __attrs_post_init__(self) -> None:
        if "utterances" not in self.data:
            _complete(self, {"utterances": [self.text], "lang": self.lang})


@frozen(kw_only=True, slots=False)
class Speak(Bus):
    """Speech of the hub: `data.utterance`. Rich media travel in `data` beside it, the text may then be empty."""

    type: str = SPEAK
    text: str = ""
    lang: str = "en-us"

    def __attrs_post_init__(self) -> None:
        if "utterance" not in self.data:
            _complete(self, {"utterance": self.text, "lang": self.lang})


@frozen(kw_only=True, slots=False)
class UtteranceHandled(Bus):
    """The hub is done with an utterance."""

    type: str = UTTERANCE_HANDLED


@frozen(kw_only=True, slots=False)
class IntentFailure(Bus):
    """No skill took the utterance; a fallback may still speak."""

    type: str = INTENT_FAILURE


@frozen(kw_only=True, slots=False)
class PolicyDenied(Bus):
    """The hub refused a message type; the connection itself stays open."""

    type: str = POLICY_DENIED
    denied_type: str = ""
    code: str = ""
    reason: str = ""

    def __attrs_post_init__(self) -> None:
        if "denied_type" not in self.data:
            _complete(self, {"denied_type": self.denied_type, "code": self.code, "reason": self.reason})


def _complete(view: Bus, data: Json) -> None:
    # A view made here writes its fields into `data`; one parsed off the wire has them there, and is left alone.
    object.__setattr__(view, "data", {**data, **view.data})


def _text(data: Json, key: str, default: str = "") -> str:
    found = data.get(key)
    return found if isinstance(found, str) else default


def _utterance(data: Json) -> Json | None:
    utterances = data.get("utterances")
    if isinstance(utterances, list) and utterances and isinstance(utterances[0], str) and utterances[0]:
        return {"text": utterances[0], "lang": _text(data, "lang", "en-us")}
    return None


def _speak(data: Json) -> Json | None:
    # Without the key, a view would add it to `data`: a speak that only carries media stays as it came.
    if isinstance(data.get("utterance"), str):
        return {"text": data["utterance"], "lang": _text(data, "lang", "en-us")}
    return None


def _denied(data: Json) -> Json | None:
    if isinstance(data.get("denied_type"), str):
        return {
            "denied_type": data["denied_type"],
            "code": _text(data, "code"),
            "reason": _text(data, "reason"),
        }
    return None


def _nothing(data: Json) -> Json:
    return {}


_View = tuple["type[Bus]", Callable[[Json], Json | None]]
_VIEWS: Final[Mapping[str, _View]] = {
    UTTERANCE: (Utterance, _utterance),
    "ovos.utterance.handle": (Utterance, _utterance),
    SPEAK: (Speak, _speak),
    OVOS_SPEAK: (Speak, _speak),
    UTTERANCE_HANDLED: (UtteranceHandled, _nothing),
    INTENT_FAILURE: (IntentFailure, _nothing),
    INTENT_UNMATCHED: (IntentFailure, _nothing),
    POLICY_DENIED: (PolicyDenied, _denied),
}
_PLAIN: Final[_View] = (Bus, _nothing)


def bus(*, type: str, data: Json, context: Json, **fields: Any) -> Bus:
    """A bus message as its typed view where it has one and its data fit, else a plain `Bus`.

    `fields` are those of the envelope. Raises `ValueError` for an empty `type`.
    """
    if not type:
        raise ValueError("a bus message needs a type")
    view, parse = _VIEWS.get(type, _PLAIN)
    found = parse(data)
    made = object.__new__(Bus if found is None else view)
    # One is made for each message that comes; the constructor of a frozen class takes five times as long.
    values = {
        "metadata": {}, "route": [], "node": None, "target_site_id": None, "target_pubkey": None, "source_peer": None,
        "type": type, "data": data, "context": context, **fields,
    }  # fmt: skip
    if found:
        values.update(found)
    object.__setattr__(made, "__dict__", values)
    return made


# --- local facts -----------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class HandshakeCompleted(Event):
    """Both ends hold the keys. Not yet proven: a peer may still throw us out.

    `peer_static` is the other side's 32-byte Noise key, `pattern` the Noise pattern (both None before v3), `psk` the
    Noise PSK that was derived for this handshake (None if it was known), `node_id` the hub's.
    """

    generation: Generation
    node_id: str = field(repr=False)
    pattern: str | None = None
    peer_static: bytes | None = field(default=None, repr=False)
    psk: Secret[bytes] | None = None


@frozen(kw_only=True)
class Proven(Event):
    """A frame of the peer has authenticated under the session keys (v1 clients: its password proof did)."""


@frozen(kw_only=True)
class Skipped(Event):
    """A frame of the hub opened under the session keys and held no message: a client goes on to the next."""

    reason: str


@frozen(kw_only=True)
class Closed(Event):
    """The last event of a connection. `error` is None where nobody is at fault."""

    kind: CloseKind
    error: ProtocolError | None = None
    reason: str = ""
    code: int | None = None
