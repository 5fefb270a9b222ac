"""A hub asked from asyncio with the stack itself; `AsyncThalovantClient` does this and much more.

python examples/on_asyncio.py IDENTITY.json "Say hello." [wss|https|mqtt]
"""

from __future__ import annotations

import asyncio
import sys

from stack import Conversation

from thalovant import HubProtocol
from thalovant_io.asyncio_driver import AsyncioDriver
from thalovant_io.tls import default_context


async def main(identity_file: str, text: str, protocol: HubProtocol | None = None) -> int:
    """Ask and print; returns the exit code."""
    conversation = Conversation(identity_file, text, protocol)
    driver = AsyncioDriver(
        conversation.stack,
        on_outcome=lambda outcome: conversation.take(outcome, driver.now),
        tls=default_context(conversation.identity.ca_file),
    )
    conversation.begin(driver.now)
    driver.start()
    await driver.closed()
    return conversation.exit_code


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:4])))
