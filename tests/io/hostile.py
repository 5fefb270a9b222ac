"""TLS servers that a client must refuse, each with the fault and the words that the refusal has to have.

A server is a script on a raw socket. `HOSTILE` holds, by name: how to make the script, the fault, and what the message
must say.
"""

from __future__ import annotations

import contextlib
import ssl
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.io.pki import DAY, NOW, Pki
from tests.io.running import Accepted, Script
from thalovant_proto.dial import DialFault


class Hostile(NamedTuple):
    """One such server, and by which name of this machine it is dialed."""

    make: Callable[[Pki], Script]
    fault: DialFault
    words: str
    host: str = "localhost"


def tls(make: Callable[[Pki], ssl.SSLContext]) -> Callable[[Pki], Script]:
    """A server that does TLS by the book, with the context that `make` gives."""

    def script_of(pki: Pki) -> Script:
        context = make(pki)

        def script(connection: Accepted) -> None:
            with contextlib.suppress(OSError), context.wrap_socket(connection.sock, server_side=True) as secured:
                assert not secured.recv(1), "a client said something to a server that it must refuse"

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


def server_hello(version: int, *, random: bytes = bytes(range(32)), cipher: bytes = b"\x00\x2f") -> bytes:
    """A ServerHello that picks SSL 3.0 (0) to TLS 1.2 (3), by default with a cipher of the time of TLS 1.0."""
    body = bytes((3, version)) + random + b"\0" + cipher + b"\0"
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


def _without_finished(pki: Pki) -> Script:
    """Goes when the client has said all that it says, with only the server's last word missing."""
    context = pki.server()
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def script(connection: Accepted) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)
        while True:
            incoming.write(connection.sock.recv(1 << 16))
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                connection.sock.sendall(outgoing.read())
            else:
                return

    return script


def _echoing(connection: Accepted) -> None:
    with contextlib.suppress(OSError):
        while data := connection.sock.recv(1 << 16):
            connection.sock.sendall(data)


def _chain(pki: Pki, *, sent: bool = True, is_ca: bool = True, **options: Any) -> ssl.SSLContext:
    """A server's certificate below one of `options`, which is `sent` along, below our authority."""
    pem, subject, key = pki.forged(name="middle", issuer=pki.issuer(), is_ca=is_ca, san=False, **options)
    leaf, _, _ = pki.forged(issuer=(subject, key))
    return pki.serving(leaf, pem) if sent else pki.serving(leaf)


def _leaf(pki: Pki, **options: Any) -> ssl.SSLContext:
    """A server's certificate with `options`, by our authority."""
    return pki.serving(pki.forged(**{"issuer": pki.issuer(), **options})[0])


def _names(pki: Pki, *names: str) -> ssl.SSLContext:
    """A certificate for names as no good authority writes them."""
    listed = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    return _leaf(pki, san=False, critical=listed)


def _too_deep(pki: Pki) -> ssl.SSLContext:
    """An authority that may only sign servers has made another authority."""
    upper, subject, key = pki.forged(name="upper", issuer=pki.issuer(), is_ca=True, san=False, path_length=0)
    lower, subject, key = pki.forged(name="lower", issuer=(subject, key), is_ca=True, san=False)
    return pki.serving(pki.forged(issuer=(subject, key))[0], lower, upper)


def _impostor(pki: Pki) -> ssl.SSLContext:
    """An authority of the same name as ours, with another key."""
    return _leaf(pki, issuer=(pki.issuer()[0], ec.generate_private_key(ec.SECP256R1())))


def _broken_signature(pki: Pki) -> ssl.SSLContext:
    leaf = pki.forged(issuer=pki.issuer())[0]
    der = bytearray(x509.load_pem_x509_certificate(leaf).public_bytes(serialization.Encoding.DER))
    der[-5] ^= 1
    return pki.serving(ssl.DER_cert_to_PEM_cert(bytes(der)).encode(), _key_of(leaf))


def _weak_signature(pki: Pki) -> ssl.SSLContext:
    """A certificate that was signed over a SHA-1 digest, which the library that makes the others refuses to do."""
    authority = rsa.generate_private_key(65537, 2048)
    middle, subject, _ = pki.forged(name="middle", issuer=pki.issuer(), is_ca=True, san=False, key=authority)
    leaf, _, _ = pki.forged(issuer=(subject, authority))
    good = x509.load_pem_x509_certificate(leaf)
    sha256, sha1 = (bytes.fromhex(f"2a864886f70d0101{last}") for last in ("0b", "05"))  # with RSA, as object ids
    signed = good.tbs_certificate_bytes.replace(sha256, sha1)
    signature = authority.sign(signed, padding.PKCS1v15(), hashes.SHA1())
    der = good.public_bytes(serialization.Encoding.DER).replace(good.signature, signature)
    der = der.replace(good.tbs_certificate_bytes, signed).replace(sha256, sha1)
    return pki.serving(ssl.DER_cert_to_PEM_cert(der).encode(), _key_of(leaf), middle)


def _key_of(pem: bytes) -> bytes:
    return pem[pem.index(b"-----BEGIN PRIVATE KEY") :]


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


def _small() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)


_F = DialFault

HOSTILE = {
    "expired": Hostile(tls(lambda p: p.server(not_after=NOW - DAY)), _F.CERTIFICATE_EXPIRED, "has expired"),
    "not yet valid": Hostile(tls(lambda p: p.server(not_before=NOW + DAY)), _F.CERTIFICATE_EXPIRED, "not valid yet"),
    "wrong host": Hostile(tls(lambda p: p.server("hub.example")), _F.CERTIFICATE_HOST, "another host name"),
    "wildcard of another domain": Hostile(tls(lambda p: p.server("*.example")), _F.CERTIFICATE_HOST, "another host"),
    "an address instead of the name": Hostile(
        tls(lambda p: p.server("127.0.0.1")), _F.CERTIFICATE_HOST, "another host"
    ),
    "the name instead of the address": Hostile(
        tls(lambda p: p.server()), _F.CERTIFICATE_HOST, "does not list this IP address", host="127.0.0.1"
    ),
    "the address written as a name": Hostile(
        tls(lambda p: _names(p, "127.0.0.1")), _F.CERTIFICATE_HOST, "does not list this IP address", host="127.0.0.1"
    ),
    "another address": Hostile(
        tls(lambda p: p.server("127.0.0.2")), _F.CERTIFICATE_HOST, "does not list this IP address", host="127.0.0.1"
    ),
    "a wildcard for everything": Hostile(tls(lambda p: _names(p, "*")), _F.CERTIFICATE_HOST, "another host name"),
    "a wildcard inside a name": Hostile(tls(lambda p: _names(p, "l*t")), _F.CERTIFICATE_HOST, "another host name"),
    "the name and a NUL": Hostile(
        tls(lambda p: _names(p, "localhost\0.hub.example")), _F.CERTIFICATE_HOST, "another host name"
    ),
    "common name only": Hostile(tls(lambda p: _leaf(p, san=False)), _F.CERTIFICATE_HOST, "another host name"),
    "common name of another host": Hostile(
        tls(lambda p: _leaf(p, name="hub.example", san=False)), _F.CERTIFICATE_HOST, "another host name"
    ),
    "unknown authority": Hostile(
        tls(lambda p: p.server(ca=trustme.CA())), _F.CERTIFICATE_UNTRUSTED, "an authority unknown here"
    ),
    "self-signed": Hostile(tls(lambda p: p.serving(p.forged()[0])), _F.CERTIFICATE_UNTRUSTED, "is self-signed"),
    "self-signed for another host": Hostile(
        tls(lambda p: p.serving(p.forged(name="hub.example")[0])), _F.CERTIFICATE_UNTRUSTED, "is self-signed"
    ),
    "an authority of the same name": Hostile(tls(_impostor), _F.CERTIFICATE_UNTRUSTED, "an authority unknown here"),
    "chain without its middle": Hostile(
        tls(lambda p: _chain(p, sent=False)), _F.CERTIFICATE_UNTRUSTED, "an authority unknown here"
    ),
    "chain with an expired middle": Hostile(tls(lambda p: _chain(p, days=-1)), _F.CERTIFICATE_EXPIRED, "has expired"),
    "signed by a server": Hostile(tls(lambda p: _chain(p, is_ca=False)), _F.CERTIFICATE_INVALID, "not acceptable"),
    "signed by an authority that may not": Hostile(
        tls(lambda p: _chain(p, may_sign=False)), _F.CERTIFICATE_INVALID, "not acceptable"
    ),
    "signed by an authority of other names": Hostile(
        tls(lambda p: _chain(p, critical=x509.NameConstraints([x509.DNSName("hub.example")], None))),
        _F.CERTIFICATE_INVALID,
        "subtree violation",
    ),
    "signed by an authority of all names but this": Hostile(
        tls(lambda p: _chain(p, critical=x509.NameConstraints(None, [x509.DNSName("localhost")]))),
        _F.CERTIFICATE_INVALID,
        "subtree violation",
    ),
    "an authority below one that may have none": Hostile(tls(_too_deep), _F.CERTIFICATE_INVALID, "path length"),
    "broken signature": Hostile(tls(_broken_signature), _F.CERTIFICATE_INVALID, "signature failure"),
    "a client's certificate": Hostile(
        tls(lambda p: _leaf(p, usage=ExtendedKeyUsageOID.CLIENT_AUTH)), _F.CERTIFICATE_INVALID, "not acceptable"
    ),
    "a condition that nobody knows": Hostile(
        tls(lambda p: _leaf(p, critical=x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"))),
        _F.CERTIFICATE_INVALID,
        "critical extension",
    ),
    "weak key": Hostile(tls(lambda p: _leaf(p, key=_small())), _F.CERTIFICATE_INVALID, "too weak"),
    "weak key of the authority": Hostile(tls(lambda p: _chain(p, key=_small())), _F.CERTIFICATE_INVALID, "too weak"),
    "weak signature": Hostile(tls(_weak_signature), _F.CERTIFICATE_INVALID, "too weak"),
    "TLS 1.1 at most": Hostile(tls(_tls_1_1), _F.TLS_VERSION, "no TLS version of 1.2 or later"),
    "picks TLS 1.1": Hostile(bytes_of(server_hello(2)), _F.TLS_VERSION, "no TLS version of 1.2"),
    "picks TLS 1.0": Hostile(bytes_of(server_hello(1)), _F.TLS_VERSION, "no TLS version of 1.2"),
    "picks SSL 3": Hostile(bytes_of(server_hello(0)), _F.TLS_VERSION, "no TLS version of 1.2"),
    "hides that it knows TLS 1.3": Hostile(
        bytes_of(server_hello(3, random=bytes(24) + b"DOWNGRD\1", cipher=b"\xc0\x2f")), _F.TLS, "failed:"
    ),
    "picks a cipher that was not offered": Hostile(bytes_of(server_hello(3)), _F.TLS, "failed:"),
    "alert: protocol version": Hostile(bytes_of(alert(70)), _F.TLS_VERSION, "no TLS version of 1.2"),
    "alert: handshake failure": Hostile(bytes_of(alert(40)), _F.TLS, "shares no cipher"),
    "alert: unrecognized name": Hostile(bytes_of(alert(112)), _F.TLS, "does not serve this host name"),
    "alert: internal error": Hostile(bytes_of(alert(80)), _F.TLS, "internal error"),
    "alert: goodbye": Hostile(bytes_of(bytes((0x15, 3, 3, 0, 2, 1, 0))), _F.TLS, "in the middle of the TLS handshake"),
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
    "echoes": Hostile(lambda p: _echoing, _F.TLS, "failed:"),
    "data before the handshake": Hostile(bytes_of(b"\x17\x03\x03\x00\x05hello"), _F.TLS, "failed:"),
    "endless warnings": Hostile(bytes_of(bytes((0x15, 3, 3, 0, 2, 1, 90)) * 5000), _F.TLS, "failed:"),
    "closes at once": Hostile(bytes_of(b"", listen=False, stay=False), _F.TLS, "in the middle of the TLS handshake"),
    "closes after ClientHello": Hostile(bytes_of(b"", stay=False), _F.TLS, "in the middle of the TLS handshake"),
    "resets after ClientHello": Hostile(lambda p: _reset, _F.TLS, "in the middle of the TLS handshake"),
    "closes in the middle of its flight": Hostile(_half_a_flight, _F.TLS, "in the middle of the TLS handshake"),
    "closes before its last word": Hostile(_without_finished, _F.TLS, "in the middle of the TLS handshake"),
    "closes in the middle of a record": Hostile(
        bytes_of(server_hello(3)[:20], stay=False), _F.TLS, "in the middle of the TLS handshake"
    ),
    "silent": Hostile(bytes_of(b""), _F.TIMEOUT, "did not finish the TLS handshake in time"),
    "silent in the middle of a record": Hostile(bytes_of(server_hello(3)[:20]), _F.TIMEOUT, "did not finish the TLS"),
}
