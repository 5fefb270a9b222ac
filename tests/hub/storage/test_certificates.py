"""The hub's own authority: what it signs, for whom, for how long, and that it survives restarts."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from thalovant.hub.storage.certificates import (
    Certificate,
    is_good,
    load_into,
    make_authority,
    make_server,
    server_context,
)
from thalovant.hub.storage.keys import HubKeys, load_keys
from thalovant.hub.storage.sqlite import Store
from thalovant_io.tls import TlsPipe

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> Certificate:
    """An authority."""
    return make_authority(NOW)


def shaken(authority: Certificate, context: ssl.SSLContext, name: str) -> TlsPipe:
    """A client that trusts the authority, after a TLS handshake for that name."""
    trusting = ssl.create_default_context(cadata=authority.pem.decode())
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    client = TlsPipe(trusting, "hub", server_hostname=name)
    server = TlsPipe(context, "client", server_side=True)
    for _ in range(4):
        server.receive(client.data_to_send())
        client.receive(server.data_to_send())
    return client


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "hub.example", "192.0.2.7", "bücher.example"])
def test_clients_that_trust_the_authority_reach_every_name(authority: Certificate, name: str) -> None:
    """By the given names and addresses, and by those of this machine; checked as strictly as OpenSSL can."""
    server = make_server(authority, ["hub.example", "192.0.2.7", "bücher.example"], NOW)

    client = shaken(authority, server_context(server), name)

    assert client.fault is None
    assert client.ready


def test_other_names_are_refused(authority: Certificate) -> None:
    """A certificate for everything would be worth nothing."""
    client = shaken(authority, server_context(make_server(authority, ["hub.example"], NOW)), "other.example")

    assert client.fault is not None
    assert "another host name" in client.fault.message


def test_another_authority_is_not_trusted(authority: Certificate) -> None:
    """Each hub has its own, with a name of its own."""
    other = make_authority(NOW)
    client = shaken(authority, server_context(make_server(other, [], NOW)), "localhost")

    assert client.fault is not None
    assert other.x509.subject != authority.x509.subject


def test_certificates_are_small_and_short_lived(authority: Certificate) -> None:
    """P-256 throughout; 397 days is the longest that common clients take; the authority signs servers only."""
    server = make_server(authority, [], NOW)

    for certificate in (authority, server):
        key = certificate.x509.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"
        assert certificate.x509.not_valid_before_utc <= NOW - DAY
    assert server.x509.not_valid_after_utc == NOW + 397 * DAY
    assert authority.x509.not_valid_after_utc == NOW + 3650 * DAY
    limits = authority.x509.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (limits.ca, limits.path_length) == (True, 0)


def test_private_keys_are_not_shown(authority: Certificate) -> None:
    """In no repr."""
    assert "PRIVATE" not in repr(authority)


@pytest.mark.parametrize(
    ("names", "days", "good"),
    [
        ([], 0, True),
        (["hub.example", "localhost"], 366, True),
        (["hub.example"], 367, False),
        (["hub.example"], 400, False),
        (["other.example"], 0, False),
        (["192.0.2.7"], 0, False),
        (["hub.example"], -2, False),
    ],
)
def test_a_certificate_is_good_for_its_names_and_time(
    authority: Certificate, names: Sequence[str], days: int, good: bool
) -> None:
    """Renewed 30 days before its end; not good before its beginning."""
    server = make_server(authority, ["hub.example"], NOW)

    assert is_good(server, names, NOW + days * DAY) is good


def test_a_context_takes_a_new_certificate(authority: Certificate) -> None:
    """Without being replaced: a listener that runs shows it to the next client."""
    context = server_context(make_server(authority, ["old.example"], NOW))
    load_into(context, make_server(authority, ["new.example"], NOW))

    assert shaken(authority, context, "new.example").ready


# --- all keys of a hub -----------------------------------------------------------------------------------------------


def keys_at(folder: Path, names: Sequence[str], now: datetime.datetime) -> HubKeys:
    """The keys of a hub that starts then."""
    state = Store.open(folder, now=now)
    try:
        return load_keys(state, names, now)
    finally:
        state.close(now=now)


def test_a_hub_stays_who_it_is(tmp_path: Path) -> None:
    """Every key and certificate survives a restart; clients that pinned it come back."""
    first = keys_at(tmp_path, ["hub.example"], NOW)

    assert first == keys_at(tmp_path, ["hub.example"], NOW + DAY)
    assert first.pubkey.startswith("-----BEGIN PUBLIC KEY-----")
    assert 32 == len(first.public_key) == len(first.static_key.reveal())
    assert "PRIVATE" not in repr(first)


def test_the_certificate_follows_names_and_time(tmp_path: Path) -> None:
    """A new name or its near end renews the server's certificate; the authority that clients trust stays."""
    first = keys_at(tmp_path, ["hub.example"], NOW)
    named = keys_at(tmp_path, ["other.example"], NOW)
    late = keys_at(tmp_path, ["other.example"], NOW + 380 * DAY)

    assert first.authority == named.authority == late.authority
    assert len({first.server.pem, named.server.pem, late.server.pem}) == 3
    assert is_good(late.server, ["other.example"], NOW + 380 * DAY)
    assert (first.static_key, first.pubkey) == (late.static_key, late.pubkey)


def test_an_authority_ends_too(tmp_path: Path) -> None:
    """After ten years both are new; the hub itself is still the same."""
    first = keys_at(tmp_path, [], NOW)
    later = NOW + 3630 * DAY
    last = keys_at(tmp_path, [], later)

    assert first.authority != last.authority
    assert last.server.x509.issuer == last.authority.x509.subject
    assert first.pubkey == last.pubkey
