"""Sealed messages of v3: exact frames, whole bodies, and nothing else gets through."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.examples import examples
from thalovant_proto.crypto.noise import CipherState, Suite, Unauthentic
from thalovant_proto.crypto.noise_transport import CHUNK, MAX_BODY, Body, BodyKind, NoiseTransport
from thalovant_proto.errors import DecodeError, LocalProtocolError
from thalovant_proto.limits import DEFAULT_LIMITS, Limits
from thalovant_proto.secret import Secret

from .noise_pairs import ROLES, every_vector, finished_pair

KINDS = {"json": BodyKind.JSON, "binary": BodyKind.WIRE1}
UP, DOWN = Secret(b"u" * 32), Secret(b"d" * 32)  # the keys of a session, by direction


def session(suite: Suite = Suite.CHACHAPOLY, limits: Limits = DEFAULT_LIMITS) -> tuple[NoiseTransport, NoiseTransport]:
    """Client and hub of a session whose handshake is over."""
    client = NoiseTransport(CipherState(UP, suite), CipherState(DOWN, suite), limits=limits)
    return client, NoiseTransport(CipherState(DOWN, suite), CipherState(UP, suite), limits=limits)


def hub_and_peer(limits: Limits = DEFAULT_LIMITS) -> tuple[NoiseTransport, CipherState]:
    """A hub, and a peer that holds the right key and says with it what it likes."""
    return session(limits=limits)[1], CipherState(UP, Suite.CHACHAPOLY)


def send(sender: NoiseTransport, receiver: NoiseTransport, kind: BodyKind, data: bytes) -> Body | None:
    """Seal, open every frame; only the last may complete anything."""
    *some, last = sender.seal(kind, data)
    assert [receiver.open(frame, 0.0) for frame in some] == [None] * len(some)
    return receiver.open(last, 0.0)


# Exact


@every_vector
def test_transport_frames_are_exact_in_both_directions(vector):
    """Every frame of every vector, chunk boundaries included: written as recorded, and read back."""
    ends = {role: NoiseTransport(*end.split()) for role, end in zip(ROLES, finished_pair(vector), strict=True)}
    for message in vector["transport"]:
        sender, _, receiver = message["direction"].partition("_to_")
        size = message["plaintext_len"]
        data = bytes.fromhex(message["plaintext"]) if "plaintext" in message else bytes(i % 251 for i in range(size))

        frames = ends[sender].seal(KINDS[message["kind"]], data)

        if "frames" in message:
            assert [frame.hex() for frame in frames] == message["frames"]
        else:
            assert [len(frame) for frame in frames] == message["frame_lengths"]
            assert [hashlib.sha256(frame).hexdigest() for frame in frames] == message["frames_sha256"]
            assert [frame[:32].hex() for frame in frames] == message["frames_first32"]
            assert [frame[-32:].hex() for frame in frames] == message["frames_last32"]
        *missing, whole = [ends[receiver].open(frame, 0.0) for frame in frames]
        assert missing == [None] * (len(frames) - 1)
        assert whole == Body(KINDS[message["kind"]], data)


SIZES = st.builds(
    lambda chunks, off: max(0, chunks * CHUNK + off), st.integers(0, 3), st.sampled_from([-1, 0, 1, 2, 300])
)


@examples(25)
@given(
    suite=st.sampled_from(Suite),
    messages=st.lists(st.tuples(st.booleans(), st.sampled_from(BodyKind), SIZES), min_size=1, max_size=8),
)
def test_bodies_of_any_size_go_both_ways(suite, messages):
    """Around every boundary, in any mix of directions: what went in comes out, in frames of at most 65 017 bytes."""
    client, hub = session(suite)
    for number, (up, kind, size) in enumerate(messages):
        sender, receiver = (client, hub) if up else (hub, client)
        data = bytes((number,)) * size
        frames = sender.seal(kind, data)

        assert len(frames) == max(1, -(-size // CHUNK))
        assert all(len(frame) == CHUNK + 17 for frame in frames[:-1])
        assert [receiver.open(frame, 0.0) for frame in frames][-1] == Body(kind, data)


@examples(50)
@given(kind=st.sampled_from(BodyKind), chunks=st.lists(st.binary(max_size=40), min_size=2, max_size=12))
def test_chunks_of_any_size_are_taken(kind, chunks):
    """Others may cut as they like, down to nothing (wire.md §5.5)."""
    hub, peer = hub_and_peer()
    markers = [kind + 2, *[4] * (len(chunks) - 2), 5]
    frames = [peer.encrypt(bytes((marker,)) + chunk) for marker, chunk in zip(markers, chunks, strict=True)]

    *missing, whole = [hub.open(frame, 0.0) for frame in frames]

    assert set(missing) == {None}
    assert whole == Body(kind, b"".join(chunks))


def test_a_frame_may_fill_a_noise_message():
    """65 535 bytes are read; one more is not a Noise message at all."""
    hub, peer = hub_and_peer()

    assert hub.open(peer.encrypt(bytes(65_519)), 0.0) == Body(BodyKind.JSON, bytes(65_518))
    with pytest.raises(Unauthentic, match="65536 bytes is over 65535"):
        hub.open(peer.encrypt(bytes(65_520)), 0.0)


def test_the_largest_body_goes_through_and_no_larger_one():
    """32 MiB is what peers put together; more is refused before anything is sealed."""
    client, hub = session(Suite.AESGCM)
    with pytest.raises(LocalProtocolError, match="33554433 bytes is over 33554432"):
        client.seal(BodyKind.WIRE1, bytes(MAX_BODY + 1))

    body = send(client, hub, BodyKind.WIRE1, bytes(MAX_BODY))

    assert len(body.data) == MAX_BODY


# Closed to whoever does not hold the keys


def test_tampering_with_any_byte_of_a_hundred_messages_is_detected():
    """Every byte of every frame; and each true frame still opens, since failures change nothing."""
    client, hub = session()
    for size in range(100):
        kind, data = BodyKind(size % 2), bytes((size,)) * size
        (frame,) = client.seal(kind, data)
        for position in range(len(frame)):
            bent = bytearray(frame)
            bent[position] ^= 1 << position % 8
            with pytest.raises(Unauthentic):
                hub.open(bytes(bent), 0.0)
        assert hub.open(frame, 0.0) == Body(kind, data)


def test_replayed_reordered_reflected_and_dropped_frames_are_refused():
    """A frame opens once, at its place, for the other side; nothing opens after a gap."""
    client, hub = session()
    first, second, third = (client.seal(BodyKind.JSON, text)[0] for text in (b"1", b"2", b"3"))
    with pytest.raises(Unauthentic):
        hub.open(second, 0.0)  # ahead of its turn
    assert hub.open(first, 0.0) == Body(BodyKind.JSON, b"1")
    with pytest.raises(Unauthentic):
        hub.open(first, 0.0)  # again
    with pytest.raises(Unauthentic):
        client.open(second, 0.0)  # back to where it came from
    with pytest.raises(Unauthentic):
        hub.open(third, 0.0)  # without the second
    assert hub.open(second, 0.0) == Body(BodyKind.JSON, b"2")
    assert hub.open(third, 0.0) == Body(BodyKind.JSON, b"3")


@every_vector
def test_frames_of_another_session_are_refused(vector):
    """Same identities, same PSK, new ephemerals: nothing that was recorded opens."""
    hub = NoiseTransport(*finished_pair(vector | {"responder_ephemeral_private": "55" * 32})[1].split())

    with pytest.raises(Unauthentic):
        hub.open(bytes.fromhex(vector["transport"][0]["frames"][0]), 0.0)


@examples(200)
@given(frames=st.lists(st.binary(max_size=80), max_size=8))
def test_garbage_never_opens_and_changes_nothing(frames):
    """Whatever arrives is `Unauthentic`, in the middle of a chunked message too."""
    client, hub = session()
    first, last = client.seal(BodyKind.JSON, bytes(CHUNK + 1))
    assert hub.open(first, 0.0) is None
    for frame in frames:
        with pytest.raises(Unauthentic):
            hub.open(frame, 0.0)

    assert hub.open(last, 0.0) == Body(BodyKind.JSON, bytes(CHUNK + 1))


# Closed to what may not be said


def refuse(hub: NoiseTransport, frame: bytes, reason: str) -> None:
    """The frame is refused for that reason, as the end of the session and not as something unknown."""
    with pytest.raises(DecodeError, match=reason) as refused:
        hub.open(frame, 0.0)
    assert not isinstance(refused.value, Unauthentic)
    assert hub.next_timeout is None
    with pytest.raises(DecodeError, match="has failed"):
        hub.open(frame, 0.0)
    with pytest.raises(LocalProtocolError, match="has failed"):
        hub.seal(BodyKind.JSON, b"{}")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        pytest.param([b""], "no marker", id="empty"),
        pytest.param([b"\x02a", b""], "no marker", id="empty inside"),
        pytest.param([b"\x06a"], "0x06 .* unknown", id="unknown"),
        pytest.param([b"\xffa"], "0xff .* unknown", id="unknown, highest"),
        pytest.param([b"\x02a", b"\x06a"], "0x06 .* unknown", id="unknown inside"),
        pytest.param([b"\x02a", b"\x00b"], "0x00 with a chunked", id="whole JSON inside"),
        pytest.param([b"\x02a", b"\x01b"], "0x01 with a chunked", id="whole WIRE-1 inside"),
        pytest.param([b"\x02a", b"\x02b"], "0x02 with a chunked", id="first inside"),
        pytest.param([b"\x03a", b"\x04b", b"\x03c"], "0x03 with a chunked", id="first of the other kind inside"),
        pytest.param([b"\x04a"], "0x04 with no chunked", id="more of nothing"),
        pytest.param([b"\x05a"], "0x05 with no chunked", id="last of nothing"),
        pytest.param([b"\x02a", b"\x05b", b"\x05c"], "0x05 with no chunked", id="last twice"),
        pytest.param([b"\x02" + bytes(9)], "over 8 bytes", id="too much at once"),
        pytest.param([b"\x02" + bytes(4), b"\x04" + bytes(4), b"\x05a"], "over 8 bytes", id="too much in the end"),
    ],
)
def test_what_authenticates_but_may_not_be_is_the_end(said, reason):
    """wire.md §5.5, the fatal cases: refused, and both directions are closed."""
    hub, peer = hub_and_peer(Limits(reassembly=8))
    *fine, bad = [peer.encrypt(plaintext) for plaintext in said]
    for frame in fine:
        hub.open(frame, 0.0)

    refuse(hub, bad, reason)


def test_a_message_may_fill_the_limit():
    """The limit itself is allowed, and counts one message at a time."""
    hub, peer = hub_and_peer(Limits(reassembly=8))
    for _ in range(3):
        assert hub.open(peer.encrypt(b"\x02" + bytes(5)), 0.0) is None
        assert hub.open(peer.encrypt(b"\x05" + bytes(3)), 0.0) == Body(BodyKind.JSON, bytes(8))


def model(said: list[tuple[int, bytes]], limit: int) -> list[Any]:
    """What the rules of wire.md §5.5 make of these markers and bodies: bodies, None, perhaps 'refused' in the end."""
    results: list[Any] = []
    kind, parts = None, b""
    for marker, chunk in said:
        if marker in (0, 1) and kind is None:
            results.append(Body(BodyKind(marker), chunk))
        elif marker in (2, 3) and kind is None and len(chunk) <= limit:
            kind, parts = BodyKind(marker - 2), chunk
            results.append(None)
        elif marker in (4, 5) and kind is not None and len(parts + chunk) <= limit:
            parts += chunk
            results.append(Body(kind, parts) if marker == 5 else None)
            kind = None if marker == 5 else kind
        else:
            return [*results, "refused"]
    return results


@examples(300)
@given(said=st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 4, 4, 4, 5, 5, 6]), st.binary(max_size=12)), max_size=12))
def test_any_order_of_markers_follows_the_rules(said):
    """Against a model: the same bodies, and refused at the same message."""
    hub, peer = hub_and_peer(Limits(reassembly=30))
    expected = model(said, limit=30)

    for result, (marker, chunk) in zip(expected, said, strict=False):
        frame = peer.encrypt(bytes((marker,)) + chunk)
        if result == "refused":
            refuse(hub, frame, "marker|over")
        else:
            assert hub.open(frame, 0.0) == result


# Time


def test_an_open_message_has_until_its_deadline():
    """Counted from its first chunk, with what a slow line needs for what came; calling early changes nothing."""
    hub, peer = hub_and_peer(Limits(slowest=2))
    hub.handle_timeout(1e9)
    assert hub.next_timeout is None
    hub.open(peer.encrypt(b"\x02a"), 100.0)
    hub.open(peer.encrypt(b"\x04b"), 104.0)
    assert hub.next_timeout == 161.0
    hub.handle_timeout(160.9)
    assert hub.next_timeout == 161.0

    assert hub.open(peer.encrypt(b"\x05c"), 160.9) == Body(BodyKind.JSON, b"abc")

    assert hub.next_timeout is None
    hub.handle_timeout(161.0)
    assert hub.open(peer.encrypt(b"\x00{}"), 162.0) == Body(BodyKind.JSON, b"{}")


def test_a_message_that_stays_open_is_the_end():
    """At the deadline: an error that names the limit, then silence."""
    hub, peer = hub_and_peer(Limits(slowest=1))
    hub.open(peer.encrypt(b"\x03a"), 100.0)

    with pytest.raises(DecodeError, match="not complete after 61 s"):
        hub.handle_timeout(161.0)

    assert hub.next_timeout is None
    hub.handle_timeout(162.0)
    with pytest.raises(DecodeError, match="has failed"):
        hub.open(peer.encrypt(b"\x05b"), 161.0)


# Ends of other kinds


def test_used_up_nonces_end_the_session():
    """No frame is sealed or opened under the reserved nonce."""
    spent = CipherState(UP, Suite.AESGCM, nonce=2**64 - 1)
    end = NoiseTransport(spent, spent)

    with pytest.raises(LocalProtocolError, match="nonces"):
        end.seal(BodyKind.JSON, b"{}")
    with pytest.raises(Unauthentic, match="nonces"):
        end.open(bytes(32), 0.0)


def test_repr_of_a_body_hides_its_content():
    """What people say is nobody's business in a log."""
    assert "secret" not in repr(Body(BodyKind.JSON, b"secret"))
