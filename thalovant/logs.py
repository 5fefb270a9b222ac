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

from .render import visible

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
    handler.setFormatter(VisibleFormatter(_FORMAT))
    handler.addFilter(lambda record: sys.stderr is not None and not logging.root.handlers)
    ours = logging.getLogger("thalovant")
    ours.addHandler(handler)
    ours.setLevel(known.get(level.strip().upper(), logging.WARNING))
    if level.strip().upper() not in known:
        ours.warning("THALOVANT_LOG is %r, which is no level: use debug, info, warning or error", level)


class VisibleFormatter(logging.Formatter):
    r"""Formats as `logging.Formatter` does, with nothing raw of what hubs and clients sent, and a message on one line.

    Example:
        >>> import logging
        >>> VisibleFormatter().format(logging.makeLogRecord({"msg": "a hub called \x1b[31m\nERROR"}))
        'a hub called \\x1b[31m\\nERROR'
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record's message on one line, below it the traceback if there is one."""
        return visible(super().format(record), lines=True)  # a traceback may be there already, formatted by another

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of the message."""
        return visible(super().formatMessage(record))
