"""What the embedding examples share: a question to a hub, on top of a client stack.

`ClientStack` is pure: it takes bytes and time and gives bytes and outcomes. Whoever has an event loop drives it, over
WSS, HTTPS and MQTT alike.
"""

from __future__ import annotations

import sys
from pathlib import Path

from thalovant import HubProtocol, ThalovantIdentity, TrustStore
from thalovant.embedding import make_stack
from thalovant_proto import AskEnded, AskFailed, AskPiece, Event, Outcome, Speak, TrustChanged, Utterance


class Conversation:
    """One question, as an application on top of a stack: it asks, shows the speech, and closes."""

    def __init__(self, identity_file: str, text: str, protocol: HubProtocol | None = None) -> None:
        self.identity = ThalovantIdentity.from_file(identity_file)
        # Keys and pins live beside the identity. The key is on disk before the first dial: hubs pin the first they see.
        self.store = TrustStore(Path(identity_file).parent / "hivemind", self.identity)
        self.text = text
        self.exit_code = 1
        self.stack = make_stack(self.identity, protocol, trust=self.store.load())

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
