"""The TLS pipe without sockets: both ends, any cut of the bytes, goodbyes and faults; and the contexts of clients."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from hypothesis import HealthCheck, given, strategies as st

from tests.examples import examples
from tests.io.pki import Pki
from thalovant_io.tls import CaFileError, TlsPipe, default_context
from thalovant_proto.dial import DialFault


class Ends:
    """A client's and a server's pipe, and the wire between them."""

    def __init__(self, pki: Pki, *, cut: int | None = None, server: ssl.SSLContext | None = None) -> None:
        self.client = TlsPipe(pki.client(), "hub.example:443", server_hostname="localhost")
        self.server = TlsPipe(server or pki.server(), "10.0.0.1 port 4242", server_side=True)
        self.cut = cut
        self.heard: dict[TlsPipe, bytes] = {self.client: b"", self.server: b""}

    def carry(self) -> Ends:
        """Move bytes until there are none."""
        moved = True
        while moved:
            moved = self._move(self.client, self.server) | self._move(self.server, self.client)
        return self

    def _move(self, source: TlsPipe, target: TlsPipe) -> bool:
        data = source.data_to_send()
        for start in range(0, len(data), self.cut or len(data) or 1):
            self.heard[target] += target.receive(data[start : start + (self.cut or len(data))])
        return bool(data)


@pytest.mark.parametrize("cut", [None, 1, 3, 100])
def test_both_ends_talk_however_the_bytes_are_cut(cut: int | None, pki: Pki) -> None:
    """The handshake completes, and what one sends the other hears, in order."""
    ends = Ends(pki, cut=cut).carry()
    assert (ends.client.ready, ends.server.ready) == (True, True)

    ends.client.send(b"hello ")
    ends.client.send(b"")
    ends.client.send(b"world")
    ends.server.send(bytes(50_000))
    ends.carry()

    assert ends.heard[ends.server] == b"hello world"
    assert ends.heard[ends.client] == bytes(50_000)
    assert (ends.client.fault, ends.server.fault) == (None, None)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_goodbyes_are_heard(version: ssl.TLSVersion, pki: Pki) -> None:
    """Data, then the goodbye, in one delivery: both count. Afterwards the end of the socket is clean."""
    context = pki.server()
    context.maximum_version = version
    ends = Ends(pki, server=context).carry()

    ends.server.send(b"last")
    ends.server.close()
    ends.carry()

    assert ends.heard[ends.client] == b"last"
    assert (ends.client.closed, ends.server.closed) == (True, False)
    assert ends.client.eof() is None
    ends.client.close()
    ends.carry()
    assert ends.server.eof() is None


def test_the_end_of_the_socket_without_a_goodbye(pki: Pki) -> None:
    """In the handshake it is a fault; later a remark, since many leave that way."""
    early = Ends(pki)
    fault = early.client.eof("connection reset by peer")
    assert fault is not None
    assert fault == early.client.fault
    assert "in the middle of the TLS handshake (connection reset by peer)" in fault.message
    assert early.client.eof() == fault

    late = Ends(pki).carry()
    fault = late.client.eof()
    assert fault is not None
    assert fault.message == "hub.example:443 left without a TLS goodbye"
    assert late.client.fault is None

    unhinted = early.server.eof()
    assert unhinted is not None
    assert unhinted.message.endswith("in the middle of the TLS handshake")


@pytest.mark.parametrize("cut", [None, 1])
def test_what_came_before_a_fault_is_heard(cut: int | None, pki: Pki) -> None:
    """A good record, a broken one, a good one: the first is heard, then nothing any more."""
    ends = Ends(pki, cut=cut).carry()
    records = []
    for body in (b"one", b"two", b"three"):
        ends.server.send(body)
        records.append(bytearray(ends.server.data_to_send()))
    records[1][-1] ^= 1

    data = b"".join(records)
    heard = b"".join(ends.client.receive(data[at : at + (cut or len(data))]) for at in range(0, len(data), cut or 1000))

    assert heard == b"one"
    assert ends.client.fault is not None
    assert ends.client.fault.fault is DialFault.TLS
    assert ends.client.eof() == ends.client.fault


def test_nothing_is_sent_after_a_fault(pki: Pki) -> None:
    """But the alert; sending and closing are harmless."""
    ends = Ends(pki).carry()
    ends.client.receive(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert ends.client.fault is not None

    ends.client.send(b"too late")
    ends.client.close()
    ends.carry()

    assert ends.heard[ends.server] == b""
    assert ends.server.fault is not None
    assert "bad record mac" in ends.server.fault.message


@pytest.mark.parametrize(
    ("head", "fault"),
    [
        (b"\x16\x03\x01", None),  # a handshake
        (b"\x15\x03\x03", None),  # an alert
        (b"\x16\x05", DialFault.NOT_TLS),
        (b"\x80\x2e\x01\x00\x02", DialFault.NOT_TLS),  # SSL 2
        (b"HTTP/1.1 200 OK", DialFault.NOT_TLS),
        (b"\x7f", DialFault.NOT_TLS),
    ],
)
@pytest.mark.parametrize("cut", [1, 100])
def test_tls_is_known_by_its_first_bytes(head: bytes, fault: DialFault | None, cut: int, pki: Pki) -> None:
    """The verdict does not depend on how the bytes are cut."""
    pipe = TlsPipe(pki.client(), "hub.example:443", server_hostname="localhost")
    for start in range(0, len(head), cut):
        pipe.receive(head[start : start + cut])
    assert (None if pipe.fault is None else pipe.fault.fault) == fault


@given(st.lists(st.binary(max_size=200), max_size=5), st.booleans(), st.booleans())
@examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_is_the_peers_fault(pki: Pki, chunks: list[bytes], greeted: bool, server_side: bool) -> None:
    """Whatever comes, before or after the handshake, nothing is raised, and nothing of it is heard."""
    ends = Ends(pki)
    if greeted:
        ends.carry()
    pipe = ends.server if server_side else ends.client
    assert b"".join(pipe.receive(chunk) for chunk in chunks) == b""
    if pipe.ready:
        pipe.send(b"an answer")
    pipe.data_to_send()
    pipe.close()
    pipe.eof()


def test_closing_before_the_handshake_is_harmless(pki: Pki) -> None:
    """There is nobody to say goodbye to."""
    pipe = TlsPipe(pki.client(), "hub.example:443", server_hostname="localhost")
    pipe.data_to_send()
    pipe.close()
    assert pipe.data_to_send() == b""


def test_sending_after_the_goodbye_is_harmless(pki: Pki) -> None:
    """Nothing is raised, and nothing leaves."""
    ends = Ends(pki).carry()
    ends.client.close()
    ends.client.send(b"too late")
    ends.carry()
    assert ends.server.closed
    assert ends.heard[ends.server] == b""


def test_a_name_that_no_certificate_can_hold(pki: Pki) -> None:
    """It is the caller's mistake, and said before a byte is sent."""
    with pytest.raises(ValueError, match="server_hostname"):
        TlsPipe(pki.client(), "hub.example:443", server_hostname="")


# --- contexts ---


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No SSL_CERT_FILE and no SSL_CERT_DIR."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    yield monkeypatch


def trusts(context: ssl.SSLContext, pki: Pki) -> bool:
    """Whether a client with this context accepts the authority's server."""
    ends = Ends(pki)
    ends.client = TlsPipe(context, "hub.example:443", server_hostname="localhost")
    ends.heard[ends.client] = b""
    ends.carry()
    assert ends.client.ready is (ends.client.fault is None)
    return ends.client.ready


@pytest.mark.usefixtures("clean_environment")
def test_contexts_verify(pki: Pki) -> None:
    """Certificate and host name are checked, TLS 1.2 is the least; a CA file is trusted, and nothing else then."""
    for context in (default_context(), default_context(pki.ca_file), default_context(Path(pki.ca_file))):
        assert context.check_hostname
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_RENEGOTIATION
    assert trusts(default_context(pki.ca_file), pki)
    assert not trusts(default_context(), pki)


def test_the_environment_names_authorities(clean_environment: pytest.MonkeyPatch, pki: Pki, tmp_path: Path) -> None:
    """SSL_CERT_FILE and SSL_CERT_DIR are honoured, also when they change; a CA file beats them."""
    assert not trusts(default_context(), pki)
    clean_environment.setenv("SSL_CERT_FILE", pki.ca_file)
    assert trusts(default_context(), pki)

    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    assert not trusts(default_context(other), pki)

    clean_environment.setenv("SSL_CERT_FILE", str(other))
    assert not trusts(default_context(), pki)
    hashed = tmp_path / "hashed"
    hashed.mkdir()
    (hashed / f"{subject_hash(pki):08x}.0").write_bytes(Path(pki.ca_file).read_bytes())
    clean_environment.setenv("SSL_CERT_DIR", str(hashed))
    assert trusts(default_context(), pki)


def subject_hash(pki: Pki) -> int:
    """The name that a directory of authorities has for ours."""
    import subprocess

    command = ["openssl", "x509", "-subject_hash", "-noout", "-in", pki.ca_file]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout, 16)


@pytest.mark.usefixtures("clean_environment")
def test_contexts_are_made_once(pki: Pki, tmp_path: Path) -> None:
    """The same file gives the same context, until the file changes; a context of the caller's is left alone."""
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(Path(pki.ca_file).read_bytes())
    first = default_context(ca_file)
    assert first is default_context(str(ca_file))
    assert default_context() is default_context()

    trustme.CA().cert_pem.write_to_path(str(ca_file))
    os.utime(ca_file, ns=(1, 1))
    assert first is not default_context(ca_file)
    assert not trusts(default_context(ca_file), pki)

    own = ssl.create_default_context()
    assert own is default_context("ignored", ssl_context=own)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "holds no certificate in PEM text"),
        ("not a certificate", "holds no certificate in PEM text"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no certificate"),
    ],
)
def test_ca_files_that_cannot_be_used(content: str | None, cause: str, tmp_path: Path) -> None:
    """The message names the file and what is wrong with it."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CaFileError) as caught:
        default_context(path)
    assert f"CA file {path} {cause}" in str(caught.value)


def test_a_folder_is_no_ca_file(tmp_path: Path) -> None:
    """Nor does it look like one by accident."""
    with pytest.raises(CaFileError, match="cannot be read"):
        default_context(tmp_path)
