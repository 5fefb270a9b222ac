"""Small pure stacks for the drivers to run: frames of four length bytes and a body, echoed by the hub's side."""

from __future__ import annotations

from attrs import field, frozen

from thalovant_io._endpoint import ClientStack, HubPeer
from thalovant_proto.carrier import Target
from thalovant_proto.client.stack import Dial, Run, Stop, Wait
from thalovant_proto.crypto.kdf import DeriveKey
from thalovant_proto.dial import DialFailed
from thalovant_proto.secret import Secret


@frozen
class Opened:
    """A socket is up."""

    serial: int


@frozen
class Failed:
    """A dial failed."""

    failure: DialFailed


@frozen
class Heard:
    """A frame came."""

    body: bytes = field(repr=lambda body: f"{len(body)} bytes")


@frozen
class Derived:
    """A key came."""

    id: int
    key: bytes


@frozen
class Rang:
    """An alarm went off."""

    when: float


@frozen
class Ended:
    """The socket ended by itself."""

    reason: str


Outcome = Opened | Failed | Heard | Derived | Rang | Ended


def framed(body: bytes) -> bytes:
    """A frame of the wire."""
    return len(body).to_bytes(4) + body


class Machine:
    """Frames, alarms and derivations, for both sides."""

    def __init__(self) -> None:
        self._in = bytearray()
        self._out: list[bytes] = []
        self._outcomes: list[Outcome] = []
        self._effects: list[DeriveKey] = []
        self._alarms: list[float] = []
        self.raises: Exception | None = None  # the bug of `receive_data`
        self.drained = 0  # bytes that `data_to_send` gave

    def send(self, *bodies: bytes) -> None:
        self._out += [framed(body) for body in bodies]

    def derive(self, effect: DeriveKey) -> None:
        self._effects.append(effect)

    def set_alarm(self, when: float) -> None:
        self._alarms.append(when)

    def put_off_alarms(self, later: float) -> None:
        self._alarms = [when + later for when in self._alarms]

    def frame_received(self, body: bytes) -> None:
        self._outcomes.append(Heard(body))

    def receive_data(self, data: bytes, now: float) -> None:
        if self.raises is not None:
            raise self.raises
        self._in += data
        while len(self._in) >= 4 and len(self._in) - 4 >= (size := int.from_bytes(self._in[:4])):
            body = bytes(self._in[4 : 4 + size])
            del self._in[: 4 + size]
            self.frame_received(body)

    def data_to_send(self) -> bytes:
        out, self._out = b"".join(self._out), []
        self.drained += len(out)
        return out

    @property
    def next_timeout(self) -> float | None:
        return min(self._alarms, default=None)

    def handle_timeout(self, now: float) -> None:
        for when in sorted(self._alarms):
            if when <= now:
                self._alarms.remove(when)
                self._outcomes.append(Rang(when))

    def effects(self) -> list[DeriveKey]:
        effects, self._effects = self._effects, []
        return effects

    def effect_done(self, id: int, key: Secret[bytes], now: float) -> None:
        self._outcomes.append(Derived(id, key.reveal()))

    def outcomes(self) -> list[Outcome]:
        outcomes, self._outcomes = self._outcomes, []
        return outcomes


class FrameClient(Machine):
    """Dials its targets, each when the one before it has ended, then stops; or waits, if it is told to idle."""

    def __init__(self, *targets: Target, idle: bool = False) -> None:
        super().__init__()
        self._targets = list(targets)
        self._idle = idle
        self._serial = 1
        self._up = False
        self._leaving = False  # the goodbye is still for the socket that was left
        self._over = False

    def dial(self, target: Target) -> None:
        """One more target."""
        self._targets.append(target)

    def stop(self) -> None:
        """Say what is left, leave, and end."""
        self._over = True

    def leave(self) -> None:
        """Say what is left, leave, and go on with the next target."""
        self._leaving = True
        self._next()

    def _next(self) -> None:
        self._up = False
        self._serial += 1

    def step(self) -> Dial | Wait | Run | Stop:
        if self._over:
            return Stop()
        if self._leaving and self._out:
            return Wait()
        self._leaving = False
        if self._serial > len(self._targets):
            return Wait() if self._idle else Stop()
        return Run(self._serial) if self._up else Dial(self._targets[self._serial - 1], self._serial)

    def socket_opened(self, now: float) -> None:
        self._up = True
        self._in.clear()
        self._outcomes.append(Opened(self._serial))

    def dial_failed(self, failed: DialFailed, now: float) -> None:
        self._outcomes.append(Failed(failed))
        self._next()

    def eof(self, now: float, reason: str = "") -> None:
        self._out.clear()
        self._outcomes.append(Ended(reason))
        self._next()


class EchoPeer(Machine):
    """Echoes frames. `bye` is answered and ends the connection; `key:…` derives, and sends the key."""

    def __init__(self) -> None:
        super().__init__()
        self.finished = False

    def frame_received(self, body: bytes) -> None:
        if self.finished:
            return
        super().frame_received(body)
        if body.startswith(b"key:"):
            from thalovant_proto.crypto.kdf import Kdf

            self.derive(DeriveKey(id=1, kdf=Kdf.PBKDF2, secret=Secret(body), salt=b"salt"))
        else:
            self.send(body)
            self.finished = body == b"bye"

    def effect_done(self, id: int, key: Secret[bytes], now: float) -> None:
        super().effect_done(id, key, now)
        self.send(key.reveal())

    def eof(self, now: float, reason: str = "") -> None:
        self._outcomes.append(Ended(reason))
        self.finished = True


def conforms() -> tuple[ClientStack[Outcome], HubPeer[Outcome]]:
    """The type checker's word that these are what drivers take."""
    return FrameClient(), EchoPeer()
