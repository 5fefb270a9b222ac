"""Key derivation for all drivers of the process: equal derivations once, and never more than two at a time."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial

from thalovant_proto.crypto.kdf import DeriveKey, derive
from thalovant_proto.secret import Secret

from ._threads import SingleFlight

# argon2id takes 64 MiB and a core each; a thousand clients that reconnect at once must not take 64 GiB.
CONCURRENCY = 2

_flight = SingleFlight(CONCURRENCY, "thalovant-derive")


def start_derivation(effect: DeriveKey) -> Future[Secret[bytes]]:
    """Derive the key of `effect` in a thread, together with whoever wants the same one now.

    The future's callbacks run in that thread. Cancel it when nobody wants the key any more.
    """
    return _flight.submit((effect.kdf, effect.secret, effect.salt), partial(derive, effect))
