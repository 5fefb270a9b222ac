"""What every command of the rig shares: where it lives, which processes are its own, and when a hub is ready.

Only the standard library is used here; hubs run in virtual environments of their own.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from installing import locked, log

HERE = Path(__file__).resolve().parent
HOME = Path(os.environ.get("RIG_HOME") or Path(tempfile.gettempdir()) / "thalovant-rig").absolute()
STATE = HOME / "rig.json"

#: The topic every hub subscribes to last: once the broker has seen that, the hub listens on MQTT.
LAST_TOPIC = {"legacy": "hivemind/rig/status/+", "dual": "hivemind-dual/+/status", "noise": "hivemind/+/status"}


# ── state ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def changing() -> Iterator[dict]:
    """The state, to be changed by one thread or process at a time; readers of the file see it whole."""
    with locked(HOME / ".lock"):
        state = json.loads(STATE.read_text())
        try:
            yield state
        finally:
            save(state)


def save(state: dict) -> None:
    new = STATE.with_suffix(".tmp")
    new.touch(0o600)
    new.write_text(json.dumps(state, indent=2))
    new.replace(STATE)


# ── processes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def spawn(name: str, argv: list[str], env: dict[str, str] | None = None) -> None:
    """Start a process of the rig and note it, so that `down` ends it."""
    with changing() as state, open(HOME / "log" / f"{name}.log", "ab") as out:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=HOME,
            start_new_session=True,
        )
        state["processes"][name] = {"pid": process.pid, "start": start_ticks(process.pid)}


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; with the pid it names a process for good."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else None


def alive(process: dict) -> bool:
    """Whether the process runs; a zombie counts while other threads of it still hold its sockets open."""
    fields = stat_fields(process["pid"])
    return bool(fields) and int(fields[19]) == process["start"] and (fields[0] not in "ZX" or int(fields[17]) > 1)


def stat_fields(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    except (OSError, IndexError):
        return []


def end(processes: Iterable[dict], *steps: tuple[signal.Signals, float]) -> list[dict]:
    """Send each signal in turn and wait its seconds; the processes that are still there afterwards."""
    left = [process for process in processes if alive(process)]
    for number, seconds in steps:
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process["pid"], number)
        until = time.monotonic() + seconds
        while (left := [process for process in left if alive(process)]) and time.monotonic() < until:
            time.sleep(0.02)
    return left


# ── hubs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def launch(name: str, hub: dict) -> None:
    """Start the hub process that the state describes and wait until all its listeners answer."""
    for attempt in range(1, 4):
        if launched(name, hub):
            return
        # 4.0.0's listener threads can race at start: the port is open and nobody accepts
        log(f"the {name} hub's websocket listener is dead (try {attempt} of 3), starting it again")
        stop_hub(name)
    raise SystemExit(f"rig: the {name} hub never accepted a websocket; see {HOME}/log")


def launched(name: str, hub: dict) -> bool:
    """Start it once; False when nobody accepts on its websocket port."""
    ports, broker_log = hub["ports"], HOME / "log" / "broker.log"
    env = {
        **hub["env"],
        "PYTHONUNBUFFERED": "1",
        "OVOS_DEFAULT_LOG_LEVEL": "DEBUG",
        "RIG_TAP": hub["frames"],
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"), ""),
    }
    seen = broker_log.stat().st_size
    spawn(f"{name}-hub", [hub["python"], str(HERE / "run_hub.py")], env)
    for listener in ("ws", "http"):
        wait_port(ports[listener], f"the {name} hub's {listener} listener")
    wait(lambda: http_answers(ports["http"]), f"the {name} hub's HTTP listener does not answer")
    key = json.loads(Path(hub["clients"]["second"]["identity"]).read_text())["access_key"]
    if not websocket_answers(ports["ws"], key):
        return False
    wait(lambda: subscribed(broker_log, seen, LAST_TOPIC[name]), f"the {name} hub does not listen on MQTT")
    return True


def stop_hub(name: str) -> None:
    """End a hub the hard way, as a crash would; its bus, agent and proxies stay."""
    process = json.loads(STATE.read_text())["processes"][f"{name}-hub"]
    if end([process], (signal.SIGKILL, 10)):
        raise SystemExit(f"rig: the {name} hub (pid {process['pid']}) does not end")


def wait(ready: Callable[[], bool], complaint: str, seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            raise SystemExit(f"rig: {complaint}; see {HOME}/log")
        time.sleep(0.05)


def wait_port(port: int, what: str, seconds: float = 90) -> None:
    def opened() -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait(opened, f"{what} did not open port {port}", seconds)


def http_answers(port: int) -> bool:
    """An unauthenticated request is answered once the hub is up."""
    url = f"http://127.0.0.1:{port}/get_messages?authorization=cmlnOm5vbmU="
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=3) as response:
            return response.status == 200
    except OSError:
        return False


def websocket_answers(port: int, access_key: str) -> bool:
    """A real upgrade, and the hub's first frame after it."""
    auth = base64.b64encode(f"rig:{access_key}".encode()).decode()
    request = (
        f"GET /?authorization={auth} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(secrets.token_bytes(16)).decode()}\r\n\r\n"
    )
    for _ in range(3):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as probe:
            probe.sendall(request.encode())
            got = b""
            while not got.partition(b"\r\n\r\n")[2] and (piece := probe.recv(4096)):
                got += piece
            if got.startswith(b"HTTP/1.1 101"):
                return True
        time.sleep(0.5)
    return False


def subscribed(broker_log: Path, offset: int, topic: str) -> bool:
    with open(broker_log, "rb") as file:
        file.seek(offset)
        return f"\t{topic} (QoS".encode() in file.read()


def free_ports(count: int) -> list[int]:
    """Ports below the range that outgoing connections draw from: a hub that is down keeps its own until it is back."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port not in ports:
                with contextlib.suppress(OSError):
                    probe.bind(("127.0.0.1", port))
                    ports.append(port)
    return ports
