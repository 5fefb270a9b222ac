"""Why there is no connection: different errors for different reasons, each saying what to do; and no secret in any."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thalovant import (
    AsyncThalovantClient,
    HubDataPlaneEndpoints,
    ThalovantClient,
    ThalovantClientKeyRejectedError,
    ThalovantConnectionError,
    ThalovantDowngradeError,
    ThalovantError,
    ThalovantHubKeyChangedError,
    ThalovantHubRefusedError,
    ThalovantIdentity,
    ThalovantIdentityError,
    ThalovantRuntimeError,
    TrustStore,
)
from thalovant._internal.error_mapping import ask_error, link_error
from thalovant.trust_store import pin_id
from thalovant_proto.carrier import CloseKind
from thalovant_proto.dial import DialFailed, DialFault
from thalovant_proto.errors import HandshakeTimeout, RemoteProtocolError
from thalovant_proto.events import Generation, bus
from thalovant_proto.failures import Failure, Progress, from_close, from_dial, from_fault, wrong_crypto_key
from thalovant_proto.outcomes import AskFailed, AskFault

from .lab import Lab, free_port, run


def _failure(identity: ThalovantIdentity, state: Path, **options: Any) -> ThalovantError:
    async def fails() -> ThalovantError:
        with pytest.raises(ThalovantError) as caught:
            async with AsyncThalovantClient(identity, noise_state_dir=state, protocol="wss", **options):
                raise AssertionError("it connected")
        return caught.value

    return run(fails())


def _moved(identity: ThalovantIdentity, url: str) -> ThalovantIdentity:
    return replace(identity, data_plane_endpoints=replace(identity.data_plane_endpoints, wss=url))


Change = Callable[[ThalovantIdentity], ThalovantIdentity]
REFUSED, OTHER = ThalovantHubRefusedError, ThalovantConnectionError
KEY: dict[str, Any] = {"access_key": "AK-no"}
PASSWORD: dict[str, Any] = {"password": "PW-no"}
CRYPTO: dict[str, Any] = {"crypto_key": "0" * 16}
CASES: list[tuple[str, int, Change, type[ThalovantError], str, bool, str]] = [
    # what, generation, what is wrong, error, code, worth trying again, what the hint or message says
    ("access key", 3, lambda i: replace(i, **KEY), REFUSED, "refused", False, "access_key"),
    ("access key", 1, lambda i: replace(i, **KEY), REFUSED, "refused", False, "access_key"),
    ("access key", 0, lambda i: replace(i, **KEY), REFUSED, "refused", False, "access_key"),
    ("password", 3, lambda i: replace(i, **PASSWORD), REFUSED, "wrong_password", False, "password"),
    ("password", 1, lambda i: replace(i, **PASSWORD), REFUSED, "refused", False, "password"),  # the hub hangs up
    ("crypto key", 0, lambda i: replace(i, **CRYPTO), REFUSED, "wrong_crypto_key", False, "crypto_key"),
    ("no crypto key", 0, lambda i: replace(i, crypto_key=None), OTHER, "credentials_missing", False, "crypto"),
    ("port", 3, lambda i: _moved(i, f"wss://127.0.0.1:{free_port()}"), OTHER, "hub_down", True, "port"),
    ("host", 3, lambda i: _moved(i, "wss://no-such-host.invalid:1"), OTHER, "dns", True, "host"),
    ("authority", 3, lambda i: replace(i, ca_file=None), OTHER, "tls", False, "ca_file"),
]


@pytest.mark.parametrize(
    ("generation", "change", "kind", "code", "retryable", "says"),
    [pytest.param(*case[1:], id=f"{case[0]} v{case[1]}") for case in CASES],
)
def test_why_there_is_no_connection(
    labs: Callable[[int], Lab],
    tmp_path: Path,
    generation: int,
    change: Change,
    kind: type[ThalovantError],
    code: str,
    retryable: bool,
    says: str,
) -> None:
    """Each reason has an error of its own kind and code that says what to look at."""
    error = _failure(change(labs(generation).stranger()), tmp_path / "state", reconnect_attempts=0)

    assert (type(error), error.name, error.retryable) == (kind, code, retryable)
    assert says in f"{error} {error.hint}"
    assert error.hint
    assert not _clauses(str(error)) & _clauses(error.hint)
    assert len(f"{error}\n{error.hint}".splitlines()) <= 3


def test_changed_hub_key(v3: Lab, tmp_path: Path) -> None:
    """Both fingerprints are told, and the pin stays as it was."""
    identity, state = v3.stranger(), tmp_path / "state"
    trust = TrustStore(state, identity)
    pinned = trust.load().with_pin(pin_id(identity, "wss"), b"\1" * 32)
    trust.store(pinned)

    error = _failure(identity, state)

    assert isinstance(error, ThalovantHubKeyChangedError)
    assert (error.name, error.retryable) == ("hub_key_changed", False)
    assert 64 == len(error.expected) == len(error.received)
    assert error.expected != error.received
    assert trust.pins()[pin_id(identity, "wss")] == b"\1" * 32


def test_second_key_of_a_client(v3: Lab, tmp_path: Path) -> None:
    """A hub that knows this client by another key refuses it; the hint says what to do about the folder."""
    identity = v3.stranger()

    async def first() -> None:
        async with AsyncThalovantClient(identity, noise_state_dir=tmp_path / "first", protocol="wss") as client:
            await client.ask("hi")

    run(first())
    error = _failure(identity, tmp_path / "second")

    assert isinstance(error, ThalovantClientKeyRejectedError)
    assert (error.name, error.retryable) == ("client_key_rejected", False)
    assert "folder" in error.hint


def test_downgrade(labs: Callable[[int], Lab], tmp_path: Path) -> None:
    """Where v3 was seen once, nothing less is spoken."""
    identity, state = labs(1).stranger(), tmp_path / "state"
    trust = TrustStore(state, identity)
    trust.store(trust.load().with_noise_seen())

    error = _failure(identity, state)

    assert isinstance(error, ThalovantDowngradeError)
    assert (error.name, error.retryable) == ("downgrade", False)


def test_plain_endpoint(v3: Lab) -> None:
    """Off this machine it is refused when the client is made, unless it is allowed."""
    identity = _moved(v3.identity(), "ws://192.0.2.1:5678")
    with pytest.raises(ThalovantIdentityError, match="not encrypted") as caught:
        ThalovantClient(identity, protocol="wss")

    assert (caught.value.name, "wss://" in caught.value.hint) == ("insecure_endpoint", True)
    assert ThalovantClient(identity, protocol="wss", allow_insecure=True).protocol == "wss"


@pytest.mark.parametrize("endpoint", ["mqtts://[::1", "mqtts://h:99999", "coap://h", "mqtts://h:port"])
def test_endpoint_that_cannot_be_used(v3: Lab, endpoint: str) -> None:
    """Found when the client is made: which one, what is wrong with it, and what to do."""
    broker = v3.identity().mqtt
    assert broker is not None
    identity = replace(
        v3.identity(), mqtt=replace(broker, endpoint=endpoint), data_plane_endpoints=HubDataPlaneEndpoints()
    )
    with pytest.raises(ThalovantIdentityError, match=r"^The MQTT endpoint cannot be used: .*[^.]\.\n") as caught:
        ThalovantClient(identity, protocol="mqtt")

    assert caught.value.hint == "Correct it in the identity, or create a fresh one."


PLANTED = {
    "access_key": "AK-planted-0f1e",
    "password": "PW-planted-2d3c",
    "crypto_key": "CK-planted-4b5a!",
    "user": "UU-planted-6978",
    "secret": "UP-planted-8796",
    "query": "QA-planted-a5b4",
}


def leaks(shown: str) -> list[str]:
    """Which planted secrets are in a text, plain, in hex or in base64."""
    found = []
    for name, secret in PLANTED.items():
        raw = secret.encode()
        forms = {secret, raw.hex(), *(base64.b64encode(b"\0" * n + raw)[4:-4].decode() for n in range(3))}
        found += [name] if any(form in shown for form in forms) else []
    return found


@pytest.mark.parametrize("outcome", ["refused", "unreachable"])
def test_no_secret_is_shown(v3: Lab, tmp_path: Path, caplog: pytest.LogCaptureFixture, outcome: str) -> None:
    """Not by client, plan or session, nor by errors, tracebacks, health, or logs at DEBUG, asyncio's included."""
    real = v3.identity().endpoint_for("wss")
    assert real is not None
    place = real.split("://")[1] if outcome == "refused" else f"127.0.0.1:{free_port()}"
    identity = replace(
        _moved(v3.identity(), f"wss://{place}/x?authorization={PLANTED['query']}"),
        access_key=PLANTED["access_key"],
        password=PLANTED["password"],
        crypto_key=PLANTED["crypto_key"],
    )
    shown: list[str] = []

    async def fails() -> None:
        client = AsyncThalovantClient(identity, noise_state_dir=tmp_path / "state", protocol="wss")
        asyncio.get_running_loop().set_debug(True)
        for call in (client.connect, lambda: client.ask("hi"), client.healthcheck):
            with pytest.raises(ThalovantError) as caught:
                await call()
            error: BaseException | None = caught.value
            shown.append("".join(traceback.format_exception(caught.value)))
            while error is not None:
                shown.append(f"{error!r} {error} {vars(error)} {error.args}")
                error = error.__cause__ or error.__context__
        session = client._session
        shown.extend(
            repr(one) for one in (client, vars(client), session, vars(session), session._plan, session._plan.config)
        )
        shown.append(repr(await client.connection_info()))
        await client.close()

    with caplog.at_level(logging.DEBUG):
        run(fails())
    shown.append(caplog.text)

    assert leaks("\n".join(shown)) == []
    assert "failed" in caplog.text  # the client does log
    assert leaks(base64.b64encode(f"x{PLANTED['password']}yz".encode()).decode()) == ["password"]  # the search finds


def test_user_in_the_endpoint(v3: Lab) -> None:
    """A URL with a user and a password is refused when the client is made, in words that have neither."""
    identity = _moved(v3.identity(), f"wss://{PLANTED['user']}:{PLANTED['secret']}@127.0.0.1:1")
    with pytest.raises(ThalovantIdentityError, match="user name or password") as caught:
        ThalovantClient(identity, protocol="wss")

    assert leaks("".join(traceback.format_exception(caught.value))) == []


@pytest.mark.parametrize("command", [["ask", "hi"], ["health"], ["--json", "health"], ["pins", "list"]])
def test_no_secret_at_the_command_line(
    v3: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    """Nor by the command, whatever becomes of it."""
    from thalovant import cli

    identity = replace(
        v3.identity(),
        access_key=PLANTED["access_key"],
        password=PLANTED["password"],
        crypto_key=PLANTED["crypto_key"],
        source_path=None,
    )
    file = identity.save(tmp_path / "identity.json")
    cli.main(["-i", str(file), "--protocol", "wss", *command])
    out, err = capsys.readouterr()

    assert out or err
    assert leaks(f"{out}{err}") == []


def _clauses(text: str) -> set[str]:
    return {" ".join(words) for clause in re.split(r"[.,;:?()]", text.lower()) if len(words := clause.split()) > 1}


@pytest.mark.parametrize(
    ("data", "name", "code", "said"),
    [
        ({"utterance": "find me a boat"}, "unanswered", None, "find me a boat"),
        ({"reason": "no skill", "utterances": ["a boat"]}, "unanswered", None, "a boat"),
        ({"utterance": "a boat", "error": "no skill"}, "unanswered", None, "a boat"),
        ({"reason": "it broke", "code": "skill_failed"}, "skill_failed", "skill_failed", None),
        ({"error": "it broke"}, "skill_failed", None, None),
        ({"code": 5}, "unanswered", None, ""),
    ],
)
def test_skill_that_failed_is_not_a_missing_one(
    data: dict[str, Any], name: str, code: str | None, said: str | None
) -> None:
    """Hubs use one event for both, and say more of a failure."""
    event = bus(type="complete_intent_failure", data=data, context={})
    error = ask_error(AskFailed(ask=1, fault=AskFault.UNANSWERED, delivery="yes", event=event), timeout=1)

    assert isinstance(error, ThalovantRuntimeError)
    assert (error.name, error.code, getattr(error, "said", None)) == (name, code, said)


def _verdicts() -> list[Failure]:
    """One of each kind that comes without a network, in the words of the core."""
    dials = [
        DialFailed(phase="connect", fault=fault, message="cannot connect to hub.example:443: it failed")
        for fault in DialFault
    ]
    closes = [
        from_close(kind, 1006, "", Progress(greeted=greeted, completed=completed, generation=Generation.NOISE))
        for kind in CloseKind
        for greeted, completed in ((False, False), (True, False), (True, True))
    ]
    faults = [HandshakeTimeout("the hub did not answer in time"), RemoteProtocolError("the hub sent nonsense")]
    return [*map(from_dial, dials), *closes, *map(from_fault, faults), wrong_crypto_key()]


@pytest.mark.parametrize("failure", _verdicts(), ids=lambda failure: failure.kind.value)
def test_hint_goes_on_where_the_message_ends(failure: Failure) -> None:
    """Whatever ended a connection, there is a next step, and it is not in the message already."""
    error = link_error(failure)

    assert error.hint
    assert not _clauses(str(error)) & _clauses(error.hint)
