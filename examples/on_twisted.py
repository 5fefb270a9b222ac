"""A hub asked from Twisted: a driver of one's own. Any event loop with sockets and timers will do.

    python examples/on_twisted.py IDENTITY.json "Say hello." [wss|https|mqtt]

What every driver does, after every input: step, obey, write, start derivations, hand outcomes on, set the timer.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from stack import Conversation
from twisted.internet import error, protocol, reactor, threads
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol

from thalovant import HubProtocol
from thalovant_io.dialer import DEFAULT_TIMEOUTS, dial_failed_from
from thalovant_io.tls import TlsFault, TlsPipe, default_context
from thalovant_proto import Dial, DialFailed, Run, Stop, Target, Wait, derive


class TwistedDriver:
    """Drives one client stack on the reactor, with TLS as a pipe of bytes."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation, self.stack = conversation, conversation.stack
        self.reactor: Any = reactor
        self.context = default_context(conversation.identity.ca_file)
        self.serial: int | None = None
        self.wire: Wire | None = None
        self.timer: Any = None

    @property
    def now(self) -> float:
        return float(self.reactor.seconds())

    def turn(self) -> None:
        while True:
            step = self.stack.step()
            if self.wire is not None and self.wire.ready and (data := self.stack.data_to_send()):
                self.wire.send(data)
                continue
            for effect in self.stack.effects():
                threads.deferToThread(derive, effect).addCallback(self.derived, effect.id)
            if not (outcomes := self.stack.outcomes()):
                break
            for outcome in outcomes:
                self.conversation.take(outcome, self.now)
        self.obey(step)
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        if (when := self.stack.next_timeout) is not None and not isinstance(step, Stop):
            self.timer = self.reactor.callLater(max(0.0, when - self.now), self.timed_out)

    def obey(self, step: Dial | Run | Stop | Wait) -> None:
        match step:
            case Stop():
                self.drop()
                self.reactor.stop()
            case Dial(target=target, serial=serial) if serial != self.serial:
                self.drop()
                self.serial = serial
                wire = self.wire = Wire(self, target)
                endpoint = HostnameEndpoint(self.reactor, target.host, target.port, DEFAULT_TIMEOUTS.connect)
                connectProtocol(endpoint, wire).addErrback(self.dial_failed, wire)
            case Wait():
                self.drop()

    def timed_out(self) -> None:
        self.stack.handle_timeout(self.now)
        self.turn()

    def derived(self, key: Any, id: int) -> None:
        self.stack.effect_done(id, key, self.now)
        self.turn()

    def dial_failed(self, failure: Any, wire: Wire) -> None:
        """There is no TCP connection. Twisted has exceptions of its own for what the system says."""
        cause = failure.value
        if isinstance(cause, error.DNSLookupError):
            cause = socket.gaierror(socket.EAI_NONAME, str(cause))
        elif isinstance(cause, error.TimeoutError):
            cause = TimeoutError()
        elif isinstance(cause, error.ConnectError):
            cause = OSError(cause.osError, str(cause))
        self.lost(wire, dial_failed_from(cause, wire.target))

    def lost(self, wire: Wire, failed: DialFailed | None = None) -> None:
        """A socket is gone, or was never had: `failed` says why."""
        if self.wire is not wire:
            return  # nobody waits for it any more
        self.wire = None
        if failed is not None:
            self.stack.dial_failed(failed, self.now)
        else:
            self.stack.eof(self.now)
        self.turn()

    def drop(self) -> None:
        wire, self.wire = self.wire, None
        if wire is not None:
            wire.leave()


class Wire(protocol.Protocol):
    """One socket, with TLS if its target takes it."""

    def __init__(self, driver: TwistedDriver, target: Target) -> None:
        self.driver, self.target = driver, target
        where = f"{target.host}:{target.port}"
        self.tls = TlsPipe(driver.context, where, server_hostname=target.host) if target.tls else None
        self.ready = False  # bytes travel between the socket and the stack
        self.deadline: Any = None  # of the TLS handshake

    def connectionMade(self) -> None:
        if self.driver.wire is not self:
            self.leave()
        elif self.tls is None:
            self.open()
            self.driver.turn()
        else:
            self.deadline = self.driver.reactor.callLater(DEFAULT_TIMEOUTS.tls, self.overdue)
            self.flush()

    def open(self) -> None:
        self.ready = True
        self.stop_clock()
        self.driver.stack.socket_opened(self.driver.now)

    def overdue(self) -> None:
        if self.tls is not None:
            self.fail(self.tls.overdue())

    def dataReceived(self, data: bytes) -> None:
        if self.driver.wire is not self:
            return
        if self.tls is not None:
            data = self.tls.receive(data)
            self.flush()
            if self.tls.ready and not self.ready:
                self.open()
        if data:
            self.driver.stack.receive_data(data, self.driver.now)
        self.driver.turn()
        if self.tls is not None and (self.tls.fault is not None or self.tls.closed):
            self.fail(self.tls.fault)

    def connectionLost(self, reason: Any = None) -> None:
        self.fail(None if self.tls is None else self.tls.eof())

    def fail(self, fault: TlsFault | None) -> None:
        """The end, as TLS sees it."""
        failed = None
        if fault is not None and not self.ready:
            failed = DialFailed(phase="tls", fault=fault.fault, message=fault.message)
        self.leave()
        self.driver.lost(self, failed)

    def send(self, data: bytes) -> None:
        if self.tls is None:
            self.transport.write(data)
        else:
            self.tls.send(data)
            self.flush()

    def flush(self) -> None:
        if self.tls is not None and self.transport is not None and (data := self.tls.data_to_send()):
            self.transport.write(data)

    def leave(self) -> None:
        """Say what is left and close."""
        self.stop_clock()
        if self.transport is not None:
            if self.tls is not None:
                self.tls.close()
                self.flush()
            self.transport.loseConnection()

    def stop_clock(self) -> None:
        if self.deadline is not None and self.deadline.active():
            self.deadline.cancel()


def main(identity_file: str, text: str, protocol: HubProtocol | None = None) -> int:
    """Ask and print; returns the exit code."""
    conversation = Conversation(identity_file, text, protocol)
    driver = TwistedDriver(conversation)

    def begin() -> None:
        conversation.begin(driver.now)
        driver.turn()

    driver.reactor.callWhenRunning(begin)
    driver.reactor.run()
    return conversation.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
