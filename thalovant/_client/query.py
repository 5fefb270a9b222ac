"""A question as a `query` frame: pieces of the answer come as frames of the same kind, found by their query id."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from thalovant_proto import events as wire
from thalovant_proto.codec.envelope import envelope_of, message_from
from thalovant_proto.errors import DecodeError
from thalovant_proto.outcomes import AskEnded, AskFailed, AskFault, SessionState

from .._internal.error_mapping import ask_error
from ..errors import ThalovantConnectionError, ThalovantError, ThalovantTimeoutError

if TYPE_CHECKING:
    from .session import ClientSession

_SPEECH: Final = frozenset((wire.SPEAK, wire.OVOS_SPEAK))
_FAILURES: Final = {
    wire.POLICY_DENIED: AskFault.DENIED,
    wire.QUERY_TIMEOUT: AskFault.HUB,
    wire.INTENT_FAILURE: AskFault.UNANSWERED,
    wire.INTENT_UNMATCHED: AskFault.UNANSWERED,
}
_LOST: Final = (SessionState.WAITING, SessionState.CLOSED, SessionState.DISPLACED, SessionState.FAILED)


async def query(session: ClientSession, message: wire.Bus, query_id: str, timeout: float) -> AskEnded:
    """Ask by a query frame, and wait for the end of the answer. What was said when time is up is the answer.

    Raises what an ask raises, and `ThalovantTimeoutError` if the hub is done and has said nothing.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    found: asyncio.Queue[wire.Bus | ThalovantError] = asyncio.Queue()
    events: list[wire.Bus] = []
    done = False

    def hear(frame: wire.Query | wire.Cascade) -> None:
        with contextlib.suppress(DecodeError):  # what is inside is the other side's business
            if frame.metadata.get("query_id") == query_id and isinstance(bus := message_from(frame.payload), wire.Bus):
                found.put_nowait(bus)

    def lost(state: SessionState, error: ThalovantError | None) -> None:
        if state in _LOST:
            found.put_nowait(_lost(error))

    frame = wire.Query(payload=envelope_of(message), metadata={"query_id": query_id})
    with contextlib.ExitStack() as exits:
        exits.callback(session.on_frame(hear, wire.Query, wire.Cascade))
        exits.callback(session.subscribe(wire.POLICY_DENIED, found.put_nowait, matches=_denies))
        await session.send(frame, timeout)
        exits.callback(session.on_state.discard, lost)
        session.on_state.add(lost)
        try:
            async with asyncio.timeout_at(deadline):
                while not done:
                    item = await found.get()
                    if isinstance(item, ThalovantError):
                        raise item
                    events.append(item)
                    done = item.type == wire.QUERY_COMPLETE or item.type in _FAILURES
        except TimeoutError:
            pass
    return _result(events, done, timeout)


def _result(events: list[wire.Bus], done: bool, timeout: float) -> AskEnded:
    failure = next((event for event in events if event.type in _FAILURES), None)
    pieces = tuple(event for event in events if event.type in _SPEECH)
    if pieces:
        handled = done and failure is None
        return AskEnded(ask=0, pieces=pieces, events=tuple(events), handled=handled, failure=failure)
    if failure is not None:
        raise ask_error(AskFailed(ask=0, fault=_FAILURES[failure.type], delivery="yes", event=failure), timeout=timeout)
    if done:
        raise ThalovantTimeoutError("Hub finished the query but said nothing.", name="silent", delivery="yes")
    raise ThalovantTimeoutError(f"Hub did not answer the query within {timeout:g}s.", delivery="unknown")


def _denies(bus: wire.Bus) -> bool:
    return bus.data.get("denied_type") == wire.Query.msg_type


def _lost(error: ThalovantError | None) -> ThalovantConnectionError:
    return ThalovantConnectionError(
        "The session was closed." if error is None else str(error),
        name="closed" if error is None else error.name,
        hint=None if error is None else error.hint,
        delivery="unknown",
    )
