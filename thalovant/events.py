"""The hub's events as users see them: their names, and `ThalovantEvent`, one message with its common fields at hand."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, ClassVar, Final, Generic, Self, TypeAlias, TypeVar, cast

from thalovant_proto.client import ownership
from thalovant_proto.client.ownership import refusal_belongs_to_ask as refusal_belongs_to_ask  # noqa: PLC0414 - public here

from ._internal.file_names import base_name, received
from ._internal.redact import redact_values
from .context import copied
from .errors import ThalovantPolicyDeniedError, ThalovantRuntimeError, ThalovantUnansweredError, shortened
from .rich import ThalovantDisplayItem, display_items_from_event_data, rich_media_from_data, strip_ssml

T = TypeVar("T")
if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    from thalovant_proto.events import Binary, Bus, PayloadMessage

    #: The class that events come as where a name or a class of events is given: for a name `ThalovantEvent`.
    E = TypeVarWithDefault("E", bound="ThalovantEvent", default="ThalovantEvent")
else:
    E = TypeVar("E", bound="ThalovantEvent")

EVENT_RECOGNIZER_LOOP_UTTERANCE: Final = "recognizer_loop:utterance"
EVENT_SPEAK: Final = "speak"
EVENT_OVOS_UTTERANCE_SPEAK: Final = "ovos.utterance.speak"
EVENT_AUDIO_QUEUE: Final = "mycroft.audio.queue"
EVENT_UTTERANCE_HANDLED: Final = "ovos.utterance.handled"
EVENT_INTENT_FAILURE: Final = "complete_intent_failure"
EVENT_INTENT_UNMATCHED: Final = "ovos.intent.unmatched"
EVENT_POLICY_DENIED: Final = "hive.policy.denied"
EVENT_QUERY_TIMEOUT: Final = "hive.query.timeout"

EVENT_INTENT_LIST: Final = "ovos.intent.list"
EVENT_INTENT_LIST_RESPONSE: Final = "ovos.intent.list.response"
EVENT_INTENT_DESCRIBE: Final = "ovos.intent.describe"
EVENT_INTENT_DESCRIBE_RESPONSE: Final = "ovos.intent.describe.response"
EVENT_SKILLS_LIST: Final = "ovos.skills.list"
EVENT_SKILLS_LIST_RESPONSE: Final = "ovos.skills.list.response"
EVENT_FALLBACK_LIST: Final = "ovos.skills.fallback.list"
EVENT_FALLBACK_LIST_RESPONSE: Final = "ovos.skills.fallback.list.response"
EVENT_ADAPT_MANIFEST: Final = "intent.service.adapt.manifest"
EVENT_ADAPT_MANIFEST_GET: Final = "intent.service.adapt.manifest.get"
EVENT_PADATIOUS_MANIFEST: Final = "intent.service.padatious.manifest"
EVENT_PADATIOUS_MANIFEST_GET: Final = "intent.service.padatious.manifest.get"

HIVE_BROADCAST: Final = "broadcast"
HIVE_PROPAGATE: Final = "propagate"
HIVE_ESCALATE: Final = "escalate"
HIVE_INTERCOM: Final = "intercom"
HIVE_RENDEZVOUS: Final = "rendezvous"
HIVE_KINDS: Final = (HIVE_BROADCAST, HIVE_PROPAGATE, HIVE_ESCALATE, HIVE_INTERCOM, HIVE_RENDEZVOUS)

BINARY_TTS_AUDIO: Final = "tts_audio"
BINARY_FILE: Final = "file"

HOME_REQUEST: Final = "thalovant.home.request"
HOME_RESPONSE: Final = "thalovant.home.response"

FAILURE_EVENTS: Final = (EVENT_INTENT_FAILURE, EVENT_INTENT_UNMATCHED, EVENT_POLICY_DENIED, EVENT_QUERY_TIMEOUT)
MEDIA_EVENTS: Final = (EVENT_SPEAK, EVENT_OVOS_UTTERANCE_SPEAK, EVENT_AUDIO_QUEUE)

MAX_AUDIO_CLIP_BYTES: Final = ownership.MAX_AUDIO_CLIP_BYTES
MAX_REPLY_MEDIA_BYTES: Final = ownership.MAX_REPLY_MEDIA_BYTES
UNTRACKED_UTTERANCE_GRACE_SECONDS: Final = ownership.UNTRACKED_UTTERANCE_GRACE_SECONDS

#: Keys of a session that hubs forget between turns. Sent along, since "another one" means nothing without them.
CONVERSATION_SESSION_FIELDS: Final = (
    "converse_handlers",
    "active_handlers",
    "active_skills",
    "context",
    "utterance_states",
    "response_mode",
)


# The class of events of a name; the first that was made for it.
_CLASSES: Final[dict[str, type[ThalovantEvent]]] = {}


@dataclass(frozen=True, repr=False)
class ThalovantEvent:
    """One message of the hub. `raw` is what it was made from.

    `data` is the message's own; treat it as read-only. `context` is a copy: a reply is made of the one that came.

    Events of a known name come as a subclass that knows their fields, equal to a plain one with the same name, data and
    context. Classes of your own are given to `on`, `listen`, `wait_for_event` and `expect` in place of a name:

        class DoorOpened(ThalovantEvent, event="shop.door.opened"):
            door = EventField(str, "unknown")
    """

    #: The name of all events of this class; "" for `ThalovantEvent`, which any event can be.
    event_name: ClassVar[str] = ""

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    raw: Any = field(default=None, compare=False)

    def __init_subclass__(cls, *, event: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        if event:
            cls.event_name = event
            _CLASSES.setdefault(event, cls)

    @classmethod
    def from_message(cls, message: Any, name: str = "") -> Self:
        """The event for an object with `msg_type`, `data` and `context`; `name` if it does not say its own type.

        Data or context that is not a mapping counts as empty.
        """
        data, context = getattr(message, "data", None), getattr(message, "context", None)
        own = getattr(message, "msg_type", None)
        name = own if isinstance(own, str) and own else name
        return cls._of(name)(
            name=name,
            data=dict(data) if isinstance(data, Mapping) else {},
            context=dict(context) if isinstance(context, Mapping) else {},
            raw=message,
        )

    @classmethod
    def from_bus(cls, bus: Bus) -> Self:
        """The event for a bus message of the protocol core."""
        raw = vars(bus).get("raw", bus)  # of a transport of the user's, whose messages these are
        return cls._of(bus.type)(name=bus.type, data=bus.data, context=copied(bus.context), raw=raw)

    @classmethod
    def _of(cls, name: str) -> type[Self]:
        """The class for events of that name: this one, unless it is the general one and there is a better one."""
        return cast("type[Self]", _CLASSES.get(name, cls)) if cls is ThalovantEvent else cls

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ThalovantEvent):
            return NotImplemented
        return (self.name, self.data, self.context) == (other.name, other.data, other.context)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "raw": None}  # it may be anything, and need not travel to another process

    @property
    def text(self) -> str:
        """The words said: the utterance or text, else the first of `utterances`, else ""."""
        for key in ("utterance", "text"):
            if isinstance(found := self.data.get(key), str) and found:
                return found
        return next(iter(self.utterances), "")

    @property
    def utterances(self) -> tuple[str, ...]:
        """All that is said, or what was understood, in order."""
        found = self.data.get("utterances")
        if isinstance(found, str):
            return (found,)
        if isinstance(found, list | tuple):
            return tuple(item for item in found if isinstance(item, str))
        found = self.data.get("utterance")
        return (found,) if isinstance(found, str) else ()

    @property
    def session_id(self) -> str | None:
        """The session that this belongs to."""
        from thalovant_proto.events import session_id_of

        return session_id_of(self.context)

    @property
    def request_id(self) -> str | None:
        """The request that this answers."""
        from thalovant_proto.events import request_id_of

        return request_id_of(self.context, self.data)

    @property
    def site_id(self) -> str | None:
        """The site that it comes from."""
        return _first(_session(self.context), "site_id") or _first(self.context, "site_id")

    @property
    def lang(self) -> str | None:
        """The language tag of what is said."""
        return _first(self.data, "lang") or _first(self.context, "lang") or _first(_session(self.context), "lang")

    @property
    def is_policy_denied(self) -> bool:
        """Whether the hub refused something because of its policy."""
        return self.name == EVENT_POLICY_DENIED

    @property
    def is_failure(self) -> bool:
        """Whether the hub could not or would not do what was asked."""
        return self.name in FAILURE_EVENTS

    @property
    def is_audio(self) -> bool:
        """Whether this is a sound to play."""
        return self.name == EVENT_AUDIO_QUEUE

    @property
    def has_audio(self) -> bool:
        """Whether the sound is inside: `audio_bytes` gives it."""
        return self.is_audio and bool(self._clip)

    def audio_bytes(self, *, max_bytes: int = MAX_AUDIO_CLIP_BYTES) -> bytes:
        """The sound inside.

        Raises `ValueError` if there is none, if it has more than `max_bytes` bytes, or if it is not hexadecimal.
        """
        if not self.has_audio:
            raise ValueError("this event carries no embedded audio")
        if len(self._clip) > 2 * max_bytes:
            raise ValueError(f"embedded audio is over {max_bytes} bytes")
        try:
            return bytes.fromhex(self._clip)
        except ValueError:
            raise ValueError("embedded audio is not hexadecimal") from None

    @property
    def _clip(self) -> str:
        found = self.data.get("binary_data")
        return found if isinstance(found, str) else ""

    @property
    def display_text(self) -> str:
        """`text` without SSML."""
        return strip_ssml(self.text)

    @property
    def rich_media(self) -> dict[str, Any]:
        """The part of `data` that holds tables, choices, images or attachments, as it came."""
        return rich_media_from_data(self.data)

    def display_items(self, *, max_text_chars: int | None = None) -> tuple[ThalovantDisplayItem, ...]:
        """Items to show of it, texts in pieces of at most `max_text_chars` characters.

        Raises `ValueError` if `max_text_chars` is below 1.
        """
        return display_items_from_event_data(self.data, event_name=self.name, max_text_chars=max_text_chars)

    def matches_context(
        self,
        context: Mapping[str, Any] | None = None,
        *,
        session_id: str | None = None,
        request_id: str | None = None,
    ) -> bool:
        """Whether this can belong to that request and session; ids that one side does not have do not count.

        Where both name a request that alone decides, since a hub may answer under another session id. One that is
        handed back as `namespace:id` is the same.
        """
        from thalovant_proto.events import request_id_of, same_session, session_id_of

        wanted = request_id or request_id_of(context or {})
        if wanted and (own := self.request_id):
            return own == wanted
        wanted = session_id or session_id_of(context or {})
        return not wanted or (own := self.session_id) is None or same_session(own, wanted)

    def as_dict(self) -> dict[str, Any]:
        """The event and its common fields, ready for JSON; as it came, nothing is left out of `context`."""
        return {
            "name": self.name,
            "data": self.data,
            "context": self.context,
            "text": self.text,
            "display_text": self.display_text,
            "session_id": self.session_id,
            "request_id": self.request_id,
            "display_items": [item.as_dict() for item in self.display_items()],
        }

    def __repr__(self) -> str:
        data, context = redact_values(self.data), redact_values(self.context)  # a context may carry a user's token
        return f"{type(self).__name__}(name={self.name!r}, data={data!r}, context={context!r})"


class EventField(Generic[T]):
    """A field of a class of events: `data` under the field's name, or `default` where that is missing or no `kind`."""

    def __init__(self, kind: type[T], default: T) -> None:
        self._kind = kind
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._key = name

    def __get__(self, event: ThalovantEvent | None, owner: type) -> T:
        found = None if event is None else event.data.get(self._key)
        return found if isinstance(found, self._kind) else self._default


class SpeakEvent(ThalovantEvent, event=EVENT_SPEAK):
    """The hub says something: `text`. `utterance` is that as its skill gave it, `meta` what this adds about it.

    `expect_response`: whether the skill waits for an answer.
    """

    utterance: EventField[str] = EventField(str, "")
    expect_response: EventField[bool] = EventField(bool, False)
    meta: EventField[dict[str, Any]] = EventField(dict, {})


class OvosSpeakEvent(SpeakEvent, event=EVENT_OVOS_UTTERANCE_SPEAK):
    """The same by its newer name."""


class UtteranceHandledEvent(ThalovantEvent, event=EVENT_UTTERANCE_HANDLED):
    """The hub is done with an utterance."""


class AudioEvent(ThalovantEvent, event=EVENT_AUDIO_QUEUE):
    """The hub plays a sound: `audio_bytes()` where it is inside, else what `uri` leads to."""

    uri: EventField[str] = EventField(str, "")


class IntentFailureEvent(ThalovantEvent, event=EVENT_INTENT_FAILURE):
    """No skill took an utterance, which is `text` where the hub repeats it."""


class IntentUnmatchedEvent(IntentFailureEvent, event=EVENT_INTENT_UNMATCHED):
    """The same by its newer name."""


class PolicyDeniedEvent(ThalovantEvent, event=EVENT_POLICY_DENIED):
    """The hub refused something."""

    @property
    def error(self) -> ThalovantPolicyDeniedError:
        """What it says, as the error that an ask raises: `denied_type`, `code`, `reason`, `allowed`, `quota`."""
        return ThalovantPolicyDeniedError.from_event(self)


def name_and_class(given: str | type[E]) -> tuple[str, type[E]]:
    """What a caller means who names events by their name or by their class. Raises `ValueError` for anything else."""
    if isinstance(given, type) and issubclass(given, ThalovantEvent) and given.event_name:
        return given.event_name, given
    if not isinstance(given, str) or not given.strip():
        raise ValueError(f"the name of an event must be text, or a class of events that has one, not {given!r}")
    return given, cast("type[E]", ThalovantEvent)


@dataclass(frozen=True, repr=False)
class ThalovantBinary:
    """Raw bytes of the hub: speech (`kind` is "tts_audio"), a file ("file"), or another kind ("binary:9").

    Kinds: raw_audio, numpy_image, file, stt_transcribe, stt_handle, tts_audio, and `binary:<n>` for other numbers.
    """

    kind: str
    data: bytes
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_wire(cls, binary: Binary) -> ThalovantBinary:
        """The bytes of a message of the protocol core; a file's name loses its folders."""
        return cls(binary.name, binary.payload, received(binary.metadata))

    @property
    def utterance(self) -> str | None:
        """The words that are spoken."""
        return self._text("utterance")

    @property
    def lang(self) -> str | None:
        """The language tag of what is spoken."""
        return self._text("lang")

    @property
    def file_name(self) -> str | None:
        """The name of the file, without folders and control characters: joined to a folder of yours it stays in it."""
        return base_name(self._text("file_name") or "") or None

    def _text(self, key: str) -> str | None:
        found = self.metadata.get(key)
        return found if isinstance(found, str) and found else None

    def __repr__(self) -> str:
        metadata = redact_values(self.metadata)
        return f"ThalovantBinary(kind={self.kind!r}, data=<{len(self.data)} bytes>, metadata={metadata!r})"


def failure_error(event: ThalovantEvent) -> ThalovantRuntimeError:
    """The error for an event by which the hub says that it could not or would not."""
    if event.is_policy_denied:
        return ThalovantPolicyDeniedError.from_event(event)
    reasons = (event.data.get(key) for key in ("reason", "error", "code"))
    reason = next((shortened(one) for one in reasons if isinstance(one, str) and one.strip()), "")
    reason = reason or f"Hub reported {event.name}."
    code = code if isinstance(code := event.data.get("code"), str) and code.strip() else None
    said = event.data.get("utterance")
    if event.name not in (EVENT_INTENT_FAILURE, EVENT_INTENT_UNMATCHED):
        return ThalovantRuntimeError(reason, name="hub_failure", code=code, delivery="yes")
    if not isinstance(said, str) and (code is not None or "error" in event.data):
        # Hubs say so of a skill that failed, not of a question that none took.
        return ThalovantRuntimeError(reason, name="skill_failed", code=code, delivery="yes")
    return ThalovantUnansweredError(said if isinstance(said, str) else event.text, message=reason)


def carry_conversation(previous: Mapping[str, Any] | None, session: Mapping[str, Any] | None) -> dict[str, Any]:
    """The session of a turn with what the `previous` turn's leaves to it; what the turn brings itself wins.

    Only `CONVERSATION_SESSION_FIELDS` are carried.
    """
    given = dict(session or {})
    left = {key: previous[key] for key in CONVERSATION_SESSION_FIELDS if key in previous} if previous else {}
    return {**left, **given}


EventHandler: TypeAlias = Callable[[ThalovantEvent], Any]
EventPredicate: TypeAlias = Callable[[ThalovantEvent], bool]
BinaryHandler: TypeAlias = Callable[[ThalovantBinary], Any]
HiveHandler: TypeAlias = "Callable[[PayloadMessage], Any]"
#: What holds a sound: its bytes, the path of a file, a file opened for bytes, or whatever gives bytes piece by piece.
AudioSource: TypeAlias = "bytes | str | os.PathLike[str] | IO[bytes] | Iterable[bytes] | AsyncIterable[bytes]"


def _session(context: Mapping[str, Any]) -> Mapping[str, Any]:
    session = context.get("session")
    return session if isinstance(session, Mapping) else {}


def _first(values: Mapping[str, Any], *keys: str) -> str | None:
    return next((str(values[key]) for key in keys if values.get(key)), None)
