"""A hub asked from plain blocking sockets: no event loop at all.

python examples/on_blocking.py IDENTITY.json "Say hello." [wss|https|mqtt]
"""

from __future__ import annotations

import sys
import time

from stack import Conversation

from thalovant import HubProtocol
from thalovant_io.blocking_driver import BlockingDriver
from thalovant_io.tls import default_context


def main(identity_file: str, text: str, protocol: HubProtocol | None = None) -> int:
    """Ask and print; returns the exit code."""
    conversation = Conversation(identity_file, text, protocol)
    driver = BlockingDriver(
        conversation.stack,
        on_outcome=lambda outcome: conversation.take(outcome, time.monotonic()),
        tls=default_context(conversation.identity.ca_file),
    )
    conversation.begin(driver.now)
    driver.run()
    return conversation.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
