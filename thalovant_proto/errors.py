"""The errors of the protocol core; the type says whose fault it is.

`LocalProtocolError` is raised, by `send` and friends only. `RemoteProtocolError` and its children are never raised
out of a machine: they are the `error` of the last event, `Closed`. `DecodeError` is what codecs raise; the machine
that called the codec turns it into a `RemoteProtocolError`.

Messages name the state, the field and the limit, and never a key, token or URL query.
"""

from __future__ import annotations


class ProtocolError(Exception):
    """Base of both sides' faults.

    `code` is a stable word for programs, `hint` the next step for people (may be empty).
    """

    code: str = "protocol_error"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.hint = hint


class LocalProtocolError(ProtocolError):
    """We tried something that is not legal now. A bug on our side."""

    code: str = "local_protocol_error"


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol, refused us, or is not who it was."""

    code: str = "remote_protocol_error"


class CredentialsRefused(RemoteProtocolError):
    """The peer refused our credentials, or could not prove that it holds the same secret."""

    code: str = "credentials_refused"


class PeerKeyChanged(RemoteProtocolError):
    """The peer's static key is not the one that is pinned. Holds both fingerprints (SHA-256, hex)."""

    code: str = "peer_key_changed"

    def __init__(self, message: str, *, expected: str, received: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.expected = expected
        self.received = received


class DowngradeRefused(RemoteProtocolError):
    """The peer offers less than it must: an older generation than was seen or than is allowed here."""

    code: str = "downgrade_refused"


class CredentialsMissing(RemoteProtocolError):
    """The hub asks for a secret (password or crypto key) that we were not given."""

    code: str = "credentials_missing"


class HandshakeTimeout(RemoteProtocolError):
    """The peer did not finish the handshake in time. Never a verdict on credentials."""

    code: str = "handshake_timeout"


class DecodeError(ValueError):
    """Bytes that are not what they should be. Says which field and which limit, never the content."""


class MalformedMessage(DecodeError):
    """A frame that opened under the keys and holds no message. The next one may."""
