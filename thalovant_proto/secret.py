"""The one wrapper for secrets inside the core: hidden in repr, str, format, pickle and comparisons' timing."""

from __future__ import annotations

import hmac
from typing import Any, Final, Generic, NoReturn, TypeVar

T = TypeVar("T", str, bytes)

KEY_SIZE: Final = 32  # X25519 keys, symmetric keys and Noise PSKs, in bytes


class Secret(Generic[T]):
    """Holds a `str` or `bytes`; `reveal()` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value: T = value

    def reveal(self) -> T:
        """The secret itself. Call it where it is used, keep nothing."""
        return self._value

    def as_bytes(self) -> bytes:
        """The secret as bytes; text is UTF-8."""
        return self._value.encode() if isinstance(self._value, str) else self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.as_bytes(), other.as_bytes())

    def __hash__(self) -> int:
        return hash((Secret, self.as_bytes()))  # text and bytes may be equal

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied; pass the value on with reveal()")

    def __copy__(self) -> Secret[T]:
        return self

    def __deepcopy__(self, memo: Any) -> Secret[T]:
        return self
