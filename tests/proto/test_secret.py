"""A secret shows itself to `reveal` and to nothing else."""

from __future__ import annotations

import copy
import pickle
import traceback

import pytest
from attrs import asdict, frozen

from thalovant_proto.secret import Secret

PLANTED = "planted-secret-0f3c9a72"


@frozen
class Holder:
    """A model that holds one."""

    name: str
    secret: Secret[str]


@pytest.mark.parametrize("value", [PLANTED, PLANTED.encode()])
def test_no_text_shows_it(value):
    """repr, str, format with and without a spec, f-strings, %, in containers and models, in a traceback."""
    secret = Secret(value)
    texts = [
        repr(secret),
        str(secret),
        format(secret),
        f"{secret}",
        f"{secret!r:>20}",
        f"{secret:>20}",
        "%s %r" % (secret, secret),  # noqa: UP031 - this way, too
        repr([secret, {"key": secret}]),
        repr(Holder("x", Secret(PLANTED))),
        str(asdict(Holder("x", Secret(PLANTED)))),
    ]
    try:
        raise ValueError(secret)
    except ValueError:
        texts.append(traceback.format_exc())

    assert all("<secret>" in text and "planted" not in text for text in texts)


def test_it_cannot_be_pickled():
    """Also not inside something else, and the error does not quote it."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="reveal") as raised:
            pickle.dumps([Secret(PLANTED)], protocol)
        assert PLANTED not in str(raised.value)


def test_copies_are_the_thing_itself():
    """A copy of a model is no second place."""
    holder = Holder("x", Secret(PLANTED))

    assert holder.secret is copy.copy(holder).secret is copy.deepcopy(holder).secret is copy.copy(holder.secret)


def test_equal_if_the_bytes_are():
    """Among secrets only: a plain text never equals one, whatever it says. Equal ones are one key of a dict."""
    assert Secret("a") == Secret("a") == Secret(b"a")
    assert Secret("a") != Secret("b")
    assert Secret(b"a") != Secret(b"a\0")
    assert Secret("a") != "a"
    assert len({Secret("ä"), Secret("ä"), Secret("ä".encode())}) == 1


def test_what_is_inside():
    """As it was given, as bytes, and whether there is any."""
    assert ("ä", "ä".encode(), True) == (Secret("ä").reveal(), Secret("ä").as_bytes(), bool(Secret("ä")))
    assert (Secret(b"\xff").reveal(), Secret(b"\xff").as_bytes(), bool(Secret(b"\xff"))) == (b"\xff", b"\xff", True)
    assert (bool(Secret("")), bool(Secret(b""))) == (False, False)


def test_nothing_can_be_hung_on_it():
    """No attribute but the one, so that none gets a copy by accident."""
    with pytest.raises(AttributeError):
        Secret("a").plain = "a"  # type: ignore[attr-defined]
    assert not hasattr(Secret("a"), "__dict__")
