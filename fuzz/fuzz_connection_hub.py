"""A hub connection as a hub, all generations over all carriers, against a peer that may hold every key."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.conversation import Conversation, conversations
from fuzz.harness import Tape
from thalovant_proto.state import Role


def one(data: bytes) -> object:
    conversation = Conversation(Role.HUB, Tape(data)).play()
    return conversation if conversation.proven else None


def seeds() -> Iterator[bytes]:
    yield from conversations(Role.HUB)
