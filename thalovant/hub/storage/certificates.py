"""A hub's own throw-away certificate authority, so that TLS is verified on a developer's machine too.

Slow to import: import it where it is used.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from thalovant_proto.secret import Secret

#: Names that every hub is reached by from its own machine.
LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")

_DAY: Final = datetime.timedelta(days=1)
_CA_LIFE: Final = 3650 * _DAY
_SERVER_LIFE: Final = 397 * _DAY  # the longest that common clients take
RENEW_BEFORE: Final = 30 * _DAY
_BACKDATED: Final = 1 * _DAY  # for clients whose clock is behind


@frozen
class Certificate:
    """A certificate and its private key, both as PEM."""

    pem: bytes = field(repr=False)
    key: Secret[bytes]

    @property
    def x509(self) -> x509.Certificate:
        """The certificate, parsed."""
        return x509.load_pem_x509_certificate(self.pem)


def make_authority(now: datetime.datetime) -> Certificate:
    """A new authority: EC P-256, ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Thalovant hub {x509.random_serial_number() >> 128:x}")])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        _builder(name, name, key, now, _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return _certificate(certificate, key)


def make_server(authority: Certificate, names: Iterable[str], now: datetime.datetime) -> Certificate:
    """A new certificate of `authority` for DNS names and IP addresses: EC P-256, 397 days."""
    key = ec.generate_private_key(ec.SECP256R1())
    unique = tuple(dict.fromkeys((*names, *LOCAL_NAMES)))
    issuer = authority.x509
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, unique[0][:64])])
    signing_key = serialization.load_pem_private_key(authority.key.reveal(), None)
    assert isinstance(signing_key, ec.EllipticCurvePrivateKey)  # noqa: S101 - `make_authority` made it
    certificate = (
        _builder(name, issuer.subject, key, now, _SERVER_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(one) for one in unique]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False)
        .sign(signing_key, hashes.SHA256())
    )
    return _certificate(certificate, key)


def is_good(certificate: Certificate, names: Iterable[str], now: datetime.datetime) -> bool:
    """Whether a server certificate covers `names` and lasts for a while."""
    found = certificate.x509
    covered = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if not all(_general_name(name) in covered for name in names):
        return False
    return found.not_valid_before_utc <= now < found.not_valid_after_utc - RENEW_BEFORE


def load_into(context: ssl.SSLContext, certificate: Certificate) -> None:
    """Let a context show this certificate from now on."""
    # The library takes files only: one that nobody else can read, for a moment.
    with tempfile.TemporaryDirectory(prefix="thalovant-") as folder:
        path = Path(folder, "server.pem")
        path.touch(0o600)
        path.write_bytes(certificate.pem + certificate.key.reveal())
        context.load_cert_chain(path)


def server_context(certificate: Certificate) -> ssl.SSLContext:
    """The context of a listener: TLS 1.2 or later."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0  # nobody resumes; each ticket is bytes and time at every connection
    load_into(context, certificate)
    return context


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    life: datetime.timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _certificate(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Certificate:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = key.private_bytes(encoding, form, serialization.NoEncryption())
    return Certificate(certificate.public_bytes(encoding), Secret(private))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode())
