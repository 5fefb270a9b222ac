"""TLS servers that a client must refuse, each with the fault and the words that the refusal has to have.

A server is a script on a raw socket. `HOSTILE` holds, by name: how to make the script, the fault, and what the message
must say.
"""

from __future__ import annotations

import contextlib
import ssl
import warnings
from collections.abc import Callable
from typing import NamedTuple

import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.io.pki import DAY, NOW, Pki
from tests.io.running import Accepted, Script
from thalovant_proto.dial import DialFault


class Hostile(NamedTuple):
    """One such server."""

    make: Callable[[Pki], Script]
    fault: DialFault
    words: str


def tls(make: Callable[[Pki], ssl.SSLContext]) -> Callable[[Pki], Script]:
    """A server that does TLS by the book, with the context that `make` gives."""

    def script_of(pki: Pki) -> Script:
        context = make(pki)

        def script(connection: Accepted) -> None:
            with contextlib.suppress(OSError), context.wrap_socket(connection.sock, server_side=True) as secured:
                secured.recv(1)

        return script

    return script_of


def bytes_of(answer: bytes, *, listen: bool = True, stay: bool = True) -> Callable[[Pki], Script]:
    """A server that reads a while, answers with raw bytes, and stays until the client goes (or not)."""

    def script(connection: Accepted) -> None:
        with contextlib.suppress(OSError):
            if listen:
                connection.sock.recv(1 << 16)
            connection.sock.sendall(answer)
            while stay and connection.sock.recv(1 << 16):
                pass

    return lambda pki: script


def alert(description: int) -> bytes:
    """A fatal TLS alert."""
    return bytes((0x15, 3, 3, 0, 2, 2, description))


def server_hello(version: int) -> bytes:
    """A ServerHello that picks SSL 3.0 (0) to TLS 1.1 (2), and a cipher of that time."""
    body = bytes((3, version)) + bytes(range(32)) + b"\0" + b"\x00\x2f" + b"\0"
    message = b"\x02" + len(body).to_bytes(3) + body
    return bytes((0x16, 3, version)) + len(message).to_bytes(2) + message


def _reset(connection: Accepted) -> None:
    connection.sock.recv(1 << 16)
    connection.reset()


def _half_a_flight(pki: Pki) -> Script:
    """Answers the ClientHello as it should, but only the first half of it, then goes."""
    context = pki.server()

    def script(connection: Accepted) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        incoming.write(connection.sock.recv(1 << 16))
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        flight = outgoing.read()
        connection.sock.sendall(flight[: len(flight) // 2])

    return script


def _authority(pki: Pki, *, days: int = 1) -> tuple[bytes, bytes]:
    """A certificate of an authority below ours, and of a server below that; both with their keys."""
    pem, subject, key = pki.forged(name="middle", issuer=pki.issuer(), is_ca=True, san=False, days=days)
    leaf, _, _ = pki.forged(issuer=(subject, key))
    return pem, leaf


def _chain(pki: Pki, *, is_ca: bool) -> ssl.SSLContext:
    pem, subject, key = pki.forged(name="middle", issuer=pki.issuer(), is_ca=is_ca, san=False)
    leaf, _, _ = pki.forged(issuer=(subject, key))
    return pki.serving(leaf, pem)


def _tls_1_1(pki: Pki) -> ssl.SSLContext:
    context = pki.server()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # which is the point
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def _wants_certificate(pki: Pki) -> ssl.SSLContext:
    context = pki.server()
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # with 1.3 the refusal comes after the handshake
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_common_cipher(pki: Pki) -> ssl.SSLContext:
    context = pki.server()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-CAMELLIA128-SHA256:@SECLEVEL=0")
    return context


def _weak_key(pki: Pki) -> ssl.SSLContext:
    key = rsa.generate_private_key(65537, 1024)
    return pki.serving(pki.forged(issuer=pki.issuer(), key=key)[0])


_F = DialFault

HOSTILE = {
    "expired": Hostile(tls(lambda p: p.server(not_after=NOW - DAY)), _F.CERTIFICATE_EXPIRED, "has expired"),
    "not yet valid": Hostile(tls(lambda p: p.server(not_before=NOW + DAY)), _F.CERTIFICATE_EXPIRED, "not valid yet"),
    "wrong host": Hostile(tls(lambda p: p.server("hub.example")), _F.CERTIFICATE_HOST, "another host name"),
    "wildcard of another domain": Hostile(tls(lambda p: p.server("*.example")), _F.CERTIFICATE_HOST, "another host"),
    "an address instead of the name": Hostile(
        tls(lambda p: p.server("127.0.0.1")), _F.CERTIFICATE_HOST, "another host"
    ),
    "common name of another host": Hostile(
        tls(lambda p: p.serving(p.forged(name="hub.example", issuer=p.issuer(), san=False)[0])),
        _F.CERTIFICATE_HOST,
        "another host name",
    ),
    "unknown authority": Hostile(
        tls(lambda p: p.server(ca=trustme.CA())), _F.CERTIFICATE_UNTRUSTED, "an authority unknown here"
    ),
    "self-signed": Hostile(tls(lambda p: p.serving(p.forged()[0])), _F.CERTIFICATE_UNTRUSTED, "is self-signed"),
    "self-signed for another host": Hostile(
        tls(lambda p: p.serving(p.forged(name="hub.example")[0])), _F.CERTIFICATE_UNTRUSTED, "is self-signed"
    ),
    "chain without its middle": Hostile(
        tls(lambda p: p.serving(_authority(p)[1])), _F.CERTIFICATE_UNTRUSTED, "an authority unknown here"
    ),
    "chain with an expired middle": Hostile(
        tls(lambda p: p.serving(*reversed(_authority(p, days=-1)))), _F.CERTIFICATE_EXPIRED, "has expired"
    ),
    "signed by a server": Hostile(tls(lambda p: _chain(p, is_ca=False)), _F.CERTIFICATE_UNTRUSTED, "not acceptable"),
    "a client's certificate": Hostile(
        tls(lambda p: p.serving(p.forged(issuer=p.issuer(), usage=ExtendedKeyUsageOID.CLIENT_AUTH)[0])),
        _F.CERTIFICATE_UNTRUSTED,
        "not acceptable",
    ),
    "weak key": Hostile(tls(_weak_key), _F.CERTIFICATE_UNTRUSTED, "too weak"),
    "TLS 1.1 at most": Hostile(tls(_tls_1_1), _F.TLS_VERSION, "no TLS version of 1.2 or later"),
    "picks TLS 1.1": Hostile(bytes_of(server_hello(2)), _F.TLS_VERSION, "no TLS version of 1.2"),
    "picks TLS 1.0": Hostile(bytes_of(server_hello(1)), _F.TLS_VERSION, "no TLS version of 1.2"),
    "picks SSL 3": Hostile(bytes_of(server_hello(0)), _F.TLS_VERSION, "no TLS version of 1.2"),
    "alert: protocol version": Hostile(bytes_of(alert(70)), _F.TLS_VERSION, "no TLS version of 1.2"),
    "alert: handshake failure": Hostile(bytes_of(alert(40)), _F.TLS, "shares no cipher"),
    "alert: unrecognized name": Hostile(bytes_of(alert(112)), _F.TLS, "does not serve this host name"),
    "alert: internal error": Hostile(bytes_of(alert(80)), _F.TLS, "internal error"),
    "no common cipher": Hostile(tls(_no_common_cipher), _F.TLS, "shares no cipher"),
    "wants a client certificate": Hostile(tls(_wants_certificate), _F.TLS, "wants a client certificate"),
    "plain HTTP": Hostile(
        bytes_of(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        _F.NOT_TLS,
        "plain text (HTTP?) instead of TLS",
    ),
    "SSH": Hostile(bytes_of(b"SSH-2.0-OpenSSH_9.6\r\n", listen=False), _F.NOT_TLS, "plain text"),
    "mail": Hostile(bytes_of(b"220 mail.example ESMTP\r\n", listen=False), _F.NOT_TLS, "plain text"),
    "MQTT": Hostile(bytes_of(b"\x20\x02\x00\x01"), _F.NOT_TLS, "plain text"),
    "huge garbage": Hostile(bytes_of(b"\xff\xfe\xfd" * (1 << 20)), _F.NOT_TLS, "something unknown"),
    "garbage in a TLS record": Hostile(bytes_of(b"\x16\x03\x03\x40\x00" + b"\xa5" * 0x4000), _F.TLS, "failed:"),
    "a record over the limit": Hostile(bytes_of(b"\x16\x03\x03\xff\xff" + b"\2" * 0xFFFF), _F.TLS, "failed:"),
    "a handshake message over the limit": Hostile(
        bytes_of(b"\x16\x03\x03\x40\x00\x02\xff\xff\xff" + bytes(0x3FFC)), _F.TLS, "failed:"
    ),
    "data before the handshake": Hostile(bytes_of(b"\x17\x03\x03\x00\x05hello"), _F.TLS, "failed:"),
    "endless warnings": Hostile(bytes_of(bytes((0x15, 3, 3, 0, 2, 1, 90)) * 5000), _F.TLS, "failed:"),
    "closes at once": Hostile(bytes_of(b"", listen=False, stay=False), _F.TLS, "in the middle of the TLS handshake"),
    "closes after ClientHello": Hostile(bytes_of(b"", stay=False), _F.TLS, "in the middle of the TLS handshake"),
    "resets after ClientHello": Hostile(lambda p: _reset, _F.TLS, "in the middle of the TLS handshake"),
    "closes in the middle of its flight": Hostile(_half_a_flight, _F.TLS, "in the middle of the TLS handshake"),
    "closes in the middle of a record": Hostile(
        bytes_of(server_hello(3)[:20], stay=False), _F.TLS, "in the middle of the TLS handshake"
    ),
    "silent": Hostile(bytes_of(b""), _F.TIMEOUT, "did not finish the TLS handshake in time"),
    "silent in the middle of a record": Hostile(bytes_of(server_hello(3)[:20]), _F.TIMEOUT, "did not finish the TLS"),
}
