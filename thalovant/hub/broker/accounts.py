"""Accounts at a hub's MQTT broker: user names, passwords, and the topics of each.

A client's user name is its access key, so that one rule of a broker's access list fits all (`hivemind/%u/in`). Its
password follows from the access key and a key of the hub: nothing has to be kept for each client, and what the hub
writes into an identity is the same today and tomorrow.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from typing import Any, Final

from attrs import field, frozen

from thalovant_proto.events import Generation
from thalovant_proto.links.mqtt.packets import Connect
from thalovant_proto.links.mqtt.topics import HubLayout, hub_layouts, topic_of
from thalovant_proto.secret import Secret

from ..storage.clients import Client, Registry
from ..storage.sqlite import Store

#: Above the access key in every topic.
PREFIX: Final = "hivemind"
#: The hub's name in its own status topic, and above the topics of clients before v3's layout.
HUB_NAME: Final = "hub"


@frozen(kw_only=True)
class Account:
    """A client that signed in. `owner` tells accounts apart.

    Topics and filters are the account's to the letter: a wildcard that covers others is not.
    """

    name: str
    owner: str = field(repr=False)
    publishes: tuple[str, ...] = field(repr=False)
    subscribes: tuple[str, ...] = field(repr=False)


class Accounts:
    """The accounts of a hub's registered clients. `key` is the hub's, 32 random bytes."""

    def __init__(self, registry: Registry, key: Secret[bytes]) -> None:
        self.legacy_prefix: str = f"{PREFIX}/{HUB_NAME}"  # above the topics of the older layout
        self.layouts: tuple[HubLayout, ...] = hub_layouts(PREFIX, HUB_NAME, self.legacy_prefix)
        self._registry = registry
        self._key = key

    def credentials(self, client: Client) -> tuple[str, Secret[str]]:
        """User name and password of a client."""
        username = client.access_key.reveal()
        return username, self._password(username)

    def block(self, client: Client, endpoint: str) -> dict[str, Any]:
        """The entry of an identity for the broker at `endpoint`, secrets included."""
        username, password = self.credentials(client)
        block = {
            "endpoint": endpoint,
            "username": username,
            "password": password.reveal(),
            "topic_prefix": f"{PREFIX}/{username}",
            "tls": endpoint.startswith("mqtts:"),
        }
        if client.generation is Generation.NOISE:
            return block
        # The oldest published SDKs make other topics of a prefix: named, all clients have the same.
        newest = self.layouts[0]
        topics = {"c2s_topic": newest.up, "s2c_topic": newest.down, "status_topic": newest.status}
        return block | {name: topic_of(topic, username) for name, topic in topics.items()}

    def authenticate(self, connect: Connect) -> Account | None:
        """The account that a CONNECT is for, None unless its password is right.

        Takes as long for a user name that is unknown: every name has its password.
        """
        username = connect.username or ""
        given = b"" if connect.password is None else connect.password.reveal()
        right = hmac.compare_digest(self._password(username).as_bytes(), given)
        client = self._registry.with_key(Secret(username))
        if not right or client is None:
            return None
        own = [(layout, topic_of(layout.status, username)) for layout in self.layouts]
        return Account(
            name=client.name,
            owner=username,
            publishes=tuple(topic for layout, status in own for topic in (topic_of(layout.up, username), status)),
            subscribes=tuple(topic for layout, status in own for topic in (topic_of(layout.down, username), status)),
        )

    def _password(self, username: str) -> Secret[str]:
        digest = hmac.digest(self._key.reveal(), b"mqtt broker password\0" + username.encode(), hashlib.sha256)
        return Secret(base64.urlsafe_b64encode(digest).rstrip(b"=").decode())


def broker_key(state: Store) -> Secret[bytes]:
    """The key in `state` that passwords at the broker are made with, made if it is missing."""
    key = state.get("broker_key")
    if key is None:
        key = os.urandom(32)
        state.put(broker_key=key)
    return Secret(key)
