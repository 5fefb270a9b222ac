"""Clients in programs of every kind, each in a process of its own: how it ends, and what it leaves.

A script talks to a hub in the test's process. It reads where the hub is from its environment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .lab import PATIENCE, Lab

SETUP = """
import asyncio, gc, os, sys, threading, warnings
from thalovant import AsyncThalovantClient, ThalovantClient
STATE = os.environ["STATE"]

def sockets():
    found = (os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is(fd))
    return sum(name.startswith("socket:") for name in found)

def _is(fd):
    return os.path.lexists(f"/proc/self/fd/{fd}")

def make(cls=ThalovantClient, **options):
    return cls.from_env(noise_state_dir=STATE, protocol="wss", **options)
"""


def environment(lab: Lab) -> dict[str, str]:
    """The variables that lead to the hub."""
    identity = lab.identity()
    wss = identity.endpoint_for("wss")
    assert wss is not None
    assert identity.ca_file is not None
    given = {
        "THALOVANT_ACCESS_KEY": identity.access_key,
        "THALOVANT_PASSWORD": identity.password,
        "THALOVANT_SITE_ID": identity.site_id,
        "THALOVANT_HUB_WSS_HOST": wss,
        "THALOVANT_CA_FILE": identity.ca_file,
        "STATE": str(lab.state_dir()),
    }
    return {**os.environ, **given, "PYTHONUNBUFFERED": "1"}


def start(lab: Lab, script: str, *flags: str) -> subprocess.Popen[str]:
    """Run a script in a process of its own."""
    return subprocess.Popen(
        [sys.executable, *flags, "-c", SETUP + script],
        env=environment(lab),
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, output and errors of a script, once it has ended."""
    out, err = process.communicate(timeout=PATIENCE * 2)
    return process.returncode, out, err


WARN = ("-W", "always::ResourceWarning")


def test_script(v3: Lab) -> None:
    """After `with` nothing is left: no thread, no socket."""
    script = """
before = sockets()
with make() as client:
    print(client.ask("hi").text)
    assert sockets() > before
assert sockets() == before
assert threading.active_count() == 1, threading.enumerate()
"""
    assert ended(start(v3, script, *WARN)) == (0, "You said: hi\n", "")


def test_async_script(v3: Lab) -> None:
    """The same for the asynchronous client."""
    script = """
async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # the machine may be busy with other things
    before = sockets()
    async with make(AsyncThalovantClient) as client:
        print((await client.ask("hi")).text)
    assert sockets() == before
    assert len(asyncio.all_tasks()) == 1
asyncio.run(main())
assert threading.active_count() == 1, threading.enumerate()
"""
    assert ended(start(v3, script, *WARN, "-X", "dev")) == (0, "You said: hi\n", "")


@pytest.mark.parametrize(
    "last",
    [
        "client.ask('hi')",
        "client.on('speak', print); client.connect()",
        "stream = client.stream('two steps exit'); next(stream)",
        "threading.Thread(target=client.ask, args=('hang at exit',), daemon=True).start()",
        "client.on('test.tick', lambda e: threading.Event().wait()); client.ask('count to 1')",
        "client.ask('hi'); sys.exit(0)",
    ],
    ids=["idle", "listening", "streaming", "asking", "handling", "sys.exit"],
)
def test_exit_with_a_live_client(v3: Lab, last: str) -> None:
    """A program that forgets to close ends all the same: at once, without a traceback, with code 0."""
    assert ended(start(v3, f"client = make()\n{last}\n")) == (0, "", "")


def test_loop_that_ends_first(v3: Lab) -> None:
    """A client that is left open at the end of `asyncio.run` says so once, and nothing else does."""
    script = """
async def main():
    global client
    client = make(AsyncThalovantClient)
    await client.ask("hi")
asyncio.run(main())
del client
gc.collect()
"""
    code, out, err = ended(start(v3, script, *WARN))

    assert (code, out) == (0, "")
    assert err.count("ResourceWarning") == 1
    assert "a Thalovant client was not closed" in err
    assert "Traceback" not in err
    assert "Event loop is closed" not in err


def test_loop_that_ends_while_dialing(v3: Lab) -> None:
    """The same in the middle of a first connection."""
    script = """
async def main():
    global client
    client = make(AsyncThalovantClient)
    connecting = asyncio.Event()
    client.on_state(lambda state, error: connecting.set())
    client.on("speak", print)
    await connecting.wait()
asyncio.run(main())
del client
gc.collect()
"""
    code, out, err = ended(start(v3, script, *WARN))

    assert (code, out) == (0, "")
    assert err.count("ResourceWarning") <= 1
    assert "Traceback" not in err
    assert "Event loop is closed" not in err


def test_fork(v3: Lab) -> None:
    """A child has a connection of its own; the parent's goes on, whatever becomes of the child."""
    script = """
client = make()
started = client.connect_with_info().started_at
children = []
for number in range(2):
    pid = os.fork()
    if pid == 0:
        text = client.ask(f"child {number}").text
        client.close()
        os.write(1, f"{text}\\n".encode())  # in one piece, beside the other child's
        sys.exit(0 if text == f"You said: child {number}" else 1)
    children.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
print(client.ask("parent").text, client.connection_info().started_at == started)
client.close()
"""
    # Python 3.12 began to warn whoever forks with threads, and this is what it does.
    code, out, err = ended(start(v3, script, "-W", "ignore::DeprecationWarning"))

    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert sorted(lines[:2]) == ["You said: child 0", "You said: child 1"]
    assert lines[2:] == ["[0, 0]", "You said: parent True"]


def test_fork_of_an_async_client(v3: Lab) -> None:
    """A child runs a loop of its own with the same client."""
    script = """
client = make(AsyncThalovantClient)
async def main(text):
    print((await client.ask(text)).text, flush=True)
    await client.close()
asyncio.run(main("parent"))
if (pid := os.fork()) == 0:
    asyncio.run(main("child"))
    sys.exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert ended(start(v3, script)) == (0, "You said: parent\nYou said: child\n0\n", "")


@pytest.mark.parametrize(
    "call",
    [
        "client.ask('hang for ctrl-c', timeout=600)",
        "list(client.stream('hang for ctrl-c', timeout=600))",
        "client.send_utterance('hang for ctrl-c'); list(client.listen('nothing'))",
        "client.send_utterance('hang for ctrl-c'); client.wait_for_event('nothing', timeout=600)",
    ],
    ids=["ask", "stream", "listen", "wait_for_event"],
)
def test_ctrl_c(own: Lab, call: str) -> None:
    """The call raises KeyboardInterrupt long before its own end; then all is closed as usual."""
    script = f"""
try:
    with make() as client:
        {call}
except KeyboardInterrupt:
    print("interrupted", threading.active_count(), flush=True)
    print(client.connection_info().phase)
"""
    process = start(own, script)
    own.hub.wait_for(
        "recognizer_loop:utterance", timeout=PATIENCE, predicate=lambda event: "hang for ctrl-c" in event.utterances
    )
    process.send_signal(signal.SIGINT)

    assert ended(process) == (0, "interrupted 1\nclosed\n", "")


def test_ctrl_c_in_a_coroutine(own: Lab) -> None:
    """`asyncio.run` cancels the task; the client leaves its block, and nothing is left."""
    script = """
async def main():
    async with make(AsyncThalovantClient) as client:
        await client.ask("hang for ctrl-c", timeout=600)
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", threading.active_count())
"""
    process = start(own, script, *WARN)
    own.hub.wait_for(
        "recognizer_loop:utterance", timeout=PATIENCE, predicate=lambda event: "hang for ctrl-c" in event.utterances
    )
    process.send_signal(signal.SIGINT)

    assert ended(process) == (0, "interrupted 1\n", "")


def test_inside_a_running_loop(v3: Lab) -> None:
    """A notebook's cell: a synchronous client where a loop is running already, handlers included."""
    script = """
async def cell():
    heard = threading.Event()
    with make() as client:
        client.on("speak", lambda event: heard.set())
        print(client.ask("hi").text, heard.wait(20))
asyncio.run(cell())
"""
    assert ended(start(v3, script, *WARN)) == (0, "You said: hi True\n", "")
