"""The report of a driver that could not open a socket: the cause, as the core classifies it."""

from __future__ import annotations

import enum
from typing import Literal

from attrs import frozen


class DialFault(enum.Enum):
    """The reason for a failed dial. Certificate faults are final until somebody mends them; the others may pass."""

    DNS = "dns"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    CERTIFICATE_UNTRUSTED = "certificate_untrusted"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_HOST = "certificate_host"
    CERTIFICATE_INVALID = "certificate_invalid"  # whoever trusts its authority
    TLS_VERSION = "tls_version"
    NOT_TLS = "not_tls"  # the port answered, but not in TLS
    TLS = "tls"
    OTHER = "other"

    @property
    def final(self) -> bool:
        """Whether dialing again cannot help."""
        return self in _FINAL


_FINAL = frozenset(
    {
        DialFault.CERTIFICATE_UNTRUSTED,
        DialFault.CERTIFICATE_EXPIRED,
        DialFault.CERTIFICATE_HOST,
        DialFault.CERTIFICATE_INVALID,
        DialFault.TLS_VERSION,
        DialFault.NOT_TLS,
    }
)


@frozen(kw_only=True)
class DialFailed:
    """A dial that ended without a socket. `message` names host, port and cause, on one line."""

    phase: Literal["dns", "connect", "tls"]
    fault: DialFault
    message: str
