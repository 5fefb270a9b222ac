"""The demonstration answers what the documentation asks."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from thalovant import testing
from thalovant.client import ThalovantClient
from thalovant.testing import LocalHub


@pytest.fixture(scope="module")
def local_hub() -> Iterator[LocalHub]:
    """A hub with the demonstration's skills."""
    with testing.hub() as hub:
        yield hub


@pytest.fixture
def client(local_hub: LocalHub) -> ThalovantClient:
    """A client of it."""
    return local_hub.client()


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("Tell me a short clean joke.", r"Why .+\? It .+\."),
        ("Tell me a joke", r"Why .+\? It .+\."),
        ("What time is it?", r"It is \d\d:\d\d\."),
        ("What can this hub do?", r"This hub can tell a short clean joke, .+, and repeat what it does not know\."),
        ("Say hello.", r"Hello!"),
        ("Say hello", r"Hello!"),
        ("What is the status?", r"All is well: .+ connected\."),
        ("Say the current status.", r"All is well: .+ connected\."),
        ("Reply over wss.", r"You said: Reply over wss\."),
        ("anything else", r"You said: anything else"),
    ],
)
def test_questions_have_their_answers(client: ThalovantClient, text: str, reply: str) -> None:
    """Each skill by its phrase; everything else is repeated."""
    answer = client.ask(text)

    assert re.fullmatch(reply, answer.text), answer.text
    assert answer.ok
    assert answer.claimed is not answer.text.startswith("You said")


def test_a_name_is_used(client: ThalovantClient) -> None:
    """The context that a client gives reaches the skills."""
    assert client.ask("Say hello.", context={"user_name": "Ada"}).text == "Hello, Ada!"


def test_status_holds_what_the_client_said(client: ThalovantClient, local_hub: LocalHub) -> None:
    """`thalovant.client.status` is allowed, and remembered."""
    client.emit("thalovant.client.status", {"state": "ready"}, {"source": "checkout-kiosk"})
    local_hub.wait_for("thalovant.client.status")

    assert client.ask("What is the status?").text.endswith("You said that you are ready.")


def test_a_conversation_remembers(client: ThalovantClient) -> None:
    """Within one session, and only there."""
    session = {"session_id": "colors"}
    client.ask("Remember that my favorite color is blue.", **session)
    client.ask("Remember that my dog is called Rex.", **session)

    assert client.ask("What color did I mention?", **session).text == "You mentioned that your favorite color is blue."
    assert client.ask("What did I tell you?", **session).text == "You mentioned that your dog is called Rex."
    assert client.ask("What color did I mention?", session_id="other").text.startswith("You did not mention that")


def test_instructions_follow_each_other(client: ThalovantClient) -> None:
    """One at a time, and again from the start."""
    said = [client.ask("Show the next instruction.", session_id="steps").text for _ in range(4)]

    assert [text.partition(":")[0] for text in said] == ["Step 1 of 3", "Step 2 of 3", "Step 3 of 3", "Step 1 of 3"]


def test_matching_parts_are_rich(client: ThalovantClient) -> None:
    """Text, table, attachment, choices and image, and a second text: two pieces of one answer."""
    reply = client.ask("Show matching parts.")
    items = {item.kind: item for item in reply.display_items()}

    assert items.keys() == {"text", "table", "attachment", "choices", "image"}
    assert [choice["title"] for choice in items["choices"].data or ()] == ["Bracket", "Cable"]
    assert len(reply.utterances) == 2
    assert (items["image"].url or "").endswith(".png")


def test_buttons_and_codes_are_named(client: ThalovantClient) -> None:
    """With kind, value and title."""
    client.send_action("/approve invoice-42", title="Approve invoice")
    assert client.wait_for_event("speak").text == "You sent the action /approve invoice-42 (Approve invoice)."
    client.send_code("INV-2026-001", kind="invoice")
    assert client.wait_for_event("speak").text == "You sent the invoice INV-2026-001."


def test_one_takes_its_time(client: ThalovantClient) -> None:
    """For trying timeouts and progress."""
    assert client.ask("Take your time.").text == "That took two seconds."
