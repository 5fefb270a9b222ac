"""The errors users see: their tree, what each carries, and that they survive the way to another process."""

from __future__ import annotations

import pickle
import traceback
from copy import copy

import pytest

from thalovant import errors
from thalovant.errors import (
    ThalovantAdmissionFailedError,
    ThalovantAlreadyLinkedError,
    ThalovantAPIError,
    ThalovantClientKeyRejectedError,
    ThalovantConnectionError,
    ThalovantDeviceLoginPending,
    ThalovantError,
    ThalovantHubKeyChangedError,
    ThalovantPolicyDeniedError,
    ThalovantQuota,
    ThalovantTimeoutError,
    ThalovantUnansweredError,
)
from thalovant.events import EVENT_POLICY_DENIED, ThalovantEvent

TREE = {
    "ThalovantError": ("Exception",),
    "ThalovantIdentityError": ("ThalovantError",),
    "ThalovantUnsupportedProtocolError": ("ThalovantError",),
    "ThalovantTimeoutError": ("ThalovantError", "TimeoutError"),
    "ThalovantConnectionError": ("ThalovantError", "ConnectionError"),
    "ThalovantHubRefusedError": ("ThalovantConnectionError",),
    "ThalovantClientKeyRejectedError": ("ThalovantHubRefusedError",),
    "ThalovantHubKeyChangedError": ("ThalovantConnectionError",),
    "ThalovantDowngradeError": ("ThalovantConnectionError",),
    "ThalovantDisplacedError": ("ThalovantConnectionError",),
    "ThalovantAdmissionTimeoutError": ("ThalovantConnectionError", "ThalovantTimeoutError"),
    "ThalovantAdmissionFailedError": ("ThalovantConnectionError",),
    "ThalovantRuntimeError": ("ThalovantError", "RuntimeError"),
    "ThalovantPolicyDeniedError": ("ThalovantRuntimeError",),
    "ThalovantUnansweredError": ("ThalovantRuntimeError",),
    "ThalovantAPIError": ("ThalovantError",),
    "ThalovantAPIUnreachableError": ("ThalovantAPIError", "ThalovantConnectionError"),
    "ThalovantAuthError": ("ThalovantAPIError",),
    "ThalovantPlanError": ("ThalovantAPIError",),
    "ThalovantAlreadyLinkedError": ("ThalovantAPIError",),
    "ThalovantUnsupportedConnectionTypeError": ("ThalovantAPIError",),
    "ThalovantDeviceLoginPending": ("ThalovantAPIError",),
    "ThalovantDeviceLoginExpired": ("ThalovantAPIError",),
    "ThalovantDeviceLoginDenied": ("ThalovantAPIError",),
}
KINDS = [getattr(errors, name) for name in TREE]


def test_tree():
    """The tree of the published SDK, with builtin bases where these say the same."""
    found = {
        name: tuple(base.__name__ for base in kind.__bases__)
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }

    assert found == TREE


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_says_what_it_is(kind):
    """Each has a name of its own and a hint, and says whether trying again can help; bare classes can be raised."""
    error = kind("what happened")

    assert "what happened" in str(error)
    assert error.name
    assert error.name != "error" or kind is ThalovantError
    assert error.retryable in (True, False)
    assert error.delivery in ("no", "unknown", "yes", None)
    assert [other for other in KINDS if other.name == kind.name] == [kind]
    assert error.hint or kind is ThalovantError
    assert isinstance(kind(), ThalovantError)


@pytest.mark.parametrize("kind", KINDS)
def test_code_is_the_peers_word(kind):
    """Where nobody else has said anything there is none; what was said never becomes the name."""
    silent = "" if kind is ThalovantPolicyDeniedError else None

    assert kind("what happened").code == silent
    assert (kind("m", code="its_word").code, kind("m", code="its_word").name) == ("its_word", kind.name)


API = {"status_code": 502, "code": "c", "detail": "d", "problem": {"x": 1}}


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        *((kind, API) for kind in KINDS if issubclass(kind, ThalovantAPIError)),
        (ThalovantAlreadyLinkedError, {**API, "client_id": "i"}),
        (ThalovantDeviceLoginPending, {**API, "interval": 7.0}),
        (ThalovantAdmissionFailedError, {**API, "error_code": "e"}),
        (ThalovantClientKeyRejectedError, {"key_folder": "/p", "other_key_folder": "/o"}),
        (ThalovantPolicyDeniedError, {"code": "c", "reason": "r", "allowed": ("a",), "quota": None}),
    ],
)
def test_keywords_are_attributes(kind, given):
    """What a program gives by name it finds by that name; None where it gives nothing. Only the text has a place."""
    error = kind("x", **given)
    unsaid = {"code": "", "reason": "", "allowed": ()} if kind is ThalovantPolicyDeniedError else {"interval": 5.0}

    assert {name: getattr(error, name) for name in given} == given
    assert {name: getattr(kind("x"), name) for name in given} == {name: unsaid.get(name) for name in given}
    with pytest.raises(TypeError):
        kind("x", *given.values())


def test_details():
    """What a raiser knows better than the class."""
    error = ThalovantConnectionError("gone", name="dns", hint="Check the name.", retryable=False, delivery="no")

    assert (error.name, error.hint, error.retryable, error.delivery) == ("dns", "Check the name.", False, "no")


def test_hint_is_in_the_traceback():
    """The text is what happened; the next step follows it where people read."""
    error = ThalovantError("It broke.", hint="Mend it.")

    assert str(error) == "It broke."
    assert "".join(traceback.format_exception(error)).endswith("It broke.\nMend it.\n")


@pytest.mark.parametrize(
    "error",
    [
        ThalovantError("m", name="n", code="c", hint="h", retryable=True, delivery="unknown", request_id="r"),
        ThalovantTimeoutError("m"),
        ThalovantClientKeyRejectedError("m", key_folder="k", other_key_folder="o"),
        ThalovantHubKeyChangedError("m", expected="e", received="r"),
        ThalovantPolicyDeniedError("t", code="c", reason="r", allowed=("a",), quota=ThalovantQuota("day", 1, 2, 3)),
        ThalovantUnansweredError("said"),
        ThalovantAPIError("m", status_code=429, detail="d", problem={"x": 1}, retry_after_seconds=1.5),
        ThalovantAlreadyLinkedError("m", client_id="c"),
        ThalovantDeviceLoginPending("m", interval=9.0),
        ThalovantAdmissionFailedError("m", error_code="e", status_code=500),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_travel_between_processes(error):
    """Pools and queues pickle errors; text, code and every detail arrive."""
    arrived = pickle.loads(pickle.dumps(error))

    assert type(arrived) is type(error)
    assert (str(arrived), vars(arrived)) == (str(error), vars(error))


def _all(kind):
    return [kind, *(child for one in kind.__subclasses__() for child in _all(one))]


@pytest.mark.parametrize("kind", [one for one in _all(ThalovantError) if one.__module__ == "thalovant.errors"])
def test_every_error_travels(kind):
    """With attributes of the program's own, in every protocol of pickles, and as a copy."""
    error = kind("m")
    error.mine = ["x"]

    for arrived in (*(pickle.loads(pickle.dumps(error, n)) for n in range(pickle.HIGHEST_PROTOCOL + 1)), copy(error)):
        assert (type(arrived), str(arrived), arrived.args) == (kind, str(error), error.args)
        assert vars(arrived) == vars(error)


@pytest.mark.parametrize(
    ("status", "retryable"), [(None, False), (400, False), (403, False), (408, True), (429, True), (500, True)]
)
def test_api_status_decides_whether_to_retry(status, retryable):
    """Too many requests and the server's own trouble pass; the caller's mistakes do not."""
    assert ThalovantAPIError("m", status_code=status).retryable is retryable


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(5, 5.0), (1.5, 1.5), (0, 0.0), ("7", None), (-1, None), (True, None), (None, None), (float("nan"), None)],
)
def test_retry_after_of_the_problem(given, seconds):
    """A number of seconds counts, anything else does not."""
    assert ThalovantAPIError("m", problem={"retry_after_seconds": given}).retry_after_seconds == seconds


def test_device_login_pending_is_retryable():
    """Asking again is what one does, whatever the HTTP status was."""
    error = ThalovantDeviceLoginPending("m", status_code=400)

    assert error.retryable
    assert error.interval == 5.0


def _denied(**data):
    return ThalovantPolicyDeniedError.from_event(ThalovantEvent(EVENT_POLICY_DENIED, data))


def test_policy_denied_of_an_event():
    """The hub's words are there one by one, and in the text (real-hubs.md, policy denial)."""
    error = _denied(
        denied_type="rig.forbidden",
        code="acl_disallowed_type",
        reason="rig.forbidden not in allowed_types",
        data={"msg_type": "rig.forbidden", "allowed": [" speak ", 5, " "]},
    )

    assert str(error) == "The hub refused 'rig.forbidden': rig.forbidden not in allowed_types."
    assert (error.denied_type, error.code, error.reason) == (
        "rig.forbidden",
        "acl_disallowed_type",
        "rig.forbidden not in allowed_types",
    )
    assert error.allowed == ("speak",)
    assert error.quota is None
    assert not error.retryable
    assert error.delivery == "yes"
    assert "Allow" in error.hint


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, "The hub refused the message: its policy does not allow it."),
        ({"code": "some_code"}, "The hub refused the message: some_code."),
        ({"denied_type": 5, "code": 6, "reason": 7}, "The hub refused the message: its policy does not allow it."),
        ({"denied_type": ["x"], "data": "y"}, "The hub refused the message: its policy does not allow it."),
        ({"reason": "two\nlines."}, "The hub refused the message: two lines."),
        ({"reason": "r" * 5000}, f"The hub refused the message: {'r' * 200}."),
    ],
)
def test_policy_denied_text(data, text):
    """Whatever a hub sends, the text is one line of bounded length."""
    assert str(_denied(**data)) == text


@pytest.mark.parametrize(
    ("nested", "quota", "text"),
    [
        (
            {"period": "day", "limit": 10, "used": 11, "reset_after": 5},
            ThalovantQuota("day", 10, 11, 5),
            "11 of 10 day questions used; it resets in 5 s",
        ),
        ({"limit": "10", "used": 2.5}, ThalovantQuota("", 10, 0, 0), "0 of 10 questions used"),
        (
            {"period": 5, "limit": True, "used": -1, "reset_after": "x"},
            ThalovantQuota("", 0, 0, 0),
            "a quota has run out",
        ),
        ({"limit": 2**53, "used": 2**53 - 1}, ThalovantQuota("", 0, 2**53 - 1, 0), "a quota has run out"),
        ({"limit": "9" * 5000}, ThalovantQuota("", 0, 0, 0), "a quota has run out"),
        (None, ThalovantQuota("", 0, 0, 0), "a quota has run out"),
    ],
)
def test_quota(nested, quota, text):
    """Counts are whole numbers from 0 to 2**53 - 1, what is not counts as 0; it passes with time."""
    error = _denied(denied_type="x", code="intent_quota_exceeded", data=nested)

    assert error.quota == quota
    assert str(error) == f"The hub refused 'x': {text}."
    assert error.retryable


def test_quota_only_where_it_is_the_reason():
    """The same numbers under another code are no quota."""
    assert ThalovantQuota.from_event_data({"code": "other", "data": {"limit": 10}}) is None


def test_unanswered():
    """What the person said, as far as the hub tells."""
    assert str(ThalovantUnansweredError()) == "The hub has no skill that answers this."
    assert str(ThalovantUnansweredError("open it")) == "The hub has no skill that answers 'open it'."
    assert ThalovantUnansweredError("x").said == "x"
