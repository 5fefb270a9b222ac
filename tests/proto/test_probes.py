"""What our hub makes of the openings that real hubs were probed with: every probe of the vectors is a row."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import frozen

from thalovant_proto import events as e
from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.events import Generation
from thalovant_proto.handshake import password as hsub
from thalovant_proto.secret import Secret
from thalovant_proto.state import Role, State

from .pair import PASSWORD
from .puppet import Stage
from .vectors import load

NEXT, LEGACY = load("close_codes_ws_next"), load("probes_ws_legacy")
IV = bytes(8)
SUITE = "25519_ChaChaPoly_SHA256"


def text(data: bytes) -> Frame:
    return Frame(data, FrameType.TEXT)


def shake(payload: bytes) -> Frame:
    return text(b'{"msg_type": "shake", "payload": ' + payload + b"}")


def noise(pattern: str, msg: str) -> Frame:
    return shake(
        b'{"noise": {"pattern": "%s", "suite": "%s", "msg": "%s"}}' % tuple(map(str.encode, (pattern, SUITE, msg)))
    )


def proof(password: Secret[str] = PASSWORD, **choices: Any) -> e.Proof:
    return e.Proof(envelope=hsub.envelope(password, IV), **choices)


CLEAR_BUS = text(b'{"msg_type": "bus", "payload": {"type": "recognizer_loop:utterance", "data": {}, "context": {}}}')
CLEAR_HELLO = text(
    b'{"msg_type": "hello", "payload": {"pubkey": "", "session": {"session_id": "default"}, "site_id": ""}}'
)
GARBAGE = Frame(bytes(range(64)), FrameType.BINARY)


@frozen
class Row:
    """What is sent, what our hub says to it, and who decides: the connection, or the link in front of it."""

    frames: tuple[Frame | e.Proof, ...] = ()
    reason: str | None = None
    by_the_link: bool = False


BY_THE_LINK = Row(by_the_link=True)
# Real noise hubs give the cause; ours gives one text for each kind of fault (security.md §2).
NEXT_ROWS = {
    "unknown access key": BY_THE_LINK,
    "not base64": BY_THE_LINK,
    "no colon": BY_THE_LINK,
    "legacy shake": Row((proof(),), "this node requires the v3 Noise handshake"),
    "bad hex": Row((noise("XXpsk2", "zz"),), "invalid message"),
    "pattern not offered": Row((noise("NNpsk0", "00" * 48),), "invalid message"),
    "garbage noise msg1": Row((noise("XXpsk2", "ab" * 81),), "handshake failure"),
    "cleartext BUS": Row((CLEAR_BUS,), "invalid message"),
    "cleartext HELLO then binary garbage": Row((CLEAR_HELLO, GARBAGE), "invalid message"),
    "not json": Row((text(b"not json"),), "invalid message"),
}
# Where stable hubs are lax, ours is not: it takes no bus message in clear, and checks the proof.
LEGACY_ROWS = {
    "authorization padded base64, raw": BY_THE_LINK,
    "authorization padded base64, percent-encoded": BY_THE_LINK,
    "authorization with raw '+'": BY_THE_LINK,
    "authorization with %2B": BY_THE_LINK,
    "user agent containing ':'": BY_THE_LINK,
    "extra query parameter after authorization": BY_THE_LINK,
    "unknown access key": BY_THE_LINK,
    "not base64": BY_THE_LINK,
    "cleartext BUS with only the access key, no handshake": Row((CLEAR_BUS,), "invalid message"),
    "wrong hsub": Row((proof(Secret("another password")),), "handshake failure"),
    "empty ciphers list": Row((proof(ciphers=(), encodings=("JSON-HEX",)),)),
    "unknown encoding name": Row((proof(encodings=("JSON-ROT13",)),), "invalid message"),
    "noise shake": Row((noise("XXpsk2", "00" * 81),), "invalid message"),
    "hello with session_id default (non admin)": Row((CLEAR_HELLO,)),
}


def test_every_probe_has_its_row():
    """A probe that is added to the vectors needs an answer here."""
    assert NEXT["close_probes"].keys() == NEXT_ROWS.keys()
    assert LEGACY["probes"].keys() == LEGACY_ROWS.keys()


def rows(table: dict[str, Row]) -> Any:
    return pytest.mark.parametrize(
        "name", [name for name, row in table.items() if not row.by_the_link], ids=lambda name: name.replace(" ", "-")
    )


def answer(generation: Generation, row: Row) -> tuple[Stage, list[e.Event]]:
    """Our hub after the frames of a row."""
    stage = Stage(Role.HUB, generation)
    stage.puppet.shakes = False
    for sent in row.frames:
        events = stage.say(sent) if isinstance(sent, e.Proof) else stage.deliver(sent)
    return stage, events


@rows(NEXT_ROWS)
def test_probes_of_a_noise_hub(name):
    """Closed with 1008, as by the real one, by its first illegal frame; nothing of the client was heard."""
    row = NEXT_ROWS[name]
    ((_, code, _theirs),) = NEXT["close_probes"][name]

    _, events = answer(Generation.NOISE, row)

    closed = events[-1]
    assert (closed.code, closed.reason) == (int(code), row.reason)
    assert not any(isinstance(event, e.Message) for event in events)


@rows(LEGACY_ROWS)
def test_probes_of_a_legacy_hub(name):
    """Closed where the row says so, else the handshake goes on."""
    row = LEGACY_ROWS[name]

    stage, events = answer(Generation.PASSWORD, row)

    if row.reason is not None:
        assert (events[-1].code, events[-1].reason) == (1008, row.reason)
        assert not any(isinstance(event, e.Message) for event in events)
    else:
        assert stage.end.state in (State.KEYED, State.CLAIMED)
        assert not stage.end.proven
        chosen = [event.cipher for event in stage.puppet.heard if isinstance(event, e.ProofAnswer)]
        assert chosen == ["AES-GCM"] * (stage.end.state is State.KEYED)  # no ciphers are the old default
