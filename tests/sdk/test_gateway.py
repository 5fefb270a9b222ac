"""A gateway before the hub that lets in who shows a certificate of its own, and a header."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from tests.io.pki import Pki
from thalovant import (
    AsyncThalovantClient,
    HubDataPlaneEndpoints,
    ThalovantClient,
    ThalovantConnectionError,
    ThalovantHubRefusedError,
    ThalovantIdentity,
    ThalovantIdentityError,
)
from thalovant.testing import hub

from .identities import FULL, PLAIN, write

HEADERS = {"X-Gate-Id": "kiosk", "X-Gate-Secret": "open-sesame"}


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def own(pki) -> tuple[str, str]:
    """The client's certificate and key, in two files."""
    made = pki.ca.issue_cert("kiosk")
    files = str(pki.folder / "own.pem"), str(pki.folder / "own.key")
    made.cert_chain_pems[0].write_to_path(files[0])
    made.private_key_pem.write_to_path(files[1])
    return files


@pytest.fixture(scope="module")
def plain_identity():
    with hub(tls=False) as running:
        yield running.identity()


@contextlib.asynccontextmanager
async def gateway(pki: Pki, identity: ThalovantIdentity, protocol: str) -> AsyncIterator[ThalovantIdentity]:
    """Gives the identity of the hub behind it. Every connection needs certificate and headers, or is answered 403."""
    behind = urlsplit(identity.endpoint_for(protocol))
    context = pki.server("localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(pki.ca_file)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            if not all(f"{name}: {value}" in lines for name, value in HEADERS.items()):
                writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 11\r\n\r\nopen-sesame")
                writer.close()
                return
            back, forth = await asyncio.open_connection(behind.hostname, behind.port)
            forth.write(head)
            await asyncio.gather(pump(reader, forth), pump(back, writer))

    server = await asyncio.start_server(serve, "localhost", 0, ssl=context, family=2)
    port = server.sockets[0].getsockname()[1]
    endpoints = HubDataPlaneEndpoints(**{protocol: f"{protocol}://localhost:{port}{behind.path}"})
    try:
        yield replace(identity, data_plane_endpoints=endpoints, ca_file=pki.ca_file)
    finally:
        server.close()
        await asyncio.gather(*serving, return_exceptions=True)


@pytest.mark.parametrize("protocol", ["wss", "https"])
@pytest.mark.parametrize("given", ["identity", "argument"])
async def test_through_a_gateway(protocol, given, pki, own, plain_identity, each_loop):
    """Certificate and headers of the identity, or of the constructor, open it."""
    options = {"client_cert_file": own[0], "client_key_file": own[1], "headers": HEADERS}
    async with gateway(pki, plain_identity, protocol) as identity:
        if given == "identity":
            identity, options = replace(identity, **options), {}
        client = AsyncThalovantClient(identity, protocol=protocol, noise_state_dir=pki.folder / "keys", **options)
        async with client:
            assert (await client.ask("hi")).ok


@pytest.mark.parametrize("protocol", ["wss", "https"])
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"headers": {}}, ThalovantHubRefusedError, "403"),
        ({"headers": {"x-gate-id": "kiosk", "x-gate-secret": "wrong"}}, ThalovantHubRefusedError, "403"),
        ({"client_cert_file": None, "client_key_file": None}, ThalovantConnectionError, "TLS"),
        ({"client_key_file": None}, ThalovantConnectionError, "it is no PEM text with certificate and key"),
        ({"client_cert_file": "/nowhere.pem"}, ThalovantConnectionError, "Client certificate /nowhere.pem cannot be"),
        ({"client_key_file": "{folder}/other.key"}, ThalovantConnectionError, "other.key is another's"),
        ({"client_key_file": "{folder}/encrypted.key"}, ThalovantConnectionError, "its key is encrypted"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
async def test_what_does_not_open_it(protocol, change, error, words, pki, own, plain_identity, tmp_path):
    """Each error names the reason; none repeats what the gateway says of the header's secret."""
    key = trustme.CA().issue_cert("other").private_key_pem.bytes()
    (tmp_path / "other.key").write_bytes(key)
    (tmp_path / "encrypted.key").write_bytes(encrypted(key))
    options = {"client_cert_file": own[0], "client_key_file": own[1], "headers": HEADERS} | {
        name: value.format(folder=tmp_path) if isinstance(value, str) else value for name, value in change.items()
    }
    async with gateway(pki, plain_identity, protocol) as identity:
        client = AsyncThalovantClient(
            replace(identity, **options), protocol=protocol, noise_state_dir=tmp_path, reconnect_attempts=0
        )
        with pytest.raises(error) as caught:
            await client.connect()
        await client.close()
    assert words in f"{caught.value} {caught.value.hint}"
    assert "open-sesame" not in f"{caught.value!r} {caught.value.hint}"


def encrypted(pem: bytes) -> bytes:
    key = serialization.load_pem_private_key(pem, None)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"x"))


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Host": "x"}, "The header Host is the link's own: leave it out."),
        ({"sec-websocket-key": "x"}, "The header sec-websocket-key is the link's own: leave it out."),
        ({"Cookie": "x"}, "The header Cookie is the link's own: leave it out."),
        ({"X-A": "one\r\nX-B: two"}, "The value of header X-A must be printable ASCII on one line"),
        ({"X-A": "open-sesame€"}, "The value of header X-A must be printable ASCII on one line"),
        ({"X-A": ""}, "The value of header X-A must be printable ASCII on one line"),
        ({"X A: b\r\n": "x"}, "A header's name must be a token"),
    ],
)
def test_headers_that_cannot_be(headers, message, tmp_path):
    """They are refused before anything is dialed, in the identity and as an argument."""
    plain = ThalovantIdentity.from_mapping(PLAIN)
    makers = (
        lambda: ThalovantClient(plain, protocol="https", headers=headers, noise_state_dir=tmp_path),
        lambda: ThalovantClient(replace(plain, headers=headers), protocol="https", noise_state_dir=tmp_path),
    )
    for make in makers:
        with pytest.raises(ThalovantIdentityError, match=re.escape(message)) as caught:
            make()
        assert "open-sesame" not in repr(caught.value)


@pytest.mark.parametrize("given", [5, ["X-A"], {"X-A": 5}, {"X-A": None}])
def test_headers_of_another_type(given, tmp_path):
    """A file with such is refused by name."""
    file = write(tmp_path / "id.json", PLAIN | {"headers": given})

    with pytest.raises(ThalovantIdentityError, match="headers"):
        ThalovantIdentity.from_file(file)


def test_headers_are_secrets(tmp_path):
    """They are saved and read back, relative paths found beside the file, and shown to nobody."""
    fields = {"headers": HEADERS, "client_cert_file": "own.pem", "client_key_file": "own.key"}
    identity = ThalovantIdentity.from_file(write(tmp_path / "id.json", FULL | fields))

    again = ThalovantIdentity.from_config(identity.save_to_config(path=tmp_path / "elsewhere"), profile="default")

    assert again == identity
    assert (again.headers, again.client_cert_file) == (HEADERS, str(tmp_path / "own.pem"))
    shown = f"{identity!r} {json.dumps(identity.as_dict())}"
    assert (HEADERS["X-Gate-Secret"] in shown, "X-Gate-Secret" in shown) == (False, True)


def test_a_key_without_its_certificate(tmp_path):
    """It cannot be meant."""
    with pytest.raises(ValueError, match="client_key_file is the key of client_cert_file"):
        ThalovantClient(ThalovantIdentity.from_mapping(PLAIN), client_key_file="x.key", noise_state_dir=tmp_path)
