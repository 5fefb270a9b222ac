"""A hub asked from Twisted: a driver of one's own, in one screen. Any event loop with sockets and timers will do.

    python examples/on_twisted.py IDENTITY.json "Say hello." [wss|https|mqtt]

What every driver does, after every input: step, obey, write, start derivations, hand outcomes on, set the timer.
"""

from __future__ import annotations

import sys
from typing import Any

from stack import Conversation
from twisted.internet import protocol, reactor, threads
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol

from thalovant import HubProtocol
from thalovant_io.tls import TlsPipe, default_context
from thalovant_proto import Dial, DialFailed, DialFault, Run, Stop, Wait, derive


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
                endpoint = HostnameEndpoint(self.reactor, target.host, target.port)
                self.wire = Wire(self, TlsPipe(self.context, target.host, server_hostname=target.host))
                connectProtocol(endpoint, self.wire).addErrback(self.dial_failed)
            case Wait():
                self.drop()

    def timed_out(self) -> None:
        self.stack.handle_timeout(self.now)
        self.turn()

    def derived(self, key: Any, id: int) -> None:
        self.stack.effect_done(id, key, self.now)
        self.turn()

    def dial_failed(self, failure: Any) -> None:
        self.wire = None
        message = str(failure.value)
        self.stack.dial_failed(DialFailed(phase="connect", fault=DialFault.OTHER, message=message), self.now)
        self.turn()

    def drop(self) -> None:
        wire, self.wire = self.wire, None
        if wire is not None and wire.transport is not None:
            wire.transport.loseConnection()


class Wire(protocol.Protocol):
    """One socket."""

    def __init__(self, driver: TwistedDriver, tls: TlsPipe) -> None:
        self.driver, self.tls = driver, tls
        self.ready = False

    def connectionMade(self) -> None:
        self.flush()

    def dataReceived(self, data: bytes) -> None:
        plaintext = self.tls.receive(data)
        self.flush()
        if self.driver.wire is not self:
            return
        if self.tls.ready and not self.ready:
            self.ready = True
            self.driver.stack.socket_opened(self.driver.now)
        if plaintext:
            self.driver.stack.receive_data(plaintext, self.driver.now)
        if (self.tls.fault is not None or self.tls.closed) and self.transport is not None:
            self.transport.loseConnection()
        self.driver.turn()

    def connectionLost(self, reason: Any = None) -> None:
        if self.driver.wire is not self:
            return
        self.driver.wire, fault, now = None, self.tls.eof(), self.driver.now
        if self.ready:
            self.driver.stack.eof(now)
        elif fault is not None:
            self.driver.stack.dial_failed(DialFailed(phase="tls", fault=fault.fault, message=fault.message), now)
        self.driver.turn()

    def send(self, data: bytes) -> None:
        self.tls.send(data)
        self.flush()

    def flush(self) -> None:
        if (data := self.tls.data_to_send()) and self.transport is not None:
            self.transport.write(data)


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
