"""Certificates, good ones by trustme and bad ones by hand."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def _usage(may_sign: bool) -> x509.KeyUsage:
    """What the key of an authority is for: to sign certificates, or only what a server signs."""
    return x509.KeyUsage(
        key_cert_sign=may_sign,
        crl_sign=may_sign,
        digital_signature=not may_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


class Pki:
    """An authority, its file, and contexts of both sides."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.ca.cert_pem.write_to_path(self.ca_file)

    def server(self, *names: str, ca: trustme.CA | None = None, **options: Any) -> ssl.SSLContext:
        """A server's context, with a certificate for `names` (by default "localhost")."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (ca or self.ca).issue_cert(*(names or ("localhost",)), **options).configure_cert(context)
        return context

    def client(self) -> ssl.SSLContext:
        """A client's context that trusts the authority."""
        return ssl.create_default_context(cafile=self.ca_file)

    def forged(
        self,
        *,
        name: str = "localhost",
        san: bool = True,
        issuer: tuple[x509.Name, Key] | None = None,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
        is_ca: bool = False,
        may_sign: bool = True,
        path_length: int | None = None,
        key: Key | None = None,
        days: int = 1,
        algorithm: hashes.SHA1 | hashes.SHA256 = hashes.SHA256(),  # noqa: B008 - it has no state
        critical: x509.ExtensionType | None = None,
    ) -> tuple[bytes, x509.Name, Key]:
        """A certificate as no good authority makes it: PEM with its key, its subject and its key.

        Without an `issuer` it is self-signed. `critical` is one more extension, which nobody may pass over.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer[0])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 30 * DAY)
            .not_valid_after(NOW + days * DAY)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=path_length), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer[1] if issuer else key).public_key()),
                critical=False,
            )
        )
        if is_ca:
            builder = builder.add_extension(_usage(may_sign), critical=True)
        if critical is not None:
            builder = builder.add_extension(critical, critical=True)
        if san:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        certificate = builder.sign(key if issuer is None else issuer[1], algorithm)
        pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem, subject, key

    def issuer(self) -> tuple[x509.Name, Key]:
        """The authority itself, to forge with."""
        key = serialization.load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return x509.load_pem_x509_certificate(self.ca.cert_pem.bytes()).subject, key

    def serving(self, *pems: bytes) -> ssl.SSLContext:
        """A server's context with a forged certificate, first of the chain and with its key."""
        path = self.folder / "forged.pem"
        path.write_bytes(b"".join(pems))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.load_cert_chain(path)
        return context
