"""One client is one client: whatever it is loaded from, in whatever order, it has one Noise key and one set of pins."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from thalovant import ThalovantClient, ThalovantClientKeyRejectedError, ThalovantIdentity, TrustStore
from thalovant.hub.export import variables
from thalovant.trust_store import shared_folder

from .identities import write
from .lab import Lab

SOURCES = ("file", "variables", "profile", "copy")


class Sources:
    """One identity in a file, in variables, in the user's config, and in a copy of the file elsewhere."""

    def __init__(self, home: Path, name: str, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        identity = lab.identity(name)
        values = identity.as_dict(include_secrets=True)
        config = home / ".config/thalovant/config.yaml"
        for folder in (home / "app", home / "copy", config.parent):
            folder.mkdir(parents=True)
        for variable, value in variables(identity).items():
            monkeypatch.setenv(variable, value)
        write(config, {"profiles": {"default": values}})
        for folder in ("app", "copy"):
            write(home / folder / "_identity.json", values)
        self.home = home
        self.name = name
        self.load: dict[str, Callable[[], ThalovantIdentity]] = {
            "file": lambda: ThalovantIdentity.from_file(home / "app"),
            "variables": ThalovantIdentity.from_env,
            "profile": ThalovantIdentity.from_config,
            "copy": lambda: ThalovantIdentity.from_file(home / "copy"),
        }

    def ask(self, source: str) -> str:
        """What the hub answers to the client of a source."""
        with ThalovantClient(self.load[source](), protocol="wss", auto_reconnect=False) as client:
            return client.ask(source).text

    @property
    def keys(self) -> set[str]:
        """All keys of clients in the home."""
        return {file.read_text() for file in self.home.rglob("*_noise.key")}

    def folder(self, source: str) -> Path:
        """Where its trust is."""
        return TrustStore(None, self.load[source]()).folder


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, v3: Lab, request: pytest.FixtureRequest) -> Sources:
    """The sources of a client of its own, in a home of its own."""
    for name in [name for name in os.environ if name.startswith(("THALOVANT_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return Sources(tmp_path, f"client of {request.node.name}", v3, monkeypatch)


@pytest.mark.parametrize("order", list(itertools.permutations(SOURCES[:3])), ids="-".join)
def test_any_order(sources: Sources, order: tuple[str, ...]) -> None:
    """No source is refused for its key; whoever forgets the hub forgets it for all."""
    for source in order:
        assert sources.ask(source) == f"You said: {source}"

    assert len(sources.keys) == 1
    (folder,) = {sources.folder(source) for source in SOURCES}
    store = TrustStore(None, sources.load[order[0]]())
    (pin,) = store.pins()
    assert store.forget(pin)
    assert [TrustStore(None, sources.load[source]()).pins() for source in order] == [{}, {}, {}]
    assert folder in (sources.home / "app/hivemind", sources.home / ".config/thalovant/hivemind")


def test_first_contact_from_everywhere_at_once(sources: Sources) -> None:
    """Processes that load it at the same time from a file and from variables make one key."""
    load = "import sys; from thalovant import *; TrustStore(None, eval(sys.argv[1])).load()"
    of_file = f"ThalovantIdentity.from_file({str(sources.home / 'app')!r})"
    started = [
        subprocess.Popen([sys.executable, "-c", load, read])
        for read in (of_file, "ThalovantIdentity.from_env()", "ThalovantIdentity.from_config()") * 2
    ]

    assert [process.wait(60) for process in started] == [0] * 6
    assert len(sources.keys) == 1


def test_copy_of_the_file(sources: Sources) -> None:
    """Also without the folder beside it; and the folder may be moved, the pointer to it follows."""
    for source in ("file", "copy"):
        assert sources.ask(source) == f"You said: {source}"
    assert sources.folder("copy") == sources.home / "app/hivemind"

    (sources.home / "app").rename(sources.home / "moved")
    sources.load["file"] = lambda: ThalovantIdentity.from_file(sources.home / "moved")
    for source in ("file", "variables"):
        assert sources.ask(source) == f"You said: {source}"
    assert len(sources.keys) == 1


def test_folder_of_another_identity(sources: Sources, v3: Lab) -> None:
    """A key beside the file that is not the one that the hub knows this client by is left alone."""
    assert sources.ask("variables") == "You said: variables"
    TrustStore(sources.home / "app/hivemind", v3.identity()).load()

    assert sources.ask("file") == "You said: file"
    assert sources.folder("file") == shared_folder()


def test_named_folder(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key goes along to a folder that the identity names later; nothing else of the user's is touched then."""
    assert sources.ask("variables") == "You said: variables"
    monkeypatch.setenv("THALOVANT_NOISE_STATE_DIR", str(sources.home / "named"))
    for name in ("app/_identity.json", ".config/thalovant/config.yaml"):
        text = (sources.home / name).read_text()
        write(sources.home / name, text.replace('"site_id"', f'"noise_state_dir": "{sources.home}/named", "site_id"'))
    for source in SOURCES[:3]:
        assert sources.ask(source) == f"You said: {source}"
        assert sources.folder(source) == sources.home / "named"

    assert len(sources.keys) == 1
    assert not list(sources.home.rglob("app/hivemind"))


def test_two_keys(sources: Sources, v3: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Both known for this access key: both folders are named, in the log and where the hub refuses."""
    identity = sources.load["file"]()
    beside = sources.home / "app/hivemind"
    for folder in (beside, shared_folder()):
        with ThalovantClient(identity, protocol="wss", noise_state_dir=folder) as client:
            assert client.ask("hi").text == "You said: hi"
        v3.forget_keys(sources.name)
    sources.ask("variables")

    with pytest.raises(ThalovantClientKeyRejectedError) as caught:
        sources.ask("file")

    error = caught.value
    assert (error.key_folder, error.other_key_folder) == (str(beside), str(shared_folder()))
    for said in (f"{error} {error.hint}", caplog.text):
        assert str(beside) in said
        assert str(shared_folder()) in said
    assert "noise_state_dir" in error.hint


def test_pointers_are_few(sources: Sources, tmp_path: Path) -> None:
    """What points to folders that are gone goes with the next one."""
    own = shared_folder() / "_thalovant.json"
    shared_folder().mkdir(mode=0o700)
    write(own, {"folders": {"gone": str(tmp_path / "gone")}, "future": 1})

    sources.ask("file")

    found = json.loads(own.read_text())
    assert list(found["folders"].values()) == [str(tmp_path / "app/hivemind")]
    assert found["future"] == 1
