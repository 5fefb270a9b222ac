"""Sound on its way to a hub: read from whatever holds it, and cut into messages."""

from __future__ import annotations

import io
import os
import wave
from asyncio import wrap_future
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator, Mapping
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final

from thalovant_proto.events import Binary, BinType
from thalovant_proto.limits import DEFAULT_LIMITS, KIB

from .binaries import bin_type, binary
from .options import mapping, whole
from .portal import Handlers

if TYPE_CHECKING:
    from ..events import AudioSource

#: What is read of a file at once: at 16 kHz and 16 bits a quarter of a second.
READ: Final = 8 * KIB
#: The most in one message of sound that is streamed.
PIECE: Final = 16 * KIB
#: The most of a WAV in front of its sound.
HEADER: Final = 64 * KIB
#: Kinds of which a hub takes each message for all that was said: they are sent whole.
_WHOLE: Final = (BinType.STT_TRANSCRIBE, BinType.STT_HANDLE)


class Sound:
    """Cuts the pieces of one recording, a WAV or bare samples, into messages of whole samples."""

    def __init__(
        self,
        kind: str | int = "raw_audio",
        *,
        sample_rate: int = 16000,
        sample_width: int = 2,
        lang: str = "en-us",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._kind = bin_type(kind)
        if self._kind not in (BinType.RAW_AUDIO, *_WHOLE):
            raise ValueError(f"send_audio() sends raw_audio, stt_transcribe or stt_handle, not {kind!r}")
        self._rate = whole("sample_rate", sample_rate, 1)
        self._width = whole("sample_width", sample_width, 1)
        self._metadata = {**({"lang": lang} if self._kind in _WHOLE else {}), **mapping(metadata, "metadata")}
        self._held = bytearray()
        self._left: int | None = None  # bytes of sound that a WAV still has
        self._begun = self._sent = False

    @property
    def ended(self) -> bool:
        """Whether all of a WAV's sound was there, so that no more of its source is read."""
        return self._left is not None and len(self._held) >= self._left

    def take(self, piece: bytes = b"", *, over: bool = False) -> Iterator[Binary]:
        """The messages that another piece completes; `over`: it is the last. Raises `ValueError` for no sound."""
        self._held += _bytes(piece)
        self._begun = self._begun or self._begins(over=over)
        if not self._begun:
            return
        if self._left is not None:
            del self._held[self._left :]  # what follows the sound of a WAV is none
        size = len(self._held) - len(self._held) % self._width
        if self._kind not in _WHOLE:
            step = max(PIECE - PIECE % self._width, self._width)
            for start in range(0, size, step):
                yield self._message(self._held[start : min(start + step, size)])
            del self._held[:size]
            self._left = None if self._left is None else self._left - size
        elif size > DEFAULT_LIMITS.reassembly:
            raise ValueError(f"what was said takes over {DEFAULT_LIMITS.reassembly} bytes: send it in parts")
        elif over and size:
            yield self._message(self._held[:size])
        if over and not self._sent:
            raise ValueError("there is no sound to send: the source is empty")

    def _message(self, data: bytearray) -> Binary:
        self._sent = True
        told = {"sample_rate": self._rate, "sample_width": self._width, **self._metadata}
        return binary("send_audio", data, self._kind, told)

    def _begins(self, *, over: bool) -> bool:
        """Whether it is known where the sound begins; a WAV's header is gone then."""
        if len(self._held) < 12 and not over and b"RIFF".startswith(self._held[:4]):
            return False
        if self._held[:4] != b"RIFF" or self._held[8:12] != b"WAVE":
            return True
        # The length of the whole is not known to who streams, and says nothing: that of the sound follows.
        head = io.BytesIO(b"RIFF\xff\xff\xff\xff" + self._held[8 : HEADER + 8])
        try:
            with wave.open(head) as wav:
                channels, self._width, self._rate, frames = wav.getparams()[:4]
        except (EOFError, RuntimeError, wave.Error) as error:
            if over or len(self._held) > HEADER:
                raise ValueError(f"the WAV cannot be read: {str(error) or 'it ends too early'}") from None
            return False
        if channels != 1 or not self._rate:
            raise ValueError(f"hubs hear one channel, and the WAV has {channels} at {self._rate} Hz: convert it first")
        self._left = frames * self._width or None  # none: whoever streamed it did not know
        del self._held[: head.tell()]
        return True


def messages(source: AudioSource, sound: Sound) -> Generator[Binary, None, None]:
    """The messages of a source, read as they are taken."""
    for piece in _pieces(source):
        yield from sound.take(piece)
        if sound.ended:
            break
    yield from sound.take(over=True)


async def messages_async(source: Any, sound: Sound) -> AsyncGenerator[Binary, None]:
    """The same; what can only be read by waiting is read in a thread, which nobody waits for at the end."""
    read = getattr(source, "read", None)
    if iscoroutinefunction(read) or (read is None and isinstance(source, AsyncIterable)):
        async for piece in source if read is None else _reads(read):
            for message in sound.take(piece):
                yield message
            if sound.ended:
                break
        for message in sound.take(over=True):
            yield message
        return
    found, thread = messages(source, sound), Handlers("thalovant-audio")
    try:
        while (following := await wrap_future(thread.submit(next, found, None))) is not None:
            yield following
    finally:
        thread.submit(found.close)
        thread.stop()


def _pieces(source: Any) -> Iterator[bytes]:
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            yield from _pieces(file)
    elif hasattr(source, "read") and not iscoroutinefunction(source.read):
        while piece := source.read(READ):
            yield piece
    elif isinstance(source, AsyncIterable) or hasattr(source, "read"):
        raise TypeError("the source of a sound is asynchronous: use AsyncThalovantClient")
    elif isinstance(source, Iterable) and not isinstance(source, bytes | bytearray | memoryview):
        yield from source
    else:
        yield source


async def _reads(read: Any) -> AsyncIterator[bytes]:
    while piece := await read(READ):
        yield piece


def _bytes(piece: Any) -> bytes:
    try:
        return bytes(memoryview(piece))
    except TypeError:
        given = type(piece).__name__
        raise TypeError(
            f"sound is bytes, not {given}: give send_audio() bytes, a path, a file opened for bytes, or pieces of bytes"
        ) from None
