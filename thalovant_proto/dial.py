"""The report of a driver that could not open a socket: the cause, as the core classifies it."""

from __future__ import annotations

import enum
from typing import Final, Literal

from attrs import Factory, field, frozen


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


_HINTS: Final = {
    DialFault.DNS: "check the host name in the endpoint, and the network",
    DialFault.REFUSED: "check host and port, and that the hub is running",
    DialFault.UNREACHABLE: "check the network and the hub's address",
    DialFault.TIMEOUT: "check host, port and firewalls between",
    DialFault.CERTIFICATE_UNTRUSTED: (
        "if you trust the hub, name its CA as ca_file, in the identity or as an argument, or in SSL_CERT_FILE"
    ),
    DialFault.CERTIFICATE_EXPIRED: "the hub's certificate must be renewed, or a clock be set",
    DialFault.CERTIFICATE_HOST: "use the host name that the certificate was made for",
    DialFault.CERTIFICATE_INVALID: "the hub needs another certificate",
    DialFault.TLS_VERSION: "update the hub, or what it has its TLS from",
    DialFault.NOT_TLS: "check the port; if the hub is one without TLS, use ws://, http:// or mqtt:// in the endpoint",
    DialFault.TLS: (
        "check that the port is the hub's TLS port, not a plain one; for a client certificate pass client_cert_file"
    ),
    DialFault.OTHER: "check host and port of the endpoint",
}


@frozen(kw_only=True)
class DialFailed:
    """A dial that ended without a socket. `message` names host, port and cause, on one line; `hint` alone advises."""

    phase: Literal["dns", "connect", "tls"]
    fault: DialFault
    message: str
    hint: str = field(default=Factory(lambda self: _HINTS[self.fault], takes_self=True))
