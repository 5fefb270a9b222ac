"""The client stack of an identity, for programs that drive it themselves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from thalovant_proto.client.stack import ClientStack

from ._client.settings import make_plan
from ._internal.options import DEFAULT_USERAGENT, check_times

if TYPE_CHECKING:
    from thalovant_proto.trust import Trust

    from .identity import ThalovantIdentity
    from .protocols import HubProtocol

__all__ = ["make_stack"]


def make_stack(
    identity: ThalovantIdentity,
    protocol: HubProtocol | None = None,
    *,
    trust: Trust,
    fallback: bool = False,
    useragent: str = DEFAULT_USERAGENT,
    handshake_timeout: float = 20.0,
    reply_settle_seconds: float = 0.25,
    auto_reconnect: bool = True,
    reconnect_attempts: int | None = 1,
    allow_insecure: bool = False,
    allow_legacy: bool = False,
    retry: Literal["never", "idempotent"] = "never",
    verified: bool = True,
) -> ClientStack:
    """A stack as `AsyncThalovantClient` has one, not yet open, for `protocol` or the best that the identity has.

    `trust` is what `TrustStore.load` gives; store what each `TrustChanged` names. `verified` says that whoever drives
    the stack checks certificate and host name, as with the contexts of `thalovant_io.tls.default_context`; otherwise
    handshakes before v3 need `allow_legacy`. The other options, and the errors, are those of `AsyncThalovantClient`.
    """
    check_times(handshake_timeout=handshake_timeout, reply_settle_seconds=reply_settle_seconds)
    plan = make_plan(
        identity,
        protocol,
        fallback=fallback,
        user_agent=useragent,
        connect_timeout=handshake_timeout,  # unused: the caller's driver dials
        handshake_timeout=handshake_timeout,
        settle=reply_settle_seconds,
        auto_reconnect=auto_reconnect,
        attempts=reconnect_attempts,
        retry=retry,
        allow_insecure=allow_insecure,
        allow_legacy=allow_legacy,
        verified=verified,
    )
    return ClientStack(plan.config, *plan.routes, trust=trust, entropy=os.urandom)
