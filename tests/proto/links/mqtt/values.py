"""Strategies for every packet of MQTT 3.1.1, for what packets are made of, and for how bytes are cut."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st

from thalovant_proto.links.mqtt import packets as p
from thalovant_proto.secret import Secret

# Every character that a string may hold: no NUL, no surrogates; U+FEFF is one like any other.
characters = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
texts = st.text(characters, max_size=12)
levels = st.text(st.characters(exclude_characters="\0/+#", exclude_categories=["Cs"]), max_size=6)

names = st.lists(levels, min_size=1, max_size=4).map("/".join).filter(bool)
filters = st.builds(
    lambda path, end: "/".join([*path, *end]),
    st.lists(st.one_of(levels, st.just("+")), max_size=3),
    st.sampled_from([[], ["#"], ["+"]]),
).filter(bool)

ids = st.integers(1, 65_535)
payloads = st.binary(max_size=300)
qos = st.sampled_from([0, 1, 2])

wills = st.builds(p.Will, topic=names, payload=payloads, qos=qos, retain=st.booleans())


@st.composite
def connects(draw: st.DrawFn) -> p.Connect:
    """Any CONNECT."""
    username = draw(st.none() | texts)
    client_id = draw(texts)
    return p.Connect(
        client_id=client_id,
        clean_session=draw(st.booleans()) or not client_id,
        keepalive=draw(st.integers(0, 65_535)),
        will=draw(st.none() | wills),
        username=username,
        password=None if username is None else draw(st.none() | payloads.map(Secret)),
    )


@st.composite
def publishes(draw: st.DrawFn) -> p.Publish:
    """Any PUBLISH."""
    level = draw(qos)
    return p.Publish(
        topic=draw(names),
        payload=draw(payloads),
        qos=level,
        retain=draw(st.booleans()),
        dup=level > 0 and draw(st.booleans()),
        packet_id=draw(ids) if level else None,
    )


connacks = st.one_of(
    st.builds(p.Connack, code=st.sampled_from(list(p.ConnectCode))), st.builds(p.Connack, session_present=st.booleans())
)
subscribes = st.builds(
    p.Subscribe, packet_id=ids, filters=st.lists(st.tuples(filters, qos), min_size=1, max_size=5).map(tuple)
)
subacks = st.builds(
    p.Suback, packet_id=ids, codes=st.lists(st.sampled_from([0, 1, 2, 128]), min_size=1, max_size=5).map(tuple)
)
unsubscribes = st.builds(p.Unsubscribe, packet_id=ids, filters=st.lists(filters, min_size=1, max_size=5).map(tuple))
bare = st.sampled_from([p.Pingreq(), p.Pingresp(), p.Disconnect()])
numbered = st.builds(
    lambda kind, packet_id: kind(packet_id), st.sampled_from([p.Puback, p.Pubrec, p.Pubrel, p.Pubcomp, p.Unsuback]), ids
)

packets: st.SearchStrategy[p.Packet] = st.one_of(
    connects(), connacks, publishes(), numbered, subscribes, subacks, unsubscribes, bare
)

#: One of each type.
EXAMPLES: list[p.Packet] = [
    p.Connect(client_id="c"),
    p.Connack(),
    p.Publish(topic="t", payload=b"p"),
    p.Puback(1),
    p.Pubrec(1),
    p.Pubrel(1),
    p.Pubcomp(1),
    p.Subscribe(packet_id=1, filters=(("t", 1),)),
    p.Suback(packet_id=1, codes=(1,)),
    p.Unsubscribe(packet_id=1, filters=("t",)),
    p.Unsuback(1),
    p.Pingreq(),
    p.Pingresp(),
    p.Disconnect(),
]

#: Where to cut bytes.
cuts = st.lists(st.integers(0, 10_000), max_size=8)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` cut at these places."""
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(at)]
