"""Verdicts on sessions that could not be had or did not last: the kind, whether to try again, the next step."""

from __future__ import annotations

import enum
from math import inf
from typing import Final

from attrs import field, frozen

from . import events as e
from .carrier import CloseKind
from .codec.legacy_policy import LEGACY_POLICY, UNREAD_WITHIN
from .crypto.noise import Pattern
from .dial import DialFailed
from .errors import (
    CredentialsMissing,
    CredentialsRefused,
    DowngradeRefused,
    HandshakeTimeout,
    PeerKeyChanged,
    ProtocolError,
    RemoteProtocolError,
)


class FailureKind(enum.Enum):
    """The kind of a failure. The value is a stable word for programs."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    LOST = "lost"
    HANDSHAKE_TIMEOUT = "handshake_timeout"
    PROTOCOL = "protocol"
    REFUSED = "refused"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105 - a name of a failure
    WRONG_CRYPTO_KEY = "wrong_crypto_key"
    CLIENT_KEY_REJECTED = "client_key_rejected"
    HUB_KEY_CHANGED = "hub_key_changed"
    DOWNGRADE = "downgrade"
    CREDENTIALS_MISSING = "credentials_missing"
    DISPLACED = "displaced"
    FORGOTTEN = "forgotten"
    CLOSED = "closed"
    RENEWED = "renewed"


@frozen(kw_only=True)
class Failure:
    """A verdict. `final`: trying again cannot help until somebody mends it. `code` is the carrier's own number."""

    kind: FailureKind
    message: str
    hint: str = ""
    final: bool = False
    code: int | None = None
    cause: ProtocolError | None = None


@frozen(kw_only=True)
class Progress:
    """The progress of an attempt; what a close means depends on it.

    `greeted`: the hub said hello. `completed`: both held the keys. `sealed_for`: seconds since our first sealed frame,
    None if none left.
    """

    greeted: bool = False
    completed: bool = False
    proven: bool = False
    generation: e.Generation | None = None
    pattern: str | None = None
    sealed_for: float | None = None
    node_id: str | None = field(default=None, repr=False)


#: A completed handshake waits this long for its proof. Then the session counts as connected, unproven, and a close that
#: would have been a refusal is only a loss (wire.md §5.7).
PROOF_TIME: Final = 0.75
#: The next step after a rejected client key, part of the message.
MEND_KEY: Final = "Re-pair, or share the key folder"
#: HTTP status 500: legacy hubs send it for an access key that they do not know, every hub for an internal error. So it
#: is never final.
SERVER_ERROR: Final = 500
# The first close code of WebSockets; HTTP statuses are lower.
_CLOSE_CODES: Final = 1000


def from_dial(failed: DialFailed) -> Failure:
    """The verdict on a dial that got no socket."""
    kinds = {"dns": FailureKind.DNS, "connect": FailureKind.CONNECT, "tls": FailureKind.TLS}
    return Failure(kind=kinds[failed.phase], message=failed.message, hint=failed.hint, final=failed.fault.final)


def from_fault(error: ProtocolError, code: int | None = None) -> Failure:
    """The verdict on a peer that broke the protocol, failed to prove itself, or offers too little.

    `code` is the carrier's own number, where it is the link that tells.
    """
    kind, final = FailureKind.PROTOCOL, True
    match error:
        case PeerKeyChanged():
            kind = FailureKind.HUB_KEY_CHANGED
        case DowngradeRefused():
            kind = FailureKind.DOWNGRADE
        case CredentialsMissing():
            kind = FailureKind.CREDENTIALS_MISSING
        case CredentialsRefused(code="wrong_password"):
            kind = FailureKind.WRONG_PASSWORD
        case CredentialsRefused() | RemoteProtocolError(code="mqtt_version_refused" | "mqtt_client_id_refused"):
            kind = FailureKind.REFUSED  # by a broker
        case HandshakeTimeout():
            kind, final = FailureKind.HANDSHAKE_TIMEOUT, False
        case RemoteProtocolError():
            final = False  # what is left are our own faults, which stay
    hint = error.hint
    if kind is FailureKind.HANDSHAKE_TIMEOUT:
        hint = hint or (
            "is this the hub's endpoint? over MQTT, silence may also mean that the hub is offline or does not know the "
            "access key, or that the broker's access list is in the way"
        )
    return Failure(kind=kind, message=str(error), hint=hint, final=final, code=code, cause=error)


def from_close(kind: CloseKind, code: int | None, reason: str, progress: Progress, *, hint: str = "") -> Failure:
    """The verdict on a link that the other side, or the network, ended.

    A refusal is a verdict only while the session is unproven and young; later the same close is only a lost link.
    Forgotten with keys that are unproven is a refusal too, where first contact may go in circles. `hint` is for a link
    that is only lost.
    """
    said = f": {reason}" if reason else f" (code {code})" if code is not None else ""
    accepted = progress.proven or _outlived(progress, code)
    match kind:
        case CloseKind.DISPLACED:
            return Failure(
                kind=FailureKind.DISPLACED,
                message=f"another program with the same access key took over the session{said}",
                hint="give each program a client identity of its own",
                code=code,
            )
        case CloseKind.CLOSED:
            return Failure(kind=FailureKind.CLOSED, message=f"the link was closed{said}", code=code)
        case CloseKind.FORGOTTEN if accepted or not progress.completed or progress.pattern == Pattern.KK.value:
            return Failure(kind=FailureKind.FORGOTTEN, message=f"the hub lost the session{said}", code=code)
        case CloseKind.REFUSED | CloseKind.FORGOTTEN if not accepted:
            return _refusal(code, said, progress)
    return Failure(kind=FailureKind.LOST, message=f"the connection to the hub was lost{said}", hint=hint, code=code)


def wrong_crypto_key(code: int | None = None) -> Failure:
    """The verdict on a v0 hub that does not take our first sealed frame."""
    return Failure(
        kind=FailureKind.WRONG_CRYPTO_KEY,
        message="the hub could not read us: wrong crypto_key?",
        hint="check the identity's crypto_key, or create a new client identity",
        final=True,
        code=code,
    )


def ended_unread(progress: Progress, by_peer: CloseKind | None) -> bool:
    """Whether an attempt ended as those with the wrong `crypto_key` do: as network trouble, after the first frame.

    WSS: the socket is dropped; HTTPS: status 500 (real-hubs.md §7).
    """
    drops = LEGACY_POLICY[progress.generation].drops_unread
    return by_peer is CloseKind.LOST and drops and not (progress.proven or _outlived(progress))


def _outlived(progress: Progress, code: int | None = None) -> bool:
    # Of v3 only a close code comes unasked; an HTTP status, say, is the answer to something, however late.
    drops, told = LEGACY_POLICY[progress.generation].drops_unread, code is not None and code >= _CLOSE_CODES
    within = UNREAD_WITHIN if drops else PROOF_TIME if told else inf
    return progress.sealed_for is not None and progress.sealed_for > within


def _refusal(code: int | None, said: str, progress: Progress) -> Failure:
    if progress.completed and LEGACY_POLICY[progress.generation].drops_unread:
        return wrong_crypto_key(code)
    if progress.pattern == Pattern.KK.value and progress.completed:  # each side has proven key and password
        return Failure(
            kind=FailureKind.REFUSED,
            message=f"the hub refused the session right after the handshake{said}",
            hint="key and password are those that the hub knows: look into its log, or try again later",
            final=True,
            code=code,
        )
    if progress.completed:
        return Failure(
            kind=FailureKind.CLIENT_KEY_REJECTED,
            message=f"the hub refused this client's Noise key after the handshake{said}. {MEND_KEY}",
            hint="the hub pinned another one at first contact: have its operator reset that",
            final=True,
            code=code,
        )
    if progress.greeted:
        return Failure(
            kind=FailureKind.REFUSED,
            message=f"the hub refused the handshake{said}",
            hint="check the identity's password and crypto_key",
            final=True,
            code=code,
        )
    return Failure(
        kind=FailureKind.REFUSED,
        message=f"the hub refused the access key{said}",
        hint="check access_key and endpoint of the identity; the hub may not know this client (yet)",
        final=code != SERVER_ERROR,
        code=code,
    )
