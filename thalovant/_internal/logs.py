"""Logging on standard error for `THALOVANT_LOG`, and the loggers of this package by layer.

    thalovant.client    the session of a client: outages, and that it is back; calls that fail in the background
    thalovant.link      each try at a connection: where to, how far it came, why it ended (DEBUG)
    thalovant.handlers  what handlers and predicates of users raise
    thalovant.trust     keys and pins on disk
    thalovant.hub       the embedded hub
    thalovant.io        sockets that listen

No record holds a secret, or a message's content.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

client: Final = logging.getLogger("thalovant.client")
link: Final = logging.getLogger("thalovant.link")
handlers: Final = logging.getLogger("thalovant.handlers")

_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def set_up(level: str) -> None:
    """Log on standard error from `level` on, a name in any case. What is none is told by a warning.

    Handlers of the program's own take over as soon as there are any: records reach them as ever.
    """
    known = logging.getLevelNamesMapping()
    handler = logging.StreamHandler()
    handler.setFormatter(_Escaping(_FORMAT))
    handler.addFilter(lambda record: sys.stderr is not None and not logging.root.handlers)
    ours = logging.getLogger("thalovant")
    ours.addHandler(handler)
    ours.setLevel(known.get(level.strip().upper(), logging.WARNING))
    if level.strip().upper() not in known:
        ours.warning("THALOVANT_LOG is %r, which is no level: use debug, info, warning or error", level)


class _Escaping(logging.Formatter):
    """Shows what a terminal would obey: a record may repeat a hub's words."""

    def format(self, record: logging.LogRecord) -> str:
        return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in super().format(record))
