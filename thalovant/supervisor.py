"""What follows each attempt of a session at its link, by its policy. No clock, no socket: time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from ._internal.options import check_times
from .errors import ThalovantClientKeyRejectedError, ThalovantHubKeyChangedError, ThalovantHubRefusedError

Outcome: TypeAlias = Literal["up", "dropped", "failed", "refused", "key_changed", "client_key_rejected"]


@dataclass(frozen=True)
class HubSessionPolicy:
    """How patient a session is. All in seconds.

    `retry_seconds` is the wait after a first failure, doubled after each further one up to `retry_ceiling_seconds`.
    `probe_seconds`: how often a link that is up is looked after, `probe_down_seconds` while it is down.
    `refusal_grace_seconds`: how long refusals in a row are retried, since a hub may refuse a new client at first.

    Raises `ValueError` for what is not finite and positive, and for a ceiling below the first wait.

    Example:
        >>> HubSessionPolicy(retry_seconds=1.0, retry_ceiling_seconds=30.0).next_wait(20.0)
        30.0
    """

    retry_seconds: float = 10.0
    retry_ceiling_seconds: float = 120.0
    probe_seconds: float = 60.0
    probe_down_seconds: float = 5.0
    refusal_grace_seconds: float = 600.0

    def __post_init__(self) -> None:
        check_times(**vars(self))
        if self.retry_ceiling_seconds < self.retry_seconds:
            raise ValueError("retry_ceiling_seconds must not be less than retry_seconds")

    def next_wait(self, current: float) -> float:
        """The wait in seconds that follows a wait of `current`; the first one after 0."""
        return max(self.retry_seconds, min(current * 2, self.retry_ceiling_seconds))


@dataclass(frozen=True)
class LinkDecision:
    """What to do now: "hold" the link, "retry" after `wait_seconds`, or "give_up" for `reason`, an outcome's name."""

    action: Literal["hold", "retry", "give_up"]
    wait_seconds: float = 0.0
    reason: str | None = None


class LinkSupervisor:
    """Decides what follows each outcome of a link. Time is in seconds on any clock that does not go back.

    Example:
        >>> supervisor = LinkSupervisor()
        >>> [supervisor.after("failed", now).wait_seconds for now in (0.0, 10.0)]
        [10.0, 20.0]
    """

    def __init__(self, policy: HubSessionPolicy | None = None) -> None:
        self._policy = policy or HubSessionPolicy()
        self._wait = 0.0
        self._refused_since: float | None = None

    def after(self, outcome: Outcome, now_seconds: float) -> LinkDecision:
        """The decision on an outcome: up, dropped, failed, refused, key_changed or client_key_rejected.

        Raises `ValueError` for any other.
        """
        match outcome:
            case "key_changed" | "client_key_rejected":
                return LinkDecision("give_up", reason=outcome)
            case "dropped":
                return LinkDecision("retry")
            case "up":
                self._wait, self._refused_since = 0.0, None
                return LinkDecision("hold")
            case "failed":
                self._refused_since = None
            case "refused":
                since = self._refused_since = now_seconds if self._refused_since is None else self._refused_since
                if now_seconds - since >= self._policy.refusal_grace_seconds:
                    return LinkDecision("give_up", reason=outcome)
            case _:
                raise ValueError(f"unknown outcome of a link: {outcome!r}")
        self._wait = self._policy.next_wait(self._wait)
        return LinkDecision("retry", self._wait)


def outcome_of(error: Exception) -> Outcome:
    """What an attempt that raised is for the supervisor."""
    if isinstance(error, ThalovantHubKeyChangedError):
        return "key_changed"
    if isinstance(error, ThalovantHubRefusedError):
        return "client_key_rejected" if isinstance(error, ThalovantClientKeyRejectedError) else "refused"
    return "failed"
