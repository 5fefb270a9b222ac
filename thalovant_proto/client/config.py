"""The settings of a client."""

from __future__ import annotations

from attrs import frozen

from ..limits import DEFAULT_LIMITS, Limits
from ..secret import Secret


@frozen(kw_only=True)
class ClientConfig:
    """Identity and behaviour of a client. Times in seconds.

    `session_id` and `site_id` go into the hello and into every message that has none. `settle`: how long an ask waits
    for more where the hub may have more; `empty_wait`: at most so long where nothing was said. `attempts`: tries after
    the first failed one, of all routes each, before a session was ever up; None for as many as it takes. `idempotent`:
    an ask whose link died is sent again under the same request id instead of failing. `addressed`: messages get the
    source, destination and session that hubs look for; off where something else adds them. `queue`: messages that wait
    to be sent, at most.
    """

    access_key: Secret[str]
    password: Secret[str] | None = None
    crypto_key: Secret[str] | None = None
    session_id: str
    site_id: str = ""
    user_agent: str = "thalovant"
    binarize: bool = False
    allow_legacy: bool = False
    settle: float = 0.25
    empty_wait: float = 5.0
    attempts: int | None = 1
    auto_reconnect: bool = True
    idempotent: bool = False
    addressed: bool = True
    queue: int = 256
    limits: Limits = DEFAULT_LIMITS
