"""The hub's end of the HTTPS link, against a client played by h11 and the test, and against clients that mean harm."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from urllib.parse import urlencode

import pytest

from thalovant_proto.carrier import Carrier, CloseKind, Credentials, FrameType
from thalovant_proto.links.base import LinkOpened
from thalovant_proto.secret import Secret

from ...vectors import load
from .https_front import Answered, closes, connected, front
from .https_world import AUTHORIZATION, KEY, NOT_CONNECTED, binary, frames, text

# --- a session


def test_connect_opens_a_session():
    """The owner learns who it is; what it says at once is in the first poll; the cookie is as real hubs set theirs."""
    hub = front()

    answer = hub.call("connect")
    hub.session.send(text('{"msg_type":"hello"}'), hub.now)
    hub.session.send(text('{"msg_type":"shake"}'), hub.now)
    found = hub.call("get_messages", cookie=answer.cookie)

    assert (answer.status, answer.body) == (200, {"status": "Connected"})
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert name == "hivemind_http_replica"
    assert rest.endswith("; HttpOnly; Path=/; SameSite=Lax")
    assert hub.events == [
        LinkOpened(
            carrier=Carrier(secure=True), credentials=Credentials(access_key=Secret(KEY), user_agent="unit-test/1")
        )
    ]
    assert found.body == {
        "status": "messages retrieved",
        "messages": ['{"msg_type":"hello"}', '{"msg_type":"shake"}'],
    }


def test_frames_of_both_kinds_travel_both_ways():
    """Text and base64 up, two queues down, each in order and once."""
    hub, cookie = connected()

    hub.call("send_message", form={"message": "ü+%&="}, cookie=cookie)
    hub.call("send_message", form={"message": b64encode(b"\xfb\xff").decode(), "binary": "1"}, cookie=cookie)
    for frame in (text("a"), binary(b"1\xff"), text('"☃\n'), binary(b"")):
        hub.session.send(frame, hub.now)
    texts = hub.call("get_messages", cookie=cookie)
    blobs = hub.call("get_binary_messages", cookie=cookie)
    rest = hub.call("get_binary_messages", cookie=cookie)

    assert [(frame.data, frame.type) for frame in frames(hub.events)] == [
        ("ü+%&=".encode(), FrameType.TEXT),
        (b"\xfb\xff", FrameType.BINARY),
    ]
    assert texts.body["messages"] == ["a", '"☃\n']
    assert blobs.body["b64_messages"] == ["Mf8=", ""]
    assert rest.body == {"status": "messages retrieved", "b64_messages": []}


@pytest.mark.parametrize(
    ("written", "read_"),
    [(b"%c3%Bc%C3%bC", "üü"), (b"a+b%20c%2b", "a b c+"), (b"100%", "100%"), (b"%zz%4", "%zz%4"), (b"a=b", "a=b")],
)
def test_forms_are_read_as_everybody_reads_them(written, read_):
    """Escapes in any case, `+` for a space, and what is no escape as it stands; in the query or in chunks of a body."""
    hub, cookie = connected()
    head = f"POST /send_message?authorization={AUTHORIZATION}%b HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n".encode()
    chunks = b"Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nmessage=\r\n"

    hub.exchange(head % (b"&message=" + written) + b"\r\n")
    hub.exchange(head % b"" + chunks + b"%x\r\n%b\r\n0\r\n\r\n" % (len(written), written))

    assert [frame.data.decode() for frame in frames(hub.events)] == [read_] * 2


@pytest.mark.parametrize(
    ("flags", "frame"),
    [(["1", "true", "yes", "True", "YES"], binary(b"\0\0\0")), (["0", "no", "", "2"], text("AAAA"))],
)
def test_the_binary_flag(flags, frame):
    """As real hubs read it (wire.md §7.1); anything else is text."""
    hub, cookie = connected()

    for flag in flags:
        hub.call("send_message", form={"message": "AAAA", "binary": flag}, cookie=cookie)

    assert frames(hub.events) == [frame] * len(flags)


@pytest.mark.parametrize("in_form", [True, False])
def test_fields_come_in_the_query_or_in_the_form(in_form):
    """`authorization` and `message` alike, on every POST (real hubs read both)."""
    hub = front()
    shown = {"authorization": AUTHORIZATION}

    def post(name: str, **fields: str) -> Answered:
        both = {**shown, **fields}
        return hub.call(name, form=both, query={}) if in_form else hub.call(name, query=both)

    answers = [post("connect"), post("send_message", message="x"), post("disconnect")]

    assert [answer.body["status"] for answer in answers] == ["Connected", "message sent", "Disconnected"]
    assert [frame.data for frame in frames(hub.events)] == [b"x"]


@pytest.mark.parametrize(
    "shown",
    [
        "dW5pdC10ZXN0LzE6MGYzYzlhNzItcGxhbnRlZC1hY2Nlc3Mta2V5",
        "dW5pdC10ZXN0LzE6MGYzYzlhNzItcGxhbnRlZC1hY2Nlc3Mta2V5%3D%3D",
        "dW5pdC10ZXN0Lz86a2V5",  # a raw slash
        "fn4-OmtleQ==".replace("-", "+"),  # a raw plus, which a query turns into a space
    ],
)
def test_an_authorization_is_read_however_it_is_written(shown):
    """Raw or percent-encoded, with or without padding (wire.md §7.0: clients differ)."""
    hub = front()

    said = hub.exchange(f"POST /connect?authorization={shown} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    assert said.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("ends", [False, True])
def test_the_answer_to_a_poll_is_worked_out_when_it_is_asked_for(ends):
    """After the owners have had their turn: what was sent meanwhile is in it, or that the session has ended."""
    hub, cookie = connected()
    connection = hub.connection()
    request = f"GET /get_messages?authorization={AUTHORIZATION} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n"

    connection.receive_data(request.encode(), hub.now)
    hub.session.send(text("just in time"), hub.now)
    if ends:
        hub.session.close(hub.now)

    assert (b"Client is not connected" if ends else b"just in time") in connection.data_to_send()


def test_a_goodbye_ends_the_session():
    """`/disconnect` is told to the owner, once; again, it is an error with status 200, as from real hubs."""
    hub, cookie = connected()
    hub.session.send(text("unread"), hub.now, token=4)

    first = hub.call("disconnect", cookie=cookie)
    assert hub.hub.ready() == []
    again = hub.call("disconnect", cookie=cookie)

    assert (first.status, first.body) == (200, {"status": "Disconnected"})
    assert (again.status, again.body) == (200, {"error": "Already Disconnected"})
    assert closes(hub.events) == [(CloseKind.REFUSED, (4,))]
    assert len(hub.hub) == 0


def test_sockets_do_not_matter_to_a_session():
    """One after the other or side by side: the session is the client's, not the socket's."""
    hub, cookie = connected()
    one, two = hub.connection(), hub.connection()

    hub.call("send_message", form={"message": "1"}, cookie=cookie, connection=one)
    hub.call("send_message", form={"message": "2"}, cookie=cookie, connection=two)
    one.eof(hub.now)
    hub.session.send(text("still here"), hub.now)
    found = hub.call("get_messages", cookie=cookie, connection=two)

    assert [frame.data for frame in frames(hub.events)] == [b"1", b"2"]
    assert found.body["messages"] == ["still here"]


# --- the table of errors


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        ({"name": "connect", "query": {}}, 400, "Missing authorization"),
        ({"name": "connect", "query": {"authorization": ""}}, 400, "Missing authorization"),
        ({"name": "get_messages", "query": {"x": "1"}}, 400, "Missing authorization"),
        ({"name": "connect", "query": {"authorization": "####"}}, 403, "Invalid authorization"),
        ({"name": "connect", "query": {"authorization": "bm8gY29sb24="}}, 403, "Invalid authorization"),
        ({"name": "get_messages"}, 200, "Client is not connected"),
        ({"name": "get_binary_messages"}, 200, "Client is not connected"),
        ({"name": "send_message", "form": {"message": "x"}}, 409, "Client is not connected"),
        ({"name": "send_message", "form": {"message": "x", "binary": "1"}}, 409, "Client is not connected"),
        ({"name": "disconnect"}, 200, "Already Disconnected"),
        ({"name": "nope"}, 404, "Not found"),
        ({"name": ""}, 404, "Not found"),
        ({"name": "public/connect"}, 404, "Not found"),
        ({"name": "connect", "query": {f"x{n}": "1" for n in range(40)}}, 400, "Too many fields"),
    ],
)
def test_what_a_hub_without_the_session_answers(request_, status, error):
    """The rows of real-hubs.md §7 for a client that is not connected, wrong paths and wrong keys."""
    answer = front().call(**request_)

    assert (answer.status, answer.body) == (status, {"error": error})


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"message": ""}, 400, "Missing message"),
        ({}, 400, "Missing message"),
        ({"message": "no base64", "binary": "1"}, 400, "Malformed message"),
        ({"message": "YQ", "binary": "1"}, 400, "Malformed message"),
        ({"message": "\udcff"}, 400, "Malformed message"),
    ],
)
def test_a_message_that_is_none_is_refused(form, status, error):
    """And does not reach the owner; the session goes on."""
    hub, cookie = connected()
    encoded = {name: value.encode("utf-8", "surrogateescape") for name, value in form.items()}
    body = urlencode(encoded).encode()
    head = (
        f"POST /send_message?authorization={AUTHORIZATION} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n"
        f"Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\nContent-Length: {len(body)}\r\n\r\n"
    )

    said = hub.exchange(head.encode() + body)

    assert said.startswith(f"HTTP/1.1 {status} ".encode())
    assert json.loads(said.partition(b"\r\n\r\n")[2]) == {"error": error}
    assert hub.events == []
    assert hub.call("get_messages", cookie=cookie).body["messages"] == []


@pytest.mark.parametrize(
    ("name", "method", "allowed"),
    [("connect", "GET", "POST"), ("get_messages", "POST", "GET"), ("send_message", "PUT", "POST")],
)
def test_the_wrong_method_is_told_the_right_one(name, method, allowed):
    """405 with `Allow` (RFC 9110 §15.5.6)."""
    answer = front().call(name, method=method)

    assert (answer.status, answer.body) == (405, {"error": "Method not allowed"})
    assert answer.headers["allow"] == allowed


def test_a_question_by_head_has_no_body():
    """A health check by HEAD gets its 405 and may go on using the socket."""
    hub = front()
    connection = hub.connection()

    said = hub.exchange(b"HEAD /connect HTTP/1.1\r\nHost: x\r\n\r\n", connection=connection)

    assert said.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
    assert said.endswith(b"\r\n\r\n")
    assert hub.call("connect", connection=connection).status == 200


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ("Content-Type: application/json\r\n", '{"message":"x"}'),
        ("Content-Type: multipart/form-data; boundary=x\r\n", '--x\r\nContent-Disposition: form-data; name="message"'),
        ("", "message=x"),
        ("Content-Type: application/x-www-form-urlencoded\r\nContent-Encoding: gzip\r\n", "message=x"),
    ],
)
def test_only_forms_are_read(headers, body):
    """415 says so (RFC 9110 §15.5.16); the session does not notice."""
    hub, cookie = connected()
    head = f"POST /send_message?authorization={AUTHORIZATION} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n"

    said = hub.exchange(f"{head}{headers}Content-Length: {len(body)}\r\n\r\n{body}".encode())

    assert said.startswith(b"HTTP/1.1 415 Unsupported Media Type\r\n")
    assert frames(hub.events) == []
    assert hub.session.ending is None


def test_a_body_where_none_is_needed_is_passed_over():
    """A client may send `{}` with its `/connect`, and its message in the query."""
    hub = front()
    body = "Host: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    shown = f"authorization={AUTHORIZATION}"

    connected_ = hub.exchange(f"POST /connect?{shown} HTTP/1.1\r\n{body}".encode())
    sent = hub.exchange(f"POST /send_message?{shown}&message=x HTTP/1.1\r\n{body}".encode())

    assert connected_.startswith(b"HTTP/1.1 200 ")
    assert sent.startswith(b"HTTP/1.1 200 ")
    assert [frame.data for frame in frames(hub.events)] == [b"x"]


@pytest.mark.parametrize("origin", ["http://hub.example", "HTTPS://hub.example:5679", "https://[::1]:5679"])
def test_a_request_that_was_meant_for_a_proxy_is_read(origin):
    """A whole URL in place of a path (RFC 9112 §3.2.2)."""
    hub = front()
    target = f"{origin}/connect?authorization={AUTHORIZATION}"

    assert hub.exchange(f"POST {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).startswith(b"HTTP/1.1 200 ")
    assert hub.exchange(f"GET {origin} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        (1008, 403, "go away"),
        (4003, 403, "go away"),
        (1001, 503, None),
        (1011, 500, "Message sending failed"),
        (1000, 500, None),
    ],
)
def test_a_frame_that_ends_its_session_is_told_so(code, status, error):
    """403 where the owner meant this client, 503 where it leaves, 500 where something broke; then it is not known."""
    hub, cookie = connected()
    hub.refuse = code

    answer = hub.call("send_message", form={"message": "evil"}, cookie=cookie)
    send = hub.call("send_message", form={"message": "x"}, cookie=cookie)
    poll = hub.call("get_messages", cookie=cookie)

    assert (answer.status, answer.body["error"]) == (status, error or "Message sending failed")
    assert (send.status, send.body) == (409, NOT_CONNECTED)
    assert (poll.status, poll.body) == (200, NOT_CONNECTED)
    assert closes(hub.events) == [(CloseKind.CLOSED, ())]


@pytest.mark.parametrize(
    ("code", "status", "error", "after"),
    [
        (1008, 403, "Invalid authorization", None),  # an unknown access key
        (1011, 500, "Connection failed", None),  # nothing is wrong with the client
        # 503, for 500 is how older hubs say that they do not know the access key
        (1001, 503, "Connection failed", None),
        (1012, 503, "Connection failed", None),
        (1013, 503, "Connection failed", "5"),
    ],
)
def test_an_owner_may_close_at_the_start(code, status, error, after):
    """Before the answer is asked for: refused, failed, or not served now; without a cookie."""
    hub = front()
    hub.refuse = code

    answer = hub.call("connect")

    assert (answer.status, answer.body) == (status, {"error": error})
    assert answer.headers.get("retry-after") == after
    assert "set-cookie" not in answer.headers
    assert len(hub.hub) == 0


# --- properties


def test_no_secret_shows():
    """Neither keys nor cookies nor frames are in any repr."""
    hub, cookie = connected()
    connection = hub.connection()
    connection.receive_data(
        f"POST /send_message?authorization={AUTHORIZATION}&message=payload HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        hub.now,
    )
    hub.session.send(text("payload"), hub.now)

    shown = repr(
        [vars(hub.hub), vars(hub.session), vars(connection), hub.events, hub.session.receive_data(b"", hub.now)]
    )

    for secret in (KEY, AUTHORIZATION, cookie.partition("=")[2], "payload"):
        assert secret not in shown


# --- recorded exchanges with a real hub


def test_the_capture_of_a_real_hub_is_reproduced():
    """A session with hivemind-core 5.3: our hub gives the same answers to the same requests, and hears its frames."""
    capture = load("capture_http_next")["exchanges"]
    hub = front()
    cookie, expected = None, []

    for recorded in capture:
        name, answer = recorded["path"].strip("/"), recorded["response"]
        for message in answer.get("messages", []):
            hub.session.send(text(message), hub.now)
        for message in answer.get("b64_messages", []):
            hub.session.send(binary(b64decode(message)), hub.now)
        if name == "send_message":
            message = recorded["form"]["message"]
            binary_ = "binary" in recorded["form"]
            expected.append((b64decode(message), FrameType.BINARY) if binary_ else (message.encode(), FrameType.TEXT))
        ours = hub.call(name, method=recorded["method"], query=recorded["params"], form=recorded["form"], cookie=cookie)
        assert (ours.status, ours.body) == (recorded["status"], answer)
        assert ("set-cookie" in ours.headers) == (recorded["set_cookie"] is not None)
        cookie = ours.cookie if recorded["set_cookie"] else cookie

    assert [(frame.data, frame.type) for frame in frames(hub.events)] == expected
    assert len(expected) == 4
    assert isinstance(hub.events[0], LinkOpened)
    assert hub.events[0].credentials == Credentials(access_key=Secret("testkey123"), user_agent="VecHTTP")
    assert closes(hub.events) == [(CloseKind.REFUSED, ())]


# Where ours is better than the real one, and why.
BETTER = {
    "bad b64 auth": (403, {"error": "Invalid authorization"}),  # not our failure but the client's
    "unknown path": (404, {"error": "Not found"}),  # JSON, not a page
}
PROBES = {
    "disconnect again": {"name": "disconnect"},
    "send without connect": {"name": "send_message", "form": {"message": "x"}},
    "get without connect": {"name": "get_messages"},
    "bad key connect": {"name": "connect"},
    "no auth connect": {"name": "connect", "query": {}},
    "connect": {"name": "connect"},
    "empty message": {"name": "send_message", "form": {"message": ""}},
    "after that, get": {"name": "get_messages"},
    "unknown path": {"name": "nope"},
    "bad b64 auth": {"name": "connect", "query": {"authorization": "####"}},
}


def test_the_probes_of_a_real_hub_get_the_same_answers():
    """Every recorded error, save three whose frames only a connection can judge, and two where ours is better."""
    recorded = {probe["probe"]: probe for probe in load("capture_http_next")["error_probes"]}
    needs_a_connection = {"binary before noise", "garbage json", "cleartext BUS before noise"}
    assert set(recorded) == set(PROBES) | needs_a_connection
    hub = front()

    for name, request in PROBES.items():
        hub.refuse = 1008 if name == "bad key connect" else None
        if name == "after that, get":
            hub.session.close(hub.now)
        ours = hub.call(**request)
        expected = BETTER.get(name, (recorded[name]["status"], recorded[name]["body"]))
        assert (ours.status, ours.body) == expected, name
