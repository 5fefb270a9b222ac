"""Questions to a hub about what it understands, by the messages of OVOS's intent manifest, and what comes of them."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

from .. import events as e, intents as it
from .._internal import languages, options
from ..errors import ThalovantError, ThalovantPolicyDeniedError, ThalovantRuntimeError, ThalovantTimeoutError

if TYPE_CHECKING:
    from thalovant_proto.events import Bus

    from .messages import Messages
    from .session import ClientSession

#: How many definitions are asked for at a time, and how long a hub may take to name its fallback skills, in seconds.
DESCRIBED_AT_ONCE: Final = 32
FALLBACKS_WITHIN: Final = 1.5
_ENGINES: Final = (("keyword", e.EVENT_ADAPT_MANIFEST), ("template", e.EVENT_PADATIOUS_MANIFEST))

Rows = Sequence[it.IntentRegistration]
Fits = Callable[["Bus", "Bus"], bool]


def folded(given: str | Iterable[str] | None) -> tuple[str, ...]:
    """The languages to ask for, folded, each once; "en-us" for none. Raises `ValueError` for what is no text."""
    tags = (given,) if isinstance(given, str) else tuple(given or ("en-us",))
    return tuple(dict.fromkeys(languages.fold(options.text(tag, "a language")) for tag in tags))


def _any(message: Bus, bus: Bus) -> bool:
    return True


class Inquiry:
    """The questions of one call; `timeout` is how long the hub may take to answer each, in seconds."""

    def __init__(
        self, session: ClientSession, messages: Messages, connect_within: float | None, timeout: float
    ) -> None:
        self._session = session
        self._messages = messages
        self._connect_within = connect_within
        self._timeout = options.seconds(timeout)
        self._heard: list[Mapping[str, Any]] = []  # answers may come twice
        self._groups: dict[str, list[it.IntentRegistration]] | None = None  # all rows, by language
        self._own = ""  # the language of the hub

    async def inventory(
        self, given: str | Iterable[str] | None, describe: bool, fallback: bool, nearest: bool
    ) -> it.HubIntentInventory:
        """What the hub understands in these languages."""
        asked = folded(given)
        listed: dict[str, Rows] = {}
        used: list[str] = []
        more: dict[str, Any] = {}
        try:
            for lang in asked:
                tag, rows = await self._best_for(lang, describe, nearest)
                used.append(tag := next((one for one in listed if it.same_language(one, tag)), tag))
                listed[tag] = rows
        except (ThalovantPolicyDeniedError, ThalovantTimeoutError) as error:
            if not fallback:
                raise
            listed = {"": await self._named_by_engines(error)}
            more = {"source": it.SOURCE_ENGINES, "denied": (e.EVENT_INTENT_LIST,)}
        else:
            more = {"listed_in": tuple(used)}
            if describe:
                await self._complete(listed)
        if (takes_all := await self._fallbacks()) is not None:
            more |= {"fallbacks": takes_all, "fallbacks_known": True}
        return it.HubIntentInventory(asked, it.by_skill(listed), **more)

    async def listed(self, lang: str | None, definitions: bool) -> tuple[list[it.IntentRegistration], str]:
        """The rows in a language, or in all of them, and the language of the hub, "" if it does not say."""

        def rows(bus: Bus) -> list[it.IntentRegistration]:
            found = it.IntentRegistration.from_rows(bus.data.get("intents"), lang=lang or "")
            return [one for one in found if one.lang and (lang is None or it.same_language(one.lang, lang))]

        def fits(message: Bus, bus: Bus) -> bool:
            return bus.data not in self._heard or bool(rows(bus))

        data = {"lang": lang, "include_definitions": definitions}
        message = self._messages.inquiry(e.EVENT_INTENT_LIST, {key: one for key, one in data.items() if one}, lang)
        (bus,) = await self._ask([message], e.EVENT_INTENT_LIST_RESPONSE, fits)
        if bus is None:
            self.silent("list its intents")
        if bus.data.get("ok") is False:
            raise e.failure_error(e.ThalovantEvent.from_bus(bus))
        self._heard.append(bus.data)
        session = bus.context.get("session")
        own = session.get("lang") if isinstance(session, dict) else None
        return rows(bus), own if isinstance(own, str) else ""

    async def described(self, intents: Sequence[it.Key]) -> list[list[it.IntentDefinition] | None]:
        """The definitions of each of these intents, None where no answer came in time."""
        asked = [dict(zip(("skill_id", "intent_name", "lang"), one, strict=True)) for one in intents]

        def fits(message: Bus, bus: Bus) -> bool:
            found = it.IntentDefinition.from_rows(bus.data.get("definitions"))
            keys = [tuple(map(languages.fold, one.key)) for one in found]
            return tuple(languages.fold(message.data[key]) for key in asked[0]) in keys if keys else len(asked) == 1

        messages = [self._messages.inquiry(e.EVENT_INTENT_DESCRIBE, data, data["lang"]) for data in asked]
        replies = await self._ask(messages, e.EVENT_INTENT_DESCRIBE_RESPONSE, fits)
        return [
            None if bus is None else it.IntentDefinition.from_rows(bus.data.get("definitions"), **data)
            for bus, data in zip(replies, asked, strict=True)
        ]

    # --- parts of an inventory ---

    async def _best_for(self, lang: str, describe: bool, nearest: bool) -> tuple[str, Rows]:
        """The language that a hub lists for another, and its rows."""
        first: Rows = ()
        for tag in filter(None, (lang, languages.usual_form(lang))):
            rows, _ = await self.listed(tag, describe)
            if any(map(it.has_sentences, rows)):
                return tag, rows
            first = first or rows
        if nearest and self._groups is None:
            self._groups, spelt = {}, dict[str, str]()
            with contextlib.suppress(ThalovantRuntimeError, ThalovantTimeoutError):
                found, self._own = await self.listed(None, describe)
                for row in found:
                    self._groups.setdefault(spelt.setdefault(languages.fold(row.lang), row.lang), []).append(row)
        groups = self._groups or {}
        near = it.nearest_hub_language(lang, groups, self._own) if nearest else None
        return (lang, first) if near is None else (near, groups[near])

    async def _complete(self, listed: dict[str, Rows]) -> None:
        """Add the definitions that the hub has not told along."""
        bare = {row.key for rows in listed.values() for row in rows if row.method == "template" and not row.definition}
        missing, known = sorted(bare), dict[it.Key, list[it.IntentDefinition]]()
        for at in range(0, len(missing), DESCRIBED_AT_ONCE):
            batch = missing[at : at + DESCRIBED_AT_ONCE]
            told = await self.described(batch)
            known |= {key: found for key, found in zip(batch, told, strict=True) if found is not None}
            if not known:
                self.silent("describe its intents")
            if None in told:
                break  # what was told is better than nothing, and than more waiting

        def completed(row: it.IntentRegistration) -> Rows:
            same = [one for one in known.get(row.key, ()) if one.method == row.method and not row.definition]
            return [replace(row, definition=one.definition) for one in same] or [row]

        for lang, rows in listed.items():
            listed[lang] = [one for row in rows for one in completed(row)]

    async def _named_by_engines(self, error: ThalovantError) -> Rows:
        """The intents that the hub's engines name; raises `error` if none of them answers."""
        questions = (self._ask([self._messages.inquiry(f"{reply}.get", {})], reply) for _, reply in _ENGINES)
        answers = await asyncio.gather(*questions, return_exceptions=True)
        told = {one: answer[0] for one, answer in zip(_ENGINES, answers, strict=True) if isinstance(answer, list)}
        if not any(told.values()):
            raise error
        named: dict[str, it.IntentRegistration] = {}
        for (method, _), bus in told.items():
            for row in it.rows_of(bus and bus.data.get("intents")):
                if isinstance(name := row.get("name"), str) and name.strip():
                    skill_id, _, own = name.rpartition(":")
                    named.setdefault(name, it.IntentRegistration(skill_id, own, "", method))
        return list(named.values())

    async def _fallbacks(self) -> tuple[it.HubFallback, ...] | None:
        """The skills that take everything; None if the hub does not tell."""
        message, bus = self._messages.inquiry(e.EVENT_SKILLS_LIST, {}), None
        with contextlib.suppress(ThalovantPolicyDeniedError, ThalovantTimeoutError):
            (bus,) = await self._ask([message], e.EVENT_SKILLS_LIST_RESPONSE, within=FALLBACKS_WITHIN)
        if bus is None or bus.data.get("ok") is False or not isinstance(skills := bus.data.get("skills"), list):
            return None
        names = set()
        for row in it.rows_of(skills):
            name, able, session = row.get("skill_id"), row.get("capabilities"), row.get("session_id")
            takes_all = isinstance(able, list) and "fallback" in able and session in (None, "", "default")
            names |= {name} if takes_all and isinstance(name, str) else set()
        return tuple(map(it.HubFallback, sorted(names)))

    async def _ask(
        self, messages: Sequence[Bus], reply: str, fits: Fits = _any, *, within: float = math.inf
    ) -> list[Bus | None]:
        """The reply to each of these messages of one type, None if it does not come in time; raises if one is denied.

        A reply that names no request is the one to the first message that it `fits`.
        """
        waiting = {str(one.request_id): one for one in messages}
        found: dict[str, Bus] = {}
        heard: asyncio.Queue[Bus | ThalovantError] = asyncio.Queue()

        def ours(bus: Bus) -> bool:
            denied = bus.type == e.EVENT_POLICY_DENIED and bus.data.get("denied_type") == messages[0].type
            return (denied or bus.type == reply) and (bus.request_id is None or bus.request_id in waiting)

        await self._session.connect(self._connect_within)
        with contextlib.ExitStack() as exits:
            for name in (reply, e.EVENT_POLICY_DENIED):
                exits.callback(self._session.subscribe(name, heard.put_nowait, matches=ours))
            exits.enter_context(self._session.ends(heard.put_nowait))
            for message in messages:
                await self._session.send(message, self._timeout)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self._timeout, within)):
                    while waiting:
                        bus = await heard.get()
                        if isinstance(bus, ThalovantError):
                            raise bus
                        if bus.type != reply:
                            raise e.failure_error(e.ThalovantEvent.from_bus(bus))
                        id = bus.request_id or next((id for id, one in waiting.items() if fits(one, bus)), "")
                        if waiting.pop(id, None) is not None:
                            found[id] = bus
        return [found.get(str(one.request_id)) for one in messages]

    def silent(self, what: str) -> NoReturn:
        raise ThalovantTimeoutError(f"Hub did not {what} within {self._timeout:g}s.")
