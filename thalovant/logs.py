"""Log lines for terminals and files."""

from __future__ import annotations

import logging

from .render import visible


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
