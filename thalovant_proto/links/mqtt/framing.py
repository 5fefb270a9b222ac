"""Bytes into whole MQTT packets, however they are cut; the limit is applied before memory is spent."""

from __future__ import annotations

from typing import NamedTuple

from ...errors import DecodeError
from .decoding import check_first_byte, check_size
from .fields import encode_length


class PacketTooLarge(DecodeError):
    """A packet declares more bytes than are accepted."""


class RawPacket(NamedTuple):
    """A packet's first byte and what follows its remaining length; `missing` bytes at the end were thrown away."""

    first: int
    body: bytes
    missing: int = 0

    @property
    def wire(self) -> bytes:
        """The packet as it came: a remaining length has one form only."""
        return bytes((self.first,)) + encode_length(len(self.body)) + self.body


class Framer:
    """Takes bytes, gives packets.

    `limit` is the largest remaining length accepted; it may be changed between two packets. A header that cannot begin
    a packet, or declares more, is refused as soon as it is there. With `cut_oversize` a PUBLISH over the limit is cut
    to topic and packet id, the rest thrown away as it comes: for whoever shares a connection with strangers, one of
    whom must not end it for all. What is buffered never exceeds the limit (or, cut, 64 KiB) by more than was fed last.
    """

    def __init__(self, limit: int, *, cut_oversize: bool = False) -> None:
        self.limit = limit
        self._cut_oversize = cut_oversize
        self._buffer = bytearray()
        self._at = 0  # where the next packet begins
        self.first: int = 0  # how the last packet began, whole or not
        self._skip = 0  # bytes still to throw away

    @property
    def buffered(self) -> int:
        """The number of bytes that wait for the rest of their packet."""
        return len(self._buffer) - self._at

    def feed(self, data: bytes) -> None:
        """Take bytes; `next_packet` gives what is complete."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    def next_packet(self) -> RawPacket | None:
        """The next whole packet, or None until more is fed. Raises `DecodeError`; nothing can be read after that."""
        buffer, at = self._buffer, self._at
        if at == len(buffer):
            return None
        self.first = first = buffer[at]
        check_first_byte(first)
        size = shift = 0
        while True:
            at += 1
            if at == len(buffer):
                return None
            size |= (buffer[at] & 0x7F) << shift
            if buffer[at] < 0x80:
                break
            shift += 7
            if shift > 21:
                raise DecodeError("a remaining length is longer than four bytes (§2.2.3)")
        if shift and buffer[at] == 0:
            # Table 2.4 gives every value one length; a second form would be a second wire for one packet.
            raise DecodeError("a remaining length is longer than it need be (table 2.4)")
        at += 1
        check_size(first, size)
        if size > self.limit:
            return self._cut(first, at, size)
        if len(buffer) - at < size:
            return None
        self._at = at + size
        return RawPacket(first, bytes(memoryview(buffer)[at : self._at]))

    def _cut(self, first: int, at: int, size: int) -> RawPacket | None:
        if not self._cut_oversize or first >> 4 != 3:
            raise PacketTooLarge(f"a packet declares more than {self.limit} bytes")
        buffer = self._buffer
        if len(buffer) - at < 2:
            return None
        head = 2 + (buffer[at] << 8 | buffer[at + 1]) + (2 if first & 0x06 else 0)
        if head > size:
            raise DecodeError("a PUBLISH ends inside a field")
        if len(buffer) - at < head:
            return None
        body = bytes(memoryview(buffer)[at : at + head])
        self._at = min(at + size, len(buffer))
        self._skip = at + size - self._at
        return RawPacket(first, body, size - head)
