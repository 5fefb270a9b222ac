"""All listeners of a hub, the broker that it uses, and the addresses that clients are told."""

from __future__ import annotations

import asyncio
import os
import ssl
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, Self
from urllib.parse import unquote

from attrs import define, field, frozen

from thalovant_io.tls import CaFileError, default_context
from thalovant_proto.carrier import Target
from thalovant_proto.links.mqtt.connect import parse_broker
from thalovant_proto.secret import Secret

from ...protocols import is_loopback
from ..admission import SocketAdmission, raise_open_files
from ..broker.accounts import Accounts
from ..dispatcher import Dispatcher
from ..errors import HubSetupError
from ..storage.clients import Client
from .base import Binding, Listener
from .https import HttpsListener
from .wss import WssListener

#: Hosts to listen on that stand for all addresses, and how this machine reaches a port there.
ANY_HOST: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to


@frozen(kw_only=True)
class Broker:
    """An MQTT broker that somebody else runs, and who the hub is there. `ca_file` says whom to trust, PEM."""

    target: Target
    username: str | None = field(default=None, repr=False)
    password: Secret[str] | None = None
    ca_file: Path | None = None

    @classmethod
    def at(cls, url: str, *, ca_file: Path | str | None = None) -> Self:
        """The broker at a URL like `mqtts://user:password@broker.example:8883`.

        Without a user in it, `THALOVANT_BROKER_USERNAME` and `THALOVANT_BROKER_PASSWORD` say who the hub is. Raises
        `HubSetupError`, without the URL, for one that cannot work or would send passwords in clear.
        """
        head, _, rest = url.strip().rpartition("://")
        user, _, place = rest.rpartition("@")
        try:
            target = parse_broker(f"{head}://{place}" if head else place)
        except ValueError:  # which says that no user may be there
            message = "A broker must be mqtts://host or mqtts://user:password@host:port"
            raise HubSetupError(message, setting="broker") from None
        if not target.tls and not is_loopback(target.host):
            message = "A broker on another machine must be mqtts://, or passwords would travel in clear"
            raise HubSetupError(message, setting="broker")
        name, _, word = user.partition(":")
        username = unquote(name) or os.environ.get("THALOVANT_BROKER_USERNAME")
        password = unquote(word) or os.environ.get("THALOVANT_BROKER_PASSWORD")
        return cls(
            target=target,
            username=username,
            password=Secret(password) if password and username else None,
            ca_file=None if ca_file is None else Path(ca_file).expanduser(),
        )

    @property
    def url(self) -> str:
        """The URL without any secret."""
        return _url("mqtts" if self.target.tls else "mqtt", self.target.host, self.target.port)

    def context(self) -> ssl.SSLContext:
        """The TLS context that verifies it. Slow: call it in a thread."""
        return default_context(self.ca_file)

    def authorities(self) -> bytes:
        """The authorities that clients must trust, as PEM; nothing if it has no TLS. Slow. Raises `HubSetupError`."""
        if not self.target.tls:
            return b""
        try:
            if self.ca_file is not None:
                self.context()
                return self.ca_file.read_bytes()
            found = self.context().get_ca_certs(binary_form=True)
        except (CaFileError, OSError) as error:
            raise HubSetupError(str(error), setting="broker_ca") from None
        return "".join(map(ssl.DER_cert_to_PEM_cert, found)).encode()


@define(kw_only=True)
class Addresses:
    """The addresses of a hub. A port of 0 is any free one, and then stays what it became; of None is none."""

    host: str
    public_host: str
    wss_port: int
    https_port: int | None
    mqtt_port: int | None
    broker: Broker | None


class _Closes(Protocol):
    async def close(self, grace: float) -> None:
        """Stop, within `grace` seconds."""


class Listeners:
    """All the ports of a hub, and its broker. `start` it once."""

    def __init__(
        self, dispatcher: Dispatcher, accounts: Accounts, addresses: Addresses, context: ssl.SSLContext | None
    ) -> None:
        self._dispatcher = dispatcher
        self._accounts = accounts
        self.addresses = addresses
        self._context = context
        self.admission: SocketAdmission = SocketAdmission(
            dispatcher.settings, dispatcher.refusals, open_files=raise_open_files()
        )
        self._open: list[_Closes] = []
        self._broker: _Closes | None = None  # our own
        self.endpoints: dict[str, str] = {}  # the URL of each protocol

    async def start(self) -> None:
        """Begin to listen. Raises `HubSetupError`."""
        try:
            await self._start()
        except BaseException:
            await self.close(0)
            raise

    async def close(self, grace: float) -> None:
        """Stop to listen; connections have `grace` seconds to end."""
        await asyncio.gather(*(one.close(grace) for one in self._open))
        self._open.clear()
        if self._broker is not None:  # the hub has said goodbye there
            await self._broker.close(grace)
            self._broker = None

    def tell(self, client: Client) -> dict[str, Any]:
        """The entries of a client's identity about all this, secrets included."""
        endpoints = self.endpoints
        master = endpoints.get("https") or endpoints["wss"]
        found: dict[str, Any] = {
            "default_master": master,
            "default_port": int(master.rpartition(":")[2]),
            "data_plane_endpoints": endpoints,
            "protocols": {"wss": True, "http": "https" in endpoints, "mqtt": "mqtt" in endpoints},
        }
        if "mqtt" in endpoints:
            found["mqtt"] = self._accounts.block(client, endpoints["mqtt"])
        return found

    # --- inside

    async def _start(self) -> None:
        addresses, dispatcher, context = self.addresses, self._dispatcher, self._context
        bind = partial(Binding, host=addresses.host, context=context, admission=self.admission)
        s = "s" if context is not None else ""
        wss = WssListener(dispatcher, bind(port=addresses.wss_port, setting="wss_port"))
        addresses.wss_port = await self._listen("wss", f"ws{s}", wss)
        if addresses.https_port is not None:
            https = HttpsListener(dispatcher, bind(port=addresses.https_port, setting="https_port"))
            addresses.https_port = await self._listen("https", f"http{s}", https)
        if addresses.broker is None and addresses.mqtt_port is None:
            return
        from .mqtt import MqttService

        if (broker := addresses.broker) is not None:
            who = broker.username, broker.password
            service = MqttService(dispatcher, self._accounts, broker.url, credentials=who, tls=broker.context)
            self.endpoints["mqtt"] = broker.url
        else:
            from ..broker.amqtt import BrokerListener

            binding = bind(port=addresses.mqtt_port or 0, setting="mqtt_port")
            own = BrokerListener(self._accounts, binding, settings=dispatcher.settings)
            addresses.mqtt_port = await self._listen("mqtt", f"mqtt{s}", own)
            self._broker = self._open.pop()
            service = MqttService(dispatcher, self._accounts, gatekeeper=own.gatekeeper)
        await service.start()
        self._open.append(service)

    async def _listen(self, protocol: str, scheme: str, listener: Listener[Any]) -> int:
        await listener.start()
        self._open.append(listener)
        self.endpoints[protocol] = _url(scheme, self.addresses.public_host, listener.port)
        return listener.port


def _url(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
