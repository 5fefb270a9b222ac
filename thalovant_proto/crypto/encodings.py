"""The seven text encodings of sealed JSON frames (wire.md §3).

A decoder takes what its encoder writes and nothing else, so that no two texts mean the same bytes (hex alone may come
in both cases). All take linear time. HEX and the two B64 run in C, at hundreds of MB/s; the others in Python, at ten.
"""

from __future__ import annotations

import base64
import binascii
import enum
import functools
import struct
from collections.abc import Callable
from typing import Final

from ..errors import DecodeError


def _ascii(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise DecodeError("text holds a character outside the alphabet of its encoding") from None


# --- hex and RFC 4648


def _hex_encode(data: bytes) -> str:
    return data.hex()


def _hex_decode(text: str) -> bytes:
    try:
        return binascii.unhexlify(text)
    except ValueError:
        raise DecodeError("not hex text") from None


def _b64_encode(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def _b64_decode(text: str) -> bytes:
    return _unbase64(_ascii(text))


def _unbase64(text: bytes) -> bytes:
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise DecodeError("not padded base64 text") from None
    whole = len(data) // 3
    if binascii.b2a_base64(data[3 * whole :], newline=False) != text[4 * whole :]:
        raise DecodeError("base64 text ends in bits that mean nothing")
    return data


_TO_URLSAFE: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URLSAFE: Final = bytes.maketrans(b"-_+/", b"+/!!")  # `!` is in neither alphabet


def _urlsafe_encode(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).translate(_TO_URLSAFE).decode("ascii")


def _urlsafe_decode(text: str) -> bytes:
    return _unbase64(_ascii(text).translate(_FROM_URLSAFE))


def _b32_encode(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii")


def _b32_decode(text: str) -> bytes:
    try:
        data = base64.b32decode(text)
    except ValueError:
        raise DecodeError("not padded upper-case base32 text") from None
    whole = len(data) // 5
    if _b32_encode(data[5 * whole :]) != text[8 * whole :]:
        raise DecodeError("base32 text ends in bits that mean nothing")
    return data


# --- the home-made alphabets

_NO_DIGIT: Final = 255


def _digits(alphabet: bytes) -> bytes:
    """The translation table from characters to digits."""
    table = bytearray([_NO_DIGIT] * 256)
    for digit, character in enumerate(alphabet):
        table[character] = digit
    return bytes(table)


# --- basE91: groups of 13 bits, or of 14 where the low 13 are at most 88, least significant bit first

_B91: Final = b'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&()*+,./:;<=>?@[]^_`{|}~"'
_B91_DIGITS: Final = _digits(_B91)


@functools.cache
def _b91_pairs() -> list[str]:
    """The two characters of each group. Not made at import: most sessions use another encoding."""
    letters = _B91.decode("ascii")
    return [low + high for high in letters for low in letters]


def _b91_encode(data: bytes) -> str:
    pairs = _b91_pairs()
    out = []
    bits = count = 0
    for start in range(0, len(data), 32):
        chunk = data[start : start + 32]
        bits |= int.from_bytes(chunk, "little") << count
        count += 8 * len(chunk)
        while count > 13:
            group = bits & 8191
            if group > 88:
                bits >>= 13
                count -= 13
            else:
                group = bits & 16383
                bits >>= 14
                count -= 14
            out.append(pairs[group])
    if count:
        pair = pairs[bits]
        out.append(pair if count > 7 or bits > 90 else pair[0])
    return "".join(out)


def _b91_decode(text: str) -> bytes:
    digits = _ascii(text).translate(_B91_DIGITS)
    if _NO_DIGIT in digits:
        raise DecodeError("B91 text holds a character outside its alphabet")
    data = bytearray()
    bits = count = group = width = 0
    for low, high in zip(digits[::2], digits[1::2], strict=False):
        group = low + 91 * high
        width = 13 if group & 8191 > 88 else 14
        bits |= group << count
        count += width
        if count > 512:
            size = count // 8
            data += (bits & (1 << 8 * size) - 1).to_bytes(size, "little")
            bits >>= 8 * size
            count %= 8
    size, spare = divmod(count, 8)
    if len(digits) % 2:  # a single digit holds what the last byte lacks, and the byte lacks less than all of it
        bits |= digits[-1] << count
        size += 1
        canonical = spare > 0
    else:  # the last pair holds more than a single digit could
        canonical = group > 90 or width - spare != 7
    if not canonical or bits >= 1 << 8 * size:
        raise DecodeError("B91 text ends in bits that mean nothing")
    return bytes(data + bits.to_bytes(size, "little"))


# --- Z85: words of 32 bits as five digits of base 85. Z85B is little-endian in bytes and digits, and drops the digits
# of the zero bytes that were added; Z85P is big-endian in both, and says in front, as a raw byte, how many were added.

_Z85: Final = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_Z85_LETTERS: Final = _Z85.ljust(256)  # the translation table from digits to characters
_Z85_DIGITS: Final = _digits(_Z85)
_LITTLE: Final = "<"
_BIG: Final = ">"


def _z85b_encode(data: bytes) -> str:
    padding = -len(data) % 4
    text = _z85_text(data + bytes(padding), _LITTLE)
    return text[: len(text) - padding]


def _z85b_decode(text: str) -> bytes:
    padding = -len(text) % 5
    return _unpad(_z85_data(text + "0" * padding, _LITTLE), padding)


def _z85p_encode(data: bytes) -> str:
    padding = -len(data) % 4
    return chr(padding) + _z85_text(data + bytes(padding), _BIG)


def _z85p_decode(text: str) -> bytes:
    if len(text) % 5 != 1:
        raise DecodeError("Z85P text is not one byte and whole words")
    return _unpad(_z85_data(text[1:], _BIG), ord(text[0]))


def _z85_text(data: bytes, order: str) -> str:
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    text = bytearray(5 * len(words))
    for place, power in enumerate(_z85_powers(order)):
        text[place::5] = bytes([word // power % 85 for word in words])
    return text.translate(_Z85_LETTERS).decode("ascii")


def _z85_data(text: str, order: str) -> bytes:
    digits = _ascii(text).translate(_Z85_DIGITS)
    if _NO_DIGIT in digits:
        raise DecodeError("Z85 text holds a character outside its alphabet")
    p, q, r, s, t = _z85_powers(order)
    columns = (digits[place::5] for place in range(5))
    words = [a * p + b * q + c * r + d * s + e * t for a, b, c, d, e in zip(*columns, strict=True)]
    try:
        return struct.pack(f"{order}{len(words)}I", *words)
    except struct.error:
        raise DecodeError("Z85 text holds a word of more than 32 bits") from None


def _z85_powers(order: str) -> tuple[int, ...]:
    powers = (1, 85, 85**2, 85**3, 85**4)
    return powers if order == _LITTLE else powers[::-1]


def _unpad(data: bytes, padding: int) -> bytes:
    size = len(data) - padding
    if padding > 3 or size < 0 or any(data[size:]):
        raise DecodeError("Z85 text is not padded as it says")
    return data[:size]


class Encoding(enum.Enum):
    """A text encoding. The value is its name on the wire; the order is that of the hubs' offers.

    `encode(data)` gives the text, `decode(text)` the bytes back or a `DecodeError`.
    """

    encode: Callable[[bytes], str]
    decode: Callable[[str], bytes]

    def __new__(cls, name: str, encode: Callable[[bytes], str], decode: Callable[[str], bytes]) -> Encoding:
        member = object.__new__(cls)
        member._value_ = name
        member.encode = encode
        member.decode = decode
        return member

    B64 = "JSON-B64", _b64_encode, _b64_decode
    URLSAFE_B64 = "JSON-URLSAFE-B64", _urlsafe_encode, _urlsafe_decode
    B91 = "JSON-B91", _b91_encode, _b91_decode
    Z85B = "JSON-Z85B", _z85b_encode, _z85b_decode
    Z85P = "JSON-Z85P", _z85p_encode, _z85p_decode
    B32 = "JSON-B32", _b32_encode, _b32_decode
    HEX = "JSON-HEX", _hex_encode, _hex_decode
