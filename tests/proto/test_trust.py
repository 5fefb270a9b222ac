"""What a client remembers, as one value: pins, PSKs bound to their password, and what was seen."""

from __future__ import annotations

import copy
import hashlib

import pytest

from thalovant_proto.errors import LocalProtocolError
from thalovant_proto.secret import Secret
from thalovant_proto.trust import MAX_PSKS, PskEntry, Trust, fingerprint, password_binding, psk_id

STATIC = Secret(b"s" * 32)
KEY, OTHER_KEY = Secret(b"k" * 32), Secret(b"o" * 32)
PIN, OTHER_PIN = b"p" * 32, b"q" * 32
ACCESS, PASSWORD = Secret("access"), Secret("pass")
NODE = "-----BEGIN PUBLIC KEY-----\nnode\n-----END PUBLIC KEY-----"


@pytest.fixture
def trust() -> Trust:
    return Trust(static_key=STATIC)


def test_digests_are_those_of_every_client_and_hub():
    """So that caches of other clients are read; the binding parts by zero bytes what it joins (wire.md §1.5)."""
    bound = hashlib.sha256(b"hivemind-noise-psk-binding\0node\0pass").hexdigest()

    assert psk_id(ACCESS, "node") == hashlib.sha256(b"access").hexdigest()[:16] + "@node"
    assert password_binding("node", PASSWORD) == bound
    assert password_binding("a", Secret("bc")) != password_binding("ab", Secret("c"))
    assert fingerprint(PIN) == hashlib.sha256(PIN).hexdigest()


def test_pin_is_never_replaced(trust):
    """It is there under its id, once; another key for that hub is refused, unless the first was forgotten."""
    pinned = trust.with_pin("id", PIN)

    assert (pinned.pins, trust.pins) == ({"id": PIN}, {})
    assert pinned.with_pin("id", PIN) == pinned == pinned.without_pin("other")
    with pytest.raises(LocalProtocolError, match="never replaced"):
        pinned.with_pin("id", OTHER_PIN)
    assert pinned.without_pin("id").with_pin("id", OTHER_PIN).pins == {"id": OTHER_PIN}


def test_psk_is_of_one_password(trust):
    """Found again for the same three; a cached one must not hide a changed password (wire.md §5.7)."""
    cached = trust.with_psk(ACCESS, NODE, PASSWORD, KEY)
    changed = Secret("changed")

    assert cached.psk_for(ACCESS, NODE, PASSWORD) == KEY
    for other in ((Secret("else"), NODE, PASSWORD), (ACCESS, "else", PASSWORD), (ACCESS, NODE, changed)):
        assert cached.psk_for(*other) is None
    replaced = cached.with_psk(ACCESS, NODE, changed, OTHER_KEY)
    assert replaced.psk_for(ACCESS, NODE, PASSWORD) is None
    assert replaced.psk_for(ACCESS, NODE, changed) == OTHER_KEY


def test_psk_that_names_no_password_is_derived_anew():
    """Other software says nothing about the password in its cache: derive once more, then it is bound."""
    found = Trust(static_key=STATIC, psks={psk_id(ACCESS, NODE): PskEntry(OTHER_KEY)})
    assert found.psk_for(ACCESS, NODE, PASSWORD) is None

    assert found.with_psk(ACCESS, NODE, PASSWORD, KEY).psk_for(ACCESS, NODE, PASSWORD) == KEY


def test_oldest_psk_goes_first(trust):
    """The cache is bounded, and an entry that was renewed counts as new."""
    for number in range(MAX_PSKS):
        trust = trust.with_psk(ACCESS, f"hub {number}", PASSWORD, KEY)
    trust = trust.with_psk(ACCESS, "hub 0", PASSWORD, KEY)

    trust = trust.with_psk(ACCESS, "one more", PASSWORD, KEY)

    assert len(trust.psks) == MAX_PSKS
    assert trust.psk_for(ACCESS, "hub 0", PASSWORD) == KEY
    assert trust.psk_for(ACCESS, "hub 1", PASSWORD) is None


def test_what_was_seen(trust):
    """v3 seen and the MQTT layout are remembered; the layout can be forgotten, v3 cannot."""
    seen = trust.with_noise_seen().with_mqtt_layout("in_out")

    assert (seen.noise_seen, seen.mqtt_layout) == (True, "in_out")
    assert seen.with_mqtt_layout(None).mqtt_layout is None
    assert not hasattr(seen, "without_noise_seen")


def test_value_cannot_be_changed(trust):
    """Neither its fields nor the maps in them, nor the maps it was made from."""
    pins = {"id": PIN}
    made = Trust(static_key=STATIC, pins=pins)
    pins["other"] = OTHER_PIN

    with pytest.raises(AttributeError):
        made.noise_seen = True
    with pytest.raises(TypeError):
        made.pins["other"] = OTHER_PIN
    with pytest.raises(TypeError):
        made.psks["other"] = PskEntry(KEY)
    assert made.pins == {"id": PIN}


@pytest.mark.parametrize(
    "make",
    [
        lambda: Trust(static_key=Secret(b"short")),
        lambda: Trust(static_key=STATIC, pins={"id": b"short"}),
        lambda: PskEntry(Secret(b"k" * 33)),
        lambda: Trust(static_key=STATIC).with_psk(ACCESS, NODE, PASSWORD, Secret(b"")),
    ],
    ids=["static key", "pin", "PSK", "derived PSK"],
)
def test_keys_have_32_bytes(make):
    """A key of another size is refused when it comes in, not when it is used."""
    with pytest.raises(ValueError, match="must be 32 bytes"):
        make()


def test_no_secret_is_shown(trust):
    """Neither keys nor the digest of the password are in any rendering."""
    cached = trust.with_psk(ACCESS, NODE, PASSWORD, KEY)
    shown = f"{cached!r} {cached} {dict(cached.psks)!r}"

    for secret in ("sss", "kkk", password_binding(NODE, PASSWORD), b"s".hex() * 3, b"k".hex() * 3):
        assert secret not in shown


def test_dropped_psk(trust):
    """A PSK that failed is forgotten, others stay, unknown ones do not matter. A changed trust is told by comparing."""
    cached = trust.with_psk(ACCESS, "a", PASSWORD, KEY).with_psk(ACCESS, "b", PASSWORD, KEY)
    same = trust.with_psk(ACCESS, "a", PASSWORD, Secret(b"k" * 32)).with_psk(ACCESS, "b", PASSWORD, KEY)

    assert cached == same == copy.copy(same) != same.with_noise_seen()
    assert cached.without_psk(ACCESS, "a").without_psk(ACCESS, "never").psks.keys() == {psk_id(ACCESS, "b")}
