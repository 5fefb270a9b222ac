"""Sound on its way to a hub: whole or as it is recorded, bare or as a WAV."""

from __future__ import annotations

import asyncio
import io
import itertools
import struct
import threading
import wave
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from thalovant._internal.audio import READ, Sound, messages
from thalovant.testing import LocalHub
from thalovant_proto.events import BinType

from .lab import PATIENCE, Lab

SOUND = bytes(range(256)) * 100
Arrived = list[tuple[bytes, dict[str, Any]]]


def wav(sound: bytes = SOUND, *, width: int = 2, rate: int = 16000, channels: int = 1, between: bytes = b"") -> bytes:
    """A WAV, with other chunks `between` its format and its sound."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", "NONE"))
        file.writeframes(sound)
    return made.getvalue()[:36] + between + made.getvalue()[36:]


def lying(size: int, whole: int = 0) -> bytes:
    """A WAV whose sound is of that length, it says; more follows it."""
    return wav().replace(struct.pack("<I", len(SOUND)), struct.pack("<I", size))[:4] + b"".join(
        (struct.pack("<I", whole), wav()[8:40], struct.pack("<I", size), SOUND)
    )


class Ears:
    """What a hub heard of one recording, which ends with a message of another kind."""

    def __init__(self, hub: LocalHub) -> None:
        self.begin()
        for kind in (BinType.RAW_AUDIO, BinType.STT_TRANSCRIBE, BinType.STT_HANDLE):
            hub.on_binary(kind)(lambda turn: self._heard.append((turn.binary.payload, dict(turn.binary.metadata))))
        hub.on_binary(15)(lambda turn: self._ended.set())

    def begin(self) -> None:
        """Another recording."""
        self._heard: Arrived = []
        self._ended = threading.Event()

    def all_of_it(self) -> Arrived:
        """Once it has ended."""
        assert self._ended.wait(PATIENCE)
        return self._heard


@pytest.fixture(scope="module")
def ears(labs: Callable[[int], Lab]) -> Ears:
    """Those of the hub that all tests share."""
    return Ears(labs(3).hub)


@pytest.fixture
def arrived(ears: Ears) -> Callable[[], Arrived]:
    """What the hub heard in this test."""
    ears.begin()
    return ears.all_of_it


async def _pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


class _Stream:
    """What asyncio gives for the output of a process."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    async def read(self, size: int) -> bytes:
        return self._data.read(size)


SOURCES: dict[str, Callable[[bytes], Any]] = {
    "bytes": lambda data: data,
    "view": memoryview,
    "file": io.BytesIO,
    "pieces": lambda data: iter([data[:7], b"", data[7:12], data[12:]]),
    "single bytes": lambda data: (data[n : n + 1] for n in range(len(data))),
    "list": lambda data: [data],
}
ASYNC_SOURCES: dict[str, Callable[[bytes], Any]] = {
    **SOURCES,
    "asynchronous pieces": lambda data: _pieces(data[:3], data[3:]),
    "asynchronous file": _Stream,
}


@pytest.mark.parametrize("source", ASYNC_SOURCES)
@pytest.mark.parametrize("whole", [SOUND[:2000], wav(SOUND[:2000])], ids=["bare", "WAV"])
async def test_sources(v3: Lab, arrived: Callable[[], Arrived], source: str, whole: bytes) -> None:
    """Whatever holds it, every sample arrives, with what hubs need to know of them."""
    async with v3.talking() as client:
        await client.send_audio(ASYNC_SOURCES[source](whole))
        await client.send_binary(b"", 15)
        heard = await asyncio.to_thread(arrived)

    assert b"".join(data for data, _ in heard) == SOUND[:2000]
    assert all(metadata == {"sample_rate": 16000, "sample_width": 2} for _, metadata in heard)


@pytest.mark.parametrize("source", SOURCES)
def test_sources_without_a_loop(v3: Lab, arrived: Callable[[], Arrived], source: str) -> None:
    """The same for the other client, which reads it in the thread of the caller."""
    with v3.client() as client:
        client.send_audio(SOURCES[source](SOUND[:2000]))
        client.send_binary(b"", 15)
        assert b"".join(data for data, _ in arrived()) == SOUND[:2000]


@pytest.mark.parametrize("path", [str, Path])
def test_paths(v3: Lab, arrived: Callable[[], Arrived], tmp_path: Path, path: Callable[[Path], Any]) -> None:
    """A file is streamed, with its own rate and width."""
    (tmp_path / "a.wav").write_bytes(wav(width=3, rate=44100))
    with v3.client() as client:
        client.send_audio(path(tmp_path / "a.wav"), sample_rate=1)
        client.send_binary(b"", 15)
        heard = arrived()

    assert b"".join(data for data, _ in heard) == SOUND[: len(SOUND) // 3 * 3]
    assert max(len(data) for data, _ in heard) < READ + 3
    assert heard[0][1] == {"sample_rate": 44100, "sample_width": 3}


@pytest.mark.parametrize("kind", ["stt_handle", "stt_transcribe"])
async def test_speech_is_one_message(v3: Lab, arrived: Callable[[], Arrived], kind: str) -> None:
    """Since a hub takes each for all that was said; it has the language."""
    async with v3.talking() as client:
        await client.send_audio(_pieces(*[SOUND] * 3), kind, lang="pt", sample_rate=8000, metadata={"mic": 1})
        await client.send_binary(b"", 15)
        heard = await asyncio.to_thread(arrived)

    assert heard == [(SOUND * 3, {"sample_rate": 8000, "sample_width": 2, "lang": "pt", "mic": 1})]


def test_a_microphone_is_heard_as_it_speaks(v3: Lab) -> None:
    """Each piece is sent before the next one is there."""
    heard: list[bytes] = []
    news = threading.Condition()

    @v3.hub.on_binary("raw_audio")
    def hear(turn: Any) -> None:
        with news:
            heard.append(turn.binary.payload)
            news.notify_all()

    def microphone() -> Iterator[bytes]:
        for number in range(3):
            yield bytes((number, number))
            with news:
                assert news.wait_for(lambda number=number: len(heard) == number + 1, PATIENCE)

    with v3.client() as client:
        client.send_audio(microphone())
    assert heard == [b"\0\0", b"\1\1", b"\2\2"]


def cut(*pieces: bytes, **options: Any) -> bytes:
    """What is sent of these pieces."""
    sound = Sound(**options)
    return b"".join(message.payload for message in messages(pieces, sound))


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        (lying(len(SOUND)), SOUND),
        (lying(100), SOUND[:100]),
        (lying(101), SOUND[:100]),
        (lying(len(SOUND) * 2), SOUND),
        (lying(0xFFFFFFFF, 0xFFFFFFFF), SOUND[:-1] + SOUND[-1:]),
        (lying(0x7FFFFFFF), SOUND),
        (lying(0), SOUND),
        (wav() + b"LIST\x04\0\0\0more", SOUND),
        (wav(between=b"LIST" + struct.pack("<I", 30000) + bytes(30000)), SOUND),
        (wav(SOUND[:5]), SOUND[:4]),
        (SOUND[:5], SOUND[:4]),
        (b"RIFF", b"RIFF"),
        (b"RIFF....AVI ", b"RIFF....AVI "),
    ],
)
def test_lengths_that_lie(data: bytes, sent: bytes) -> None:
    """What is there is sent, up to what the WAV says, however it comes; half a sample is none."""
    assert cut(data) == sent
    assert cut(*(data[n : n + 50] for n in range(0, len(data), 50))) == sent


@pytest.mark.parametrize("kind", ["raw_audio", "stt_handle"])
@pytest.mark.parametrize("size", [99, 100])
def test_a_source_without_end(kind: str, size: int) -> None:
    """It is left where the sound of its WAV ends."""
    assert cut(*[lying(size)[: 44 + 50]], kind=kind) == SOUND[:50]
    endless = messages(itertools.chain([lying(size)], itertools.repeat(b"more")), Sound(kind))
    assert b"".join(message.payload for message in endless) == SOUND[: size // 2 * 2]


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (b"", {}, "there is no sound"),
        (b"x", {}, "there is no sound"),
        (wav(b""), {}, "there is no sound"),
        (wav()[:30], {}, "the WAV cannot be read: it ends too early"),
        (wav(channels=2), {}, "one channel, and the WAV has 2"),
        (wav(rate=1)[:24] + bytes(4) + wav()[28:], {}, "at 0 Hz"),
        (wav()[:20] + b"\3" + wav()[21:], {}, "the WAV cannot be read: unknown format: 3"),
        (wav()[:16] + b"\xff\xff\xff\xf0" + wav()[20:], {}, "the WAV cannot be read"),
        (wav(between=b"LIST\xf0\xff\xff\xff"), {}, "the WAV cannot be read"),
        (wav()[:12] + b"junk" * 20000, {}, "the WAV cannot be read"),
        (
            b"x",
            {"kind": "tts_audio"},
            "send_audio\\(\\) sends raw_audio, stt_transcribe or stt_handle, not 'tts_audio'",
        ),
        (b"x", {"kind": "mp3"}, "unknown kind"),
        (b"x", {"sample_rate": 0}, "sample_rate must be a whole number, 1 or more"),
        (b"x", {"sample_width": 1.5}, "sample_width must be a whole number"),
        (bytes(1 << 25) + b"more", {"kind": "stt_handle"}, "send it in parts"),
    ],
)
def test_no_sound(data: bytes, options: dict[str, Any], message: str) -> None:
    """One clear error."""
    with pytest.raises(ValueError, match=message):
        cut(data, **options)


@given(st.binary(max_size=80), st.integers(0, 50), st.integers(1, 60))
def test_a_hostile_wav(garbage: bytes, at: int, step: int) -> None:
    """Whatever is in a WAV's header, there is an end: sound or one kind of error."""
    data = wav(SOUND[:100])
    data = data[:at] + garbage + data[at + len(garbage) :]
    try:
        sent = cut(*(data[n : n + step] for n in range(0, len(data), step)))
    except ValueError:
        return
    assert len(sent) <= len(data)


@pytest.mark.parametrize("given", ["text file", 5, [1, 2], None, _Stream(b""), _pieces(b"")])
def test_what_is_no_sound(v3: Lab, given: Any, tmp_path: Path) -> None:
    """Told at once, in words of what would be."""
    given = io.StringIO("text") if given == "text file" else given
    with (
        v3.client() as client,
        pytest.raises(TypeError, match=r"sound is bytes, not \w+: give|use AsyncThalovantClient"),
    ):
        client.send_audio(given)


def test_a_file_that_is_not_there(v3: Lab, tmp_path: Path) -> None:
    """The system's own error, which names it."""
    with v3.client() as client, pytest.raises(FileNotFoundError, match=r"nothing\.wav"):
        client.send_audio(tmp_path / "nothing.wav")


async def test_a_source_that_fails_or_hangs(v3: Lab) -> None:
    """Its error is the caller's; a call that is cancelled does not wait for one that hangs."""
    hangs = threading.Event()

    def fails() -> Iterator[bytes]:
        yield b"\0\0"
        raise OSError("unplugged")

    def waits() -> Iterator[bytes]:
        started.set()
        hangs.wait(PATIENCE)
        yield b"\0\0"

    started = threading.Event()
    async with v3.talking() as client:
        with pytest.raises(OSError, match="unplugged"):
            await client.send_audio(fails())
        task = asyncio.create_task(client.send_audio(waits()))
        await asyncio.to_thread(started.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await client.ask("say go on")).text == "go on"
    hangs.set()
