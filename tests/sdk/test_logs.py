"""Logging: on standard error where `THALOVANT_LOG` asks for it, by layer, once for each outage, and no secret."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys

import pytest

from .lab import Lab, States, free_port, logged

ASKS = """
import logging, sys
import thalovant
from thalovant import ThalovantClient, ThalovantIdentity
values = {"access_key": "AK-logged-1a2b", "password": "PW-logged-3c4d", "site_id": "s", "default_master": sys.argv[1]}
try:
    ThalovantClient(ThalovantIdentity.from_mapping(values), reconnect_attempts=0).connect()
except thalovant.ThalovantError:
    logging.getLogger("thalovant.client").error("a hub says \\x1b]52;c;\\x07")
"""
NOWHERE = f"wss://127.0.0.1:{free_port()}/path?authorization=QA-logged-5e6f"


def _logs(level: str | None, program: str = ASKS, *, home: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("THALOVANT_")}
    env |= {"HOME": home, "XDG_CONFIG_HOME": home} | ({} if level is None else {"THALOVANT_LOG": level})
    done = subprocess.run([sys.executable, "-c", program, NOWHERE], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("level", "shown", "hidden"),
    [
        ("debug", ["DEBUG thalovant.link: WSS 127.0.0.1:", "connecting", "failed"], []),
        (" DEBUG ", ["DEBUG thalovant.link"], []),
        ("error", ["ERROR thalovant.client"], ["DEBUG", "WARNING"]),
        ("loud", ["THALOVANT_LOG is 'loud', which is no level", "ERROR thalovant.client"], ["DEBUG"]),
    ],
)
def test_levels(tmp_path, level, shown, hidden):
    """By name; a wrong one is told, and is none the worse. What a hub says reaches no terminal raw."""
    text = _logs(level, home=str(tmp_path))

    assert [word for word in shown if word not in text] == []
    assert [word for word in (*hidden, "logged-", "path", "\x1b", "\x07") if word in text] == []
    assert "a hub says \\x1b]52;c;\\x07" in text


@pytest.mark.parametrize("level", [None, ""])
def test_nothing_is_set_up_unasked(tmp_path, level):
    """Not even the module that does it is loaded."""
    program = "import sys, thalovant; assert not {'logging', 'thalovant.logs'} & set(sys.modules)"

    assert _logs(level, program, home=str(tmp_path)) == ""


def test_handlers_of_the_program_take_over(tmp_path):
    """Each record is shown once, by them."""
    text = _logs("debug", f"import logging; logging.basicConfig(format='own %(message)s'){ASKS}", home=str(tmp_path))

    assert "own WSS 127.0.0.1" in text
    assert "DEBUG" not in text


async def test_one_warning_for_each_outage(own: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """However many tries it takes; and one line when it is over."""
    caplog.set_level(logging.DEBUG, "thalovant")
    client = own.async_client()
    await client.connect()
    states = States(client)
    for _ in range(2):
        waits, ups = states.names.count("waiting"), states.names.count("ready")
        await asyncio.to_thread(own.hub.stop)
        await states.reach("waiting", times=waits + 3)
        await asyncio.to_thread(own.hub.start)
        await states.reach("ready", times=ups + 1)
    await client.close()

    told = [(record.levelname, record.name) for record in logged(caplog) if record.levelno > logging.DEBUG]
    assert told == [("WARNING", "thalovant.client"), ("INFO", "thalovant.client")] * 2
    assert {record.name for record in logged(caplog) if record.levelno == logging.DEBUG} == {"thalovant.link"}


async def test_a_connection_that_is_back_at_once_is_no_outage(own: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is told above DEBUG where the first try brings it back."""
    caplog.set_level(logging.DEBUG, "thalovant")
    client = own.async_client()
    await client.connect()
    states = States(client)
    await asyncio.to_thread(own.hub.disconnect, "shared", code=1001)
    await states.reach("waiting")
    await states.reach("ready", times=2)
    await client.close()

    assert [record.getMessage() for record in logged(caplog) if record.levelno > logging.DEBUG] == []
