"""Questions to a hub about what it understands, by the messages of OVOS's intent manifest, and what comes of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from .. import events as e, intents as understood
from .._internal import languages, options
from ..errors import ThalovantError, ThalovantPolicyDeniedError, ThalovantRuntimeError, ThalovantTimeoutError
from ..intents import HubFallback, IntentDefinition, IntentRegistration, has_sentences, same_language

if TYPE_CHECKING:
    from thalovant_proto.events import Bus

    from .messages import Messages
    from .session import ClientSession

#: How many definitions are asked for at a time, and how long a hub may take to name its fallback skills, in seconds.
DESCRIBED_AT_ONCE: Final = 32
FALLBACKS_WITHIN: Final = 1.5
_ENGINES: Final = (
    ("keyword", e.EVENT_ADAPT_MANIFEST_GET, e.EVENT_ADAPT_MANIFEST),
    ("template", e.EVENT_PADATIOUS_MANIFEST_GET, e.EVENT_PADATIOUS_MANIFEST),
)

Named = tuple[str, ...]  # a skill, an intent and a language
Rows = Sequence[IntentRegistration]
Fits = Callable[["Bus", "Bus"], bool]


def folded(given: str | Iterable[str] | None) -> tuple[str, ...]:
    """The languages to ask for, folded, each once; "en-us" for none. Raises `ValueError` for what is no text."""
    tags = (given,) if isinstance(given, str) else tuple(given or ("en-us",))
    return tuple(dict.fromkeys(languages.fold(options.text(tag, "a language")) for tag in tags))


class Inquiry:
    """The questions of one call; `timeout` is how long the hub may take to answer each, in seconds."""

    def __init__(self, session: ClientSession, messages: Messages, timeout: float) -> None:
        self._session = session
        self._messages = messages
        self._timeout = options.seconds(timeout)
        self._heard: list[Mapping[str, Any]] = []  # answers may come twice
        self._everything: tuple[dict[str, list[IntentRegistration]], str] | None = None

    async def inventory(
        self, asked: tuple[str, ...], *, describe: bool, fallback: bool, nearest: bool
    ) -> understood.HubIntentInventory:
        """What the hub understands in these languages."""
        listed: dict[str, Rows] = {}
        used: dict[str, str] = {}
        more: dict[str, Any] = {}
        try:
            for lang in asked:
                used[lang], listed[lang] = await self._best_for(lang, describe, nearest)
        except (ThalovantPolicyDeniedError, ThalovantTimeoutError) as error:
            if not fallback:
                raise
            listed = {"": await self._named_by_engines(error)}
            more = {"source": understood.SOURCE_ENGINES, "denied": (e.EVENT_INTENT_LIST,)}
        else:
            more = {"listed_in": {lang: tag for lang, tag in used.items() if not same_language(lang, tag)}}
            listed = await self._completed(listed) if describe else listed
        takes_all = await self._fallbacks()
        skills = understood.by_skill(listed)
        return understood.HubIntentInventory(
            asked, skills, fallbacks=takes_all or (), fallbacks_known=takes_all is not None, **more
        )

    async def listed(self, lang: str | None, *, definitions: bool) -> tuple[list[IntentRegistration], str]:
        """The rows in a language, or in all of them, and the language of the hub, "" if it does not say."""

        def rows(bus: Bus) -> list[IntentRegistration]:
            made = (IntentRegistration.from_row(row, lang=lang or "") for row in _rows(bus, "intents"))
            return [one for one in made if one is not None and (lang is None or same_language(one.lang, lang))]

        data = {**({} if lang is None else {"lang": lang}), **({"include_definitions": True} if definitions else {})}
        message = self._messages.inquiry(e.EVENT_INTENT_LIST, data, lang)
        fits: Fits = lambda _, bus: bus.data not in self._heard or bool(rows(bus))  # noqa: E731
        replies = await self._ask([message], e.EVENT_INTENT_LIST_RESPONSE, fits=fits)
        bus = next(iter(replies.values()), None) or self._silent("list its intents")
        if bus.data.get("ok") is False:
            raise e.failure_error(e.ThalovantEvent.from_bus(bus))
        self._heard.append(bus.data)
        session = bus.context.get("session")
        own = session.get("lang") if isinstance(session, dict) else None
        return rows(bus), own if isinstance(own, str) else ""

    async def described(self, intents: Sequence[Named]) -> dict[Named, list[IntentDefinition]]:
        """The definitions of these intents; of those whose answers came in time, none of them is an error."""
        keys = ("skill_id", "intent_name", "lang")
        asked = [dict(zip(keys, intent, strict=True)) for intent in intents]
        messages = [self._messages.inquiry(e.EVENT_INTENT_DESCRIBE, data, data["lang"]) for data in asked]

        def fits(message: Bus, bus: Bus) -> bool:
            rows = [one for row in _rows(bus, "definitions") if (one := IntentDefinition.from_row(row)) is not None]
            names = [(one.skill_id, one.intent_name, languages.fold(one.lang)) for one in rows]
            wanted = (message.data["skill_id"], message.data["intent_name"], languages.fold(message.data["lang"]))
            return wanted in names if names else len(messages) == 1

        replies = await self._ask(messages, e.EVENT_INTENT_DESCRIBE_RESPONSE, fits=fits)
        found: dict[Named, list[IntentDefinition]] = {}
        for intent, data, message in zip(intents, asked, messages, strict=True):
            if (bus := replies.get(str(message.request_id))) is not None:
                made = (IntentDefinition.from_row(row, **data) for row in _rows(bus, "definitions"))
                found[intent] = [one for one in made if one is not None]
        return found or self._silent("describe its intents")

    # --- parts of an inventory ---

    async def _best_for(self, lang: str, describe: bool, nearest: bool) -> tuple[str, Rows]:
        """The language that a hub lists for another, and its rows."""
        first: Rows = ()
        for tag in filter(None, (lang, languages.usual_form(lang))):
            rows, _ = await self.listed(tag, definitions=describe)
            if any(map(has_sentences, rows)):
                return tag, rows
            first = first or rows
        if nearest:
            if self._everything is None:
                self._everything = {}, ""
                with contextlib.suppress(ThalovantRuntimeError, ThalovantTimeoutError):
                    rows, own = await self.listed(None, definitions=describe)
                    self._everything = _by_language(rows), own
            groups, own = self._everything
            if (near := understood.nearest_hub_language(lang, groups, own)) is not None:
                return near, groups[near]
        return lang, first

    async def _completed(self, listed: Mapping[str, Rows]) -> dict[str, Rows]:
        """The rows with the definitions that the hub has not told along."""

        def named(row: IntentRegistration) -> Named:
            return row.skill_id, row.intent_name, row.lang

        bare = (row for rows in listed.values() for row in rows if row.method == "template" and row.definition is None)
        missing = list(dict.fromkeys(map(named, bare)))
        known: dict[Named, list[IntentDefinition]] = {}
        for at in range(0, len(missing), DESCRIBED_AT_ONCE):
            batch = missing[at : at + DESCRIBED_AT_ONCE]
            try:
                known |= (found := await self.described(batch))
            except ThalovantTimeoutError:
                found = {}
                if not known:
                    raise
            if len(found) < len(batch):
                break  # what was told is better than nothing, and than more waiting

        def told(row: IntentRegistration) -> Rows:
            found = (one for one in known.get(named(row), ()) if one.method == row.method and row.definition is None)
            return [replace(row, definition=one.definition) for one in found] or [row]

        return {lang: [one for row in rows for one in told(row)] for lang, rows in listed.items()}

    async def _named_by_engines(self, error: ThalovantError) -> Rows:
        """The intents that the hub's engines name; raises `error` if none of them answers."""
        questions = (self._ask([self._messages.inquiry(ask, {})], reply) for _, ask, reply in _ENGINES)
        answers = await asyncio.gather(*questions, return_exceptions=True)
        told = [(method, bus) for (method, *_), answer in zip(_ENGINES, answers, strict=True)
                for bus in (answer.values() if isinstance(answer, dict) else ())]  # fmt: skip
        if not told:
            raise error
        named: dict[str, IntentRegistration] = {}
        for method, name in ((method, row.get("name")) for method, bus in told for row in _rows(bus, "intents")):
            if isinstance(name, str) and name.strip():
                skill_id, _, own = name.rpartition(":")
                named.setdefault(name, IntentRegistration(skill_id, own, "", method))
        return list(named.values())

    async def _fallbacks(self) -> tuple[HubFallback, ...] | None:
        """The skills that take everything; None if the hub does not tell."""
        message, within = self._messages.inquiry(e.EVENT_SKILLS_LIST, {}), min(self._timeout, FALLBACKS_WITHIN)
        try:
            replies = await self._ask([message], e.EVENT_SKILLS_LIST_RESPONSE, within=within)
        except ThalovantPolicyDeniedError:
            return None
        bus = next(iter(replies.values()), None)
        if bus is None or bus.data.get("ok") is False or not isinstance(bus.data.get("skills"), list):
            return None
        names = set()
        for row in _rows(bus, "skills"):
            name, able = row.get("skill_id"), row.get("capabilities")
            takes_all = isinstance(able, list) and "fallback" in able
            if isinstance(name, str) and takes_all and row.get("session_id") in (None, "", "default"):
                names.add(name)
        return tuple(map(HubFallback, sorted(names)))

    async def _ask(
        self,
        messages: Sequence[Bus],
        reply: str,
        *,
        within: float | None = None,
        fits: Fits = lambda message, bus: True,
    ) -> dict[str, Bus]:
        """The replies to messages of one type, by request id, those that come in time; raises if the hub refuses.

        A reply that names no request is the one to the first message that it `fits`.
        """
        waiting = {str(one.request_id): one for one in messages}
        found: dict[str, Bus] = {}
        heard: asyncio.Queue[Bus | ThalovantError] = asyncio.Queue()

        def ours(bus: Bus) -> bool:
            denied = bus.type == e.EVENT_POLICY_DENIED and bus.data.get("denied_type") == messages[0].type
            return (denied or bus.type == reply) and (bus.request_id is None or bus.request_id in waiting)

        with contextlib.ExitStack() as exits:
            exits.callback(self._session.subscribe(None, heard.put_nowait, matches=ours))
            exits.enter_context(self._session.ends(heard.put_nowait))
            for message in messages:
                await self._session.send(message, self._timeout)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timeout if within is None else within):
                    while waiting:
                        bus = await heard.get()
                        if isinstance(bus, ThalovantError):
                            raise bus
                        if bus.type != reply:
                            raise ThalovantPolicyDeniedError.from_event(e.ThalovantEvent.from_bus(bus))
                        id = bus.request_id or next((id for id, one in waiting.items() if fits(one, bus)), "")
                        if waiting.pop(id, None) is not None:
                            found[id] = bus
        return found

    def _silent(self, what: str) -> Any:
        raise ThalovantTimeoutError(f"Hub did not {what} within {self._timeout:g}s.")


def _by_language(rows: Rows) -> dict[str, list[IntentRegistration]]:
    """The rows of each language, whose first spelling names it, in the order of the hub."""
    spelt: dict[str, str] = {}
    groups: dict[str, list[IntentRegistration]] = {}
    for row in rows:
        groups.setdefault(spelt.setdefault(languages.fold(row.lang), row.lang), []).append(row)
    return groups


def _rows(bus: Bus, key: str) -> list[Mapping[str, Any]]:
    """The rows of an answer; a bare name counts as one."""
    found = bus.data.get(key)
    rows = found[: understood.MAX_ROWS] if isinstance(found, list) else []
    return [one for row in rows if isinstance(one := {"name": row} if isinstance(row, str) else row, dict)]
