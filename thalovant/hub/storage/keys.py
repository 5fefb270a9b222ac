"""A hub's own identity: its Noise key, its RSA key, whose public half is its node id, and its certificates."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence

from attrs import field, frozen

from thalovant_proto.crypto.noise import public_key
from thalovant_proto.secret import Secret

from . import certificates as pki
from .sqlite import Store


@frozen(kw_only=True)
class HubKeys:
    """The identity of a hub. `pubkey` is the RSA public key as PEM, which is the node id too (wire.md §1.2)."""

    static_key: Secret[bytes]
    pubkey: str = field(repr=False)
    authority: pki.Certificate
    server: pki.Certificate

    @property
    def public_key(self) -> bytes:
        """The public half of the Noise key, 32 bytes: what clients pin."""
        return public_key(self.static_key)


def load_keys(state: Store, names: Sequence[str], now: datetime.datetime) -> HubKeys:
    """The keys in `state`, made where they are missing; the certificate is for `names`, and renewed in good time.

    Takes up to a second at first: call it in a thread.
    """
    from thalovant_proto.crypto import rsa

    pem = state.get("rsa_key")
    static_key = state.get("static_key")
    if pem is None or static_key is None:
        pem, static_key = rsa.private_pem(rsa.generate()).reveal(), os.urandom(32)
        state.put(rsa_key=pem, static_key=static_key)
    authority, server = certificates(state, names, now)
    return HubKeys(
        static_key=Secret(static_key),
        pubkey=rsa.public_pem(rsa.load_private(Secret(pem))),
        authority=authority,
        server=server,
    )


def certificates(state: Store, names: Sequence[str], now: datetime.datetime) -> tuple[pki.Certificate, pki.Certificate]:
    """The authority and the server's certificate in `state`, renewed where they end soon. Takes milliseconds."""
    authority = _certificate(state.get("authority"), state.get("authority_key"))
    server = _certificate(state.get("server"), state.get("server_key"))
    if authority is None or now >= authority.x509.not_valid_after_utc - pki.RENEW_BEFORE:
        authority, server = pki.make_authority(now), None
        state.put(authority=authority.pem, authority_key=authority.key.reveal())
    if server is None or not pki.is_good(server, names, now):
        server = pki.make_server(authority, names, now)
        state.put(server=server.pem, server_key=server.key.reveal())
    return authority, server


def _certificate(pem: bytes | None, key: bytes | None) -> pki.Certificate | None:
    return None if pem is None or key is None else pki.Certificate(pem, Secret(key))
