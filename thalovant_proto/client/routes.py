"""The ways to one hub: which one the next attempt takes, and the verdict when none of them led there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import evolve, field, frozen

from ..failures import Failure, FailureKind
from ..trust import Trust
from .attempt import ClientLink


@frozen(kw_only=True)
class Route:
    """A way to the hub over one transport.

    `name` is for people ("WSS"), `pin_id` names the hub in the trust, `make_link` builds the link of the next attempt
    from what is remembered.
    """

    name: str
    pin_id: str
    make_link: Callable[[Trust], ClientLink] = field(repr=False)


class Routes:
    """One way after the other, in the order given, until one leads to the hub; that one is where a lost hub is sought.

    A round has each way once. Ways that failed for good stay out of later rounds.
    """

    def __init__(self, first: Route, *others: Route) -> None:
        self._all = (first, *others)
        self._failed: dict[int, Failure] = {}  # in this round, or for good
        self._rests_until = 0.0
        self.at: int = 0  # the number of the present one

    @property
    def present(self) -> Route:
        """The way that this attempt, or the next one, takes."""
        return self._all[self.at]

    def begin(self) -> None:
        """Take the first."""
        self.at = 0
        self.worked()

    def worked(self) -> None:
        """The present one leads to the hub; the others may, by now."""
        self._failed.clear()
        self._rests_until = 0.0

    def failed(self, failure: Failure, *, rests_until: float) -> Failure | None:
        """The present way did not lead to the hub; None if there is another to try now, else the verdict on all.

        `rests_until`: when what stands in the way wants to be asked again. What the hub itself has said is a verdict
        at once: it would say the same elsewhere, and nobody may make us look for a weaker way.
        """
        if not _of_a_way(failure):
            return failure
        self._failed[self.at] = failure
        self._rests_until = max(self._rests_until, rests_until)
        if (another := self._untried()) is not None:
            self.at = another
            return None
        verdict = self._verdict()
        self._failed = {} if verdict.final else {at: one for at, one in self._failed.items() if one.final}
        self.at = self._untried() or 0
        return verdict

    def rested(self) -> float:
        """The time at which the next round may begin: the latest that a route of this one asked for."""
        until, self._rests_until = self._rests_until, 0.0
        return until

    def _untried(self) -> int | None:
        return next((at for at in range(len(self._all)) if at not in self._failed), None)

    def _verdict(self) -> Failure:
        """The failure of the first route, with the messages of the others; final if all are."""
        if len(self._all) == 1:
            return self._failed[0]
        said = [f"over {route.name}: {self._failed[at].message}" for at, route in enumerate(self._all)]
        final = all(failure.final for failure in self._failed.values())
        return evolve(self._failed[0], message="; ".join(said), final=final)


def _of_a_way(failure: Failure) -> bool:
    """Whether it says nothing about the hub, only about this way to it.

    So does the refusal of a broker, which has a cause, and one that may pass: HTTP 500 is both to older hubs.
    """
    if failure.kind is FailureKind.REFUSED:
        return failure.cause is not None or not failure.final
    return failure.kind in _WAYS


_WAYS: Final = frozenset(
    {
        FailureKind.DNS,
        FailureKind.CONNECT,
        FailureKind.TLS,
        FailureKind.LOST,
        FailureKind.HANDSHAKE_TIMEOUT,
        FailureKind.PROTOCOL,
    }
)
