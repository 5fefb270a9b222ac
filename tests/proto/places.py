"""Where a peer can find a real connection: every state that is not passed through at once, in each generation."""

from __future__ import annotations

from attrs import frozen

from thalovant_proto import events as e
from thalovant_proto.carrier import Carrier
from thalovant_proto.events import Generation
from thalovant_proto.state import Kind, Role, State

from .pair import CARRIERS, HTTPS, WSS
from .puppet import Stage

CLIENT, HUB = Role.CLIENT, Role.HUB
V0, V1, V3 = Generation.PRESHARED, Generation.PASSWORD, Generation.NOISE


@frozen
class Place:
    """A state that a peer can see a real connection in, and how it comes there.

    `due` is the handshake event that the peer owes there, in this generation; every other is out of place.
    """

    role: Role
    state: State
    generation: Generation
    pinned: bool = False
    due: Kind | None = None
    carrier: Carrier = WSS

    def __str__(self) -> str:
        carrier = next(name for name, carrier in CARRIERS.items() if carrier is self.carrier)
        return f"{self.role.value}-{self.state.name}-{self.generation.name}{'-pinned' * self.pinned}-{carrier}"

    def stage(self) -> Stage:
        if self.state is State.CLAIMED:
            stage = Stage(HUB, self.generation, pinned=self.pinned, carrier=self.carrier)
            stage.say(e.ClearHello(payload={}))
            return stage
        return Stage(self.role, self.generation, pinned=self.pinned, carrier=self.carrier).until(self.state)


PLACES = [
    Place(CLIENT, State.IDLE, V3, due=e.HubHello),
    Place(CLIENT, State.GREETED, V3, due=e.Offer),
    Place(CLIENT, State.GREETED, V1, due=e.Offer),
    Place(CLIENT, State.GREETED, V0, due=e.Offer),
    Place(CLIENT, State.XX_SENT, V3, due=e.Noise2),
    Place(CLIENT, State.KK_SENT, V3, pinned=True, due=e.Noise2),
    Place(CLIENT, State.PROVING, V1, due=e.ProofAnswer),
    *(Place(CLIENT, State.READY, generation) for generation in Generation),
    Place(CLIENT, State.READY, V3, pinned=True),
    *(
        Place(HUB, state, generation, pinned, due)
        for state in (State.OFFERED, State.CLAIMED)
        for generation, pinned, due in ((V3, False, e.Xx1), (V3, True, e.Kk1), (V1, False, e.Proof), (V0, False, None))
    ),
    Place(HUB, State.XX_ANSWERED, V3, due=e.Noise3),
    Place(HUB, State.KEYED, V3),
    Place(HUB, State.KEYED, V3, pinned=True),
    Place(HUB, State.KEYED, V1, due=e.Proof),
    *(Place(HUB, State.READY, generation) for generation in Generation),
    Place(CLIENT, State.XX_SENT, V3, due=e.Noise2, carrier=HTTPS),
    Place(HUB, State.XX_ANSWERED, V3, due=e.Noise3, carrier=HTTPS),
]
