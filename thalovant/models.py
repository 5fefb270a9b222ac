"""Results of calls: replies, health, connection timings and doctor reports. Plain frozen values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

from .events import EVENT_OVOS_UTTERANCE_SPEAK, EVENT_SPEAK, MEDIA_EVENTS, ThalovantEvent
from .render import to_markdown, visible
from .rich import ThalovantDisplayItem, strip_ssml, text_items

ThalovantConnectionPhase: TypeAlias = Literal["idle", "connecting", "open", "handshake", "ready", "closed", "error"]

#: In the `meta` of a speech: its skill says that it really answered the question.
THALOVANT_CLAIMED_META_KEY: Final = "thalovant_claimed"
# Attributes of a reply that are ready for JSON.
_SHOWN: Final = (
    *("text", "display_text", "handled", "ok", "claimed"),
    *("session_id", "request_id", "lang", "dropped_media"),
)
_LONGEST_REPR: Final = 200  # characters of a reply's text
#: In the id of a pipeline that takes what no skill understood.
FALLBACK_PIPELINE_MARK: Final = "fallback"
_SPEECH: Final = (EVENT_SPEAK, EVENT_OVOS_UTTERANCE_SPEAK)


@dataclass(frozen=True, repr=False)
class ThalovantReply:
    """The hub's answer to one request.

    `text` is all speech in one line, `utterances` its pieces, `handled` whether the hub said that it is done,
    `failure_event` what went wrong besides, `events` everything that belongs to it, `raw_messages` what these were made
    from, `dropped_media` how many sounds were over the limit and left out. A notebook shows it with its media.
    """

    text: str
    utterances: tuple[str, ...] = ()
    handled: bool = False
    session_id: str | None = None
    request_id: str | None = None
    raw_messages: tuple[Any, ...] = field(default=(), repr=False, compare=False)
    events: tuple[ThalovantEvent, ...] = ()
    failure_event: ThalovantEvent | None = None
    dropped_media: int = 0

    @classmethod
    def from_events(
        cls,
        events: Iterable[ThalovantEvent],
        *,
        handled: bool = False,
        failure_event: ThalovantEvent | None = None,
        session_id: str | None = None,
        request_id: str | None = None,
        dropped_media: int = 0,
    ) -> ThalovantReply:
        """Collect a reply: each speech in one line, a repetition of the one before and blank ones left out."""
        kept = tuple(events)
        said: list[str] = []
        for event in kept:
            if event.name in _SPEECH:
                piece = " ".join(event.text.split())
                if piece and said[-1:] != [piece]:
                    said.append(piece)
        return cls(
            text=" ".join(said),
            utterances=tuple(said),
            handled=handled,
            session_id=session_id,
            request_id=request_id,
            raw_messages=tuple(event.raw for event in kept),
            events=kept,
            failure_event=failure_event,
            dropped_media=dropped_media,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "raw_messages": ()}

    @property
    def ok(self) -> bool:
        """Whether the hub finished the request and reported no failure."""
        return self.handled and self.failure_event is None

    @property
    def display_text(self) -> str:
        """`text` without SSML."""
        return strip_ssml(self.text)

    def display_items(self, *, max_text_chars: int | None = None) -> tuple[ThalovantDisplayItem, ...]:
        """Items to show of it, in the order it came, texts in pieces of at most `max_text_chars` characters.

        Raises `ValueError` if `max_text_chars` is below 1.
        """
        items = [item for event in self.events for item in event.display_items(max_text_chars=max_text_chars)]
        return tuple(items or text_items(self.text, max_text_chars=max_text_chars))

    @property
    def lang(self) -> str | None:
        """The language tag of the first event that has one."""
        return next((event.lang for event in self.events if event.lang), None)

    @property
    def media_events(self) -> tuple[ThalovantEvent, ...]:
        """Speech and sounds, in the order to play them."""
        return tuple(event for event in self.events if event.name in MEDIA_EVENTS)

    @property
    def has_audio(self) -> bool:
        """Whether a sound is inside."""
        return any(event.has_audio for event in self.events)

    @property
    def pipeline_ids(self) -> tuple[str, ...]:
        """The stages of the hub that took the request, each once."""
        return self._named("pipeline_id")

    @property
    def skill_ids(self) -> tuple[str, ...]:
        """The skills that answered, each once."""
        return self._named("skill_id")

    @property
    def claimed(self) -> bool:
        """Whether a skill really took the request, not just a fallback that answers to everything."""
        if not self.ok:
            return False
        pipelines = self.pipeline_ids
        if not pipelines or any(FALLBACK_PIPELINE_MARK not in one for one in pipelines):
            return True
        metas = (event.data.get("meta") for event in self.events if event.name in _SPEECH)
        return any(isinstance(meta, dict) and meta.get(THALOVANT_CLAIMED_META_KEY) is True for meta in metas)

    def as_dict(self) -> dict[str, Any]:
        """The reply, ready for JSON; without `raw_messages`."""
        return {
            **{name: getattr(self, name) for name in _SHOWN},
            "utterances": list(self.utterances),
            "pipeline_ids": list(self.pipeline_ids),
            "skill_ids": list(self.skill_ids),
            "display_items": [item.as_dict() for item in self.display_items()],
            "failure_event": self.failure_event.as_dict() if self.failure_event else None,
            "events": [event.as_dict() for event in self.events],
        }

    def __repr__(self) -> str:
        state = "ok" if self.ok else f"failed: {self.failure_event.name!r}" if self.failure_event else "unfinished"
        kinds = dict.fromkeys(item.kind for item in self.display_items() if item.kind != "text")
        text = self.text if len(self.text) <= _LONGEST_REPR else f"{self.text[:_LONGEST_REPR]}…"
        return f"<{type(self).__name__} {text!r} {', '.join((state, *kinds))}>"

    def _repr_markdown_(self) -> str:
        return to_markdown(self.display_items()) or "(nothing was said)"

    def _named(self, key: str) -> tuple[str, ...]:
        found = (event.context.get(key) for event in self.events)
        return tuple(dict.fromkeys(name for name in found if isinstance(name, str) and name))


@dataclass(frozen=True)
class ThalovantConnectionInfo:
    """The history of the present connection.

    Times are ISO 8601 in UTC, durations milliseconds, each None if it did not come to that. `transport_open_ms` ends
    with TLS, `socket_open_ms` (WSS only) with the WebSocket handshake, `handshake_ms` is the hub's, `connect_ms` all.
    """

    phase: ThalovantConnectionPhase = "idle"
    started_at: str | None = None
    connected_at: str | None = None
    transport_open_ms: float | None = None
    socket_open_ms: float | None = None
    handshake_ms: float | None = None
    connect_ms: float | None = None
    last_error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The eight fields, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ThalovantHealth:
    """Whether the connection works. `str()` is what the command line prints, on one line."""

    connected: bool
    handshake_complete: bool
    transport_alive: bool
    last_error: str | None = None
    connection: ThalovantConnectionInfo | None = None

    @property
    def ok(self) -> bool:
        """Whether everything is well."""
        return self.connected and self.handshake_complete and self.transport_alive and self.last_error is None

    def lines(self) -> tuple[str, ...]:
        """Lines for the command line: `ok` or `failed`, then one line per fact."""
        facts = [
            "ok" if self.ok else "failed",
            f"connected={self.connected}",
            f"handshake_complete={self.handshake_complete}",
            f"transport_alive={self.transport_alive}",
        ]
        return (*facts, f"last_error={visible(self.last_error)}") if self.last_error else tuple(facts)

    def as_dict(self) -> dict[str, Any]:
        """The facts and `ok`, ready for JSON; `connection` where it is known."""
        facts = {"ok": self.ok, **asdict(self)}
        return facts if self.connection else {name: fact for name, fact in facts.items() if name != "connection"}

    def __str__(self) -> str:
        return " ".join(self.lines())


@dataclass(frozen=True)
class ThalovantDoctorCheck:
    """One thing that was looked at: whether it is well, and what was found. `duration_ms` is 0 if nothing was timed."""

    name: str
    ok: bool
    detail: str
    duration_ms: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The four fields, ready for JSON, the duration rounded to microseconds."""
        return {**asdict(self), "duration_ms": round(self.duration_ms, 3)}


@dataclass(frozen=True)
class ThalovantDoctorReport:
    """The findings of the doctor. `identity` is the redacted identity; `str()` is `format()`."""

    identity: dict[str, Any]
    checks: tuple[ThalovantDoctorCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether every check is."""
        return all(check.ok for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """The report, ready for JSON."""
        return {"ok": self.ok, "identity": self.identity, "checks": [check.as_dict() for check in self.checks]}

    def format(self) -> str:
        """The report for people: a headline, then one line per check."""
        lines = [f"Thalovant doctor: {'ok' if self.ok else 'failed'}"]
        for check in self.checks:
            took = f" ({check.duration_ms:.0f} ms)" if check.duration_ms else ""
            lines.append(f"- {check.name}: {'ok' if check.ok else 'failed'}{took} - {check.detail}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.format()
