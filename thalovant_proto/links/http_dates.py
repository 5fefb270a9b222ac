"""Dates as HTTP writes them, as seconds since 1970: to compare two of them, for there is no clock here."""

from __future__ import annotations

import re
from typing import Final

_MONTHS: Final = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")
# The three spellings of RFC 9110 §5.6.7, and the mixtures that cookies have.
_DAY_FIRST: Final = re.compile(rb"(\d{1,2})[ -]([a-z]{3})[ -](\d{4}|\d\d) +(\d\d):(\d\d):(\d\d)")
_MONTH_FIRST: Final = re.compile(rb"([a-z]{3}) +(\d{1,2}) +(\d\d):(\d\d):(\d\d) +(\d{4})")


def read_date(text: bytes) -> int | None:
    """The seconds since the beginning of 1970, None for what is no date."""
    if (found := _DAY_FIRST.search(text.lower())) is not None:
        day, month, year, *time = found.groups()
    elif (found := _MONTH_FIRST.search(text.lower())) is not None:
        month, day, *time, year = found.groups()
    else:
        return None
    if month not in _MONTHS:
        return None
    full_year = int(year) if len(year) == 4 else int(year) + (1900 if int(year) >= 70 else 2000)
    hours, minutes, seconds = map(int, time)
    return _days(full_year, _MONTHS.index(month) + 1, int(day)) * 86_400 + hours * 3600 + minutes * 60 + seconds


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01, in years that begin with March, whose leap day is their last."""
    if month < 3:
        year, month = year - 1, month + 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day - 719_469
