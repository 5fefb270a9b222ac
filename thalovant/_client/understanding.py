"""Calls of a client that ask a hub what it understands."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .._internal.options import text

if TYPE_CHECKING:
    from ..intents import HubIntentInventory, IntentDefinition, IntentRegistration
    from .messages import Messages
    from .session import ClientSession


class Understanding:
    """What `AsyncThalovantClient` learns of a hub's intents."""

    if TYPE_CHECKING:
        _session: ClientSession
        _messages: Messages
        _connect_within: float | None

    async def intents(
        self,
        languages: str | Iterable[str] | None = None,
        *,
        timeout: float = 5.0,
        describe: bool = True,
        fallback: bool = True,
        nearest: bool = True,
    ) -> HubIntentInventory:
        """What the hub understands in these languages ("en-us" if None): its intents and their sentences.

        A language that the hub has not is looked for in its usual form, then, with `nearest`, in the language of the
        hub that is closest; `listed_in` of the result tells. `describe=False` leaves the sentences out. With `fallback`
        a hub that does not tell its sentences is asked for the names of its intents. `timeout`: seconds for each
        question.

        Raises `ThalovantPolicyDeniedError` if this client may not ask that, `ThalovantTimeoutError` if the hub says
        nothing, `ThalovantRuntimeError` if it says that it failed, and `ThalovantConnectionError`.

            inventory = client.intents(["en-us", "fr-ca"])
            for intent in inventory.intents:
                print(intent.id, intent.examples("fr-ca"))
        """
        from .inquiry import Inquiry

        inquiry = Inquiry(self._session, self._messages, self._connect_within, timeout)
        return await inquiry.inventory(languages, describe, fallback, nearest)

    async def list_intents(
        self, lang: str | None = None, *, timeout: float = 5.0, include_definitions: bool = False
    ) -> list[IntentRegistration]:
        """The hub's list of intents in a language ("en-us" if None), a row for each registration.

        `include_definitions` asks it to tell each definition along; not every hub does. Raises what `intents` raises
        without its fallback.
        """
        from .inquiry import Inquiry, folded

        inquiry = Inquiry(self._session, self._messages, self._connect_within, timeout)
        return (await inquiry.listed(folded(lang)[0], include_definitions))[0]

    async def describe_intent(
        self, skill_id: str, intent_name: str, lang: str | None = None, *, timeout: float = 5.0
    ) -> list[IntentDefinition]:
        """The registrations of one intent in a language ("en-us" if None), with their sentences.

        Empty if the hub does not know it. Raises what `list_intents` raises.
        """
        from .inquiry import Inquiry, folded

        inquiry = Inquiry(self._session, self._messages, self._connect_within, timeout)
        intent = (text(skill_id, "skill_id"), text(intent_name, "intent_name"), folded(lang)[0])
        (found,) = await inquiry.described([intent])
        return inquiry.silent("describe the intent") if found is None else found
