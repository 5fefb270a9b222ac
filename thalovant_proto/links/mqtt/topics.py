"""The layouts of topics on which a client and its hub write to each other.

Topics hold the access key, so none is shown in a `repr` or an error.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from attrs import field, frozen

from ...secret import Secret
from .fields import MAX_STRING, encode_topic_name

#: The layouts' names, as they are remembered. Newest first.
EXPLICIT: Final = "explicit"
PREFIX: Final = "prefix"
PREFIX_KEY: Final = "prefix/key"
LEGACY: Final = "c2s"
LEGACY_HUB: Final = "hub/c2s"

#: The prefix of hubs that were told no other.
DEFAULT_PREFIX: Final = "hivemind"

#: The payloads of status topics.
ONLINE: Final = b"online"
OFFLINE: Final = b"offline"

#: The bytes before the payload of a PUBLISH, at most: topic and packet id.
TOPIC_HEAD: Final = 2 + MAX_STRING + 2

# In no topic of ours: wildcards, control characters, and surrogates, which are no characters.
_INVALID: Final = re.compile(r"[+#\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@frozen(kw_only=True)
class Topics:
    """The three topics of one client. Hubs watch `status` for "offline"; without it there is no presence."""

    up: str = field(repr=False)  # client to hub
    down: str = field(repr=False)  # hub to client
    status: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Layout:
    """A way to use topics, and what it comes to for one client. Not `text_up`: the hub reads bit frames only."""

    name: str
    topics: Topics
    text_up: bool


def candidate_layouts(
    *,
    access_key: Secret[str],
    topic_prefix: str = DEFAULT_PREFIX,
    topics: Topics | None = None,
    hub_id: str | None = None,
    hash_topics: bool = False,
) -> tuple[Layout, ...]:
    """The layouts a hub may use for this client, newest first; explicit `topics` are the only one.

    `topic_prefix` is what the identity says: whole, as SDKs since 0.4.29 read it, or without the access key, as the
    hubs' own default is, or without the hub id too, as older SDKs read it (real-hubs.md §8). `hash_topics` is the
    option of older hubs to put a digest in place of the access key.

    Raises `ValueError` for a prefix, topic or access key that cannot stand in a topic; the message holds none of them.
    """
    if topics is not None:
        for topic in (topics.up, topics.down, *([] if topics.status is None else [topics.status])):
            _check("topics", topic)
        if topics.up == topics.down:  # it would take its own call for the hub's hello
            raise ValueError("MQTT topics of the two directions must not be the same.")
        # "c2s" is what only older hubs call the way up.
        return (Layout(name=EXPLICIT, topics=topics, text_up="c2s" not in topics.up.split("/")),)
    prefix = topic_prefix.strip(" /")
    if not prefix:
        raise ValueError("MQTT credentials must include topic_prefix.")
    _check("topic_prefix", prefix)
    key = access_key.reveal()
    if not key or "/" in key or _INVALID.search(key):
        raise ValueError("The access key cannot be a level of an MQTT topic.")
    *above, last = prefix.split("/")
    layouts = [Layout(name=PREFIX, topics=_in_out(prefix), text_up=True)]
    if last == key:
        base = "/".join(above)
    else:
        base = prefix
        layouts.append(Layout(name=PREFIX_KEY, topics=_in_out(f"{prefix}/{key}"), text_up=True))
    segment = hashlib.sha256(access_key.as_bytes()).hexdigest()[:16] if hash_topics else key
    if base:
        layouts.append(Layout(name=LEGACY, topics=_c2s_s2c(base, segment), text_up=False))
    if hub_id and base.rpartition("/")[2] != hub_id:
        _check("hub_id", hub_id)
        within = f"{base}/{hub_id}" if base else hub_id
        layouts.append(Layout(name=LEGACY_HUB, topics=_c2s_s2c(within, segment), text_up=False))
    for layout in layouts:
        encode_topic_name(f"{layout.topics.status}")  # the longest: is it too long?
    return tuple(layouts)


@frozen(kw_only=True)
class HubLayout:
    """A way to use topics, as topic filters with `+` for the client, and the hub's own status topic."""

    up: str = field(repr=False)
    down: str = field(repr=False)
    status: str = field(repr=False)
    hub_status: str = field(repr=False)
    text_up: bool


def hub_layouts(topic_prefix: str, hub_name: str, legacy_prefix: str | None = None) -> tuple[HubLayout, ...]:
    """The layouts of a hub: `<topic_prefix>/+/in|out|status`, and `<legacy_prefix>/c2s|s2c|status/+` if that is given.

    Raises `ValueError` for a prefix or name that cannot stand in a topic.
    """
    prefix = topic_prefix.strip(" /")
    _check("topic_prefix", prefix)
    _check("hub_name", hub_name)
    up, down, status = (f"{prefix}/+/{level}" for level in ("in", "out", "status"))
    layouts = [HubLayout(up=up, down=down, status=status, hub_status=f"{prefix}/{hub_name}/status", text_up=True)]
    if legacy_prefix is not None:
        base = legacy_prefix.strip(" /")
        _check("legacy_prefix", base)
        up, down, status = (f"{base}/{level}/+" for level in ("c2s", "s2c", "status"))
        layouts.append(HubLayout(up=up, down=down, status=status, hub_status=f"{base}/status/hub", text_up=False))
    return tuple(layouts)


def client_of(topic_filter: str, topic: str) -> str | None:
    """The level that stands for the one `+` of a filter, None if the topic does not match it."""
    head, _, tail = topic_filter.partition("+")
    if not (topic.startswith(head) and topic.endswith(tail) and len(topic) > len(head) + len(tail)):
        return None
    client = topic[len(head) : len(topic) - len(tail)]
    return None if "/" in client else client


def topic_of(topic_filter: str, client: str) -> str:
    """The topic of one client: a filter with its level in place of the `+`."""
    return topic_filter.replace("+", client)


def _in_out(client: str) -> Topics:
    """The topics of hubs since mqtt plugin 0.1.1a3; `client` is everything up to the client's own level."""
    return Topics(up=f"{client}/in", down=f"{client}/out", status=f"{client}/status")


def _c2s_s2c(base: str, client: str) -> Topics:
    """The topics of hubs before that; `client` is the client's own level, which is the last there."""
    return Topics(up=f"{base}/c2s/{client}", down=f"{base}/s2c/{client}", status=f"{base}/status/{client}")


def _check(what: str, topic: str) -> None:
    # What begins with "$" is the broker's own (§4.7.2), and "$share" would be a share of somebody's messages.
    if not topic or topic[0] == "$" or _INVALID.search(topic):
        raise ValueError(f"MQTT {what} contains characters that are not valid in an MQTT topic.")
    if len(topic.encode()) > MAX_STRING:
        raise ValueError(f"MQTT {what} is longer than {MAX_STRING} bytes.")
