"""The fields of MQTT packets: lengths, strings, topic names and topic filters.

Encoders raise `ValueError`, decoders `DecodeError`, both naming the clause (`[MQTT-x.x.x-n]`) and never the content.
"""

from __future__ import annotations

from typing import Final

from ...errors import DecodeError

MAX_REMAINING: Final = 268_435_455  # four bytes of seven bits (table 2.4)
MAX_STRING: Final = 65_535  # every string and binary field has a length of two bytes


def encode_length(size: int) -> bytes:
    """The remaining length: seven bits a byte, low ones first. Raises `ValueError` over `MAX_REMAINING`."""
    if size < 0x80:
        return bytes((size,))
    if size > MAX_REMAINING:
        raise ValueError(f"an MQTT packet holds at most {MAX_REMAINING} bytes (table 2.4)")
    encoded = bytearray()
    while size > 0x7F:
        encoded.append(size & 0x7F | 0x80)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)


def encode_binary(data: bytes, what: str) -> bytes:
    """Bytes after their length. Raises `ValueError` over 65 535 bytes."""
    if len(data) > MAX_STRING:
        raise ValueError(f"{what} is longer than {MAX_STRING} bytes")
    return len(data).to_bytes(2, "big") + data


def encode_text(text: str, what: str) -> bytes:
    """UTF-8 after its length. Raises `ValueError` for NUL, surrogates and more than 65 535 bytes."""
    if "\0" in text:
        raise ValueError(f"{what} holds U+0000 [MQTT-1.5.3-2]")
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds a surrogate [MQTT-1.5.3-1]") from None
    return encode_binary(data, what)


def decode_text(data: bytes, what: str) -> str:
    """UTF-8 into text. Raises `DecodeError` for what `encode_text` could not have made."""
    try:
        text = data.decode()  # strict: no surrogates, no overlong forms; U+FEFF stays [MQTT-1.5.3-3]
    except UnicodeDecodeError:
        raise DecodeError(f"{what} is not UTF-8 [MQTT-1.5.3-1]") from None
    if "\0" in text:
        raise DecodeError(f"{what} holds U+0000 [MQTT-1.5.3-2]")
    return text


def encode_topic_name(topic: str) -> bytes:
    """A topic to publish to, after its length. Raises `ValueError` for what no topic name may be."""
    if not topic:
        raise ValueError("a topic name is empty [MQTT-4.7.3-1]")
    if "+" in topic or "#" in topic:
        raise ValueError("a topic name holds a wildcard [MQTT-3.3.2-2]")
    return encode_text(topic, "a topic name")


def encode_topic_filter(topic_filter: str) -> bytes:
    """A filter to subscribe to, after its length. Raises `ValueError` for what no topic filter may be."""
    if not topic_filter:
        raise ValueError("a topic filter is empty [MQTT-4.7.3-1]")
    if "+" in topic_filter or "#" in topic_filter:
        *above, last = topic_filter.split("/")
        if any("#" in level for level in above) or ("#" in last and last != "#"):
            raise ValueError("'#' stands only as the whole last level of a topic filter [MQTT-4.7.1-2]")
        if any("+" in level and level != "+" for level in (*above, last)):
            raise ValueError("'+' stands only as a whole level of a topic filter [MQTT-4.7.1-3]")
    return encode_text(topic_filter, "a topic filter")


def topic_matches(topic_filter: str, topic: str) -> bool:
    """Whether a valid filter covers a valid topic name (§4.7)."""
    if topic_filter == topic:
        return True
    if topic[0] == "$" and topic_filter[0] in "+#":
        return False  # [MQTT-4.7.2-1]
    wanted = topic_filter.split("/")
    levels = topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        if len(levels) < len(wanted):  # "a/#" covers "a" too (§4.7.1.2)
            return False
        del levels[len(wanted) :]
    return len(wanted) == len(levels) and all(want in ("+", level) for want, level in zip(wanted, levels, strict=True))
