"""The seven text encodings: vectors, one text per byte string, and nothing but `DecodeError` for the rest."""

from __future__ import annotations

import base64
import itertools

import pytest
from hypothesis import given, strategies as st

from tests.proto.vectors import load
from thalovant_proto.crypto.encodings import Encoding
from thalovant_proto.errors import DecodeError

CASES = [
    pytest.param(encoding, bytes.fromhex(case["data"]), bytes.fromhex(case[encoding.value]).decode("latin-1"))
    for case in load("encodings")["cases"]
    for encoding in Encoding
]
every_encoding = pytest.mark.parametrize("encoding", Encoding, ids=lambda encoding: encoding.value)


def test_names_and_order_are_those_of_the_hubs_offer():
    """The values travel in offers; the order is a hub's default preference."""
    offer = "JSON-B64 JSON-URLSAFE-B64 JSON-B91 JSON-Z85B JSON-Z85P JSON-B32 JSON-HEX"

    assert offer.split() == [encoding.value for encoding in Encoding]
    assert Encoding.HEX is Encoding("JSON-HEX")


@pytest.mark.parametrize(("encoding", "data", "text"), CASES)
def test_vectors(encoding, data, text):
    """Both directions, as the C and the Python versions of both generations agreed."""
    assert encoding.encode(data) == text
    assert encoding.decode(text) == data


@every_encoding
@given(data=st.binary(max_size=200))
def test_round_trip(encoding, data):
    """Every byte string has a text and comes back."""
    assert encoding.decode(encoding.encode(data)) == data


@every_encoding
def test_round_trip_of_every_length_and_of_long_data(encoding):
    """Block ends of every codec, runs of zeros and ones, and more than any buffer inside."""
    for size in range(70):
        for data in (bytes(size), b"\xff" * size, bytes(range(size))):
            assert encoding.decode(encoding.encode(data)) == data
    data = bytes(range(256)) * 97 + b"end"
    assert encoding.decode(encoding.encode(data)) == data


@pytest.mark.parametrize("size", [1, 2])
def test_b91_of_every_short_string(size):
    """All 65 792 strings of one and two bytes: both widths of groups, and both lengths of the end."""
    for values in itertools.product(range(256), repeat=size):
        data = bytes(values)
        assert Encoding.B91.decode(Encoding.B91.encode(data)) == data


def test_b91_ends_in_one_digit_where_one_does():
    """A second digit that says nothing is refused: the encoder writes it only if it must."""
    refused = 0
    for size in range(1, 40):
        for fill in (0, 1, 90, 91, 127, 255):
            text = Encoding.B91.encode(bytes([fill]) * size) + "A"
            try:
                assert Encoding.B91.encode(Encoding.B91.decode(text)) == text
            except DecodeError:
                refused += 1
    assert refused > 20


@given(st.binary(max_size=100))
def test_b32_and_base64_are_those_of_the_rfc(data):
    """RFC 4648, padded."""
    assert base64.b32encode(data).decode() == Encoding.B32.encode(data)
    assert base64.b64encode(data).decode() == Encoding.B64.encode(data)
    assert Encoding.URLSAFE_B64.encode(data) == base64.urlsafe_b64encode(data).decode()


def test_hex_comes_in_both_cases():
    """We write lower case and read both."""
    assert Encoding.HEX.encode(b"\xab\xcd\xef") == "abcdef"
    assert Encoding.HEX.decode("ABcdEF") == b"\xab\xcd\xef"


# What each alphabet is near to, and what it is not.
FOREIGN = ["é", "€", "\ud800", "\x7f", "\n", " ", "'", "\\"]


@every_encoding
@pytest.mark.parametrize("character", FOREIGN)
def test_foreign_characters_are_refused(encoding, character):
    """Anywhere in the text: in front, in the middle, at the end, in place of another and in addition."""
    text = encoding.encode(bytes(range(60)))
    for position in (0, 1, 30, len(text) - 1, len(text)):
        for rest in (text[position:], text[position + 1 :]):
            with pytest.raises(DecodeError):
                encoding.decode(text[:position] + character + rest)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        (Encoding.HEX, "abc"),
        (Encoding.HEX, "0x00"),
        (Encoding.HEX, "a_b0"),
        (Encoding.B64, "QQ"),
        (Encoding.B64, "QQ="),
        (Encoding.B64, "QQ==="),
        (Encoding.B64, "QQ==QQ=="),
        (Encoding.B64, "QR=="),  # bits behind the last byte
        (Encoding.B64, "QUJ="),
        (Encoding.B64, "="),
        (Encoding.B64, "-_-_"),
        (Encoding.URLSAFE_B64, "+/+/"),
        (Encoding.URLSAFE_B64, "QR=="),
        (Encoding.B32, "MFRGG"),
        (Encoding.B32, "mfrgg==="),
        (Encoding.B32, "MFRGH==="),  # bits behind the last byte
        (Encoding.B32, "========"),
        (Encoding.B32, "MFRGG===MFRGG==="),
        (Encoding.B91, "A"),  # half a byte
        (Encoding.B91, "//"),  # bits behind the last byte
        (Encoding.B91, '#GB"'),
        (Encoding.Z85B, "0"),  # no byte fits in one digit
        (Encoding.Z85B, "53"),  # 260: more than a byte
        (Encoding.Z85B, "#####"),  # more than 32 bits
        (Encoding.Z85B, "000000"),
        (Encoding.Z85P, ""),  # not even the padding
        (Encoding.Z85P, "\x00000"),
        (Encoding.Z85P, "\x01"),  # padding of nothing
        (Encoding.Z85P, "\x0400000"),
        (Encoding.Z85P, "000000"),  # padding of 48
        (Encoding.Z85P, "\x0300001"),  # padding that is not zero
        (Encoding.Z85P, "\x00#####"),
        (Encoding.Z85P, "\x000000é"),
    ],
)
def test_texts_that_no_encoder_writes_are_refused(encoding, text):
    """Padding, ends and overflows."""
    with pytest.raises(DecodeError):
        encoding.decode(text)


@every_encoding
@given(text=st.text(max_size=30) | st.text('AB/+-_=019az!"\x00\x01\x02\x03#', max_size=12))
def test_one_text_per_byte_string(encoding, text):
    """A text is refused or is the one that the encoder writes; no two mean the same."""
    try:
        data = encoding.decode(text)
    except DecodeError:
        return
    assert encoding.encode(data) == (text.lower() if encoding is Encoding.HEX else text)


@every_encoding
def test_every_changed_character_is_refused_or_changes_the_bytes(encoding):
    """So an authenticated frame cannot be altered unnoticed through its encoding."""
    data = bytes(range(100, 133))
    text = encoding.encode(data)
    for position, character in enumerate(text):
        for other in {"A", "0", "!", "=", chr(ord(character) ^ 1)} - {character, character.upper()}:
            try:
                assert encoding.decode(text[:position] + other + text[position + 1 :]) != data
            except DecodeError:
                pass


def test_errors_do_not_repeat_the_text():
    """What is decoded may be a secret's neighbour: errors name the encoding only."""
    for encoding in Encoding:
        with pytest.raises(DecodeError) as caught:
            encoding.decode("hunter2 \xff")
        assert "hunter" not in str(caught.value)
