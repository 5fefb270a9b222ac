"""Python calls in our packages, recorded by a profile hook. Their number is the same on a busy machine."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from types import CodeType, FrameType, TracebackType
from typing import Any, Self

PACKAGES = {"thalovant", "thalovant_io", "thalovant_proto"}


class Calls:
    """The calls of this thread within a `with` block, in order: how deep among ours, and what was called.

    A generator or coroutine counts once each time it runs on. Generated methods of our attrs classes count.
    """

    def __init__(self) -> None:
        self.record: list[tuple[int, str]] = []
        self._depth = 0
        self._names: dict[CodeType, str] = {}  # empty for what is not ours

    def __len__(self) -> int:
        return len(self.record)

    @property
    def depth(self) -> int:
        """The most calls that were open at once."""
        return max((depth for depth, _ in self.record), default=0)

    @property
    def roots(self) -> list[tuple[str, int]]:
        """What was called from outside of our packages, in order, and how many calls each made, itself included."""
        starts = [number for number, (depth, _) in enumerate(self.record) if depth == 1]
        ends = [*starts[1:], len(self.record)]
        return [(self.record[start][1], end - start) for start, end in zip(starts, ends, strict=True)]

    def __enter__(self) -> Self:
        sys.setprofile(self._hook)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.setprofile(None)

    def _hook(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            if name := self._name(frame):
                self._depth += 1
                self.record.append((self._depth, name))
        elif event == "return" and self._depth and self._name(frame):
            self._depth -= 1

    def _name(self, frame: FrameType) -> str:
        code = frame.f_code
        if code not in self._names:
            module = str(frame.f_globals.get("__name__", ""))
            generated = code.co_filename.startswith("<attrs generated") and "thalovant" in code.co_filename
            ours = generated or module.partition(".")[0] in PACKAGES
            where = code.co_filename.strip("<>").rpartition(" ")[2] if generated else module
            self._names[code] = f"{where} {code.co_qualname}" if ours else ""
        return self._names[code]


def add_options(parser: argparse.ArgumentParser) -> None:
    """For programs that count calls."""
    parser.add_argument("--by", action="store_true", help="show the 40 functions that are called most")
    parser.add_argument("--tree", action="store_true", help="show every call")


def show(calls: Calls, arguments: argparse.Namespace) -> None:
    """What these options ask for."""
    if arguments.tree:
        print("\n".join("  " * depth + name for depth, name in calls.record))
    if arguments.by:
        most = Counter(name for _, name in calls.record).most_common(40)
        print("\n".join(f"{count:5}  {name}" for name, count in most))
