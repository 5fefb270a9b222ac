"""Every verdict: what a dial, a fault or a close means, whether it is final, and what it tells people to do."""

from __future__ import annotations

import pytest
from attrs import evolve

from thalovant_proto import errors
from thalovant_proto.carrier import CloseKind
from thalovant_proto.codec.legacy_policy import UNREAD_WITHIN
from thalovant_proto.dial import DialFailed, DialFault
from thalovant_proto.events import Generation
from thalovant_proto.failures import (
    Failure,
    FailureKind,
    Progress,
    ended_unread,
    from_close,
    from_dial,
    from_fault,
    wrong_crypto_key,
)

DIALING = Progress()
GREETED = Progress(greeted=True)
PRESHARED = Progress(greeted=True, completed=True, generation=Generation.PRESHARED, sealed_for=0.01)
PRESHARED_LONG = Progress(
    greeted=True, completed=True, generation=Generation.PRESHARED, sealed_for=UNREAD_WITHIN + 0.01
)
NOISE = Progress(greeted=True, completed=True, generation=Generation.NOISE, pattern="XXpsk2", sealed_for=0.75)
NOISE_LONG, NOISE_KK = evolve(NOISE, sealed_for=0.751), evolve(NOISE, pattern="KKpsk0")
PROVEN = Progress(greeted=True, completed=True, proven=True, generation=Generation.NOISE, sealed_for=9.0)

CERTIFICATES = {
    DialFault.CERTIFICATE_UNTRUSTED: "ca_file",
    DialFault.CERTIFICATE_EXPIRED: "renewed",
    DialFault.CERTIFICATE_HOST: "host name",
    DialFault.CERTIFICATE_INVALID: "another certificate",
}


@pytest.mark.parametrize("fault", DialFault)
def test_every_dial_fault(fault):
    """The phase is the kind, certificates and foreign ports are final, and all say what to do."""
    phase = "dns" if fault is DialFault.DNS else "connect" if fault in CONNECTING else "tls"

    failure = from_dial(DialFailed(phase=phase, fault=fault, message="hub.test port 5678: no"))

    assert failure.kind is FailureKind(phase)
    assert failure.message == "hub.test port 5678: no"
    assert failure.hint
    assert failure.final == (fault in {*CERTIFICATES, DialFault.TLS_VERSION, DialFault.NOT_TLS}) == fault.final
    assert CERTIFICATES.get(fault, "") in failure.hint


CONNECTING = {DialFault.REFUSED, DialFault.UNREACHABLE, DialFault.TIMEOUT, DialFault.OTHER}

FAULTS = [
    (errors.PeerKeyChanged("x", expected="a", received="b"), FailureKind.HUB_KEY_CHANGED, True),
    (errors.DowngradeRefused("x"), FailureKind.DOWNGRADE, True),
    (errors.CredentialsMissing("x"), FailureKind.CREDENTIALS_MISSING, True),
    (errors.CredentialsRefused("x", code="wrong_password"), FailureKind.WRONG_PASSWORD, True),
    (errors.CredentialsRefused("x", code="mqtt_topics_refused"), FailureKind.REFUSED, True),
    (errors.RemoteProtocolError("x", code="mqtt_version_refused"), FailureKind.REFUSED, True),
    (errors.RemoteProtocolError("x", code="mqtt_client_id_refused"), FailureKind.REFUSED, True),
    (errors.HandshakeTimeout("x"), FailureKind.HANDSHAKE_TIMEOUT, False),
    (errors.RemoteProtocolError("x"), FailureKind.PROTOCOL, False),
    (errors.LocalProtocolError("x"), FailureKind.PROTOCOL, True),
]


@pytest.mark.parametrize(("error", "kind", "final"), FAULTS, ids=lambda value: getattr(value, "value", None))
def test_every_fault(error, kind, final):
    """The error is the cause and gives its words; what waiting cannot mend is final."""
    error.hint = "do that"

    failure = from_fault(error, 502)

    assert failure == Failure(kind=kind, message="x", hint="do that", final=final, code=502, cause=error)


def test_refusals_and_timeouts_have_words():
    """Before the hello it is the access key or the endpoint, after it the secrets."""
    assert "endpoint" in from_fault(errors.HandshakeTimeout("x")).hint
    assert from_fault(errors.RemoteProtocolError("x")).hint == ""
    assert "access key" in from_close(CloseKind.REFUSED, None, "", DIALING).message
    assert "password" in from_close(CloseKind.REFUSED, None, "", GREETED).hint
    assert "Re-pair, or share the key folder" in from_close(CloseKind.REFUSED, None, "", NOISE).message


LOST, REFUSED, FORGOTTEN, DISPLACED, CLOSED = (
    FailureKind.LOST, FailureKind.REFUSED, FailureKind.FORGOTTEN, FailureKind.DISPLACED, FailureKind.CLOSED,
)  # fmt: skip
KEY, CRYPTO = FailureKind.CLIENT_KEY_REJECTED, FailureKind.WRONG_CRYPTO_KEY
STAGES = {
    "dialing": DIALING, "greeted": GREETED, "v0": PRESHARED, "v0 later": PRESHARED_LONG, "v3": NOISE,
    "v3 later": NOISE_LONG, "v3 pinned": NOISE_KK, "proven": PROVEN,
}  # fmt: skip

CLOSES = {
    (CloseKind.LOST, "any"): dict.fromkeys(STAGES, LOST),
    (CloseKind.DISPLACED, "any"): dict.fromkeys(STAGES, DISPLACED),
    (CloseKind.CLOSED, "any"): dict.fromkeys(STAGES, CLOSED),
    (CloseKind.REFUSED, "verdict while unproven"): {
        "dialing": REFUSED, "greeted": REFUSED, "v0": CRYPTO, "v0 later": LOST, "v3": KEY, "v3 later": LOST,
        "v3 pinned": REFUSED, "proven": LOST,
    },
    (CloseKind.FORGOTTEN, "verdict with unproven keys"): {
        **dict.fromkeys(STAGES, FORGOTTEN), "v0": CRYPTO, "v3": KEY,
    },
}  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("close", CLOSES, ids=lambda close: close[0].value)
def test_every_close(close, stage):
    """What the same close means before the hello, in the handshake, with keys, and once the session was proven."""
    failure = from_close(close[0], 1008, "", STAGES[stage])

    assert failure.kind is CLOSES[close][stage]
    assert failure.final == (failure.kind in (REFUSED, KEY, CRYPTO))
    assert failure.code == 1008
    assert bool(failure.hint) == (failure.final or failure.kind is DISPLACED)


def test_a_refusal_that_may_be_trouble_is_tried_again():
    """500 is how older hubs refuse an access key over HTTPS, and what any hub says in trouble: no verdict for good."""
    failure = from_close(CloseKind.REFUSED, 500, "Connection failed", DIALING)

    assert (failure.kind, failure.final) == (REFUSED, False)
    assert failure.hint
    assert from_close(CloseKind.REFUSED, 403, "", DIALING).final
    assert from_close(CloseKind.REFUSED, 403, "", NOISE_LONG).kind is KEY  # an answer may be late, a close may not


@pytest.mark.parametrize(
    ("code", "reason", "said"), [(1008, "no", ": no"), (1006, "", " (code 1006)"), (None, "", ""), (None, "no", ": no")]
)
def test_close_says_what_the_other_side_said(code, reason, said):
    """Its reason, else its number, else nothing."""
    assert from_close(CloseKind.LOST, code, reason, PROVEN).message == f"the connection to the hub was lost{said}"


def test_wrong_crypto_key_looks_like_network_trouble():
    """v0, lost, unproven, within a second of the first sealed frame. Anything else is what it looks like."""
    assert ended_unread(PRESHARED, CloseKind.LOST)
    assert not ended_unread(PRESHARED_LONG, CloseKind.LOST)
    assert not ended_unread(PRESHARED, CloseKind.REFUSED)
    assert not ended_unread(PRESHARED, None)
    assert not ended_unread(NOISE, CloseKind.LOST)
    assert not ended_unread(DIALING, CloseKind.LOST)
    proven = Progress(greeted=True, completed=True, proven=True, generation=Generation.PRESHARED, sealed_for=0.01)
    assert not ended_unread(proven, CloseKind.LOST)
    assert (wrong_crypto_key().final, wrong_crypto_key().code) == (True, None)


def test_values_are_stable_words():
    """Programs compare them."""
    assert all(kind.value == kind.name.lower() for kind in (*FailureKind, *DialFault))
