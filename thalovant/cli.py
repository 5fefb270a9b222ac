"""The entry of the `thalovant` command; the commands are in `_commands/`.

Exit codes: 0 done, 1 it failed (one message on stderr, no traceback), 2 wrong usage, 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # as type checkers know it, without the time that `typing` takes
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_INTERRUPTED = 130


def __getattr__(name: str) -> Any:
    # Kept out of the start: `--help` needs no client.
    if name == "ThalovantClient":
        from .client import ThalovantClient

        return ThalovantClient
    if name == "cli":
        from ._commands.app import cli

        return cli
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (the process's arguments if None); returns the exit code.

    Without `argv` the process is the command's own: Ctrl-C ends it at once while nothing is connected.

    Example:
        >>> main(["--version"])
        thalovant, version ...
        0
    """
    own = argv is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if own:
        signal.signal(signal.SIGINT, _leave)
    try:
        from ._commands.run import run

        if own:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return _INTERRUPTED
    finally:
        if own:  # what the interpreter still does is not worth waiting for
            signal.signal(signal.SIGINT, _leave)


def _leave(signum: int, frame: object) -> None:
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
