"""WIRE-1 frames against what two generations of real codecs wrote and read."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import example, given, strategies as st

from tests.proto.vectors import load
from thalovant_proto.codec import wire1
from thalovant_proto.codec.wire1 import Wire1Frame, decode, encode
from thalovant_proto.errors import DecodeError, LocalProtocolError
from thalovant_proto.limits import JSON_TEXT

NEXT = load("wire1_binary_next")
LEGACY = load("wire1_binary_legacy")
CASES = [case for case in NEXT["cases"] + LEGACY["cases"] if "frame" in case and case["msg_type"] != "intercom"]
# What the older decoder could not read is in the newer file with the same frame.
DECODED = {case["frame"]: case for case in NEXT["cases"] if "frame" in case}


def by_name(case: dict) -> str:
    return case["case"]


def official_json(value: object) -> bytes:
    """JSON as the real codecs write it."""
    return json.dumps(value, ensure_ascii=False).encode()


def expected(case: dict) -> Wire1Frame:
    payload = case["decoded_payload"]
    return Wire1Frame(
        msg_type=case["decoded_msg_type"],
        metadata=case["decoded_metadata"],
        payload=bytes.fromhex(payload) if case["decoded_msg_type"] == "bin" else payload,
        bin_type=case["decoded_bin_type"],
    )


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_decodes_every_frame_of_both_generations(case):
    """Versioned or not, compressed or not, aligned or shifted."""
    assert decode(bytes.fromhex(case["frame"])) == expected(DECODED[case["frame"]])


@pytest.mark.parametrize("case", [case for case in CASES if not case["versioned"]], ids=by_name)
def test_encodes_every_frame_of_both_generations(case):
    """The same bytes, given the same JSON. Where the real codec chose compression by length, so does this test."""
    want = expected(DECODED[case["frame"]])
    payload = want.payload if isinstance(want.payload, bytes) else official_json(want.payload)
    frames = [
        encode(want.msg_type, payload, official_json(want.metadata), compress=compress, bin_type=want.bin_type)
        for compress in ([False, True] if case["compressed"] is None else [case["compressed"]])
    ]

    frame = min(frames, key=len)

    # zlib's output is not canonical: another library may write other bytes for the same text
    assert frame == bytes.fromhex(case["frame"]) or (case["compressed"] is not False and decode(frame) == want)


def test_stable_peers_read_only_compressed_frames():
    """What the decoder of the stable generation took is what has the compression bit: hence `compress` towards it."""

    def has_compression_bit(frame: str) -> bool:
        shifted = frame.startswith("0")
        return bool(int(frame[:4], 16) >> (4 if shifted else 8) & 1)

    frames = [case for case in LEGACY["cases"] if "frame" in case]

    assert {case["case"] for case in frames if "decoded_payload" in case} == {
        case["case"] for case in frames if has_compression_bit(case["frame"])
    }
    assert all(has_compression_bit(encode(kind, b"{}", compress=True).hex()) for kind in wire1.CODES)


@pytest.mark.parametrize("msg_type", sorted(wire1.CODES))
@pytest.mark.parametrize("compress", [False, True])
def test_every_type_makes_the_round_trip(msg_type, compress):
    """All twelve codes, with and without compression."""
    payload = b"\x00\xff" if msg_type == "bin" else b'{"a":[1]}'

    frame = encode(msg_type, payload, b'{"m":1}', compress=compress)

    want = Wire1Frame(msg_type=msg_type, metadata={"m": 1}, payload=payload if msg_type == "bin" else {"a": [1]})
    assert decode(frame) == want


@given(
    st.binary(max_size=300),
    st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=5),
    st.booleans(),
    st.integers(0, 15),
)
def test_binary_payloads_make_the_round_trip(payload, metadata, compress, bin_type):
    """Whatever the length of the metadata, the payload comes out as it went in."""
    frame = encode("bin", payload, json.dumps(metadata).encode(), compress=compress, bin_type=bin_type)

    assert decode(frame) == Wire1Frame(msg_type="bin", metadata=metadata, payload=payload, bin_type=bin_type)
    assert frame.endswith(payload)


# --- what cannot be sent


def test_metadata_that_does_not_fit_is_our_fault():
    """256 bytes are refused as the real encoder does; compressed they may fit."""
    case = next(case for case in NEXT["cases"] if case["case"] == "metadata 256 bytes")
    metadata = official_json(case["metadata"])

    for msg_type, hint in (("bin", "shorten"), ("bus", "text frame")):
        with pytest.raises(LocalProtocolError, match="256 bytes") as caught:
            encode(msg_type, b"{}", metadata)
        assert caught.value.code == "metadata_too_large"
        assert hint in caught.value.hint

    assert case["metadata"] == decode(encode("bin", b"", metadata, compress=True)).metadata


@pytest.mark.parametrize("msg_type", ["intercom", "3rdparty", "handshake", "", "BUS"])
def test_types_without_a_code_are_our_fault(msg_type):
    """`intercom` has no code and 11 is not given to what it was; text carries both."""
    with pytest.raises(LocalProtocolError) as caught:
        encode(msg_type, b"{}")

    assert caught.value.code == "no_binary_form"
    assert "text frame" in caught.value.hint


@pytest.mark.parametrize("bin_type", [-1, 16])
def test_a_kind_of_four_bits_is_our_fault(bin_type):
    """It would run into the metadata before it."""
    with pytest.raises(LocalProtocolError, match="bin_type"):
        encode("bin", b"", bin_type=bin_type)


# --- what is not taken


@pytest.mark.parametrize("case", NEXT["malformed"], ids=by_name)
def test_malformed_frames_end_as_at_the_real_decoder(case):
    """The newer decoder's verdicts: what it reads we read, what it refuses we refuse."""
    frame = bytes.fromhex(case["frame"])
    if "error" in case:
        with pytest.raises(DecodeError):
            decode(frame)
    else:
        got = decode(frame)
        assert (
            got.msg_type,
            str(got.payload),
            str(got.metadata),
        ) == (case["decoded"], case["payload"], case["metadata"])


@pytest.mark.parametrize("case", LEGACY["malformed"], ids=by_name)
def test_malformed_frames_of_the_older_generation(case):
    """The older decoder refused them all, some for its own bug: those the newer one read are right."""
    newer = next(other for other in NEXT["malformed"] if other["frame"] == case["frame"])

    assert "error" in case
    if "error" in newer:
        with pytest.raises(DecodeError):
            decode(bytes.fromhex(case["frame"]))


@pytest.mark.parametrize("code", [11, *range(13, 32)])
def test_unassigned_codes_are_refused(code):
    """Reserved and unassigned alike."""
    with pytest.raises(DecodeError, match=f"unassigned type {code}"):
        decode(bytes((0x80 | code << 1, 2)) + b"{}{}")


def versioned(version: int, code: int = 1) -> bytes:
    return (1 << 23 | 1 << 22 | version << 14 | code << 9 | 2).to_bytes(3, "big") + b"{}{}"


def test_versions_up_to_one_are_read():
    """0 and 1, as with the real decoder; nothing later."""
    assert decode(versioned(0)) == decode(versioned(1)) == decode(encode("bus", b"{}"))
    for version in (2, 3, 127, 255):
        with pytest.raises(DecodeError, match=f"version {version}"):
            decode(versioned(version))


@pytest.mark.parametrize(
    ("bits", "what"),
    [
        ("0" * 4 + "10" + "00001" + "0" + "00000000" + "0000", "not whole bytes"),  # bus, shifted
        ("10" + "01100" + "0" + "00000000" + "0001" + "0000", "not whole bytes"),  # bin, aligned
        ("0" * 7 + "10" + "00001" + "0" + "00000000" + "0", "padding"),
        ("0" * 1 + "10" + "00001" + "0" + "00000000" + "0000000", "padding"),
        ("10" + "00001" + "0", "inside its header"),
        ("11" + "00000001" + "00001" + "0", "inside its header"),
        ("0" * 4 + "10" + "01100" + "0" + "0000", "inside its header"),
        ("0" * 4 + "11" + "00000001" + "01100" + "0" + "0000", "inside its header"),
        ("0" * 4 + "10" + "01100" + "0" + "00000001" + "0000", "inside its metadata"),
    ],
)
def test_frames_that_are_not_whole_bytes_are_refused(bits, what):
    """Padding can only be none, or four bits before a `bin`; a frame may end nowhere before its payload."""
    with pytest.raises(DecodeError, match=what):
        decode(int(bits, 2).to_bytes(len(bits) // 8, "big"))


@pytest.mark.parametrize("payload", [b"", b"[]", b'"text"', b"null", b"{", b"\xff", b"NaN"])
def test_payloads_that_are_no_objects_are_refused(payload):
    """Every payload but a binary one is a JSON object."""
    with pytest.raises(DecodeError):
        decode(encode("bus", payload))
    with pytest.raises(DecodeError):
        decode(encode("bus", payload, compress=True))


@pytest.mark.parametrize("metadata", [b"", b"[1]", b"5", b"null", b'"a"'])
def test_metadata_that_is_no_object_counts_as_none(metadata):
    """The real decoder reads on, so do we; nothing of it reaches anybody. What is no JSON is refused."""
    assert decode(encode("bus", b"{}", metadata)).metadata == {}
    assert decode(encode("bin", b"{}", metadata)).metadata == {}
    with pytest.raises(DecodeError):
        decode(encode("bus", b"{}", b"{x" + metadata))


def test_compressed_without_metadata():
    """The compression bit says nothing about metadata that is not there."""
    assert decode(b"\x83\x00" + zlib.compress(b"{}")).metadata == {}
    assert decode(bytes.fromhex("099001ab")).payload == b"\xab"


@pytest.mark.parametrize(
    "mangle",
    [
        lambda stream: stream[:-1],
        lambda stream: stream + b"x",
        lambda stream: stream + stream,
        lambda stream: stream[:-1] + bytes([stream[-1] ^ 1]),
        lambda stream: b"x" + stream,
        lambda stream: b"",
    ],
    ids=["cut", "trailing", "twice", "checksum", "header", "empty"],
)
def test_zlib_streams_are_whole_and_alone(mangle):
    """Cut, broken or followed by something: refused, in metadata and in payload."""
    good, bad = zlib.compress(b"{}"), mangle(zlib.compress(b"{}"))

    with pytest.raises(DecodeError):
        decode(bytes((0x83, len(good))) + good + bad)
    if bad:
        with pytest.raises(DecodeError):
            decode(bytes((0x83, len(bad))) + bad + good)


def test_inflation_is_bounded():
    """A stream may become as long as a JSON text may be, and not a byte longer."""
    longest = b'{"a":"' + b"x" * (JSON_TEXT - 8) + b'"}'

    assert decode(encode("bus", longest, compress=True)).msg_type == "bus"
    with pytest.raises(DecodeError, match=f"limit of {JSON_TEXT}"):
        decode(encode("bus", longest + b" ", compress=True))


def test_a_bomb_costs_no_more_than_the_limit():
    """64 MiB of zeros in 64 kB: nothing over the limit is ever unpacked."""
    bomb = zlib.compress(bytes(64 << 20), 9)

    with pytest.raises(DecodeError, match="inflates to more than"):
        decode(b"\x83\x00" + bomb)


def test_json_limits_hold_without_compression():
    """Size and depth are those of any JSON text."""
    with pytest.raises(DecodeError, match="deeper"):
        decode(encode("bus", b'{"a":' * 65 + b"0" + b"}" * 65))
    with pytest.raises(DecodeError, match=f"over the limit of {JSON_TEXT}"):
        decode(encode("bus", b'{"a":"%b"}' % (b"x" * JSON_TEXT)))


FRAMES = [bytes.fromhex(frame) for frame in DECODED]


@given(st.binary(max_size=60) | st.builds(lambda frame, cut: frame[:cut], st.sampled_from(FRAMES), st.integers(0, 60)))
@example(bytes(1000))
@example(b"\x80")
@example(b"\x0f\xff\xff\xff")
def test_garbage_is_the_peers_fault(data):
    """Whatever arrives is a frame or a `DecodeError`."""
    try:
        frame = decode(data)
    except DecodeError:
        return
    assert isinstance(frame.payload, bytes if frame.msg_type == "bin" else dict)
    assert isinstance(frame.metadata, dict)


def test_flipped_bytes_are_the_peers_fault():
    """Each byte of each frame, flipped: another frame or a `DecodeError`."""
    refused = 0
    for data in FRAMES:
        for position in range(len(data)):
            for flip in (0x01, 0x80, 0xFF):
                try:
                    decode(data[:position] + bytes([data[position] ^ flip]) + data[position + 1 :])
                except DecodeError:
                    refused += 1
    assert refused > 1000


def test_frames_hide_their_content():
    """Utterances and sounds stay out of reprs."""
    shown = repr(decode(encode("bus", b'{"utterance":"open sesame"}', b'{"hint":"sesame"}')))

    assert "sesame" not in shown
