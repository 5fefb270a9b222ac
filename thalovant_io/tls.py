"""TLS as a pipe of bytes, for every driver and inside tunnels; and what its faults mean in words."""

from __future__ import annotations

import functools
import os
import ssl
from typing import Final, NamedTuple

from thalovant_proto.dial import DialFailed, DialFault

# The largest TLS record. Memory BIOs keep the size of the largest write for ever, so nothing larger goes in at once.
_RECORD: Final = 16 * 1024


class CaFileError(Exception):
    """A file with certificates cannot be used. The message names it and the cause, on one line.

    `hint`: the next step, None where it is to name the authorities of the hub.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint: str | None = hint


def default_context(
    ca_file: str | os.PathLike[str] | None = None,
    *,
    ssl_context: ssl.SSLContext | None = None,
    cert_file: str | os.PathLike[str] | None = None,
    key_file: str | os.PathLike[str] | None = None,
    self_signed: bool = False,
) -> ssl.SSLContext:
    """The context that client connections use: verifying, TLS 1.2 or later.

    Trusts the authorities in `ca_file` (PEM) or, without one, the system's; SSL_CERT_FILE and SSL_CERT_DIR take the
    place of the system's. `cert_file` (PEM) is a certificate of the client's own, with its chain, and `key_file` its
    key, if that is not in the same file. With `self_signed` any certificate will do. An `ssl_context` is returned as it
    is. Loading takes up to 50 ms, so call it
    off the event loop; the context is kept and used again until a file changes. Raises `CaFileError`.
    """
    if ssl_context is not None:
        return ssl_context
    environment = () if ca_file is not None else (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    ca, cert, key = (None if path is None else os.fspath(path) for path in (ca_file, cert_file, key_file))
    named = (("CA file", ca), ("client certificate", cert), ("client key", key))
    return _context(ca, cert, key, self_signed, (environment, *(_version(what, path) for what, path in named)))


def _version(what: str, path: str | None) -> object:
    try:
        stat = path and os.stat(path)
        return stat and (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    except OSError as exc:
        hint = None if what == "CA file" else _CLIENT_HINT
        raise CaFileError(f"{what} {path} cannot be read: {exc.strerror}", hint=hint) from None


_CLIENT_HINT: Final = "name PEM files of certificate and key as client_cert_file and client_key_file"


@functools.lru_cache(maxsize=8)
def _context(
    ca_file: str | None, cert_file: str | None, key_file: str | None, self_signed: bool, version: tuple[object, ...]
) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise CaFileError(f"CA file {ca_file} holds no certificate in PEM text") from None
    except OSError as exc:
        raise CaFileError(f"CA file {ca_file} cannot be read: {exc.strerror}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.hostname_checks_common_name = False  # a certificate is for the names that it lists (RFC 9525 §2)
    if self_signed:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if cert_file is not None:
        try:
            context.load_cert_chain(cert_file, key_file, password=_no_password)
        except (OSError, ValueError) as exc:  # an SSLError is one
            why = _unfit(exc, key_file)
            raise CaFileError(f"client certificate {cert_file} cannot be used: {why}", hint=_CLIENT_HINT) from None
    return context


def _no_password() -> str:
    raise ValueError("its key is encrypted")  # and OpenSSL would ask the terminal


def _unfit(error: Exception, key_file: str | None) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"the key in {key_file or 'it'} is another's"
        return "it or its key is no PEM text" if key_file else "it is no PEM text with certificate and key"
    return getattr(error, "strerror", None) or "its key is encrypted"


class TlsFault(NamedTuple):
    """Why TLS ended. `message` names the peer and the cause, on one line."""

    fault: DialFault
    message: str

    @property
    def failure(self) -> DialFailed:
        """The fault as the end of a dial."""
        return DialFailed(phase="tls", fault=self.fault, message=self.message)


class TlsPipe:
    """One TLS connection without its socket: ciphertext and plaintext in, plaintext and ciphertext out.

    Receiving never raises for what the peer did: afterwards `fault` holds the reason, and what came before it is
    still returned. After a fault or `close`, only what `data_to_send` gives is left to do.
    """

    __slots__ = (
        "_context", "_head", "_incoming", "_out", "_outgoing", "_server_side", "_tls",
        "closed", "fault", "peer", "ready",
    )  # fmt: skip

    def __init__(
        self, context: ssl.SSLContext, peer: str, *, server_hostname: str | None = None, server_side: bool = False
    ) -> None:
        """`peer` is how messages call the other end, as in "hub.example:443".

        A client's first bytes are ready at once. A server takes up memory only when the first byte has come, for
        clients may be silent. Raises ValueError for a `server_hostname` that no certificate can hold.
        """
        self.peer: str = peer
        self.ready: bool = False  # the handshake is done: plaintext can travel
        self.closed: bool = False  # the peer said its TLS goodbye
        self.fault: TlsFault | None = None
        self._head: bytes | None = b""  # what came first, until it is long enough to tell TLS from something else
        self._out: list[bytes] = []
        self._server_side = server_side
        self._incoming: ssl.MemoryBIO
        self._outgoing: ssl.MemoryBIO
        self._tls: ssl.SSLObject
        self._context: ssl.SSLContext | None = context  # None: the three above are there
        if not server_side:
            self._begin(context, server_hostname)

    def receive(self, ciphertext: bytes) -> bytes:
        """Take bytes from the socket, return the plaintext they complete."""
        if not ciphertext or (self._head is not None and not self._looks_like_tls(ciphertext)):
            return b""
        if self._context is not None:
            self._begin(self._context, None)
        plaintext: list[bytes] = []
        with memoryview(ciphertext) as view:
            for start in range(0, len(view), _RECORD):
                if self.fault is not None or self.closed:
                    break
                self._incoming.write(view[start : start + _RECORD])
                if not self.ready:
                    self._shake_hands()
                if self.ready:
                    self._read(plaintext)
        return plaintext[0] if len(plaintext) == 1 else b"".join(plaintext)

    def send(self, plaintext: bytes) -> None:
        """Queue `plaintext` for `data_to_send`. Needs `ready`; without effect after a fault or `close`."""
        if self.fault is not None:
            return
        with memoryview(plaintext) as view:
            for start in range(0, len(view), _RECORD):
                try:
                    self._tls.write(view[start : start + _RECORD])
                except ssl.SSLError as exc:  # after `close`, or in a renegotiation, which default contexts forbid
                    self.fault = classify(exc, self.peer, self._server_side)
                    return
                self._out.append(self._outgoing.read())

    def data_to_send(self) -> bytes:
        """Everything to write to the socket now."""
        if self._context is None and self._outgoing.pending:
            self._out.append(self._outgoing.read())
        out, self._out = self._out, []
        return out[0] if len(out) == 1 else b"".join(out)

    def close(self) -> None:
        """Queue the TLS goodbye. Harmless at any time."""
        if self._context is not None:
            return  # no byte has come: there is nobody to greet
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # it wants the peer's goodbye too; or the handshake was not done, and there is nobody to greet

    def eof(self, reason: str = "") -> TlsFault | None:
        """The socket ended, cleanly or as `reason` says. Return why that is a fault; None after the peer's goodbye.

        A fault of a connection that was up is not kept: many servers leave without a TLS goodbye, and the protocols
        inside know where their messages end.
        """
        if self.fault is not None or self.closed:
            return self.fault
        how = f" ({reason})" if reason else ""
        if self.ready:
            return TlsFault(DialFault.TLS, f"{self.peer} left without a TLS goodbye{how}")
        message = f"{self.peer} closed the connection in the middle of the TLS handshake{how}"
        self.fault = TlsFault(DialFault.TLS, message)
        return self.fault

    def overdue(self) -> TlsFault:
        """The handshake took too long."""
        message = f"{self.peer} did not finish the TLS handshake in time"
        self.fault = TlsFault(DialFault.TIMEOUT, message)
        return self.fault

    def _looks_like_tls(self, ciphertext: bytes) -> bool:
        """Judge a connection by its first bytes, as the library's own words for this differ between versions."""
        head = self._head = (self._head or b"") + ciphertext[:2]
        if head[0] not in b"\x14\x15\x16\x17" or (len(head) > 1 and head[1] != 3):
            self.fault = _not_tls(self.peer, head[0], self._server_side)
            return False
        if len(head) > 1:
            self._head = None
        return True

    def _begin(self, context: ssl.SSLContext, hostname: str | None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=self._server_side, server_hostname=hostname
        )
        self._context = None
        self._shake_hands()

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLZeroReturnError:  # its goodbye, already
            self.eof()
        except ssl.SSLError as exc:
            self.fault = classify(exc, self.peer, self._server_side)
        else:
            self.ready = True

    def _read(self, plaintext: list[bytes]) -> None:
        try:
            while self._incoming.pending or self._tls.pending():
                if not (data := self._tls.read(_RECORD)):
                    self.closed = True
                    return
                plaintext.append(data)
        except ssl.SSLWantReadError:
            return
        except ssl.SSLZeroReturnError:  # its goodbye, after ours
            self.closed = True
        except ssl.SSLError as exc:
            self.fault = classify(exc, self.peer, self._server_side)


def _not_tls(peer: str, first: int, server_side: bool) -> TlsFault:
    kind = "plain text (HTTP?)" if chr(first).isprintable() and first < 0x80 else "something unknown"
    hint = "; it should use wss://, https:// or mqtts://" if server_side else ""  # a log has no other place for it
    return TlsFault(DialFault.NOT_TLS, f"{peer} speaks {kind} instead of TLS{hint}")


# X509_V_ERR_* of OpenSSL.
_UNKNOWN: Final = (DialFault.CERTIFICATE_UNTRUSTED, "its certificate comes from an authority unknown here")
_CERTIFICATE: Final = {
    2: _UNKNOWN,
    9: (DialFault.CERTIFICATE_EXPIRED, "its certificate is not valid yet"),
    10: (DialFault.CERTIFICATE_EXPIRED, "its certificate has expired"),
    18: (DialFault.CERTIFICATE_UNTRUSTED, "its certificate is self-signed"),
    19: _UNKNOWN,
    20: _UNKNOWN,
    21: _UNKNOWN,
    62: (DialFault.CERTIFICATE_HOST, "its certificate is for another host name"),
    64: (DialFault.CERTIFICATE_HOST, "its certificate does not list this IP address"),
}

_OLD: Final = (DialFault.TLS_VERSION, "it speaks no TLS version of 1.2 or later")
_REASONS: Final = {
    "UNSUPPORTED_PROTOCOL": _OLD,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (DialFault.TLS, "it shares no cipher with us, or wants a client certificate"),
    "NO_SHARED_CIPHER": (DialFault.TLS, "it shares no cipher with us"),
    "TLSV1_UNRECOGNIZED_NAME": (DialFault.TLS, "it does not serve this host name"),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": (
        DialFault.TLS,
        "it wants a client certificate",
    ),
    "TLSV1_ALERT_UNKNOWN_CA": (DialFault.TLS, "it does not trust the authority of our certificate"),
    "SSLV3_ALERT_BAD_CERTIFICATE": (DialFault.TLS, "it does not accept our certificate"),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": (DialFault.TLS, "it says that our certificate has expired"),
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": (DialFault.TLS, "it does not accept our certificate"),
}


def classify(error: ssl.SSLError, peer: str, server_side: bool) -> TlsFault:
    """The fault that an exception of the library means. Its texts are constants of the library, never content."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = getattr(error, "verify_message", "no reason given")
        unfit = f"its certificate is not acceptable: {why}"
        fault, cause = _CERTIFICATE.get(getattr(error, "verify_code", 0), (DialFault.CERTIFICATE_INVALID, unfit))
    else:
        reason = getattr(error, "reason", None) or ""  # an SSLError that Python code made has none
        words = (reason or "unknown fault").lower().replace("_", " ")
        fault, cause = _REASONS.get(reason, (DialFault.TLS, words))
    if server_side and fault is DialFault.TLS_VERSION:
        cause = "it speaks no TLS version that is allowed here"
    return TlsFault(fault, f"TLS with {peer} failed: {cause}")
