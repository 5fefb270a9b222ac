"""What a hub keeps over restarts, and the ways in which a folder can be wrong."""

from __future__ import annotations

import datetime
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from thalovant.hub.errors import HubSetupError
from thalovant.hub.storage.clients import Client, Registry
from thalovant.hub.storage.sqlite import FILE, Store, default_state_folder
from thalovant_proto.events import Generation
from thalovant_proto.secret import Secret

NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)


def opened(folder: Path | None, now: datetime.datetime = NOW) -> Store:
    """The state in a folder."""
    return Store.open(folder, now=now)


def refused(folder: Path, now: datetime.datetime = NOW) -> str:
    """Why a folder cannot be used; the message is one line that names it, the setting to change is `state`."""
    with pytest.raises(HubSetupError) as caught:
        opened(folder, now)
    assert caught.value.setting == "state"
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    return message


def test_everything_comes_back(tmp_path: Path) -> None:
    """Things and clients, whole."""
    folder = tmp_path / "hub"
    state = opened(folder)
    state.put(a=b"\0\1", b=b"")
    full = Client(
        id=7,
        name="kiosk",
        site_id="shop",
        generation=Generation.PRESHARED,
        allowed=("x", "y"),
        admin=True,
        can_escalate=False,
        can_propagate=False,
        can_broadcast=False,
        crypto_key=Secret("0123456789abcdef"),
        psk=Secret(b"\1" * 32),
        pinned=b"\2" * 32,
        pubkey="PEM",
    )
    plain = Client(id=8, name="ünï", site_id="ünï")
    for client in (full, plain):
        state.save(client)
    state.close(now=NOW)

    again = opened(folder)

    assert [again.get(name) for name in ("a", "b", "c")] == [b"\0\1", b"", None]
    assert list(again.load()) == [full, plain]
    again.remove(full)
    assert list(again.load()) == [plain]
    again.close(now=NOW)


def test_in_memory_nothing_is_kept() -> None:
    """An ephemeral hub has the same state, for as long as it runs."""
    state = opened(None)
    Registry(state).add("kiosk")
    assert [client.name for client in state.load()] == ["kiosk"]
    state.close(now=NOW)

    again = opened(None)

    assert list(again.load()) == []
    again.close(now=NOW)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_secrets_are_for_nobody_else(tmp_path: Path) -> None:
    """0600 in 0700, whatever the umask, while the hub runs and afterwards."""
    folder = tmp_path / "a" / "hub"
    before = os.umask(0)
    try:
        state = opened(folder)
        state.put(a=b"x")
    finally:
        os.umask(before)

    def modes() -> set[int]:
        return {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}

    assert modes() == {0o600}
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent)] == [0o700, 0o700]
    state.close(now=NOW)
    assert modes() == {0o600}


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """With the command that mends it."""
    opened(tmp_path / "hub").close(now=NOW)
    (tmp_path / "hub" / FILE).chmod(0o640)

    assert f"may be read by others; run `chmod 600 {tmp_path / 'hub' / FILE}`" in refused(tmp_path / "hub")


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    """Somebody else may have put it there."""
    target = tmp_path / "target"
    target.write_bytes(b"")
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / FILE).symlink_to(target)

    assert "is no plain file" in refused(tmp_path / "hub")
    assert target.read_bytes() == b""


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Its parent is a file."""
    (tmp_path / "file").write_text("")

    assert "cannot be written: Not a directory" in refused(tmp_path / "file" / "hub")


def test_something_else_in_its_place_is_named(tmp_path: Path) -> None:
    """A file that is no database is not touched."""
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / FILE).write_bytes(b"not a database, but long enough to be taken for one" * 40)
    (folder / FILE).chmod(0o600)

    assert "is damaged" in refused(folder)
    assert (folder / FILE).read_bytes().startswith(b"not a database")


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """An older hub does not guess, and changes nothing."""
    opened(tmp_path / "hub").close(now=NOW)
    with sqlite3.connect(tmp_path / "hub" / FILE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    assert "newer version" in refused(tmp_path / "hub")


def test_a_folder_has_one_hub_at_a_time(tmp_path: Path) -> None:
    """In one process too; it is free again when the hub lets go."""
    folder = tmp_path / "hub"
    state = opened(folder)
    state.put(a=b"x")

    assert "is in use by another hub" in refused(folder)
    assert "is in use by another hub" in refused(folder)  # refusing has not freed it

    state.close(now=NOW)
    opened(folder).close(now=NOW)


def test_another_process_is_another_hub(tmp_path: Path) -> None:
    """And one that was killed holds nothing: what it had kept is there."""
    folder = tmp_path / "hub"
    script = textwrap.dedent(
        """
        import datetime, pathlib, sys
        from thalovant.hub.storage.sqlite import Store
        state = Store.open(pathlib.Path(sys.argv[1]), now=datetime.datetime.fromisoformat(sys.argv[2]))
        state.put(a=b"kept")
        print("ready", flush=True)
        sys.stdin.read()
        """
    )
    command = [sys.executable, "-c", script, str(folder), NOW.isoformat()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        assert "is in use by another hub" in refused(folder)
        process.kill()
        process.wait(30)

    state = opened(folder)
    assert state.get("a") == b"kept"
    state.close(now=NOW)


def test_a_clock_that_was_set_back_is_noticed(tmp_path: Path) -> None:
    """Both times are named; small steps are nothing."""
    folder = tmp_path / "hub"
    opened(folder, NOW - 9 * HOUR).close(now=NOW)

    message = refused(folder, NOW - 2 * HOUR)
    assert "2026-11-21 12:00 UTC" in message
    assert "2026-11-21 10:00 UTC" in message
    assert "set back" in message

    opened(folder, NOW - HOUR).close(now=NOW - HOUR)
    opened(folder, NOW + 1000 * HOUR).close(now=NOW + 1000 * HOUR)
    assert "set back" in refused(folder, NOW)


def test_a_change_is_whole_or_not_at_all(tmp_path: Path) -> None:
    """What the tables refuse is our own mistake, and leaves everything as it was."""
    state = opened(tmp_path / "hub")
    first = Client(id=1, name="kiosk", site_id="a")
    state.save(first)

    with pytest.raises(sqlite3.IntegrityError):
        state.save(Client(id=2, name="kiosk", site_id="b"))
    with pytest.raises(sqlite3.IntegrityError):
        state.put(a=b"x", b=None)  # type: ignore[arg-type]  # the mistake

    assert state.get("a") is None
    assert list(state.load()) == [first]
    state.close(now=NOW)


def test_the_default_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Under the data folder of the platform."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_state_folder() == tmp_path / "thalovant" / "hub"

    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_state_folder() == tmp_path / ".local" / "share" / "thalovant" / "hub"

    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "win32")
    assert default_state_folder() == tmp_path / "Thalovant" / "hub"
