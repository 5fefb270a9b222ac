"""The envelope of every event: as JSON text or as a WIRE-1 frame, clear or about to be sealed.

Reading ignores unknown top-level keys; writing never adds one, since real peers refuse the whole message for it
(wire.md §1.6). Everything inside payload, data, context and metadata is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Final

from .. import events as e, jsontext
from ..carrier import Frame, FrameType
from ..crypto.noise_transport import Body, BodyKind
from ..errors import DecodeError, LocalProtocolError, MalformedMessage
from ..limits import JSON_DEPTH, JSON_TEXT, KIB
from ..state import Role
from . import wire1

_PAYLOAD_KINDS: Final[Mapping[str, type[e.PayloadMessage]]] = {
    kind.msg_type: kind
    for kind in (
        e.ClientHello, e.SealedHandshake, e.SharedBus, e.Broadcast, e.Propagate, e.Escalate, e.Query, e.Cascade,
        e.Ping, e.Rendezvous, e.ThirdParty, e.Intercom,
    )
}  # fmt: skip
_SEALED_TYPES: Final = frozenset((*_PAYLOAD_KINDS, e.Bus.msg_type))
# A hello or handshake without a payload is malformed; other types may leave an empty one out (wire.md §1.6).
_NEED_PAYLOAD: Final = frozenset(("hello", "shake"))
_BESIDE_PAYLOAD: Final = ("metadata", "route", "node", "target_site_id", "target_pubkey", "source_peer")


# --- inside a session ------------------------------------------------------------------------------------------------


def parse_sealed(body: Body) -> e.Message:
    """The event in a body that opened under the session keys. Raises `MalformedMessage`."""
    try:
        return _parse_sealed(body)
    except DecodeError as error:
        raise MalformedMessage(str(error)) from None


def _parse_sealed(body: Body) -> e.Message:
    if body.kind is BodyKind.JSON:
        envelope = jsontext.loads(body.data, max_size=JSON_TEXT, max_depth=JSON_DEPTH)
        if not isinstance(envelope, dict):
            raise DecodeError(_NO_OBJECT)
        return _message(*_named_payload(envelope), _fields(envelope))
    frame = wire1.decode(body.data)
    if isinstance(frame.payload, bytes):
        return e.Binary(bin_type=frame.bin_type, payload=frame.payload, metadata=frame.metadata)
    return _message(frame.msg_type, frame.payload, {"metadata": frame.metadata})


def encode(event: e.Message, *, text: bool, binarize: bool, compress: bool) -> Body:
    """The body that carries an event.

    JSON unless the event is `Binary`, the session binarizes, or the carrier takes no `text`. A binary frame has no
    room for the route, the target and the like (wire.md §4.2), nor for `intercom`: where there is a choice, those go
    as JSON. Raises `LocalProtocolError` for what JSON or the frame that it must go in cannot carry, and for what is
    over the limits of a peer like us, which would end the session for it.
    """
    if isinstance(event, e.Binary):
        metadata = _dumps(event.metadata)
        frame = wire1.encode("bin", event.payload, metadata, compress=compress, bin_type=event.bin_type)
        return Body(BodyKind.WIRE1, frame)
    try:
        payload, beside = jsontext.dumps(_payload(event)), _beside_payload(event)
        # The envelope is one level; what is beside the payload takes less than a KiB unless it is long itself.
        # Few brackets cannot nest deep, which two counts tell faster than the check.
        if len(payload) > JSON_TEXT - KIB or payload.count(b"{") + payload.count(b"[") >= JSON_DEPTH:
            jsontext.check(payload, max_size=JSON_TEXT - KIB, max_depth=JSON_DEPTH - 1)
    except DecodeError as error:
        raise LocalProtocolError(f"a message cannot be sent: {error}", code="too_large", hint=_IN_PIECES) from None
    except ValueError as error:
        raise _not_json(error) from None
    if not text or (binarize and not any(beside[1:])):
        binary = _as_wire1(event, payload, text=text, compress=compress)
        if binary is not None:
            return Body(BodyKind.WIRE1, binary)
    # Most messages have nothing beside their payload: the end of the text is always the same then.
    end = _END if beside == _NOTHING else _end(beside)
    return Body(BodyKind.JSON, b"".join((_HEADS[event.msg_type], payload, end)))


def message_from(envelope: e.Json) -> e.Message:
    """The event of an envelope that came as an object: the payload of a mesh message. Raises `DecodeError`."""
    return _message(*_named_payload(envelope), _fields(envelope))


def envelope_of(event: e.Message) -> e.Json:
    """An event as an object, as it nests in a mesh message. Raises `LocalProtocolError` for `Binary`: it has none."""
    # With what is beside the payload these are all eight keys, as real hubs write them: strict peers expect each.
    beside = zip(_BESIDE_PAYLOAD, _beside_payload(event), strict=True)
    return {"msg_type": event.msg_type, "payload": _payload(event), **dict(beside)}


def _payload(event: e.Message) -> e.Json:
    if isinstance(event, e.Bus):
        return {"type": event.type, "data": event.data, "context": event.context}
    if isinstance(event, e.PayloadMessage):
        return event.payload
    raise LocalProtocolError(f"{type(event).__name__} has no JSON form")


def _end(beside: tuple[Any, ...]) -> bytes:
    """The text of an envelope from behind its payload."""
    return b"," + _dumps(dict(zip(_BESIDE_PAYLOAD, beside, strict=True)))[1:]


def _as_wire1(event: e.Message, payload: bytes, *, text: bool, compress: bool) -> bytes | None:
    try:
        return wire1.encode(event.msg_type, payload, _dumps(event.metadata), compress=compress)
    except LocalProtocolError:
        if text:
            return None
        raise


def _dumps(value: object) -> bytes:
    try:
        return jsontext.dumps(value)
    except ValueError as error:
        raise _not_json(error) from None


_IN_PIECES: Final = "send less at a time; raw data goes as a binary message"


def _not_json(error: ValueError) -> LocalProtocolError:
    hint = "use text, finite numbers, true, false, null, lists, and mappings with text as keys"
    return LocalProtocolError(f"a message cannot be sent: {error}", code="not_json", hint=hint)


def _message(msg_type: str, payload: e.Json, fields: e.Json) -> e.Message:
    if msg_type != "bus":
        return _PAYLOAD_KINDS[msg_type](payload=payload, **fields)
    name, data, context = payload.get("type"), payload.get("data"), payload.get("context")
    if not isinstance(name, str) or not name:
        raise DecodeError("a bus message has no type")
    # Absent or null stands for empty, as with real peers; anything else but an object is malformed.
    data, context = {} if data is None else data, {} if context is None else context
    if not isinstance(data, dict) or not isinstance(context, dict):
        raise DecodeError("data and context of a bus message must be objects")
    return e.bus(type=name, data=data, context=context, **fields)


def _fields(envelope: e.Json) -> e.Json:
    metadata, route = envelope.get("metadata"), envelope.get("route")
    if metadata is not None and not isinstance(metadata, dict):
        raise DecodeError("metadata of an envelope must be an object")
    if route is not None and not isinstance(route, list):
        raise DecodeError("route of an envelope must be a list")
    fields: e.Json = {"metadata": metadata or {}, "route": route or []}
    for name in ("node", "target_site_id", "target_pubkey", "source_peer"):
        value = envelope.get(name)
        if value is not None:
            if not isinstance(value, str):
                raise DecodeError(f"{name} of an envelope must be text")
            fields[name] = value
    return fields


_NO_OBJECT: Final = "a JSON frame must be an object"
_beside_payload: Final[Callable[[e.Message], tuple[Any, ...]]] = attrgetter(*_BESIDE_PAYLOAD)
_NOTHING: Final = _beside_payload(e.Message())
_END: Final = _end(_NOTHING)
_HEADS: Final = {name: b'{"msg_type":"%b","payload":' % name.encode() for name in _SEALED_TYPES}


# --- in clear: the handshake -----------------------------------------------------------------------------------------


def parse_clear(frame: Frame, sender: Role) -> e.ClearEvent:
    """The handshake event of a clear frame. Raises `DecodeError` for anything else, clear messages included."""
    if looks_like_text(frame):
        return _clear_event(*_named_payload(parse_object(frame.data)), sender)
    found = wire1.decode(frame.data)
    if isinstance(found.payload, bytes):
        raise DecodeError("a binary message came in clear")
    return _clear_event(found.msg_type, found.payload, sender)


def handshake_in(event: e.SealedHandshake, sender: Role) -> e.ClearEvent:
    """The handshake event that came sealed. Raises `DecodeError`."""
    return _clear_event(event.msg_type, event.payload, sender)


def clear_frame(event: e.ClearEvent, *, text: bool) -> Frame:
    """A handshake event as its clear frame: JSON text, or a bit frame where the peer reads nothing else."""
    msg_type, payload = _clear_payload(event)
    if not text:
        frame = wire1.encode(msg_type, jsontext.dumps(payload), b"{}", compress=True)
        return Frame(frame, FrameType.BINARY)
    envelope = envelope_of(e.PayloadMessage(payload=payload)) | {"msg_type": msg_type}
    return Frame(jsontext.dumps(envelope), FrameType.TEXT)


def looks_like_text(frame: Frame) -> bool:
    """Whether a frame is JSON text; where the carrier does not say, the first byte that is no space does."""
    if frame.type is FrameType.UNTYPED:
        return frame.data[:64].lstrip()[:1] in (b"{", b"[")
    return frame.type is FrameType.TEXT


def parse_object(data: bytes) -> e.Json:
    """A JSON object within the limits. Raises `DecodeError`."""
    found = jsontext.loads(data, max_size=JSON_TEXT, max_depth=JSON_DEPTH)
    if not isinstance(found, dict):
        raise DecodeError(_NO_OBJECT)
    return found


def _named_payload(envelope: e.Json) -> tuple[str, e.Json]:
    name, payload = envelope.get("msg_type"), envelope.get("payload")
    if name == "handshake":
        name = "shake"  # read, never written: official peers refuse it (wire.md §8.3)
    if not isinstance(name, str) or name not in _SEALED_TYPES:
        raise DecodeError("msg_type of an envelope is missing or unknown")
    if payload is None and name not in _NEED_PAYLOAD:
        payload = {}
    if not isinstance(payload, dict):
        raise DecodeError("payload of an envelope must be an object")
    return name, payload


def _clear_event(msg_type: str, payload: e.Json, sender: Role) -> e.ClearEvent:
    if msg_type == "hello":
        return e.HubHello(payload=payload) if sender is Role.HUB else e.ClearHello(payload=payload)
    if msg_type != "shake":
        raise DecodeError(f"a {msg_type} message came in clear")
    noise = payload.get("noise")
    if isinstance(noise, dict) and ("msg" in noise or sender is Role.CLIENT):
        return _noise_event(noise, sender)
    envelope = payload.get("envelope")
    if envelope is None:
        if sender is Role.HUB:
            return e.Offer(payload=payload)
        raise DecodeError("a handshake holds neither noise nor envelope; the RSA handshake is not spoken here")
    if not isinstance(envelope, str):
        raise DecodeError("envelope of a handshake must be text")
    if sender is Role.HUB:
        return e.ProofAnswer(
            envelope=envelope,
            encoding=_word(payload, "encoding", "JSON-HEX"),
            cipher=_word(payload, "cipher", "AES-GCM"),
        )
    return e.Proof(
        envelope=envelope,
        encodings=_words(payload, "encodings"),
        ciphers=_words(payload, "ciphers"),
        binarize=payload.get("binarize") is True,
    )


def _noise_event(noise: e.Json, sender: Role) -> e.ClearEvent:
    message = _hex(noise.get("msg"))
    if sender is Role.HUB:
        return e.Noise2(message=message)
    pattern = noise.get("pattern")
    if pattern is None:
        return e.Noise3(message=message)
    suite = _word(noise, "suite", "")
    if pattern == "XXpsk2":
        return e.Xx1(suite=suite, message=message)
    if pattern == "KKpsk0":
        return e.Kk1(suite=suite, message=message)
    raise DecodeError("pattern of a Noise message was not offered")


def _clear_payload(event: e.ClearEvent) -> tuple[str, e.Json]:
    match event:
        case e.HubHello() | e.ClearHello():
            return "hello", event.payload
        case e.Offer():
            return "shake", event.payload
        case e.Xx1() | e.Kk1():
            pattern = "XXpsk2" if isinstance(event, e.Xx1) else "KKpsk0"
            return "shake", {"noise": {"pattern": pattern, "suite": event.suite, "msg": event.message.hex()}}
        case e.Noise2() | e.Noise3():
            return "shake", {"noise": {"msg": event.message.hex()}}
        case e.Proof():
            return "shake", {
                "binarize": event.binarize,
                "encodings": list(event.encodings),
                "ciphers": list(event.ciphers),
                "envelope": event.envelope,
            }
        case _:
            return "shake", {"envelope": event.envelope, "encoding": event.encoding, "cipher": event.cipher}


def _hex(value: Any) -> bytes:
    # 65 535 bytes are the longest Noise message (wire.md §5.4).
    if not isinstance(value, str) or not value or len(value) > 131_070 or not value.isascii() or not value.isalnum():
        raise DecodeError("msg of a Noise handshake must be 1 to 65535 bytes as hex")
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise DecodeError("msg of a Noise handshake is not hex") from None


def _word(payload: e.Json, name: str, default: str) -> str:
    value = payload.get(name, default)
    if not isinstance(value, str):
        raise DecodeError(f"{name} of a handshake must be text")
    return value


def _words(payload: e.Json, name: str) -> tuple[str, ...]:
    value = payload.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > 32 or not all(isinstance(word, str) for word in value):
        raise DecodeError(f"{name} of a handshake must be a short list of names")
    return tuple(value)
