"""What belongs to which ask where several could be meant, and how much of it a reply keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: An utterance that was sent without waiting may be what the hub refuses, for so many seconds.
UNTRACKED_UTTERANCE_GRACE_SECONDS: Final = 10.0
#: The sounds inside a reply, in bytes of sound: one, and all of them together.
MAX_AUDIO_CLIP_BYTES: Final = 4 * 1024 * 1024
MAX_REPLY_MEDIA_BYTES: Final = 16 * 1024 * 1024


def refusal_belongs_to_ask(
    *,
    request_id: str | None,
    own_request_id: str | None,
    denied_type: str | None,
    asks_in_flight: int,
    queries_in_flight: int,
    sends_in_flight: int = 0,
    asked_type: str = "recognizer_loop:utterance",
) -> bool:
    """Whether a refusal with this `request_id` (None: it has none, as from real hubs) is an answer to the ask.

    Without one it is, if it refuses what was asked and nothing else is in flight. `sends_in_flight` are utterances that
    were sent without waiting, less than `UNTRACKED_UTTERANCE_GRACE_SECONDS` ago.
    """
    if request_id:
        return request_id == own_request_id
    return denied_type == asked_type and (asks_in_flight, queries_in_flight, sends_in_flight) == (1, 0, 0)


class Sounds:
    """The sounds of one reply: each once, as many as fit."""

    def __init__(self) -> None:
        self.kept: int = 0
        self.dropped: int = 0
        self._bytes = 0
        self._clips: set[str] = set()

    def admit(self, data: Mapping[str, Any]) -> bool:
        """Whether the reply keeps a sound with this `data`; one that is only named there takes no room."""
        clip = data.get("binary_data")
        if isinstance(clip, str) and clip:
            if clip in self._clips:
                return False
            size = (len(clip) + 1) // 2
            if size > MAX_AUDIO_CLIP_BYTES or self._bytes + size > MAX_REPLY_MEDIA_BYTES:
                self.dropped += 1
                return False
            self._bytes += size
            self._clips.add(clip)
        self.kept += 1
        return True
