"""The page about states, written from the transition table: `make docs`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Final

from thalovant_proto.events import Event
from thalovant_proto.state import CLIENT_KINDS, HUB_KINDS, IGNORED, TRANSITIONS, Role, State

PAGE: Final = Path(__file__).parent / "protocol" / "states.md"
_TEXT: Final = """\
# States of a connection

Written by `docs/diagram.py` from the table in `thalovant_proto/state.py`; `make docs` writes it again. The comment
above the table says why it is as it is, [wire.md](wire.md) what the kinds are on the wire.

```mermaid
stateDiagram-v2
    [*] --> IDLE
{edges}
```

*Messages* are what may travel inside a session:

- from a client {client};
- from a hub {hub}.

Any state ends in CLOSED: by a fault of the peer, by a timer, or because one side closes. No kind leads there, so the
table has no such cell.

| state | meaning |
|---|---|
{states}

Illegal and harmless, so it is dropped and the session lives:

| state | sender | kinds |
|---|---|---|
{ignored}
"""


def page() -> str:
    """The whole page."""
    meanings = re.findall(r"(\w+) = enum\.auto\(\)  # (.+)", inspect.getsource(State))
    return _TEXT.format(
        edges="\n".join(_edges()),
        client=_names(CLIENT_KINDS),
        hub=_names(HUB_KINDS),
        states="\n".join(f"| {state} | {meaning} |" for state, meaning in meanings),
        ignored="\n".join(_ignored()),
    )


def _edges() -> list[str]:
    found: dict[tuple[State, State, Role], list[type[Event]]] = {}
    for state, cells in TRANSITIONS.items():
        for (sender, kind), then in cells.items():
            found.setdefault((state, then, sender), []).append(kind)
    return [
        f"    {state.name} --> {then.name}: {sender.value}, {_label(sender, kinds)}"
        for (state, then, sender), kinds in found.items()
    ]


def _label(sender: Role, kinds: list[type[Event]]) -> str:
    messages = CLIENT_KINDS if sender is Role.CLIENT else HUB_KINDS
    if not set(messages) <= set(kinds):
        return _names(kinds)
    return _names([kind for kind in kinds if kind not in messages], "messages")


def _ignored() -> list[str]:
    found: dict[tuple[State, Role], list[type[Event]]] = {}
    for state, sender, kind in sorted(IGNORED, key=lambda cell: (cell[0].value, cell[1].value, cell[2].__name__)):
        found.setdefault((state, sender), []).append(kind)
    return [f"| {state.name} | {sender.value} | {_names(kinds)} |" for (state, sender), kinds in found.items()]


def _names(kinds: tuple[type[Event], ...] | list[type[Event]], *more: str) -> str:
    return ", ".join([*(kind.__name__ for kind in kinds), *more])


if __name__ == "__main__":
    PAGE.write_text(page())
