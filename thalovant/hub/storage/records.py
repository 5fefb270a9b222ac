"""Records of a hub's API: JSON objects of a kind, each with id, owner and etag, in the hub's one SQLite file."""

from __future__ import annotations

import datetime
import json
import secrets
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import field, frozen

from .sqlite import Store

_COLUMNS: Final = "kind, id, owner, parent, ref, etag, created, updated, body"


def stamp(when: datetime.datetime) -> str:
    """A time as JSON has it: `2026-09-27T10:00:00Z`. Texts compare as their times do."""
    return when.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@frozen
class Record:
    """One of them as it was read. `ref` is another name of it, unique in its kind; `parent` is what it belongs to."""

    seq: int
    kind: str
    id: str
    owner: str | None
    parent: str | None
    ref: str | None = field(repr=False)
    etag: str
    created: str
    updated: str
    body: dict[str, Any] = field(repr=False, converter=json.loads)

    def shown(self, **more: Any) -> dict[str, Any]:
        """It as a resource of the API."""
        times = {"etag": self.etag, "created_at": self.created, "updated_at": self.updated}
        return {"id": self.id, "owner_id": self.owner, **self.body, **more, **times}


class Records:
    """All of them, in the transactions of `store`. Conditions are SQL of our own."""

    def __init__(self, store: Store, clock: Callable[[], datetime.datetime]) -> None:
        self.store = store
        self._clock = clock

    def add(self, kind: str, body: Mapping[str, Any], *, id: str | None = None, **columns: str | None) -> Record:
        """Keep a new one, with a random id if none is given; `columns` are owner, parent and ref."""
        found, now = id or str(uuid.uuid4()), stamp(self._clock())
        own = (kind, found, *map(columns.get, ("owner", "parent", "ref")))
        sql = f"INSERT INTO records ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
        self.store.execute(sql, *own, secrets.token_hex(8), now, now, json.dumps(body))
        return self[kind, found]

    def change(self, record: Record, changes: Mapping[str, Any], *, parent: str | None = None) -> Record:
        """Put `changes` into the body of one, which then has another etag."""
        sql = "UPDATE records SET body = ?, parent = ?, etag = ?, updated = ? WHERE seq = ?"
        body, etag = json.dumps({**record.body, **changes}), secrets.token_hex(8)
        self.store.execute(sql, body, parent or record.parent, etag, stamp(self._clock()), record.seq)
        return self[record.kind, record.id]

    def remove(self, where: str, *values: object) -> None:
        """Forget those of a condition."""
        self.store.execute(f"DELETE FROM records WHERE {where}", *values)  # noqa: S608

    def select(self, where: str, *values: object, limit: int = -1) -> list[Record]:
        """Those of a condition, in the order in which they were made."""
        sql = f"SELECT seq, {_COLUMNS} FROM records WHERE {where} ORDER BY seq LIMIT ?"  # noqa: S608
        return [Record(*row) for row in self.store.execute(sql, *values, limit)]

    def count(self, where: str, *values: object) -> int:
        """The number of those of a condition."""
        return int(self.store.execute(f"SELECT count(*) FROM records WHERE {where}", *values)[0][0])  # noqa: S608

    def get(self, kind: str, name: str, *, by: str = "id") -> Record | None:
        """The one with this id, or this other name (`by="ref"`)."""
        return next(iter(self.select(f"kind = ? AND {by} = ?", kind, name)), None)

    def __getitem__(self, key: tuple[str, str]) -> Record:
        if (found := self.get(*key)) is None:
            raise KeyError(key)
        return found
