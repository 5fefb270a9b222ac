"""The entry of the `thalovant` command; the commands are in `_commands/`.

Exit codes: 0 done, 1 it failed (one message on stderr, no traceback), 2 wrong usage, 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import gc
import os
import sys

_INTERRUPTED = 130
try:
    import signal
except KeyboardInterrupt:  # nothing of ours has been imported yet that could handle it
    os._exit(_INTERRUPTED)

TYPE_CHECKING = False  # as type checkers know it, without the time that `typing` takes
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


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
        gc.set_threshold(10_000)  # a start drops next to nothing
    try:
        from ._commands.run import run

        if own:
            signal.signal(signal.SIGINT, _interrupt)
            sys.unraisablehook = _unraisable
        code = run(sys.argv[1:] if argv is None else argv, lambda: _interrupted)
    except KeyboardInterrupt:
        code = _INTERRUPTED
    if own:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done
        gc.freeze()  # the end of the process gives all memory back
        # Else the interpreter ends by a signal where the interrupt came into code that was compiled at run time.
        if code == _INTERRUPTED:
            _leave()
    return code


# Whether Ctrl-C has come. Modules that are imported while it comes may make another error of it.
_interrupted = False


def forget_interrupt() -> None:
    """Go on after a Ctrl-C that ended one reply and not the command."""
    global _interrupted
    _interrupted = False


def _interrupt(signum: int, frame: object) -> None:
    global _interrupted
    _interrupted = True
    raise KeyboardInterrupt


def _unraisable(found: sys.UnraisableHookArgs) -> None:
    # An interrupt that comes into a callback of the interpreter's own would be lost.
    if found.exc_type is KeyboardInterrupt:
        _leave()
    sys.__unraisablehook__(found)


def _leave(signum: int = 0, frame: object = None) -> None:
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
