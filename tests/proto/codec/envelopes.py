"""Messages of every type, and how a peer writes and reads them, for tests of the envelope."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import strategies as st

from thalovant_proto import events as e
from thalovant_proto.carrier import Frame, FrameType
from thalovant_proto.codec.envelope import encode, parse_sealed
from thalovant_proto.crypto.noise_transport import Body, BodyKind

KEYS = {"msg_type", "payload", "metadata", "route", "node", "target_site_id", "target_pubkey", "source_peer"}
OBJECTS = [
    e.ClientHello, e.SealedHandshake, e.SharedBus, e.Broadcast, e.Propagate, e.Escalate, e.Query, e.Cascade, e.Ping,
    e.Rendezvous, e.ThirdParty, e.Intercom,
]  # fmt: skip
WITHOUT_CODE = (e.ThirdParty, e.Intercom)
PAYLOAD = {"plain": 1, "deep": {"er": ["ü", None, 1.5]}}
MESSAGES = [*(kind(payload=PAYLOAD) for kind in OBJECTS), e.Bus(type="any.thing", data=PAYLOAD, context=PAYLOAD)]
ROUTED: dict[str, Any] = {
    "metadata": {"query_id": "q", "other": [1]},
    "route": [{"source": "a", "targets": ["b"]}],
    "node": "n",
    "target_site_id": "kitchen",
    "target_pubkey": "-----BEGIN",
    "source_peer": "p",
}
every_message = pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.msg_type)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=4), values, max_size=4)


def body(value: object) -> Body:
    """A JSON body as a peer might seal it."""
    return Body(BodyKind.JSON, json.dumps(value).encode())


def read(value: object) -> e.Message:
    return parse_sealed(body(value))


def written(message: e.Message, **how: bool) -> Body:
    return encode(message, **({"text": True, "binarize": False, "compress": False} | how))


def clear(value: object) -> Frame:
    """A clear text frame."""
    return Frame(value if isinstance(value, bytes) else json.dumps(value).encode(), FrameType.TEXT)


def content(message: e.Message) -> dict[str, Any]:
    """The arguments that make up a message beside the fields of its envelope."""
    if isinstance(message, e.Bus):
        return {"type": message.type, "data": message.data, "context": message.context}
    return {"payload": message.payload}
