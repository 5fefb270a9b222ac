"""The mesh as one hub sees it: what it passes on to its other peers, and what it remembers so that nothing runs round.

This hub is the top of its mesh: there is nobody to escalate to.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final, Generic, TypeVar

from attrs import evolve

from thalovant_proto import events as e
from thalovant_proto.codec.envelope import envelope_of

from .actions import RoutedPeer, Say

#: For how long, and for how many questions, the hub knows who asked (wire.md §1.7).
QUERY_TIME: Final = 300.0
QUERIES: Final = 256
#: How often everybody is told that the hub is here; in between only who asks is (wire.md §1.6).
PING_EVERY: Final = 30.0
#: Pings that are remembered, so that each is passed on once.
PINGS: Final = 1024

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """A mapping that keeps the newest `size` entries, each for `ttl` seconds."""

    def __init__(self, size: int, ttl: float = float("inf")) -> None:
        self._size = size
        self._ttl = ttl
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, now: float) -> V | None:
        """The value, None if it is unknown or too old."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and now - entry[0] < self._ttl else None

    def first(self, key: K, value: V, now: float) -> V:
        """The value that is kept for `key`: the first one."""
        kept = self.get(key, now)
        if kept is not None:
            return kept
        self._entries.pop(key, None)
        self._entries[key] = (now, value)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return value


Wrapper = e.Broadcast | e.Propagate | e.Cascade


class Mesh:
    """The forwarding of this hub, known by its RSA public key `pubkey`. `wall_clock` gives seconds since 1970."""

    def __init__(self, pubkey: str, *, wall_clock: Callable[[], float], site_id: str | None = None) -> None:
        self.pubkey = pubkey
        self.site_id = site_id
        self._wall_clock = wall_clock
        self._asked_by: Recent[str, str] = Recent(QUERIES, QUERY_TIME)
        self._pings: Recent[tuple[str, str], bool] = Recent(PINGS)
        self._answered: Recent[str, bool] = Recent(PINGS)
        self._told_everybody = -PING_EVERY

    def forward(self, wrapper: Wrapper, sender: RoutedPeer, others: Iterable[RoutedPeer]) -> list[Say]:
        """Pass a wrapper on as it came, with the hops it made; nothing if it was here before."""
        route = hops(wrapper.route, sender)
        if any(isinstance(hop, dict) and hop.get("source") == self.pubkey for hop in route):
            return []
        says = []
        for peer in others:
            mine = {"source": self.pubkey, "targets": [peer.id]}
            says.append(Say(peer, evolve(wrapper, route=[*route, mine], source_peer=sender.id, node=None)))
        return says

    # --- ping ---

    def is_new_ping(self, ping: e.Ping, now: float) -> bool:
        """Whether this ping of this node comes for the first time."""
        seen = _text(ping.payload.get("flood_id")), _text(ping.payload.get("peer"))
        if self._pings.get(seen, now):
            return False
        return self._pings.first(seen, True, now)

    def answer_ping(self, ping: e.Ping, sender: RoutedPeer, others: Iterable[RoutedPeer], now: float) -> list[Say]:
        """Our own ping of the same flood: to everybody, or only to who asked if everybody was told lately."""
        flood = _text(ping.payload.get("flood_id"))
        if self._answered.get(flood, now):
            return []
        self._answered.first(flood, True, now)
        payload = {
            "flood_id": flood,
            "peer": self.pubkey,
            "site_id": self.site_id,
            "timestamp": self._wall_clock(),
            "public_key": self.pubkey,
        }
        answer = e.Propagate(payload=envelope_of(e.Ping(payload=payload)))
        says = [Say(sender, answer)]
        if now - self._told_everybody >= PING_EVERY:
            self._told_everybody = now
            says += [Say(peer, answer) for peer in others]
        return says

    # --- questions ---

    def ask(self, query_id: str, peer: RoutedPeer, now: float) -> bool:
        """Remember who asks; False if the id is another peer's question."""
        return self._asked_by.first(query_id, peer.id, now) == peer.id

    def asked_by(self, query_id: str, now: float) -> str | None:
        """The id of the peer that gets the answers."""
        return self._asked_by.get(query_id, now)


def hops(route: list[Any], sender: RoutedPeer) -> list[Any]:
    """A route with the hop from `sender` on it (wire.md §1.6)."""
    last = route[-1] if route else None
    if isinstance(last, dict) and last.get("source") == sender.id:
        return route
    return [*route, {"source": sender.id, "targets": [sender.id]}]


def _text(value: object) -> str:
    # The ids are the peer's to choose; what is remembered must stay small.
    return str(value)[:256]
