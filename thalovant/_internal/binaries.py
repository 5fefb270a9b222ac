"""Raw bytes on their way to a peer: their kinds, by name and number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .options import mapping

if TYPE_CHECKING:
    from thalovant_proto.events import Binary


def bin_type(kind: str | int) -> int:
    """The number of a kind of raw bytes, which may be given by its name. Raises `ValueError` if there is none."""
    from thalovant_proto.events import BinType

    if isinstance(kind, str):
        number = kind.removeprefix("binary:")
        if number != kind and number.isascii() and number.isdecimal():
            return bin_type(int(number))
        if kind.upper() in BinType.__members__:
            return BinType[kind.upper()]
    elif 0 <= kind <= 15:
        return int(kind)
    known = ", ".join(one.name.lower() for one in BinType)
    raise ValueError(f"unknown kind of binary message: {kind!r}; use {known}, or a number from 0 to 15")


def binary(method: str, payload: Any, kind: str | int, metadata: Mapping[str, Any] | None) -> Binary:
    """Raw bytes for the wire. Raises `ValueError` for an unknown kind, `TypeError` for what is no bytes."""
    from thalovant_proto.events import Binary

    try:
        data = payload if isinstance(payload, bytes) else bytes(memoryview(payload))
    except TypeError:
        given = type(payload).__name__
        raise TypeError(f"{method}() takes bytes, not {given}: encode text, or send it by emit()") from None
    return Binary(bin_type=bin_type(kind), payload=data, metadata=mapping(metadata, "metadata"))
