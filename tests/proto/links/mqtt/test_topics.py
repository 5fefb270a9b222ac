"""Topics: the layouts that hubs use, each found from whatever an identity says, and nothing that is no topic."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.proto.links.mqtt import values
from thalovant_proto.links.mqtt.fields import topic_matches
from thalovant_proto.links.mqtt.topics import (
    Topics,
    candidate_layouts,
    client_of,
    hub_layouts,
    topic_of,
)
from thalovant_proto.secret import Secret

KEY = Secret("key0")


def ways(**identity: Any) -> dict[str, tuple[str, str, str | None, bool]]:
    """The candidates, by name."""
    layouts = candidate_layouts(access_key=KEY, **identity)
    return {one.name: (one.topics.up, one.topics.down, one.topics.status, one.text_up) for one in layouts}


def test_a_prefix_with_the_key_is_whole() -> None:
    """The form of SDKs since 0.4.29; the older layout has the same base."""
    assert ways(topic_prefix="hivemind/hub/key0") == {
        "prefix": ("hivemind/hub/key0/in", "hivemind/hub/key0/out", "hivemind/hub/key0/status", True),
        "c2s": ("hivemind/hub/c2s/key0", "hivemind/hub/s2c/key0", "hivemind/hub/status/key0", False),
    }


def test_a_prefix_without_the_key_is_both() -> None:
    """It may end in another client's level, or lack it: both are tried, and the older layout."""
    assert ways(topic_prefix=" /hivemind/ ") == {
        "prefix": ("hivemind/in", "hivemind/out", "hivemind/status", True),
        "prefix/key": ("hivemind/key0/in", "hivemind/key0/out", "hivemind/key0/status", True),
        "c2s": ("hivemind/c2s/key0", "hivemind/s2c/key0", "hivemind/status/key0", False),
    }


def test_a_hub_id_adds_the_oldest_form() -> None:
    """SDKs of 0.4.7 append the hub id; not where the prefix has it."""
    assert ways(topic_prefix="p", hub_id="hub")["hub/c2s"] == (
        "p/hub/c2s/key0",
        "p/hub/s2c/key0",
        "p/hub/status/key0",
        False,
    )
    assert "hub/c2s" not in ways(topic_prefix="p/hub", hub_id="hub")
    assert "hub/c2s" not in ways(topic_prefix="p/hub/key0", hub_id="hub")
    assert "hub/c2s" in ways(topic_prefix="p/key0", hub_id="hub")


def test_a_prefix_that_is_the_key_has_no_older_form() -> None:
    """Nothing is left to put `c2s` under, unless there is a hub id."""
    assert list(ways(topic_prefix="key0")) == ["prefix"]
    assert ways(topic_prefix="key0", hub_id="hub")["hub/c2s"][0] == "hub/c2s/key0"


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        # 65 535 bytes, found when the layouts are made and not when a frame is sent
        ({"topic_prefix": "p" * 65_530}, "65535"),
        ({"topics": Topics(up="ü" * 32_768, down="d")}, "65535"),
        # on one topic for both directions a client would hear itself, and take that for the hub
        ({"topics": Topics(up="t", down="t")}, "must not be the same"),
    ],
)
def test_what_would_not_work_is_no_layout(identity: dict[str, Any], words: str) -> None:
    """Too long, or nobody else there."""
    with pytest.raises(ValueError, match=words):
        ways(**identity)


def test_older_hubs_may_hash() -> None:
    """The first 16 digits of SHA-256 in place of the key, in the older layouts only."""
    digest = hashlib.sha256(b"key0").hexdigest()[:16]

    found = ways(topic_prefix="p", hub_id="hub", hash_topics=True)

    assert found["c2s"][0] == f"p/c2s/{digest}"
    assert found["hub/c2s"][2] == f"p/hub/status/{digest}"
    assert found["prefix/key"][0] == "p/key0/in"


@pytest.mark.parametrize(("up", "text_up"), [("a/c2s/k", False), ("a/k/in", True), ("xc2s/up", True)])
def test_explicit_topics_are_the_only_ones(up: str, text_up: bool) -> None:
    """Given topics win over any prefix; `c2s` is what only hubs that read no text call the way up."""
    topics = Topics(up=up, down="d", status=None)

    assert ways(topic_prefix="p", topics=topics) == {"explicit": (up, "d", None, text_up)}


@pytest.mark.parametrize("prefix", ["", " ", "/", " // "])
def test_a_prefix_is_needed(prefix: str) -> None:
    """The words are those of the published SDKs."""
    with pytest.raises(ValueError, match=r"^MQTT credentials must include topic_prefix\.$"):
        ways(topic_prefix=prefix)


SYSTEM = ["$SYS/a", "$share/group/a", "$"]
BAD = ["a/+/b", "#", "a\0b", "a\nb", "a\x7fb", "a\x85b", "a\ud800b"]


@pytest.mark.parametrize("bad", [*BAD, *SYSTEM])
def test_what_is_no_topic_of_ours_is_refused(bad: str) -> None:
    """Wildcards, controls, surrogates, and what is the broker's own: in a prefix, a hub id, explicit topics and a hub's
    configuration. The message does not repeat them."""
    words = "contains characters that are not valid in an MQTT topic."
    attempts: list[Any] = [
        lambda: ways(topic_prefix=bad),
        lambda: ways(topic_prefix="p", hub_id=bad),
        lambda: ways(topics=Topics(up=bad, down="d")),
        lambda: ways(topics=Topics(up="u", down=bad)),
        lambda: ways(topics=Topics(up="u", down="d", status=bad)),
        lambda: hub_layouts(bad, "hub"),
        lambda: hub_layouts("p", bad),
        lambda: hub_layouts("p", "hub", bad),
    ]

    for attempt in attempts:
        with pytest.raises(ValueError) as caught:
            attempt()
        assert words in str(caught.value)
        assert bad not in str(caught.value)


@pytest.mark.parametrize("key", ["", "a/b", *BAD])
def test_an_access_key_must_be_a_level(key: str) -> None:
    """It would read other clients' topics otherwise."""
    with pytest.raises(ValueError, match="access key cannot be a level"):
        candidate_layouts(access_key=Secret(key), topic_prefix="p")


def test_topics_are_in_no_repr() -> None:
    """They hold the access key."""
    assert "key0" not in repr(candidate_layouts(access_key=KEY, topic_prefix="p/key0"))
    assert "planted" not in repr(hub_layouts("planted", "planted", "planted"))


# --- the hub's side ---------------------------------------------------------------------------------------------------


def test_a_hub_meets_its_clients() -> None:
    """The hub's filters cover the topics of its clients in every layout, and read their names off them."""
    new, old = hub_layouts("hivemind", "master", "hivemind/hub")
    inout = candidate_layouts(access_key=KEY, topic_prefix="hivemind/key0")[0].topics
    legacy = candidate_layouts(access_key=KEY, topic_prefix="hivemind/hub")[-1].topics

    for layout, topics in ((new, inout), (old, legacy)):
        assert "key0" == client_of(layout.up, topics.up) == client_of(layout.status, topics.status or "")
        assert topics.down == topic_of(layout.down, "key0")
    assert (new.hub_status, old.hub_status) == ("hivemind/master/status", "hivemind/hub/status/hub")
    assert (new.text_up, old.text_up) == (True, False)
    assert len(hub_layouts("hivemind", "master")) == 1


hub_filters = st.sampled_from(["p/+/in", "p/c2s/+"])


@given(st.one_of(values.names, values.levels.map("p/{}/in".format), values.levels.map("p/c2s/{}".format)), hub_filters)
def test_a_name_is_read_where_the_filter_matches(topic: str, topic_filter: str) -> None:
    """`client_of` agrees with the standard's matching, but for names that are empty, which no client has."""
    client = client_of(topic_filter, topic)

    assert (client is not None) is (topic_matches(topic_filter, topic) and topic_of(topic_filter, "") != topic)
    if client is not None:
        assert topic_of(topic_filter, client) == topic
