"""The handshakes of v3 and their ciphers: exact in both roles, and closed to everything else."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, strategies as st

from tests.examples import examples
from thalovant_proto.crypto.noise import (
    MAX_MESSAGE,
    CipherState,
    Handshake,
    Pattern,
    Suite,
    Unauthentic,
    prologue,
    protocol_name,
    public_key,
)
from thalovant_proto.errors import DecodeError, LocalProtocolError
from thalovant_proto.secret import Secret

from ..memory import reachable
from .noise_pairs import ROLES, VECTORS, at_step, every_vector, finished_pair, handshake, reader, script, secret

XX, KK = VECTORS[0], next(vector for vector in VECTORS if vector["pattern"] == "KKpsk0")
both_patterns = pytest.mark.parametrize("vector", [XX, KK], ids=["XX", "KK"])

# Points that every private key turns into zero (RFC 7748 §6.1), little-endian; the top bit of the last byte is ignored.
LOW_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    b"\xec" + b"\xff" * 30 + b"\x7f",
    b"\xed" + b"\xff" * 30 + b"\x7f",
    b"\xee" + b"\xff" * 30 + b"\x7f",
]
LOW_ORDER += [point[:31] + bytes((point[31] | 0x80,)) for point in LOW_ORDER]


def test_a_handshake_needs_only_its_public_names():
    """The two ends of a handshake, written out as a user of the module would."""
    pattern, suite = Pattern.XX, Suite.CHACHAPOLY
    hashed = prologue({"node_id": "hub"}, {"noise": {"patterns": ["XXpsk2"]}}, pattern, suite)
    shared = {"pattern": pattern, "suite": suite, "prologue": hashed}
    client = Handshake(initiator=True, static=Secret(b"1" * 32), ephemeral=Secret(b"2" * 32), **shared)
    hub = Handshake(initiator=False, static=Secret(b"3" * 32), ephemeral=Secret(b"4" * 32), **shared)

    assert hub.read_message(client.write_message(b"hello")) == b"hello"
    client.psk = hub.psk = Secret(b"5" * 32)
    assert client.read_message(hub.write_message(b"answer")) == b"answer"
    assert hub.read_message(client.write_message(b"")) == b""

    assert client.finished and hub.finished
    assert client.psk is hub.psk is None


# Exact


@every_vector
def test_names_and_prologues_are_those_of_the_wire(vector):
    """The name, 32 bytes long with AESGCM, and the canonical form of what the hub said before."""
    pattern, suite = Pattern(vector["pattern"]), Suite(vector["suite"])

    assert protocol_name(pattern, suite) == vector["protocol_name"].encode()
    assert prologue(vector["hello_payload"], vector["handshake_payload"], pattern, suite).hex() == vector["prologue"]


@every_vector
@pytest.mark.parametrize("role", ROLES)
def test_each_role_alone_replays_the_vector(vector, role):
    """Against recorded messages either role writes the same bytes, reads the same payloads, ends in the same state."""
    end = handshake(vector, role)
    for number, (payload, message) in enumerate(script(vector)):
        assert not end.finished
        if role == ROLES[number % 2]:
            assert end.write_message(payload).hex() == message.hex()
        else:
            assert end.read_message(message) == payload

    assert end.finished
    assert end.handshake_hash.hex() == vector["handshake_hash"]
    assert end.remote_static.hex() == vector[f"{ROLES[role == 'initiator']}_static_public"]
    keys = [vector["initiator_to_responder_key"], vector["responder_to_initiator_key"]]
    send, receive = keys if role == "initiator" else keys[::-1]
    sender, receiver = end.split()
    suite = Suite(vector["suite"])
    assert CipherState(secret(send), suite).encrypt(b"text") == sender.encrypt(b"text")
    assert receiver.decrypt(CipherState(secret(receive), suite).encrypt(b"text")) == b"text"


@every_vector
@pytest.mark.parametrize("role", ROLES)
def test_public_keys(vector, role):
    """The public key of every private one in the vectors."""
    for kind in ("static", "ephemeral"):
        assert public_key(secret(vector[f"{role}_{kind}_private"])).hex() == vector[f"{role}_{kind}_public"]


@examples(20)
@given(
    vector=st.sampled_from(VECTORS),
    payloads=st.lists(st.binary(max_size=64) | st.sampled_from([b"", bytes(65_000)]), min_size=3, max_size=3),
    keys=st.lists(st.binary(min_size=32, max_size=32), min_size=5, max_size=5, unique=True),
)
def test_any_keys_and_payloads_go_through(vector, payloads, keys):
    """Both ends agree whatever the keys, and read what the other wrote."""
    statics, ephemerals, psk = keys[:2], keys[2:4], Secret(keys[4])
    ends = []
    for number, role in enumerate(ROLES):
        pinned = public_key(Secret(statics[1 - number])) if vector["pattern"] == "KKpsk0" else None
        changes = {"static": Secret(statics[number]), "ephemeral": Secret(ephemerals[number]), "remote_static": pinned}
        ends.append(handshake(vector, role, psk=psk, **changes))

    for number, _ in enumerate(script(vector)):
        writer, other = ends[number % 2], ends[1 - number % 2]
        assert other.read_message(writer.write_message(payloads[number])) == payloads[number]

    assert ends[0].handshake_hash == ends[1].handshake_hash
    assert [public_key(Secret(key)) for key in statics] == [ends[1].remote_static, ends[0].remote_static]
    (up, down), (from_hub, from_client) = ends[0].split(), ends[1].split()
    assert from_client.decrypt(up.encrypt(b"up")) == b"up"
    assert down.decrypt(from_hub.encrypt(b"down")) == b"down"


# Closed


@every_vector
@pytest.mark.parametrize("flip", [0x01, 0x80])  # the top bit of a public key does not change the point it names
def test_tampering_with_any_byte_of_a_handshake_message_is_detected(vector, flip):
    """Every byte of every message: the reader refuses it there and then, and is dead afterwards."""
    for step, (_, message) in enumerate(script(vector)):
        for position in range(len(message)):
            end = reader(vector, step)
            bent = bytearray(message)
            bent[position] ^= flip
            with pytest.raises(Unauthentic, match=f"^message {step + 1} of the handshake: does not authenticate"):
                end.read_message(bytes(bent))
            with pytest.raises(LocalProtocolError, match="over"):
                end.read_message(message)


@every_vector
def test_messages_of_another_size_are_refused(vector):
    """Too short or too long to be one is no verdict on keys or password; in between they do not authenticate."""
    for step, (payload, message) in enumerate(script(vector)):
        smallest = len(message) - len(payload)
        for size in range(smallest):
            with pytest.raises(DecodeError, match=f"message {step + 1} .*: {size} bytes, not {smallest} to 65535"):
                reader(vector, step).read_message(message[:size])
        with pytest.raises(DecodeError, match=f"65536 bytes, not {smallest} to 65535"):
            reader(vector, step).read_message(message.ljust(MAX_MESSAGE + 1, b"\0"))
        for other in (*(message[:size] for size in range(smallest, len(message))), message + b"\0"):
            with pytest.raises(Unauthentic):
                reader(vector, step).read_message(other)


@examples(50)
@given(vector=st.sampled_from(VECTORS), step=st.integers(0, 2), garbage=st.binary(max_size=300))
def test_garbage_is_a_decode_error(vector, step, garbage):
    """Whatever arrives at whatever point: `DecodeError`, nothing else."""
    step = min(step, len(script(vector)) - 1)

    with pytest.raises(DecodeError):
        reader(vector, step).read_message(garbage)


OTHER = Secret(b"o" * 32)


@pytest.mark.parametrize(
    ("vector", "role", "changes", "number"),
    [
        pytest.param(XX, "initiator", {"psk": OTHER}, 2, id="XX, another password"),  # the client finds out
        pytest.param(KK, "initiator", {"psk": OTHER}, 1, id="KK, another password"),  # the hub finds out
        # a hello or an offer that was changed on the way
        pytest.param(XX, "initiator", {"prologue": b"stripped"}, 1, id="XX, another prologue"),
        pytest.param(KK, "initiator", {"prologue": b"stripped"}, 1, id="KK, another prologue"),
        pytest.param(KK, "responder", {"remote_static": public_key(OTHER)}, 1, id="hub pinned another client"),
        pytest.param(KK, "initiator", {"static": OTHER}, 1, id="client has another key"),
        pytest.param(KK, "initiator", {"remote_static": public_key(OTHER)}, 1, id="client pinned another hub"),
        pytest.param(KK, "responder", {"static": OTHER}, 1, id="hub has another key"),
    ],
)
def test_what_both_do_not_share_shows_at_a_message(vector, role, changes, number):
    """wire.md §5.7: the message before that one is read all the same, and whoever reads that one finds out."""
    ends = [handshake(vector, side, **(changes if side == role else {})) for side in ROLES]
    for step in range(number - 1):
        ends[1 - step % 2].read_message(ends[step % 2].write_message(b"{}"))

    with pytest.raises(Unauthentic, match=f"message {number}"):
        ends[number % 2].read_message(ends[1 - number % 2].write_message(b"{}"))


def test_another_client_key_in_xx_completes_and_is_left_to_the_pins():
    """wire.md §5.7: XX has no key to expect; what it learned is there to be compared."""
    client, hub = handshake(XX, "initiator", static=Secret(b"o" * 32)), handshake(XX, "responder")
    hub.read_message(client.write_message(b""))
    client.read_message(hub.write_message(b""))
    hub.read_message(client.write_message(b""))

    assert public_key(Secret(b"o" * 32)) == hub.remote_static != bytes.fromhex(XX["initiator_static_public"])


@both_patterns
def test_a_message_sent_back_to_its_author_is_refused(vector):
    """Reflection: an initiator does not take its own first message for the answer."""
    client = handshake(vector, "initiator")
    first = client.write_message(bytes(48))  # long enough to be an answer

    with pytest.raises(Unauthentic, match="message 2"):
        client.read_message(first)


@both_patterns
def test_a_replayed_first_message_leads_nowhere(vector):
    """A hub answers a replay with its new ephemeral, and whoever replays cannot go on from there."""
    hub = handshake(vector, "responder", ephemeral=Secret(b"n" * 32))
    (_, first), *later = script(vector)
    hub.read_message(first)
    hub.write_message(b"{}")

    if hub.finished:  # KK: the first message under the keys is the proof
        recorded = bytes.fromhex(vector["transport"][0]["frames"][0])
        with pytest.raises(Unauthentic):
            hub.split()[1].decrypt(recorded)
    else:
        with pytest.raises(Unauthentic, match="message 3"):
            hub.read_message(later[-1][1])


def test_messages_of_the_other_pattern_or_suite_are_refused():
    """The name is part of what is hashed: nothing of one handshake passes in another."""
    for vector in VECTORS:
        for other in VECTORS:
            if other is not vector:
                with pytest.raises(Unauthentic):
                    handshake(vector, "responder").read_message(script(other)[0][1])


@pytest.mark.parametrize("point", LOW_ORDER, ids=bytes.hex)
def test_low_order_points_are_refused_as_ephemeral_and_as_pinned_key(point):
    """Where they are read, in both patterns and roles. A pin like that is a fault of ours: nobody could have met it."""
    for vector in (XX, KK):
        for step, (_, message) in enumerate(script(vector)[:2]):
            with pytest.raises(DecodeError, match=f"message {step + 1} .* ephemeral key is of low order"):
                reader(vector, step).read_message(point + message[32:])
    with pytest.raises(LocalProtocolError, match="low order"):
        handshake(KK, "initiator", remote_static=point)


class Intruder:
    """An initiator of XX that holds the PSK and claims any static key it likes, written from the Noise text alone."""

    def __init__(self, claimed: bytes, shared: bytes) -> None:
        self.claimed, self.shared = claimed, shared  # the key, and the outcome of the exchange with it
        self.ephemeral = X25519PrivateKey.from_private_bytes(b"i" * 32)
        self.hash = self.chaining = hashlib.sha256(XX["protocol_name"].encode()).digest()
        self.mix_hash(bytes.fromhex(XX["prologue"]))

    def first(self) -> bytes:
        public = self.ephemeral.public_key().public_bytes_raw()
        self.mix_hash(public)
        self.mix_key(public)
        return public + self.seal(b"")

    def third(self, second: bytes) -> bytes:
        remote, static = second[:32], second[32:80]
        self.mix_hash(remote)
        self.mix_key(remote)
        self.mix_key(self.ephemeral.exchange(X25519PublicKey.from_public_bytes(remote)))
        opened = self.open(static)
        self.mix_key(self.ephemeral.exchange(X25519PublicKey.from_public_bytes(opened)))
        self.mix_hash(self.mix_key(bytes.fromhex(XX["psk"]), psk=True))
        self.open(second[80:])
        claim = self.seal(self.claimed)
        self.mix_key(self.shared)
        return claim + self.seal(b"")

    def mix_hash(self, data: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + data).digest()

    def mix_key(self, material: bytes, *, psk: bool = False) -> bytes:
        inner = hmac.digest(self.chaining, material, "sha256")
        one = hmac.digest(inner, b"\x01", "sha256")
        two = hmac.digest(inner, one + b"\x02", "sha256")
        three = hmac.digest(inner, two + b"\x03", "sha256")
        self.chaining, self.key, self.nonce = one, three if psk else two, 0
        return two

    def seal(self, plaintext: bytes) -> bytes:
        sealed = ChaCha20Poly1305(self.key).encrypt(self.count(), plaintext, self.hash)
        self.mix_hash(sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        plaintext = ChaCha20Poly1305(self.key).decrypt(self.count(), sealed, self.hash)
        self.mix_hash(sealed)
        return plaintext

    def count(self) -> bytes:
        nonce, self.nonce = self.nonce, self.nonce + 1
        return bytes(4) + nonce.to_bytes(8, "little")


@pytest.mark.parametrize("point", LOW_ORDER, ids=bytes.hex)
def test_low_order_points_are_refused_as_static_key(point):
    """Else anybody with the PSK could complete XX under a key that nobody holds, since the exchange would be zero."""
    hub = handshake(XX, "responder")
    intruder = Intruder(point, bytes(32))
    hub.read_message(intruder.first())

    with pytest.raises(DecodeError, match=r"message 3 .* static key is of low order"):
        hub.read_message(intruder.third(hub.write_message(b"")))
    with pytest.raises(LocalProtocolError, match="not known"):
        hub.remote_static


def test_the_intruder_would_succeed_with_a_key_of_its_own():
    """The control for the test above: its messages are right, the point alone is not."""
    private = X25519PrivateKey.from_private_bytes(b"k" * 32)
    hub = handshake(XX, "responder")
    ephemeral = X25519PublicKey.from_public_bytes(bytes.fromhex(XX["responder_ephemeral_public"]))
    intruder = Intruder(private.public_key().public_bytes_raw(), private.exchange(ephemeral))
    hub.read_message(intruder.first())

    hub.read_message(intruder.third(hub.write_message(b"")))

    assert hub.finished


# Out of turn, and other faults of ours


@both_patterns
def test_messages_out_of_turn_are_our_fault_and_change_nothing(vector):
    """Each end refuses what is not due, and then still does what is."""
    for step, (payload, message) in enumerate(script(vector)):
        end = reader(vector, step)
        with pytest.raises(LocalProtocolError, match=f"message {step + 1} of the handshake is theirs"):
            end.write_message(b"")
        assert end.read_message(message) == payload

    client = handshake(vector, "initiator")
    with pytest.raises(LocalProtocolError, match="message 1 of the handshake is ours"):
        client.read_message(script(vector)[0][1])
    assert script(vector)[0][1] == client.write_message(script(vector)[0][0])


@both_patterns
def test_after_the_last_message_there_is_no_other(vector):
    """A finished handshake neither writes nor reads; two owners of one cipher would mix up their streams."""
    for end in finished_pair(vector):
        with pytest.raises(LocalProtocolError, match="over"):
            end.write_message(b"")
        with pytest.raises(LocalProtocolError, match="over"):
            end.read_message(b"")
        end.split()
        with pytest.raises(LocalProtocolError, match="split before"):
            end.split()


@both_patterns
def test_results_are_there_at_the_end_and_not_before(vector):
    """Hash and ciphers of an unfinished handshake do not exist; the peer's key only once it is known."""
    client = handshake(vector, "initiator")
    client.write_message(b"")

    for result in (lambda: client.handshake_hash, client.split):
        with pytest.raises(LocalProtocolError, match="not finished"):
            result()
    if vector is XX:
        with pytest.raises(LocalProtocolError, match="not known"):
            client.remote_static


@pytest.mark.parametrize(("vector", "needed"), [(XX, 1), (KK, 0)], ids=["XX", "KK"])
@pytest.mark.parametrize("psk", [None, Secret(b""), Secret(b"x" * 31), Secret(b"x" * 33)])
def test_the_psk_may_come_as_late_as_its_message(vector, needed, psk):
    """Without it (or with one of a wrong size) that message waits; nothing is lost by trying."""
    ends = [handshake(vector, role, psk=psk) for role in ROLES]
    for number, (payload, message) in enumerate(script(vector)):
        writer, other = ends[number % 2], ends[1 - number % 2]
        if number == needed:
            with pytest.raises(LocalProtocolError, match=f"message {number + 1} .* needs a PSK of 32 bytes"):
                writer.write_message(payload)
            with pytest.raises(LocalProtocolError, match=f"message {number + 1} .* needs a PSK of 32 bytes"):
                other.read_message(message)
            writer.psk = other.psk = secret(vector["psk"])
        assert writer.write_message(payload) == message
        assert other.read_message(message) == payload


@every_vector
def test_a_payload_may_fill_the_message_and_no_more(vector):
    """65 535 bytes in all; one more is refused before anything is mixed."""
    for step, (payload, message) in enumerate(script(vector)):
        room = MAX_MESSAGE - (len(message) - len(payload))
        writer, other = at_step(vector, ROLES[step % 2], step), reader(vector, step)
        with pytest.raises(LocalProtocolError, match="65536 bytes is over 65535"):
            writer.write_message(bytes(room + 1))
        assert other.read_message(writer.write_message(bytes(room))) == bytes(room)


@pytest.mark.parametrize("name", ["static", "ephemeral"])
@pytest.mark.parametrize("size", [0, 31, 33])
def test_private_keys_of_another_size_are_our_fault(name, size):
    """Refused at the start, naming the size and not the key."""
    with pytest.raises(LocalProtocolError, match=f"{name} key has {size} bytes, not 32"):
        handshake(XX, "initiator", **{name: Secret(b"k" * size)})
    with pytest.raises(LocalProtocolError, match=f"private key has {size} bytes, not 32"):
        public_key(Secret(b"k" * size))


def test_kk_needs_a_pinned_key_and_xx_takes_none():
    """The pattern says who is known; anything else would hash something else than the peer does."""
    with pytest.raises(LocalProtocolError, match="beforehand in KK"):
        handshake(XX, "initiator", remote_static=bytes.fromhex(XX["responder_static_public"]))
    with pytest.raises(LocalProtocolError, match="beforehand in KK"):
        handshake(KK, "initiator", remote_static=None)
    with pytest.raises(LocalProtocolError, match="pinned key has 31 bytes, not 32"):
        handshake(KK, "initiator", remote_static=bytes(31))


# Secrets


def secrets_of(end: Handshake) -> tuple[int, int, set[bytes]]:
    """What hangs on it: the number of private keys, of wrapped secrets, and all byte strings."""
    things = reachable(end)
    private = sum(isinstance(thing, X25519PrivateKey) for thing in things)
    wrapped = sum(isinstance(thing, Secret) for thing in things)
    return private, wrapped, {thing for thing in things if isinstance(thing, bytes)}


@every_vector
@pytest.mark.parametrize("role", ROLES)
def test_nothing_secret_hangs_on_a_finished_handshake(vector, role):
    """No private key, no PSK, no chaining key: the bytes that are left are the public results."""
    assert secrets_of(handshake(vector, role))[:2] == (2, 1)  # it would show
    end = finished_pair(vector)[ROLES.index(role)]
    end.split()

    assert secrets_of(end) == (0, 0, {end.handshake_hash, end.remote_static})


@every_vector
def test_nothing_secret_hangs_on_a_failed_handshake(vector):
    """Whichever message it was that could not be read."""
    for step, (_, message) in enumerate(script(vector)):
        end = reader(vector, step)
        with pytest.raises(DecodeError):
            end.read_message(bytes(len(message)))

        assert secrets_of(end) == (0, 0, set())
        with pytest.raises(LocalProtocolError, match="not known"):
            end.remote_static


def test_repr_says_nothing():
    """Neither a handshake nor a cipher shows its keys."""
    end = handshake(XX, "initiator")
    cipher = CipherState(Secret(b"k" * 32), Suite.AESGCM)

    for thing in (end, cipher):
        assert "kkkk" not in repr(thing)
        assert XX["psk"] not in repr(thing)
