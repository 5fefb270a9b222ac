"""The orders of a client stack to its driver."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from ..carrier import Target

#: How long queued messages may take to leave when a client closes, in seconds.
SEND_TIMEOUT: Final = 8.0
#: Seconds that a dial may go without an answer: more than the drivers' own deadlines for name, TCP and TLS together.
DIAL_TIMEOUT: Final = 60.0


@frozen
class Dial:
    """Open a socket to `target`, then report `socket_opened` or `dial_failed`. One dial for each `serial`."""

    target: Target
    serial: int


@frozen
class Run:
    """Keep the socket of this dial: read, write, wait for the timer."""

    serial: int


@frozen
class Wait:
    """Write what `data_to_send` returns, leave the socket if there is one, wait for the timer or the application."""


@frozen
class Stop:
    """The session is over: write what is left, close, end. `open` begins again."""


Step = Dial | Run | Wait | Stop
