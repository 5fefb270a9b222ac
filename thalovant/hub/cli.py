"""`thalovant hub`: the embedded hub as a command.

Exit codes: 0 stopped by SIGTERM, 2 it cannot start as it was told to (one line says what to change), 130 stopped by
Ctrl-C; with `--run`, those of the command.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any

import click

from .._commands.terminal import say_line
from .._internal.identity_files import expanded, is_variable
from ..errors import ThalovantIdentityError
from ..logs import VisibleFormatter
from .accounts_command import accounts_command
from .broker import amqtt as broker
from .demo import SKILLS
from .errors import HubSetupError
from .export import IDENTITY, TRUST, prepare_trust, variables, write_identity
from .hub import Hub
from .storage.sqlite import default_state_folder

if TYPE_CHECKING:
    from .api import LocalControlPlane

_OPTIONS = {"state": "--state, or use --ephemeral"}
_PORTS = {"wss_port": 5678, "https_port": 5679, "mqtt_port": 8883, "api_port": 8089}
OFF = "off"


class _PortOrOff(click.IntRange):
    """A port, or "off"."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return OFF if value == OFF else super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f'{value!r} is neither a port from {self.min} to {self.max} nor "off"', param, ctx)


_PORT = click.IntRange(0, 65535)
_PORT_OR_OFF = _PortOrOff(0, 65535)


class OneLine(click.ClickException):
    """Say on one line what is wrong and what to change; exit code 2."""

    exit_code = 2

    def __init__(self, message: str, *, kind: str = "UsageError", name: str = "usage") -> None:
        super().__init__(message)
        self.kind: str = kind  # of the error, for --json, as is its name
        self.name: str = name

    def show(self, file: IO[Any] | None = None) -> None:
        say_line(f"thalovant hub: {self.format_message()}", err=True)


class _HubCommand(click.Command):
    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*args, **extra)
        except click.UsageError as error:
            raise OneLine(" ".join(error.format_message().split())) from None


@click.command(
    cls=_HubCommand,
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"], "show_default": True},
    options_metavar="[OPTIONS]",
)
@click.option("--host", default="127.0.0.1", help="Address to listen on.")
@click.option(
    "--wss-port", type=_PORT, metavar="N",
    help="Port for WSS (0: any free).  [default: 5678; any free one with --ephemeral]",
)  # fmt: skip
@click.option(
    "--https-port", type=_PORT_OR_OFF, metavar="N",
    help='Port for HTTPS (0: any free), or "off".  [default: 5679; any free one with --ephemeral]',
)  # fmt: skip
@click.option(
    "--mqtt-port", type=_PORT_OR_OFF, metavar="N",
    help='Port for MQTT (0: any free), or "off".  [default with the extra "hub": 8883; any free one with --ephemeral]',
)  # fmt: skip
@click.option("--broker", metavar="URL", help="Serve MQTT through this broker: mqtts://user:password@host.")
@click.option("--broker-ca", metavar="FILE", help="Authorities that vouch for the broker, if not the system's.")
@click.option(
    "--api-port", type=_PORT_OR_OFF, metavar="N",
    help='Port for the control plane\'s API (0: any free), or "off".  [default: 8089; any free one with --ephemeral]',
)  # fmt: skip
@click.option("--api-host", default="127.0.0.1", help="Address for the API; another machine's clients need TLS.")
@click.option("--admission-delay", type=click.FloatRange(0, 3600), default=0.0, metavar="SECONDS",
              help="How long the API's new clients are refused at first.")  # fmt: skip
@click.option("--demo", is_flag=True, help="Add a public hub and an account to the API that anybody here may use.")
@click.option("--public-host", metavar="NAME", help="Name or address that clients dial, if not that of --host.")
@click.option("--name", default="demo", help="Name of the client.")
@click.option("--generation", type=click.Choice(["3", "1", "0"]), default="3",
              help="Wire generation of a new client: Noise, password, or pre-shared key.")  # fmt: skip
@click.option("--state", metavar="DIR", help="Folder for keys and clients (default: the user's data folder).")
@click.option("--ephemeral", is_flag=True, help="Keep nothing, and touch nothing in the user's folders.")
@click.option("--write", metavar="DIR", help="Write the client's identity file, config and variables to DIR.")
@click.option("--run", is_flag=True, help="Run COMMAND with the identity in its environment, and end when it ends.")
@click.option("--json", "as_json", is_flag=True, help="Print the ready line as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Log who comes and goes.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND...]")
def hub(**options: Any) -> int:
    """Start a hub on this machine that answers a few demonstration skills, until it is stopped.

    It has one client, whose identity --write or --run hand to programs. `thalovant hub accounts add EMAIL` makes an
    account for its control plane.
    """
    if options["command"][:1] == ("accounts",) and not options["run"]:
        return accounts_command(options["command"][1:], lambda: _folder(options))
    _check(options)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(VisibleFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if options["verbose"] else logging.WARNING, handlers=[handler])
    try:
        return asyncio.run(_serve(options))
    except HubSetupError as error:
        option = _OPTIONS.get(error.setting) or f"--{error.setting.replace('_', '-')}"
        message = f"{error}; change {option}" if error.setting else str(error)
        raise OneLine(message, kind=type(error).__name__, name=error.name) from None


def _check(options: Mapping[str, Any]) -> None:
    if options["run"] and not options["command"]:
        raise OneLine("there is no command to run; put it after --run")
    if options["command"] and not options["run"]:
        raise OneLine(f"unexpected argument {options['command'][0]!r}; put --run before a command")
    if options["run"] and shutil.which(options["command"][0]) is None:
        raise OneLine(f"there is no command {options['command'][0]!r}; change what is after --run")
    if options["ephemeral"] and options["state"]:
        raise OneLine("--state keeps what --ephemeral does not; change one of them")
    if options["broker"] and options["mqtt_port"] not in (None, OFF):
        raise OneLine("--broker takes the place of --mqtt-port; change one of them")
    if options["demo"] and options["api_port"] == OFF:
        raise OneLine("--demo is for the API; change --api-port")
    if options["broker_ca"] and not options["broker"]:
        raise OneLine("--broker-ca is for the broker of --broker; change one of them")


async def _serve(options: Mapping[str, Any]) -> int:
    folder, written = _folder(options), _absolute(options["write"])
    local = Hub(
        skills=SKILLS,
        host=options["host"],
        wss_port=_port(options, "wss_port") or 0,
        https_port=_port(options, "https_port"),
        mqtt_port=_mqtt_port(options),
        broker=options["broker"],
        broker_ca=options["broker_ca"],
        public_host=options["public_host"],
        state=folder,
    )
    name = options["name"]
    with _stopping() as stop, ExitStack() as exits:
        async with local, AsyncExitStack() as services:
            plane = await _control_plane(local, options, services)
            try:
                local.identity(name) or local.add_client(name, generation=int(options["generation"]))
            except ValueError as error:
                raise HubSetupError(str(error), setting="name") from None
            files = {} if written is None else await write_identity(local, name, written)
            _tell_ready(local, plane, options, files)
            if options["run"]:
                kept = written or folder or Path(exits.enter_context(TemporaryDirectory(prefix="thalovant-hub-")))
                api = {} if plane is None else {"THALOVANT_API_URL": plane.url}
                return await _run(local, name, options["command"], kept / TRUST, stop, api)
            signum = await stop.wait()
            if signum == signal.SIGINT:
                await local.close(grace=0)
                return 130
    return 0


async def _control_plane(local: Hub, options: Mapping[str, Any], services: AsyncExitStack) -> LocalControlPlane | None:
    port = _port(options, "api_port")
    if port is None:
        return None
    from .api import LocalControlPlane  # slow to import

    return await services.enter_async_context(
        LocalControlPlane(
            local,
            port=port,
            host=options["api_host"],
            demo=options["demo"],
            admission_delay=options["admission_delay"],
            poll_interval=1.0 if options["demo"] else 5.0,
        )
    )


def _folder(options: Mapping[str, Any]) -> Path | None:
    return None if options["ephemeral"] else _absolute(options["state"]) or default_state_folder()


def _absolute(path: str | None) -> Path | None:
    return None if path is None else expanded(path).absolute()


def _port(options: Mapping[str, Any], name: str) -> int | None:
    given = options[name]
    if given is None:
        return 0 if options["ephemeral"] else _PORTS[name]
    return None if given == OFF else int(given)


def _mqtt_port(options: Mapping[str, Any]) -> int | None:
    if options["broker"]:
        return None
    if options["mqtt_port"] is not None or broker.installed():
        return _port(options, "mqtt_port")
    say_line(f"thalovant hub: MQTT is off; {broker.INSTALL} brings it", err=True)
    return None


def _tell_ready(
    local: Hub, plane: LocalControlPlane | None, options: Mapping[str, Any], files: Mapping[str, Path]
) -> None:
    name = options["name"]
    where = {file: str(path.absolute()) for file, path in files.items()}
    if options["as_json"]:
        ready = {
            "ready": True,
            "endpoints": dict(local.endpoints),
            "api_url": plane and plane.url,
            "ca_file": str(local.ca_file),
            "client": name,
            "files": where,
            "pid": os.getpid(),
        }
        line = json.dumps(ready)
    else:
        at = " ".join(local.endpoints.values())
        identity = "--write DIR gives its identity"
        if where:
            identity = f"try: {_program()} -i {shlex.quote(str(Path(where[IDENTITY]).parent))} ask 'Say hello.'"
        line = f"hub ready at {at} for client {name!r}; {identity}"
    # What a command writes to standard output is its own.
    say_line(line, err=options["run"])
    if plane is not None and not options["as_json"]:
        who = "thalovant hub accounts add EMAIL makes an account" if not plane.accounts else "sign in with your account"
        if options["demo"]:
            who = "demonstration: sign in as you@example.com with the password 'password'"
        say_line(f"control plane at {plane.url}; {who}: export THALOVANT_API_URL={plane.url}", err=options["run"])


def _program() -> str:
    """What to type in another terminal to have this command."""
    found = shutil.which("thalovant")
    same = found is not None and Path(found).resolve().parent == Path(sys.executable).absolute().parent
    return "thalovant" if same else f"{shlex.quote(sys.executable)} -m thalovant"


async def _run(local: Hub, name: str, command: tuple[str, ...], folder: Path, stop: _Stop, api: dict[str, str]) -> int:
    identity = local.identity(name)
    assert identity is not None  # noqa: S101 - it was added before
    identity = replace(identity, noise_state_dir=str(folder))
    # Of another identity of the user's, no variable may be left.
    others = {name: value for name, value in os.environ.items() if not is_variable(name)}
    try:
        await prepare_trust(local, name, folder)
        child = await asyncio.create_subprocess_exec(*command, env={**others, **variables(identity), **api})
    except ThalovantIdentityError as error:
        raise HubSetupError(str(error)) from None
    except OSError as error:
        raise HubSetupError(f"{command[0]!r} cannot be run: {error.strerror}", setting="run") from None
    ended, told = asyncio.ensure_future(child.wait()), asyncio.ensure_future(stop.wait())
    await asyncio.wait((ended, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if stop.signum == signal.SIGINT:
        # Ctrl-C reaches the command by itself; it has a while to end.
        await asyncio.wait((ended,), timeout=local.settings.drain_time)
    if not ended.done():
        child.terminate()
    code = await ended
    return code if code >= 0 else 128 - code


class _Stop:
    """The signal that wants the hub to stop."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self, signum: int, frame: object) -> None:
        self._loop.call_soon_threadsafe(self._set, signum)

    def _set(self, signum: int) -> None:
        self.signum = self.signum or signum
        self._event.set()

    async def wait(self) -> int:
        await self._event.wait()
        return self.signum or 0


@contextmanager
def _stopping() -> Iterator[_Stop]:
    stop = _Stop()
    before = {signum: signal.signal(signum, stop) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
