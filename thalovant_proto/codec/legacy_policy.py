"""The quirks of v0 and v1 peers: each decision that exists because of them, with its reason. v3 peers have none.

The places that act on a quirk ask `LEGACY_POLICY` for the generation they speak. A quirk that is part of one format is
decided where that format is written, for every peer alike, so it is no field here:

- A text frame gets a nonce as long as that of the peer's last one (12 or 16 bytes), since some peers open no other
  (wire.md §3): `LegacyChannel` and `Cipher.nonce_sizes`.
- A binary frame is always compressed, since stable peers take each for a compressed one (wire.md §4.2):
  `LegacyChannel`.
- A hub over HTTPS takes no legacy binary frame (real-hubs.md §7.3): `Carrier.legacy_binary_up`.
- A long `crypto_key` counts by its first 16 bytes (wire.md §2.3): `crypto_key`.
- A hub has one IV for all its answers on a connection, since a client that answers an offer twice derives its key from
  its newer IV and the answer that it heard first (real-hubs.md §9 d): `HubHandshake`.
- A client with both secrets seals its password proof with the crypto key (bus-client 0.4): `HubConnection` takes that
  while nothing has proven the client.
- A legacy key ends with `Limits.legacy_frames` frames, since its nonces must be remembered (security.md §3).
"""

from __future__ import annotations

from typing import Final

from attrs import evolve, frozen

from ..crypto.encodings import Encoding
from ..events import Generation, HubHello, Offer

#: A hub waits so long for a sign of a v0 client before it greets it once more. Old ones give up after 6 s; a client
#: whose answer is on its way for as long as this must not be taken for one that heard nothing (real-hubs.md §5.1).
GREETING_TIME: Final = 3.0
#: Keys of one connection that newer password proofs have replaced, but which open frames all the same: a client that
#: answers an offer twice seals with a former key until it has read the last answer (real-hubs.md §9 d).
FORMER_KEYS: Final = 3
#: A v0 hub drops a client that it cannot read (real-hubs.md §7.2); this soon after the first sealed frame it is no
#: accident.
UNREAD_WITHIN: Final = 1.0
#: So many attempts in a row that ended unread are the verdict of a wrong `crypto_key`; one may be network trouble.
UNREAD_ATTEMPTS: Final = 2
#: A close waits this long for pending answers, which a hub would write to the closed socket, and lose its message bus
#: by it (real-hubs.md §10).
LINGER: Final = 2.0
#: Legacy keys that are spent this far are renewed as soon as nobody waits for an answer; from the second mark on
#: nothing more is sent under them, so that this will be soon (security.md §3).
RENEW_AT: Final = 0.75
HOLD_AT: Final = 0.95
#: The choice of encodings for a client. `JSON-Z85P` is not offered: stable clients cannot read it (wire.md §3).
OFFERED_ENCODINGS: Final = (
    Encoding.B64, Encoding.URLSAFE_B64, Encoding.B91, Encoding.Z85B, Encoding.B32, Encoding.HEX
)  # fmt: skip


@frozen(kw_only=True)
class LegacyPolicy:
    """The special treatment of peers of one generation."""

    # Published SDKs 0.4 lose the hub's opening and wait for ever, so a hub says it once more to a silent client, and a
    # client that has read the first drops the second (real-hubs.md §5.1).
    greets_twice: bool = False
    # A hub drops what it cannot read, and proves nothing until it has something to say. So a link that is lost at once
    # looks like network trouble, and one that stays for a while is accepted (real-hubs.md §7.2).
    drops_unread: bool = False
    # MQTT frames have no types, and some clients read only the kind that they write: the hub answers in kind
    # (real-hubs.md §8).
    answered_in_kind: bool = False
    # A former key opens every frame. With a crypto key it opens proofs only, since there is a better one by then.
    former_key_opens_all: bool = False
    # Events in clear may still come once there are keys: a client says its hello so, and starts a new password proof
    # (real-hubs.md §2.1, §5.1). The hello counts as soon as an authenticated frame stands behind it; with v3 none does:
    # there it only wakes the hub, and who said it is anybody's guess (security.md §1).
    speaks_clear: bool = False
    # A hub answers no rendezvous, so a client shows with another hello that it is there (wire.md §6).
    ignores_rendezvous: bool = False
    # A hub answers under the session id of the hello, whichever the message had (real-hubs.md §3).
    answers_by_hello: bool = False
    # A hub that loses a client with answers pending loses its message bus: a close waits (`LINGER`).
    needs_linger: bool = False
    # Frames have no numbers, so one that was not sent ends nothing (wire.md §3).
    bears_loss: bool = False
    # The keys are used up by frames and must be renewed, so a session is never steady.
    keys_wear_out: bool = False


_NONE: Final = LegacyPolicy()
_BOTH: Final = LegacyPolicy(
    speaks_clear=True,
    ignores_rendezvous=True,
    answers_by_hello=True,
    needs_linger=True,
    bears_loss=True,
    keys_wear_out=True,
)
#: The policy for each generation; None is that of a connection without keys.
LEGACY_POLICY: Final[dict[Generation | None, LegacyPolicy]] = {
    None: _NONE,
    Generation.PRESHARED: evolve(_BOTH, greets_twice=True, drops_unread=True, answered_in_kind=True),
    Generation.PASSWORD: evolve(_BOTH, former_key_opens_all=True),
    Generation.NOISE: _NONE,
}


def same_greeting(opening: HubHello | Offer, first: HubHello | Offer) -> bool:
    """Whether a hub says an opening once more; the second offer may have the password in addition."""
    return {**opening.payload, "password": None} == {**first.payload, "password": None}
