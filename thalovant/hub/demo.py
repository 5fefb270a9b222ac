"""The skills of the demonstration: what `thalovant hub` answers, so that a client can be tried without writing one.

They are ordinary skills, and short, so that they can serve as examples too.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from typing import Any, Final

from .skills.registry import Skill, skill
from .skills.speech import speech
from .skills.turn import Turn

_STEPS: Final = (
    "Unpack the box and check the parts list.",
    "Fix the bracket to the wall with four screws.",
    "Plug in the cable and wait for the green light.",
)


@skill("Tell me a short clean joke", "Tell me a joke", "joke")
async def joke(turn: Turn) -> str:
    """Tell a short clean joke."""
    return "Why was the socket so calm? It had learned to close gracefully."


@skill("What time is it", "What is the time", "time")
async def time(turn: Turn) -> str:
    """Say what time it is."""
    return f"It is {datetime.datetime.now().astimezone():%H:%M}."


@skill("What can this hub do", "What can you do", "help")
async def what_can_it_do(turn: Turn) -> str:
    """Say what this hub can do."""
    about = [one.help.rstrip(".").lower() for one in turn.hub.skills if one.help and not one.fallback]
    return f"This hub can {', '.join(about)}, and repeat what it does not know." if about else "This hub can nothing."


@skill("Say hello")
async def hello(turn: Turn) -> str:
    """Say hello."""
    user = turn.context.get("user_name")
    return f"Hello, {user}!" if isinstance(user, str) and user else "Hello!"


@skill("What is the status", "Say the current status", "status")
async def status(turn: Turn) -> str:
    """Say the current status."""
    connected = turn.hub.connected
    clients = "one client is" if len(connected) == 1 else f"{len(connected)} clients are"
    own = turn.hub.client_status.get(turn.client, {}).get("state")
    said = f" You said that you are {own}." if isinstance(own, str) else ""
    return f"All is well: {clients} connected.{said}"


@skill("Show the next instruction", "Next instruction", "next")
async def next_instruction(turn: Turn) -> str:
    """Show the next instruction."""
    step = turn.memory.get("step", 0)
    turn.memory["step"] = (step + 1) % len(_STEPS)
    return f"Step {step + 1} of {len(_STEPS)}: {_STEPS[step]}"


@skill("Remember that {fact}", "Remember {fact}")
async def remember(turn: Turn) -> str:
    """Remember what you tell it."""
    turn.memory.setdefault("facts", []).append(turn.slots["fact"])
    return "I will remember that."


@skill("What {thing} did I mention", "What did I mention", "What did I tell you")
async def recall(turn: Turn) -> str:
    """Recall it within a conversation."""
    facts = turn.memory.get("facts", ())
    thing = turn.slots.get("thing", "").casefold()
    fact = next((one for one in reversed(facts) if thing in one.casefold()), None)
    if fact is None:
        return "You did not mention that in this conversation."
    return f"You mentioned that {_to_you(fact)}."


@skill("Show matching parts", "matching parts")
async def matching_parts(turn: Turn) -> AsyncIterator[str | dict[str, Any]]:
    """Show matching parts, as rich media."""
    yield speech(
        "I found two matching parts.",
        table={"columns": ["Part", "Name", "Stock"], "rows": [["P-100", "Bracket", 12], ["P-200", "Cable", 3]]},
        choices=[
            {"title": "Bracket", "payload": '/choose{"id":"P-100"}'},
            {"title": "Cable", "payload": '/choose{"id":"P-200"}'},
        ],
        images=[{"url": "https://parts.example/p-100.png", "title": "Bracket"}],
        attachments=[{"title": "Data sheet", "url": "https://parts.example/p-100.pdf", "type": "file"}],
    )
    yield "Which one do you want?"


@skill("Take your time", "Answer slowly", "slow")
async def slow(turn: Turn) -> str:
    """Answer after two seconds."""
    await asyncio.sleep(2)
    return "That took two seconds."


@skill(fallback=True)
async def echo(turn: Turn) -> str:
    """Repeat what was said; for buttons and codes, name kind and value."""
    given = turn.input
    if given is None:
        return f"You said: {turn.text}"
    title = f" ({given.title})" if given.title else ""
    return f"You sent the {given.kind} {given.value}{title}."


def _to_you(fact: str) -> str:
    """Tell somebody what he said of himself."""
    swapped = {"my": "your", "i": "you", "am": "are", "me": "you", "mine": "yours", "i'm": "you're"}
    return " ".join(swapped.get(word.casefold(), word) for word in fact.split())


#: All of them, in the order in which they are tried.
SKILLS: Final[tuple[Skill, ...]] = (
    joke, time, what_can_it_do, hello, status, next_instruction, remember, recall, matching_parts, slow, echo,
)  # fmt: skip
