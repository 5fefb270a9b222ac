"""A bad network between a client and a hub: a relay that loses what the hub says, and breaks connections."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from thalovant.identity import ThalovantIdentity

from .strangers import PATIENCE

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what is unsent is thrown away, and the peer told


class Relay:
    """Passes TCP connections on to the port that an identity's hub has for a protocol, on a port of its own."""

    def __init__(self, identity: ThalovantIdentity, *, source: str = "127.0.0.1", protocol: str = "https") -> None:
        self._source = source  # where the hub sees it come from
        parts = urlsplit(str(identity.endpoint_for(protocol)))
        self._hub = (str(parts.hostname), parts.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._hears = threading.Event()  # the client does
        self._hears.set()
        self._takes = threading.Event()  # what the client says
        self._takes.set()
        self._deafened = False
        self.lost = threading.Event()  # something that the hub said
        url = f"{parts.scheme}://{parts.hostname}:{self._listener.getsockname()[1]}"
        endpoints = replace(identity.data_plane_endpoints, **{protocol: url})
        broker = identity.mqtt and replace(identity.mqtt, endpoint=url)
        #: The same client, by way of this relay.
        self.identity = replace(identity, data_plane_endpoints=endpoints, mqtt=broker)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE)

    def deafen_once(self) -> None:
        """From now on lose what the hub says, until `cut`; requests still reach it. Only the first call counts."""
        if not self._deafened:
            self._deafened = True
            self._hears.clear()

    def hold(self) -> None:
        """Take nothing more of what the client says, until `go_on`."""
        self._takes.clear()

    def go_on(self) -> None:
        """Take what the client says, what waits included."""
        self._takes.set()

    def cut(self) -> None:
        """Break all connections; the next ones are good."""
        sockets, self._sockets = self._sockets, []
        for sock in sockets:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                sock.shutdown(socket.SHUT_RD)  # wakes who reads from it
            sock.close()
        self._hears.set()
        self._takes.set()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            hub = socket.create_connection(self._hub, timeout=PATIENCE, source_address=(self._source, 0))
            hub.settimeout(None)
            self._sockets += [client, hub]
            for way in ((client, hub, False), (hub, client, True)):
                self._threads.append(threading.Thread(target=self._pass_on, args=way))
                self._threads[-1].start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, down: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if not down:
                    self._takes.wait(PATIENCE)
                if self._hears.is_set() or not down:
                    sink.sendall(data)
                else:
                    self.lost.set()
            sink.shutdown(socket.SHUT_WR)
