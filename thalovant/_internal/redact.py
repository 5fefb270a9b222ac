"""Redaction: nobody sees anything of a secret. The one place for it.

For values that are shown (repr, `as_dict`, doctor output), never for values that are used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn, Self

REDACTED: Final = "<redacted>"

_SECRET_WORDS: Final = (
    "password",
    "passwd",
    "secret",
    "token",
    "credential",
    "authorization",
    "apikey",
    "accesskey",
    "cryptokey",
    "privatekey",
    "sessionkey",
)
_USERINFO = re.compile(r"(?<=//)[^/?#\s\"']*@")
_QUERY = re.compile(r"\?[^\s\"']+")
_SCHEME = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//|")
_PLACE = re.compile(r"(?:\[[^\]]*\]|[^:\[\]@]*)(?::\d*)?")


def redact_text(text: str) -> str:
    """The text with its URLs' user and password cut out and every query replaced."""
    return _QUERY.sub("?" + REDACTED, _USERINFO.sub("", text))


def redact_url(url: str) -> str:
    """An endpoint without user, password and query, whether or not it names a scheme."""
    scheme = "".join(_SCHEME.findall(url)[:1])
    place = rest = url[len(scheme) :]
    for part in (_authority(rest), rest):  # a password may have any character in it
        place = rest[part.rfind("@") + 1 :]
        if _PLACE.fullmatch(_authority(place)):
            break
    place, mark, _ = place.partition("?")
    return f"{scheme}{place}{mark and mark + REDACTED}"


def _authority(rest: str) -> str:
    return re.split("[/?#]", rest, maxsplit=1)[0]


def redact_values(value: Any) -> Any:
    """A copy in which every value whose key names a secret is replaced, however deep."""
    if isinstance(value, Mapping):
        return {key: REDACTED if names_secret(key) else redact_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_values(item) for item in value]
    return value


def names_secret(key: object) -> bool:
    plain = "".join(char for char in str(key).lower() if char.isalnum())
    return any(word in plain for word in _SECRET_WORDS)


class HoldsSecrets:
    """Mixin for values with secrets in them: they cannot be pickled, and copies of them are themselves."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} holds secrets and cannot be pickled: give the other process the identity file's "
            "path, or what as_dict(include_secrets=True) returns"
        )

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self
