"""Raw bytes of the hub as users see them."""

from __future__ import annotations

import json
import pickle
import queue
import threading
import zlib
from typing import Any

import pytest

from thalovant import ThalovantBinary
from thalovant.events import BINARY_FILE, BINARY_TTS_AUDIO, MEDIA_EVENTS
from thalovant.hub import Turn
from thalovant.subscriptions import HANDLER_BUFFER
from thalovant_proto import events as wire
from thalovant_proto.codec import wire1
from thalovant_proto.codec.envelope import parse_sealed
from thalovant_proto.crypto.noise_transport import Body, BodyKind
from thalovant_proto.errors import DecodeError

from .lab import PATIENCE, Lab

NAMES = {1: "raw_audio", 2: "numpy_image", 3: "file", 4: "stt_transcribe", 5: "stt_handle", 6: "tts_audio"}
EVERY_BYTE = bytes(range(256))


def seen(frame: bytes) -> ThalovantBinary:
    """A WIRE-1 frame, as a handler gets it."""
    message = parse_sealed(Body(BodyKind.WIRE1, frame))
    assert isinstance(message, wire.Binary)
    return ThalovantBinary.from_wire(message)


def versioned(frame: bytes, *, shifted: bool) -> bytes:
    """The same frame with a version byte, which no sender writes and readers take."""
    bits = "".join(f"{byte:08b}" for byte in frame).lstrip("0")
    bits = f"11{1:08b}{bits[2:]}"
    assert (len(bits) % 8 == 4) is shifted
    return int(bits, 2).to_bytes((len(bits) + 7) // 8, "big")


@pytest.mark.parametrize("number", range(16))
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("version", [False, True])
def test_frames(number: int, compress: bool, version: bool) -> None:
    """Kind by its name or number, metadata and every byte, however the frame was written."""
    metadata = {"utterance": "Olá.", "lang": "pt", "file_name": f"{number}.wav"}
    frame = wire1.encode("bin", EVERY_BYTE, json.dumps(metadata).encode(), compress=compress, bin_type=number)

    got = seen(versioned(frame, shifted=True) if version else frame)

    assert got == ThalovantBinary(NAMES.get(number, f"binary:{number}"), EVERY_BYTE, metadata)
    assert (got.utterance, got.lang, got.file_name) == ("Olá.", "pt", f"{number}.wav")


@pytest.mark.parametrize(
    "metadata", [{}, {"utterance": "", "lang": "", "file_name": ""}, {"utterance": 5, "lang": ["x"], "file_name": None}]
)
def test_views_of_nothing(metadata: dict[str, Any]) -> None:
    """Text that is absent, empty or none reads as None."""
    got = ThalovantBinary.from_wire(wire.Binary(bin_type=3, payload=b"", metadata=metadata))

    assert (got.kind, got.utterance, got.lang, got.file_name) == ("file", None, None, None)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("notes.txt", "notes.txt"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\a\\b.wav", "b.wav"),
        ("C:b.wav", "b.wav"),
        ("a/..\\b", "b"),
        ("folder/", "folder"),
        ("á b–c.wav", "á b–c.wav"),
        ("a\r\n\x1b[31mb\x00\x7f\x85.txt", "a[31mb.txt"),
        ("..\x00/x\x00/..\x01", None),
        ("gpj.\u202eexe", "gpj.exe"),
        ("\ud800.txt", ".txt"),
        (".", None),
        ("..", None),
        (" .. ", None),
        ("a/..", None),
        (".\x07.", None),
        ("/", None),
        ("", None),
        (" ", None),
        ("...", "..."),
    ],
)
def test_names_of_files(name: str, kept: str | None) -> None:
    """A bare name, whatever system wrote it, that can be shown and leads nowhere; in the metadata too."""
    got = ThalovantBinary.from_wire(wire.Binary(bin_type=3, payload=b"x", metadata={"file_name": name, "n": 1}))

    assert (got.file_name, got.metadata) == (kept, {"file_name": kept or "", "n": 1})
    assert ThalovantBinary("file", b"x", {"file_name": name}).file_name == kept


@pytest.mark.parametrize("version", [False, True])
def test_events_in_frames(version: bool) -> None:
    """A bus message in a frame is an ordinary event."""
    frame = wire1.encode("bus", b'{"type": "speak", "data": {"utterance": "Hi."}}')

    message = parse_sealed(Body(BodyKind.WIRE1, versioned(frame, shifted=False) if version else frame))

    assert (type(message), getattr(message, "text", None)) == (wire.Speak, "Hi.")


LIMIT = 32 * 1024 * 1024


@pytest.mark.parametrize(
    ("metadata", "payload"),
    [
        (b"{}", zlib.compress(b" " * (LIMIT + 1))),
        (b"{}", zlib.compress(b'{"type": "speak"}')[:-1]),
        (b"{}", zlib.compress(b'{"type": "speak"}') + b"more"),
        (b"{}", b'{"type": "speak"}'),
    ],
    ids=["too much", "cut", "followed by more", "not compressed"],
)
def test_frames_that_do_not_unpack(metadata: bytes, payload: bytes) -> None:
    """Refused, without unpacking more than is allowed."""
    packed = zlib.compress(metadata)

    with pytest.raises(DecodeError, match="zlib stream"):
        parse_sealed(Body(BodyKind.WIRE1, bytes((0x83, len(packed))) + packed + payload))


def test_bytes_are_bytes() -> None:
    """Raw bytes that look compressed stay as they are, in a frame that says that it is compressed."""
    payload = zlib.compress(b"x")
    assert seen(wire1.encode("bin", payload, compress=True, bin_type=6)).data == payload


def test_names() -> None:
    """What programs compare with."""
    assert (BINARY_TTS_AUDIO, BINARY_FILE) == ("tts_audio", "file")
    assert {"speak", "mycroft.audio.queue"} < set(MEDIA_EVENTS)


def test_looks() -> None:
    """Printed without a flood of bytes or a secret; pickles."""
    binary = ThalovantBinary("tts_audio", EVERY_BYTE, {"utterance": "Hi.", "token": "hidden"})

    assert repr(binary) == (
        "ThalovantBinary(kind='tts_audio', data=<256 bytes>, metadata={'utterance': 'Hi.', 'token': '<redacted>'})"
    )
    assert pickle.loads(pickle.dumps(binary)) == binary


async def test_both_ways_to_subscribe(v3: Lab) -> None:
    """Awaited as the family does it, or not; each gives a function that ends it, more than once if need be."""
    heard: list[str] = []
    async with v3.talking() as client:
        plain = client.on_binary(lambda binary: heard.append("plain"))
        awaited = await client.on_binary(lambda binary: heard.append("awaited"))
        await client.ask("send 3 bytes")
        for end in (plain, plain, awaited):
            end()
        await client.ask("send 3 bytes")

    assert heard == ["plain", "awaited"]


def test_unasked(v3: Lab) -> None:
    """Speech and files that the hub sends by itself, to a client that is there."""
    heard: queue.SimpleQueue[ThalovantBinary] = queue.SimpleQueue()
    with v3.client() as client:
        end = client.on_binary(heard.put)
        client.connect()
        sent = [
            v3.hub.send_binary_to("shared", b"RIFF", metadata={"utterance": "Hi.", "lang": "en-us"}),
            v3.hub.send_binary_to("shared", b"text", "file", metadata={"file_name": "../../x.txt"}),
            v3.hub.send_binary_to("shared", b"", 9),
            v3.hub.send_binary_to("nobody", b""),
        ]
        got = [heard.get(timeout=PATIENCE) for _ in range(3)]
        end()

    assert sent == [1, 1, 1, 0]
    assert [(one.kind, one.data) for one in got] == [("tts_audio", b"RIFF"), ("file", b"text"), ("binary:9", b"")]
    assert (got[0].utterance, got[0].lang, got[1].file_name) == ("Hi.", "en-us", "x.txt")


def test_a_flood(v3: Lab) -> None:
    """Of bytes for a handler that hangs: it loses the oldest, and nobody else notices."""
    hangs, count = threading.Event(), 10_000

    @v3.hub.on("test.note")
    async def flood(turn: Turn) -> None:
        for _ in range(turn.data.get("bytes", 0)):
            await turn.send_binary(b"x")
        await turn.emit("test.flooded")

    with v3.client() as client:
        subscription = client.on_binary(lambda binary: hangs.wait(PATIENCE))
        client.emit("test.note", {"bytes": count})
        client.wait_for_event("test.flooded", timeout=PATIENCE)
        assert subscription.dropped == count - 1 - HANDLER_BUFFER
        subscription()
        hangs.set()
        assert client.ask("say go on").text == "go on"


@pytest.mark.parametrize(("kind", "number"), [("STT_HANDLE", 5), ("stt_audio_handle", 5), ("binary:9", 9), (0, 0)])
def test_kinds_that_are_sent(v3: Lab, kind: str | int, number: int) -> None:
    """By name, as either family of names has it, or by number."""
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
    v3.hub.on_binary(kind)(lambda turn: arrived.put(turn.binary.bin_type))
    with v3.client() as client:
        client.send_binary(b"x", kind)
        assert arrived.get(timeout=PATIENCE) == number


@pytest.mark.parametrize("kind", ["binary:16", "binary:", "binary:x", "binary:-1", 16, -1, "mp3"])
def test_kinds_that_are_none(v3: Lab, kind: str | int) -> None:
    """The hub says so as the client does."""
    with pytest.raises(ValueError, match="unknown kind of binary message"):
        v3.hub.on_binary(kind)
    with pytest.raises(ValueError, match="unknown kind of binary message"):
        v3.hub.send_binary_to("shared", b"", kind)
