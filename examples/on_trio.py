"""A hub asked from trio.

python examples/on_trio.py IDENTITY.json "Say hello."
"""

from __future__ import annotations

import sys

import trio
from stack import Conversation

from thalovant_io.tls import default_context
from thalovant_io.trio_driver import TrioDriver


async def main(identity_file: str, text: str) -> int:
    """Ask and print; returns the exit code."""
    conversation = Conversation(identity_file, text)
    driver = TrioDriver(
        conversation.stack,
        on_outcome=lambda outcome: conversation.take(outcome, driver.now),
        tls=default_context(conversation.identity.ca_file),
    )
    conversation.begin(driver.now)
    await driver.run()
    return conversation.exit_code


if __name__ == "__main__":
    sys.exit(trio.run(main, *sys.argv[1:3]))
