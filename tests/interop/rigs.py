"""The real hubs of the rig, typed, for the tests: what runs where, how to stop one, and whose identity is whose.

`tests/interop/rig` starts and stops them; nothing here knows how.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import frozen

HubName = Literal["legacy", "dual", "noise"]
ClientKind = Literal["ok", "second", "limited", "norelay", "admin", "psk", "pskonly", "weak"]

SCRIPTS = Path(__file__).parent / "rig"
# Installing three hubs from nothing takes a minute on two idle cores; a slow network must not fail a run.
START_SECONDS = 600
STOP_SECONDS = 30


class RigError(Exception):
    """The rig could not be started, or a command of it failed; the message says which and why."""


@frozen
class Ports:
    """Where a hub listens on 127.0.0.1; wss, https and mqtts are TLS for `localhost`."""

    ws: int
    wss: int
    http: int
    https: int
    mqtt: int
    mqtts: int
    bus: int


@frozen
class Client:
    """A client that is registered with a hub."""

    kind: ClientKind
    identity: Path  # mode 600; its endpoints are the TLS ones
    allowed: tuple[str, ...]  # message types
    admin: bool

    def fields(self) -> dict[str, Any]:
        """What the identity file holds."""
        fields: dict[str, Any] = json.loads(self.identity.read_text())
        return fields


@frozen
class Hub:
    """One real hub."""

    name: HubName
    ports: Ports
    clients: Mapping[ClientKind, Client]
    frames: Path | None  # JSON lines: every frame as the hub saw it, decrypted

    def identity(self, kind: ClientKind = "ok") -> Path:
        """The identity file of one of its clients."""
        return self.clients[kind].identity

    @property
    def websocket(self) -> str:
        """The plain listener; a legacy hub takes no path but `/`."""
        return f"ws://127.0.0.1:{self.ports.ws}"

    @property
    def http(self) -> str:
        """The plain listener."""
        return f"http://127.0.0.1:{self.ports.http}"

    @property
    def mqtt(self) -> str:
        """The plain listener of the broker."""
        return f"mqtt://127.0.0.1:{self.ports.mqtt}"


@frozen
class Rig:
    """All hubs of one rig, their broker and the CA that signed their certificates."""

    home: Path
    ca: Path
    hubs: Mapping[HubName, Hub]

    @classmethod
    def load(cls, state: Path) -> "Rig":
        """The rig that a rig.json describes.

        Raises:
            RigError: the file is missing or its rig is not running.
        """
        try:
            described = json.loads(state.read_text())
        except OSError as error:
            raise RigError(f"no rig: {error}") from error
        if not described["processes"] or not described["hubs"]:
            raise RigError(f"the rig of {state} is not running")
        hubs = {name: _hub(name, fields) for name, fields in described["hubs"].items()}
        return cls(home=state.parent, ca=Path(described["ca"]), hubs=hubs)

    def restart(self, hub: HubName) -> None:
        """Kill a hub (SIGKILL) and start it again, same ports, keys and clients; returns when it listens everywhere."""
        self._run("restart", hub)

    @contextlib.contextmanager
    def stopped(self, hub: HubName) -> Iterator[None]:
        """Kill a hub and start it again at the end of the block."""
        self._run("restart", hub, "--stop")
        try:
            yield
        finally:
            self._run("restart", hub, "--start")

    def unpin(self, hub: HubName, client: ClientKind) -> None:
        """Make a hub forget the Noise key that it pinned for a client."""
        self._run("unpin", hub, client)

    def stop(self) -> None:
        """End every process of the rig."""
        self._run("down")

    def _run(self, command: str, *arguments: str) -> None:
        run_script(self.home, command, *arguments)


def run_script(home: Path, command: str, *arguments: str) -> None:
    """Run one of the rig's commands for the rig in `home`.

    Raises:
        RigError: it failed; holds the end of what it wrote.
    """
    argv = [sys.executable, str(SCRIPTS / command), *arguments]
    done = subprocess.run(
        argv, env=environment(home), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RigError(f"rig/{command} {' '.join(arguments)} failed: {done.stderr[-2000:].strip()}")


def _hub(name: HubName, described: Mapping[str, Any]) -> Hub:
    clients = {
        kind: Client(kind, Path(fields["identity"]), tuple(fields["allowed"]), fields["admin"])
        for kind, fields in described["clients"].items()
    }
    frames = Path(described["frames"]) if described["frames"] else None
    return Hub(name=name, ports=Ports(**described["ports"]), clients=clients, frames=frames)


# ── a rig of our own ─────────────────────────────────────────────────────────────────────────────────────────────────


def cache() -> Path:
    """Where what is expensive to make is kept between runs: the environments of hubs and of foreign clients."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "thalovant-interop"


def environment(home: Path) -> dict[str, str]:
    """The environment of the rig's commands."""
    return {**os.environ, "RIG_HOME": str(home), "RIG_VENVS": str(cache() / "hubs")}


@contextlib.contextmanager
def running_rig() -> Iterator[Rig]:
    """Start a rig and stop it at the end, however the block ends.

    It lives in `$RIG_HOME`, else in a folder of this process below the cache; a rig that a killed run left behind
    there is stopped first.

    Raises:
        RigError: it does not start, or does not end.
    """
    runs = cache() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    _stop_orphans(runs)
    home = Path(os.environ.get("RIG_HOME") or runs / str(os.getpid()))
    home.mkdir(parents=True, exist_ok=True)
    with _owned(home):
        try:
            _start(home)
            yield Rig.load(home / "rig.json")
        finally:
            run_script(home, "down")
    shutil.rmtree(home)


def _start(home: Path) -> None:
    log = home / "up.log"
    argv = [sys.executable, str(SCRIPTS / "up"), "--hub", "legacy,dual,noise"]
    with (
        log.open("wb") as out,
        # In a process group of its own: what interrupts us does not cut it off half-way, and we can end its installers.
        subprocess.Popen(
            argv, env=environment(home), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        ) as up,
    ):
        try:
            status = up.wait(START_SECONDS)
        except BaseException:
            os.killpg(up.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                up.wait(STOP_SECONDS)
            up.kill()
            raise
    if status:
        raise RigError(f"rig/up failed: {log.read_text(errors='replace')[-2000:].strip()}")


@contextlib.contextmanager
def _owned(home: Path) -> Iterator[None]:
    """Hold a lock that lasts as long as this process, so that others can tell a living run from an orphan."""
    with (home / "owner").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _stop_orphans(runs: Path) -> None:
    for home in runs.iterdir():
        with contextlib.suppress(BlockingIOError, FileNotFoundError), _owned(home):
            if (home / "rig.json").exists():
                run_script(home, "down")
            shutil.rmtree(home)


# ── identities that are wrong on purpose ─────────────────────────────────────────────────────────────────────────────


def fork_identity(identity: Path, folder: Path, **changes: Any) -> Path:
    """Write a copy of an identity file with some of its fields changed, mode 600, into `folder`.

    A mapping changes those fields of a nested object that it names: `mqtt={"password": "wrong"}`. `None` stays a value
    (a `crypto_key` of `null`), as in the files of real hubs.
    """
    fields = json.loads(identity.read_text())
    for name, value in changes.items():
        if name not in fields:
            raise KeyError(f"an identity has no {name!r}")
        fields[name] = {**fields[name], **value} if isinstance(value, Mapping) else value
    number = len(list(folder.glob(f"{identity.stem}-*.json")))
    forked = folder / f"{identity.stem}-{number}.json"
    with open(os.open(forked, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(fields, file, indent=2)
    return forked
