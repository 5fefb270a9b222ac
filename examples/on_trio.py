"""A hub asked from trio.

python examples/on_trio.py IDENTITY.json "Say hello." [wss|https|mqtt]
"""

from __future__ import annotations

import sys

import trio
from stack import Conversation

from thalovant import HubProtocol
from thalovant_io.tls import default_context
from thalovant_io.trio_driver import TrioDriver


async def main(identity_file: str, text: str, protocol: HubProtocol | None = None) -> int:
    """Ask and print; returns the exit code."""
    conversation = Conversation(identity_file, text, protocol)
    driver = TrioDriver(
        conversation.stack,
        on_outcome=lambda outcome: conversation.take(outcome, driver.now),
        tls=default_context(conversation.identity.ca_file),
    )
    conversation.begin(driver.now)
    await driver.run()
    return conversation.exit_code


if __name__ == "__main__":
    sys.exit(trio.run(main, *sys.argv[1:4]))
