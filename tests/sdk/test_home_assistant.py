"""What an integration of Home Assistant does: an identity from its storage, a session, an HTTP session of its own."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from thalovant import (
    HOME_REQUEST,
    HOME_RESPONSE,
    AsyncHubSession,
    ThalovantError,
    ThalovantEvent,
    ThalovantHubRefusedError,
    ThalovantIdentity,
    ThalovantIdentityError,
    answer_home_requests,
)
from thalovant.home import plain_speech

from .identities import FULL
from .lab import ALLOWED, Lab


def stored(identity: ThalovantIdentity) -> ThalovantIdentity:
    """The identity once it has been in an entry of the integration's storage."""
    return ThalovantIdentity.from_mapping(json.loads(json.dumps(identity.as_dict(include_secrets=True))))


def test_identity_in_storage() -> None:
    """All of it comes back; what was spoilt is an error of its own."""
    identity = ThalovantIdentity.from_mapping(FULL)

    assert stored(identity) == identity
    for spoilt in ({}, {**FULL, "default_port": "none"}, {**FULL, "access_key": None}, []):
        with pytest.raises(ThalovantIdentityError):
            ThalovantIdentity.from_mapping(spoilt)  # type: ignore[arg-type]


async def test_requests_are_answered(v3: Lab, tmp_path: Path) -> None:
    """From the setup of an entry to its removal; the HTTP session is Home Assistant's, and stays open."""
    identity = stored(v3.identity("assistant", allowed=(*ALLOWED, HOME_RESPONSE)))
    states: list[bool] = []
    up = asyncio.Event()

    def changed(is_up: bool) -> None:
        states.append(is_up)
        up.set()

    async with aiohttp.ClientSession() as web:
        session = AsyncHubSession.for_identity(identity, session=web, noise_state_dir=tmp_path)
        assert (session.connected, list(tmp_path.iterdir())) == (False, [])

        async def answer(event: ThalovantEvent) -> None:
            data = {
                "request_id": event.data["request_id"],
                "speech": plain_speech(f"<speak>{event.data['utterance']} &amp; done</speak>"),
                "response_type": "action_done",
                "continue_conversation": False,
            }
            await session.reply(event, HOME_RESPONSE, data)

        unsubscribe = session.on(HOME_REQUEST, answer)
        session.on_state_change(changed)
        keeping = asyncio.create_task(session.run())
        await up.wait()
        assert session.connected
        assert await _asked(v3, "by hand") == "by hand & done"
        unsubscribe()
        end = answer_home_requests(session, lambda request: f"<b>{request.utterance}</b>!")
        assert await _asked(v3, "by function") == "by function!"
        end()
        await session.close()
        await keeping
        assert not web.closed
    assert states == [True, False]


async def _asked(lab: Lab, text: str) -> Any:
    asked = {"request_id": text, "utterance": text, "lang": "en-US"}
    await asyncio.to_thread(lab.hub.emit_to, "assistant", HOME_REQUEST, asked)
    heard = await asyncio.to_thread(
        lab.hub.wait_for, HOME_RESPONSE, predicate=lambda event: event.data["request_id"] == text
    )
    return heard.data["speech"]


async def test_setup_is_checked(v3: Lab, tmp_path: Path) -> None:
    """One attempt says what is wrong, by class; a session that was never connected is closed all the same."""
    wrong = replace(stored(v3.identity()), access_key="wrong")
    async with aiohttp.ClientSession() as web:
        session = AsyncHubSession.for_identity(wrong, session=web, noise_state_dir=tmp_path)
        with pytest.raises(ThalovantHubRefusedError) as caught:
            await session.connect()
        await session.close()
        await AsyncHubSession.for_identity(wrong, session=web, noise_state_dir=tmp_path).close()
    assert isinstance(caught.value, ThalovantError)
