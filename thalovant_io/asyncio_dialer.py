"""The dialer on asyncio."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from ssl import SSLContext

from thalovant_proto.carrier import Target

from .dialer import (
    DEFAULT_TIMEOUTS,
    LOOKUP_ERRORS,
    Address,
    ContextSource,
    DialError,
    Race,
    Resolver,
    Timeouts,
    context_failed,
    lookup_failed,
    new_socket,
    prepare_socket,
    resolve,
    start_context,
    start_lookup,
)


async def dial(target: Target, *, resolver: Resolver = resolve, timeouts: Timeouts = DEFAULT_TIMEOUTS) -> socket.socket:
    """Connect to `target` over TCP. Raises `DialError`; leaves nothing behind, also when cancelled."""
    try:
        async with asyncio.timeout(timeouts.dns):
            addresses = await asyncio.wrap_future(start_lookup(target, resolver))
    except LOOKUP_ERRORS as exc:  # TimeoutError is an OSError
        raise DialError(lookup_failed(target, exc)) from None
    loop = asyncio.get_running_loop()
    race = Race(target, addresses, loop.time(), timeouts)
    attempts: dict[asyncio.Task[None], tuple[Address, socket.socket]] = {}
    winner: socket.socket | None = None
    try:
        while winner is None:
            while (address := race.next(loop.time())) is not None:
                try:
                    sock = new_socket(address)
                except OSError as exc:
                    race.failed(address, exc, loop.time())
                else:
                    attempts[loop.create_task(loop.sock_connect(sock, address[1]))] = (address, sock)
            if (failure := race.lost(loop.time())) is not None:
                raise DialError(failure)
            wait = max(0.0, race.next_timeout - loop.time())
            done, _ = await asyncio.wait(attempts, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                address, sock = attempts[task]
                try:
                    task.result()
                    prepare_socket(sock)
                except OSError as exc:
                    sock.close()
                    race.failed(address, exc, loop.time())
                else:
                    winner = sock
                del attempts[task]
                if winner is not None:
                    break
    finally:
        await _give_up(attempts, winner)
    return winner


async def _give_up(
    attempts: dict[asyncio.Task[None], tuple[Address, socket.socket]], winner: socket.socket | None
) -> None:
    """End all attempts and their sockets; the winner too if this is cancelled, for then nobody gets it."""
    for task, (_, sock) in attempts.items():
        # Not before the loop has forgotten the socket: its number may be another's in a moment.
        task.add_done_callback(partial(_close, sock))
        task.cancel()
    try:
        if attempts:
            await asyncio.wait(attempts)
            await asyncio.sleep(0)  # for the callbacks
    except asyncio.CancelledError:
        if winner is not None:
            winner.close()
        raise


def _close(sock: socket.socket, task: asyncio.Task[None]) -> None:
    sock.close()
    if not task.cancelled():
        task.exception()  # seen: it may have failed just now, and nobody minds


async def context_for(target: Target, source: ContextSource) -> SSLContext | None:
    """The TLS context for a dial of `target`; None if it takes no TLS. Raises `DialError`."""
    if not target.tls:
        return None
    try:
        return await asyncio.wrap_future(start_context(source))
    except Exception as exc:
        raise DialError(context_failed(target, exc)) from None
