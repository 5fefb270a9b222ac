"""Dates of HTTP, against the standard library's."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given, strategies as st

from thalovant_proto.links.http_dates import read_date

SECONDS = st.integers(0, 2**35)


@given(SECONDS, st.binary(max_size=60))
def test_every_second_is_read(seconds, garbage):
    """As HTTP writes it, as C does, and as cookies do; nothing is raised, whatever comes."""
    day = time.gmtime(seconds)

    for spelling in (
        formatdate(seconds, usegmt=True),
        time.asctime(day),
        time.strftime("%a, %d-%b-%Y %H:%M:%S GMT", day),
    ):
        assert read_date(spelling.encode()) == seconds
    assert read_date(garbage) is None or isinstance(read_date(garbage), int)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
        (b"Thu, 01-Jan-70 00:00:00 GMT", 0),
        (b"Tue, 19-Jan-38 03:14:07 GMT", 2**31 - 1),
        (b"thu, 1 JAN 1970 00:00:01 gmt", 1),
        (b"", None),
        (b"yesterday", None),
        (b"Sun, 06 Nev 1994 08:49:37 GMT", None),
        (b"784111777", None),
        (b"1994-11-06T08:49:37Z", None),
        (b"\xff" * 100, None),
    ],
)
def test_other_spellings(text, seconds):
    """Years of two digits (RFC 9110 §5.6.7), any case, and what is no date."""
    assert read_date(text) == seconds
