"""What a failed request of the control plane carries, and when a request is repeated."""

from __future__ import annotations

import traceback

import pytest

from thalovant import (
    ThalovantAlreadyLinkedError,
    ThalovantAPIError,
    ThalovantAPIUnreachableError,
    ThalovantAuthError,
    ThalovantPlanError,
)

from .control_lab import PROBLEM, Ask, Reply

FAILED = "Thalovant API request failed with HTTP"
IMAGES = {
    "type": "about:blank",
    "detail": "Only these images:  bus:1,\nbus:2 — no others.",
    "code": "platform_image_required",
    "refused_images": {"bus": "elsewhere.example/bus:mine"},
}
INVALID = {"loc": ["body", "name"], "msg": "missing", "input": {"password": "echo-one", "deep": [{"x": "echo-two"}]}}


def problem(**fields: object) -> dict[str, object]:
    return {"type": "about:blank", "title": "refused", **fields}


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "detail", "text"),
    [
        (403, IMAGES, ThalovantAPIError, IMAGES["code"], IMAGES["detail"], "403: Only these images: bus:1,"),
        (
            403,
            problem(detail="One.", code="plan_limit"),
            ThalovantPlanError,
            "plan_limit",
            "One.",
            "403: One",
        ),
        (403, {"detail": {"code": "plan_limit"}}, ThalovantPlanError, "plan_limit", None, f"{FAILED} 403."),
        (
            403,
            {"detail": "Insufficient scopes"},
            ThalovantAuthError,
            None,
            "Insufficient scopes",
            "Insufficient scopes",
        ),
        (403, {"detail": "No"}, ThalovantAPIError, None, "No", f"{FAILED} 403: No"),
        (401, {"detail": "Who?"}, ThalovantAuthError, None, "Who?", f"{FAILED} 401: Who?"),
        (423, {"detail": "Locked"}, ThalovantAuthError, None, "Locked", f"{FAILED} 423: Locked"),
        (402, {"detail": "Pay."}, ThalovantPlanError, None, "Pay.", f"{FAILED} 402: Pay."),
        (404, {"detail": "No such hub"}, ThalovantAPIError, None, "No such hub", f"{FAILED} 404: No such hub"),
        (409, {"code": "there_already"}, ThalovantAPIError, "there_already", None, f"{FAILED} 409 (there_already)."),
        (
            409,
            {"detail": {"code": "home_assistant_already_linked", "detail": "Linked.", "client_id": "c9"}},
            ThalovantAlreadyLinkedError,
            "home_assistant_already_linked",
            "Linked.",
            f"{FAILED} 409.",
        ),
        (422, problem(detail="Not valid", errors=[INVALID]), ThalovantAPIError, None, "Not valid", "422: Not valid"),
        (422, {"detail": [INVALID]}, ThalovantAPIError, None, None, f"{FAILED} 422."),
        (422, {"detail": [INVALID], "message": "not echo-two"}, ThalovantAPIError, None, None, "not [omitted]"),
        (400, {"detail": "No request", "code": 42}, ThalovantAPIError, None, "No request", "400: No request"),
        (400, {"detail": "x" * 300}, ThalovantAPIError, None, "x" * 300, "x" * 200 + "..."),
        (400, {"detail": " \n", "message": "said", "code": "a b"}, ThalovantAPIError, "a b", None, "400: said"),
        (400, {"error": f"no {'token-one'} there"}, ThalovantAPIError, None, None, "no [omitted] there"),
        (500, "<html><p>bad gateway</p></html>", ThalovantAPIError, None, None, f"{FAILED} 500."),
        (500, "", ThalovantAPIError, None, None, f"{FAILED} 500."),
        (500, "[1]", ThalovantAPIError, None, None, f"{FAILED} 500."),
        (302, "", ThalovantAPIError, None, None, "redirects are disabled"),
    ],
)
def test_refusal(asking: Ask, status, body, kind, code, detail, text):
    """Its class, the API's own words unchanged, and one line that repeats nothing of what was sent."""
    api, plane = asking(Reply(status, body, {"x-request-id": "r-1", "location": "http://elsewhere/"}, PROBLEM))

    with pytest.raises(ThalovantAPIError) as caught:
        plane("get_hub", "h")

    error = caught.value
    assert type(error) is kind
    assert (error.status_code, error.code, error.detail, error.request_id) == (status, code, detail, "r-1")
    assert error.problem == (body if isinstance(body, dict) else None)
    assert text in str(error)
    printed = str(error) + repr(error) + "".join(traceback.format_exception(error))
    assert not [secret for secret in ("echo-one", "echo-two", "token-one") if secret in printed]
    assert "\n" not in str(error)
    if kind is ThalovantAlreadyLinkedError:
        assert error.client_id == "c9"
    assert len(api.sent) == 1


@pytest.mark.parametrize(
    ("body", "text", "status"),
    [
        ("<html>", "Thalovant API returned a non-JSON response.", 200),
        ('{"id": ', "Thalovant API returned a non-JSON response.", 200),
        ("[1]", "Thalovant API returned an unexpected response shape.", 200),
        ("null", "Thalovant API returned an unexpected response shape.", 200),
    ],
)
def test_odd_success(asking: Ask, body, text, status):
    """An answer that is no object."""
    _, plane = asking(Reply(200, body))

    with pytest.raises(ThalovantAPIError) as caught:
        plane("get_hub", "h")

    assert (str(caught.value), caught.value.status_code) == (text, status)


@pytest.mark.parametrize("reply", [Reply(204), Reply(200, " ")])
def test_empty_success(asking: Ask, reply):
    """No body is an empty object."""
    assert asking(reply)[1]("get_hub", "h") == {}


def test_secrets_of_the_request_are_never_repeated(asking: Ask):
    """However the API spells them."""
    _, plane = asking(Reply(400, {"detail": 'no pass"wörd-9 and no pass\\"w\\u00f6rd-9'}), access_token=None)

    with pytest.raises(ThalovantAPIError) as caught:
        plane("login", "you@example.com", 'pass"wörd-9')

    assert "rd-9" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "options", "text"),
    [
        ("http://hub.example", {}, "require HTTPS"),
        ("https://user:pass@hub.example", {}, "embedded credentials"),
        ("https://hub.example:99999", {}, "no URL"),
        ("hub.example", {}, "require HTTPS"),
        ("https://hub.example", {"access_token": None}, "Missing Thalovant API access token."),
        ("https://hub.example", {"access_token": "a\r\nb: c"}, "authorization"),
    ],
)
def test_requests_that_are_not_sent(asking: Ask, monkeypatch, url, options, text):
    """Before any input or output, and in words that hold no secret."""
    monkeypatch.delenv("THALOVANT_API_TOKEN", raising=False)
    api, plane = asking(Reply(), **options)
    plane.plane.api_url = url + "/"

    with pytest.raises(ThalovantAPIError, match=text) as caught:
        plane("list_hubs")

    assert type(caught.value) is ThalovantAPIError
    assert caught.value.status_code is None
    assert "pass" not in str(caught.value).replace("past", "")
    assert api.sent == []


@pytest.mark.parametrize(
    ("method", "arguments", "status", "headers", "pauses"),
    [
        ("get_hub", ("h",), 503, {}, 2),
        ("get_hub", ("h",), 429, {"Retry-After": "2.5"}, [2.5, 2.5]),
        ("get_hub", ("h",), 429, {"RateLimit-Reset": "3"}, [3.0, 3.0]),
        ("get_hub", ("h",), 503, {"Retry-After": "86400"}, []),
        ("get_hub", ("h",), 503, {"Retry-After": "-1"}, 2),
        ("get_hub", ("h",), 503, {"Retry-After": "nan"}, 2),
        ("get_hub", ("h",), 503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 2),
        ("get_hub", ("h",), 503, {"Retry-After": "Wed, 21 Oct 2999 07:28:00 GMT"}, []),
        ("get_hub", ("h",), 500, {}, []),
        ("create_client", ({},), 502, {}, 2),
        ("create_runtime_group", ({},), 503, {}, []),
    ],
)
def test_repeating(asking: Ask, method, arguments, status, headers, pauses):
    """What may be repeated is, twice, after a pause; the API's word for it goes before ours, unless it is absurd."""
    api, plane = asking(Reply(status, "", headers))

    with pytest.raises(ThalovantAPIError) as caught:
        plane(method, *arguments)

    expected = pauses if isinstance(pauses, list) else plane.pauses
    assert plane.pauses == expected
    assert len(api.sent) == 1 + (pauses if isinstance(pauses, int) else len(pauses))
    assert all(pause <= limit for pause, limit in zip(plane.pauses, (10.0, 10.0), strict=False))
    assert len({sent.headers.get("idempotency-key") for sent in api.sent}) == 1
    if headers.get("Retry-After") == "86400":
        assert caught.value.retry_after_seconds == 86400.0


def test_repeating_helps(asking: Ask):
    """The second answer counts; pauses are random up to a limit that doubles."""
    _, plane = asking(Reply(503), Reply(429), {"id": "h"})
    plane.account.entropy = lambda size: b"\xff" * size

    assert plane("get_hub", "h").id == "h"
    assert [round(pause, 3) for pause in plane.pauses] == [0.5, 1.0]


def test_a_client_has_a_budget_for_repeating(asking: Ask):
    """While the API is down it does not triple its load."""
    api, plane = asking(Reply(503))

    for _ in range(20):
        with pytest.raises(ThalovantAPIError):
            plane("get_hub", "h")

    assert len(api.sent) == 20 + 10


def test_unreachable(asking: Ask):
    """Nobody listens: its own class, and the reason as the next step."""
    api, plane = asking(Reply())
    api.server.socket.close()

    with pytest.raises(ThalovantAPIUnreachableError) as caught:
        plane("list_hubs")

    assert str(caught.value) == "Could not reach the Thalovant API."
    assert (caught.value.status_code, caught.value.__cause__, len(plane.pauses)) == (None, None, 2)
    assert "127.0.0.1" in caught.value.hint


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"Content-Encoding": "gzip"}, "a compressed body"),
        ({"Content-Length": "99999999"}, "unexpected response: .* answered with"),
    ],
)
def test_answers_that_are_not_taken(asking: Ask, headers, text):
    """What is packed, or larger than any answer is."""
    _, plane = asking(Reply(200, "x", headers))

    with pytest.raises(ThalovantAPIError, match=text) as caught:
        plane("get_hub", "h")

    assert type(caught.value) is ThalovantAPIError
