"""What the embedding examples share: a client stack for an identity, over WSS.

`ClientStack` is pure: it takes bytes and time and gives bytes and outcomes. Whoever has an event loop drives it.
"""

from __future__ import annotations

import os
import sys
import uuid
from pathlib import Path

from thalovant import ThalovantIdentity, TrustStore
from thalovant.trust_store import pin_id
from thalovant_proto import (
    AskEnded,
    AskFailed,
    AskPiece,
    ClientConfig,
    ClientLink,
    ClientStack,
    Event,
    Outcome,
    Route,
    Secret,
    Speak,
    Trust,
    TrustChanged,
    Utterance,
    WssClientLink,
)


class Conversation:
    """One question, as an application on top of a stack: it asks, shows the speech, and closes."""

    def __init__(self, identity_file: str, text: str) -> None:
        self.identity = ThalovantIdentity.from_file(identity_file)
        # Keys and pins live beside the identity. The key is on disk before the first dial: hubs pin the first they see.
        self.store = TrustStore(Path(identity_file).parent / "hivemind", self.identity)
        self.text = text
        self.exit_code = 1
        self.stack = make_stack(self.identity, self.store.load())

    def begin(self, now: float) -> None:
        """Connect and ask; what is asked before there is a connection waits for it."""
        self.stack.open(now)
        self.stack.ask(Utterance(text=self.text), now, timeout=12)

    def take(self, outcome: Outcome | Event, now: float) -> None:
        """What the stack has to tell."""
        match outcome:
            case AskPiece(event=Speak(text=text)):
                print(text)
            case AskEnded():
                self.exit_code = 0
                self.stack.close(now)
            case AskFailed(failure=failure, fault=fault):
                print(failure.message if failure else fault.value, file=sys.stderr)
                self.stack.close(now)
            case TrustChanged(trust=trust):
                self.store.store(trust)


def make_stack(identity: ThalovantIdentity, trust: Trust) -> ClientStack:
    """A client stack for the identity's WSS endpoint."""
    endpoint = str(identity.endpoint_for("wss"))
    config = ClientConfig(
        access_key=Secret(identity.access_key),
        password=Secret(identity.password),
        session_id=str(uuid.uuid4()),
        site_id=identity.site_id,
    )

    def make_link(trust: Trust) -> ClientLink:
        return WssClientLink(endpoint, access_key=config.access_key, user_agent="example/1", secure=True)

    route = Route(name="WSS", pin_id=pin_id(identity, "wss"), make_link=make_link)
    return ClientStack(config, route, trust=trust, entropy=os.urandom)
