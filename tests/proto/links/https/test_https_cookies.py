"""The cookies of an HTTPS client: kept for one endpoint and all its links, given back, forgotten in time."""

from __future__ import annotations

import pytest

from thalovant_proto.links.https.cookies import Cookies

from .https_world import ByHand, by_hand, make_link, polled, response

TODAY = b"Sun, 06 Nov 1994 08:49:37 GMT"


def kept(
    *headers: str, host: str = "hub.example", folder: str = "", encrypted: bool = True, date: bytes = TODAY
) -> str:
    """What a jar gives back after these `Set-Cookie`."""
    jar = Cookies()
    for header in headers:
        jar.take(header.encode("latin-1"), host=host, folder=folder, encrypted=encrypted, date=date, now=100.0)
    return jar.header(100.0)


# --- on the link


def test_cookies_come_back():
    """The replica cookie of a hub, and a load balancer's, are sent with every later request (real-hubs.md §7)."""
    hand = by_hand().pump()
    hand.answer(headers=[("Set-Cookie", "lb=a1; Path=/; Secure"), ("Set-Cookie", "hivemind_http_replica=old")])

    hand.answer(headers=[("Set-Cookie", "hivemind_http_replica=vm; HttpOnly; Path=/; SameSite=Lax")])

    assert hand.asked.headers["cookie"] == "lb=a1; hivemind_http_replica=vm"


@pytest.mark.parametrize(
    "header", ["novalue", "=x", "bad name=x", "a=b\x80c", "n=" + "x" * 5000, ";a=b", "a=b c", 'a="quoted" text']
)
def test_what_is_no_cookie_is_not_sent_back(header):
    """Malformed and oversized cookies are left out; nothing else suffers."""
    hand = by_hand().pump()

    hand.reply(response().replace(b"\r\n\r\n", b"\r\nSet-Cookie: " + header.encode("latin-1") + b"\r\n\r\n", 1))

    assert "cookie" not in hand.asked.headers


def test_cookies_are_bounded():
    """The newest eight are kept, and may change."""
    hand = by_hand().pump()
    hand.answer(headers=[("Set-Cookie", f"c{n}=1") for n in range(50)])

    hand.answer(headers=[("Set-Cookie", "c0=2"), ("Set-Cookie", "c45=2")])

    assert hand.asked.headers["cookie"] == "c43=1; c44=1; c45=2; c46=1; c47=1; c48=1; c49=1; c0=2"


def sharing(jar: Cookies) -> ByHand:
    """A link with this jar."""
    return ByHand(make_link(cookies=jar))


def test_the_next_link_has_the_cookies_of_the_last():
    """Its first `/disconnect` ends what the dead link left behind, on the replica where that is."""
    jar = Cookies()
    hand = sharing(jar).pump()
    hand.answer()
    hand.answer(headers=[("Set-Cookie", "hivemind_http_replica=vm")])
    hand.answer(500, b"")

    again = sharing(jar).pump()

    assert again.out is not None
    assert (again.asked.path, again.asked.headers["cookie"]) == ("/disconnect", "hivemind_http_replica=vm")


def test_a_cookie_lasts_as_long_as_it_was_given_for():
    """By the link's clock, while it polls."""
    hand = by_hand().open()
    hand.answer(body=polled(), headers=[("Set-Cookie", "lb=a; Max-Age=10"), ("Set-Cookie", "hub=b")])
    hand.now += 9.9
    hand.wait()
    before = hand.asked.headers["cookie"]

    hand.now += 0.1
    hand.answer(body=polled())
    hand.wait()

    assert (before, hand.asked.headers["cookie"]) == ("lb=a; hub=b", "hub=b")


# --- in the jar


@pytest.mark.parametrize(
    ("header", "left"),
    [
        ("a=; Max-Age=0", ""),
        ("a=x; max-age=-1; Expires=Wed, 09 Jun 2100 10:18:14 GMT", ""),
        ("a=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT", ""),
        ("a=x; expires=Thu, 01-Jan-70 00:00:01 GMT; Path=/", ""),
        ("a=; Expires=Sun, 06 Nov 1994 08:49:37 GMT", ""),
        ("a=2; Max-Age=60", "a=2"),
        ("a=2; Max-Age=999999999999999", "a=2"),
        ("a=2; Max-Age=soon", "a=2"),
        ("a=2; Expires=Sun, 06 Nov 1994 08:49:38 GMT", "a=2"),
        ("a=2; Expires=tomorrow", "a=2"),
        ("a=2; Max-Age=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "a=2"),
    ],
)
def test_a_cookie_can_be_taken_back(header, left):
    """RFC 6265 §3.1. `Max-Age` counts more than `Expires`; what is no number or no date counts for nothing."""
    assert kept("a=1", header) == left
    assert kept("b=2", "a=1", header) == "; ".join(["b=2", left] if left else ["b=2"])


def test_without_a_date_only_old_dates_take_back():
    """There is no clock here; who deletes a cookie names a day of 1970."""
    assert kept("a=1; Expires=Sun, 06 Nov 1994 08:49:37 GMT", date=b"") == "a=1"
    assert kept("a=1", "a=; Expires=Thu, 01 Jan 1970 00:00:00 GMT", date=b"") == ""


def test_a_secure_cookie_wants_a_secure_way():
    """TLS, or this machine."""
    assert [kept("a=1; Secure", encrypted=encrypted) for encrypted in (False, True)] == ["", "a=1"]


@pytest.mark.parametrize(
    ("attributes", "folder", "ours"),
    [
        ("Path=/", "", True),
        ("Path=/", "/public", True),
        ("Path=/public", "/public", True),
        ("Path=/public/", "/public", True),
        ('Path="/public"', "/public/eu", True),
        ("Path=", "/public", True),
        ("Path=relative", "/public", True),
        ("Path=/pub", "/public", False),
        ("Path=/public", "", False),
        ("Path=/connect", "", False),
        ("Domain=hub.example", "", True),
        ("Domain=.HUB.example", "", True),
        ("Domain=example", "", True),
        ("domain=elsewhere.example", "", False),
        ("Domain=b.example", "", False),
        ("Domain=eu.hub.example", "", False),
        ("Domain=\xff", "", False),
        ("Secure; HttpOnly; SameSite=None; Partitioned", "", True),
    ],
)
def test_a_cookie_for_somebody_else_is_not_ours(attributes, folder, ours):
    """`Path` and `Domain` as in RFC 6265 §5.1: what is not for all our requests is for none."""
    assert kept(f"a=1; {attributes}", folder=folder) == ("a=1" if ours else "")


def test_room_is_made_by_what_expires():
    """Eight are kept; those whose time is over do not count, and the oldest goes first."""
    jar = Cookies()
    for number in range(8):
        header = b"c%d=1; Max-Age=%d" % (number, 10 if number == 3 else 99)
        jar.take(header, host="hub.example", folder="", encrypted=True, date=b"", now=0.0)
    jar.take(b"late=1", host="hub.example", folder="", encrypted=True, date=b"", now=10.0)

    assert jar.header(10.0) == "c0=1; c1=1; c2=1; c4=1; c5=1; c6=1; c7=1; late=1"
    jar.take(b"later=1", host="hub.example", folder="", encrypted=True, date=b"", now=10.0)
    assert jar.header(10.0) == "c1=1; c2=1; c4=1; c5=1; c6=1; c7=1; late=1; later=1"


def test_a_page_in_the_hubs_place_fills_no_jar():
    """What a portal or a gateway sets is not the hub's; the hub's own, from its refusals too, is kept."""
    jar = Cookies()
    hand = sharing(jar).pump()
    hand.answer(502, b"<html>", [("Set-Cookie", "portal=1")], content_type="text/html")
    assert jar.header(100.0) == ""

    hand = sharing(jar).pump()
    hand.answer(403, {"error": "Invalid authorization"}, [("Set-Cookie", "replica=1")])
    assert jar.header(100.0) == "replica=1"


def test_no_cookie_shows():
    """Whoever has it has the session."""
    jar = Cookies()
    jar.take(b"name=planted", host="hub.example", folder="", encrypted=True, date=b"", now=0.0)

    assert "planted" not in repr(jar)
    assert "planted" not in repr(vars(sharing(jar).link))
