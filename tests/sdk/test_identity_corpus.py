"""Broken identity and config files, as people and tools make them: each is one error that names file, place and fix."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thalovant import ThalovantClient, ThalovantIdentity, ThalovantIdentityError

from .identities import PLAIN, write

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes, links and FIFOs are POSIX")

SECRETS = ("AKplanted-5f3a", "PWplanted-9c1d")
GOOD: dict[str, Any] = PLAIN | {"access_key": SECRETS[0], "password": SECRETS[1]}
TEXT = json.dumps(GOOD, indent=2)
YAML = "\n".join(f"{name}: {json.dumps(value)}" for name, value in GOOD.items()) + "\n"


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


def profiles(**found: Any) -> str:
    return json.dumps({"profiles": found})


# Content, and words of message and hint together.
BROKEN_JSON: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "empty": ("", ("is empty", "hub --write")),
    "blank": (" \n\t\n", ("is empty",)),
    "only a byte order mark": (b"\xef\xbb\xbf", ("is empty",)),
    "UTF-16": (TEXT.encode("utf-16"), ("UTF-8",)),
    "UTF-16 without a mark": (TEXT.encode("utf-16-le"), ("UTF-8",)),
    "UTF-32": (TEXT.encode("utf-32"), ("UTF-8",)),
    "Latin-1": (TEXT.replace("kitchen", "Küche").encode("latin-1"), ("UTF-8",)),
    "binary": (bytes(range(256)) * 8, ("UTF-8",)),
    "zeros": (b"\0" * 4096, ("UTF-8",)),
    "missing comma": (TEXT.replace(",", "", 1), ("line 3, column 3", "','")),
    "trailing comma": (TEXT.replace("\n}", ",\n}"), ("line ",)),
    "single quotes": (TEXT.replace('"', "'"), ("line 2, column 3",)),
    "no quotes": (TEXT.replace('"site_id"', "site_id"), ("line 4, column 3",)),
    "comment": (f"// mine\n{TEXT}", ("line 1, column 1",)),
    "hash comment": (f"# mine\n{TEXT}", ("line 1, column 1",)),
    "two objects": (TEXT + TEXT, ("line 8, column 2",)),
    "text behind": (TEXT + "EOF", ("line 8, column 2",)),
    "colon for comma": (TEXT.replace(",", ":", 1), ("line 2",)),
    "line break in a text": (TEXT.replace("kitchen", "kit\nchen"), ("line 4",)),
    "tab in a text": (TEXT.replace("kitchen", "kit\tchen"), ("line 4",)),
    "bad escape": (TEXT.replace("kitchen", "kit\\chen"), ("line 4",)),
    "Python": (repr(GOOD), ("line 1, column 2",)),
    "YAML": (YAML, ("line 1, column 1",)),
    "HTML": ("<!doctype html><html>log in</html>", ("line 1, column 1",)),
    "a PEM": ("-----BEGIN PUBLIC KEY-----\nAAAA\n", ("line 1",)),
    "variables": (f"export THALOVANT_ACCESS_KEY={SECRETS[0]}\n", ("line 1, column 1",)),
    "deep lists": ("[" * 100_000, ("nested",)),
    "deep lists, closed": ("[" * 100_000 + "]" * 100_000, ("nested",)),
    "deep objects": ('{"a":' * 100_000, ("nested",)),
    "deep metadata": (TEXT.replace('"kitchen"', "[" * 100_000 + "]" * 100_000), ("nested",)),
    "long number": (TEXT.replace("443", "4" * 10_000), ("number",)),
    "list": (f"[{TEXT}]", ("must contain a JSON object",)),
    "text": (json.dumps(TEXT), ("must contain a JSON object",)),
    "number": ("5", ("must contain a JSON object",)),
    "null": ("null", ("must contain a JSON object",)),
    "true": ("true", ("must contain a JSON object",)),
    "NaN": ("NaN", ("must contain a JSON object",)),
    "nothing in it": ("{}", ("access_key",)),
    "an identity below": (json.dumps({"identity": GOOD}), ("access_key", "Add")),
    "password twice": (TEXT.replace("\n}", f',\n  "password": "{SECRETS[0]}"\n}}'), ("`password` is there twice",)),
    "key twice, below": (TEXT.replace('"kitchen"', '{"a": 1, "a": 2}'), ("`a` is there twice",)),
    "secret name twice": (f'{{"{SECRETS[0]}": 1, "{SECRETS[0]}": 2}}', ("A name is there twice",)),
    "larger than 1 MiB": (" " * (1 << 20) + TEXT, ("larger than 1048576",)),
    **{f"cut at {at}": (TEXT[:at], ("line ",)) for at in range(1, len(TEXT), 12)},
}

# Fields that are absent, empty, or of the wrong type; each as JSON and as YAML.
MISSING = ("access_key", "password", "default_master")
WRONG: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
    *((name, None, (name, "empty")) for name in MISSING),
    *((name, " ", (name, "empty")) for name in (*MISSING, "site_id")),
    *(
        (name, value, (name, "must be text", "quotes"))
        for name in ("access_key", "password", "site_id", "crypto_key", "default_master", "default_path", "ca_file")
        for value in (True, [SECRETS[0]], {"a": SECRETS[0]}, 1.5)
    ),
    *((name, 5, (name, "must be text")) for name in ("default_master", "default_path", "ca_file", "noise_state_dir")),
    *((name, "a\nb", (name, "line breaks")) for name in ("access_key", "password", "ca_file")),
    *((name, "a\ud800b", (name, "control characters")) for name in ("access_key", "password")),
    *(("default_port", value, ("default_port", "from 1 to 65535")) for value in (-1, 65536, 10**9, 10**12, "x", "-1")),
    *(("default_port", value, ("default_port", "an integer")) for value in (443.5, True, [443], {"a": 1}, "4e2")),
    *(
        ("default_master", url, ("default_master", "like https://hub.example"))
        for url in ("https://h:0", "https://h:-1", "https://h:65536", "https://h:x", "https://[::1", "https://[x]:1")
    ),
    *(
        (name, value, (name, "must be an object"))
        for name in ("metadata", "data_plane_endpoints", "endpoints", "protocols", "network")
        for value in ("x", 5, [1])
    ),
    *(("mqtt", value, ("mqtt", "must be an object")) for value in (5, [1], True)),
    *(("protocols", {"mqtt": value}, ("mqtt", "true or false")) for value in ("maybe", 5, [1], {"enabled": "?"})),
    *(
        ("data_plane_endpoints", {"wss": url}, ("wss", "must be a URL"))
        for url in ("htp://h", "wss://", "wss://h:0", "wss://h:-1", "wss://h:99999", "wss://h h", "wss://[::1", 5, [1])
    ),
    ("data_plane_endpoints", {"mqtt": {"endpoint": 5}}, ("mqtt", "must be a URL")),
    ("mqtt", {"endpoint": "ftp://h"}, ("mqtt", "must be a URL")),
)

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
BROKEN_YAML: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "empty": ("", ("access_key",)),
    "comment": ("# nothing yet\n", ("access_key",)),
    "UTF-16": (YAML.encode("utf-16"), ("UTF-8",)),
    "Latin-1": (YAML.replace("kitchen", "Küche").encode("latin-1"), ("UTF-8",)),
    "zeros": (b"\0" * 64, ("UTF-8",)),
    "tab": (f"identity:\n\taccess_key: {SECRETS[0]}\n", ("Line 2, column 1", "tabs")),
    "open quote": (YAML.replace('kitchen"', "kitchen"), ("Line ",)),
    "colon in a value": (f"password: a: {SECRETS[1]}\n", ("Line 1", "quote")),
    "tag": (f"password: !{SECRETS[1]} x\n", ("Line 1",)),
    "Python tag": ("!!python/object/apply:os.getcwd []", ("Line 1",)),
    "unknown alias": (f"password: *{SECRETS[1]}\n", ("Line 1",)),
    "at sign": (f"password: @{SECRETS[1]}\n", ("Line 1",)),
    "percent sign": (f"password: %{SECRETS[1]}\n", ("Line 1",)),
    "control character": (YAML.replace("kitchen", "kit\1chen"), ("quote",)),
    "bad indentation": (f"identity:\n  password: x\n access_key: {SECRETS[0]}\n", ("Line 3",)),
    "two documents": (f"{YAML}---\n{YAML}", ("Line ",)),
    "list for a name": ("[a, b]: 1\n? [c]\n: 2\n", ("Line 1",)),
    "deep lists": ("[" * 100_000, ("Line 1",)),
    "deep objects": ("{a: " * 100_000, ("Line 1",)),
    "deep items": ("- " * 100_000, ("Line 1",)),
    "bomb": (BOMB + YAML, ("more than 20000 values",)),
    "bomb in the metadata": (f"{BOMB}{YAML}metadata: {{a: *a9}}\n", ("more than 20000 values",)),
    "node within itself": (f"{YAML}metadata: &a {{a: *a}}\n", ("more than 20000 values",)),
    "many values": (f"x: [{'1,' * 400_000}]\n", ("more than 20000 values",)),
    "many names": ("".join(f"k{number}: v\n" for number in range(80_000)), ("more than 20000 values",)),
    "long number": (YAML.replace("443", "4" * 10_000), ("number",)),
    "larger than 1 MiB": ("#" * (1 << 20) + "\n" + YAML, ("larger than 1048576",)),
    "text": ("just text\n", ("must contain a YAML object",)),
    "list": (f"- password: {SECRETS[1]}\n", ("must contain a YAML object",)),
    "name twice": (f"{YAML}password: {SECRETS[1]}\n", ("Line 7", "`password` is there twice")),
    "profile twice": (f"profiles:\n  a: {{}}\n  a: {{password: {SECRETS[1]}}}\n", ("Line 3", "twice")),
    "secret name twice": (f"{SECRETS[0]}: 1\n{SECRETS[0]}: 2\n", ("Line 2", "a name is there twice")),
    "no such profile": (profiles(a=GOOD, b=GOOD), ("profile: default", "a, b")),
    "no such choice": (json.dumps({"profile": "c", "profiles": {"a": GOOD}}), ("profile: c", "a")),
    "empty profile": (profiles(default={}), ("access_key",)),
    "null profile": (profiles(default=None), ("profile: default",)),
    "text for a profile": (profiles(default=SECRETS[0]), ("profile: default",)),
    "list for profiles": ("profiles: [a]\n", ("access_key",)),
}

CASES = [
    *(pytest.param("from_file", *case, id=f"json, {name}") for name, case in BROKEN_JSON.items()),
    *(pytest.param("from_config", *case, id=f"yaml, {name}") for name, case in BROKEN_YAML.items()),
    *(
        pytest.param(source, json.dumps(wrap(GOOD | {name: value})), words, id=f"{source}, {name} {str(value)[:20]!a}")
        for source, wrap in (("from_file", dict), ("from_config", lambda values: {"identity": values}))
        for name, value, words in WRONG
        if source == "from_file" or value != "a\ud800b"  # YAML has no such text
    ),
    *(
        pytest.param(source, json.dumps(without(name)), (name, "Add"), id=f"{source}, no {name}")
        for source in ("from_file", "from_config")
        for name in MISSING
    ),
]


def refused(read: Callable[..., object], path: object, words: tuple[str, ...]) -> ThalovantIdentityError:
    """The error, which names file, place and fix, and in which and behind which there is no secret."""
    with pytest.raises(ThalovantIdentityError) as caught:
        read(path)
    error = caught.value
    assert error.hint
    said = f"{error}\n{error.hint}"
    assert len(said.splitlines()) <= 3
    for word in (str(path), *words):
        assert word.lower() in said.lower(), said
    # Everything that a crash reporter shows: the variables of our frames too, those of this test left out.
    trace = error.__traceback__.tb_next if error.__traceback__ else None
    shown = traceback.TracebackException(type(error), error, trace, capture_locals=True)
    everything = "".join(shown.format()) + repr((error.__cause__, error.__context__, vars(error)))
    assert not [secret for secret in SECRETS if secret in everything]
    return error


@pytest.mark.parametrize(("source", "content", "words"), CASES)
def test_broken_file(source: str, content: str | bytes, words: tuple[str, ...], tmp_path: Path) -> None:
    """One error each."""
    refused(getattr(ThalovantIdentity, source), write(tmp_path / "mine", content), words)


def test_there_are_many() -> None:
    """At least as many as the table is meant to have."""
    assert len(CASES) >= 150


@pytest.mark.parametrize("source", ["from_file", "from_config"])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, ("not there",)),
        (lambda path: path.mkdir(), ("The folder", "has no ", "name the file")),
        (lambda path: os.mkfifo(path, 0o600), ("not a plain file",)),
        (lambda path: path.symlink_to(path.name), ("symbolic links",)),
        (lambda path: path.symlink_to("nowhere"), ("not there",)),
        (lambda path: path.symlink_to("/dev/null"), ("not a plain file",)),
        (lambda path: write(path, GOOD, 0o644), ("chmod 600",)),
        (lambda path: write(path, GOOD, 0o660), ("chmod 600",)),
        (lambda path: os.truncate(write(path, ""), 50 << 20), ("larger than 1048576",)),
    ],
)
def test_what_is_no_file(source: str, make: Callable[[Path], object], words: tuple[str, ...], tmp_path: Path) -> None:
    """What lies in the place of the file is neither waited for nor read."""
    make(tmp_path / "mine")

    refused(getattr(ThalovantIdentity, source), tmp_path / "mine", words)


@pytest.mark.parametrize("path", ["~nobody-here/id.json", "a\0b", "x" * 5000, "/dev/null/id.json"])
def test_impossible_paths(path: str) -> None:
    """A path that cannot be is an error like any other."""
    with pytest.raises(ThalovantIdentityError, match="Unable to read identity file: ") as caught:
        ThalovantIdentity.from_file(path)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"site_id": None}, {"site_id": "unknown"}),
        ({"site_id": None, "siteId": "den"}, {"site_id": "den"}),
        ({"access_key": 12345}, {"access_key": "12345"}),
        ({"default_port": "443"}, {"default_port": 443}),
        ({"default_port": 443.0}, {"default_port": 443}),
        ({"default_port": 0}, {"default_port": 5679}),
        ({"default_port": None}, {"default_port": 5679}),
        ({"default_master": "https://bücher.example"}, {"default_master": "https://bücher.example"}),
        ({"default_master": "https://[::1]:5679"}, {"default_master": "https://[::1]:5679"}),
        ({"metadata": None, "mqtt": None, "protocols": {"mqtt": None}}, {"metadata": {}, "mqtt": None}),
    ],
)
@pytest.mark.parametrize("source", ["from_file", "from_config"])
def test_unusual_files_that_are_fine(
    source: str, values: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    """What can only mean one thing is taken as that, and a client can be made of it."""
    identity = getattr(ThalovantIdentity, source)(write(tmp_path / "mine", GOOD | values))

    assert {name: getattr(identity, name) for name in expected} == expected
    ThalovantClient(identity, protocol="https").close()


def test_no_site_in_mappings_and_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only files of other tools lack it for a reason."""
    monkeypatch.setenv("NOSITE_ACCESS_KEY", "a")
    monkeypatch.setenv("NOSITE_PASSWORD", "p")
    monkeypatch.setenv("NOSITE_HUB_WSS_HOST", "wss://h")
    for read in (
        lambda: ThalovantIdentity.from_mapping(without("site_id")),
        lambda: ThalovantIdentity.from_env("NOSITE_"),
    ):
        with pytest.raises(ThalovantIdentityError, match="Missing required identity field: site_id"):
            read()


@pytest.mark.parametrize(
    ("written", "password"),
    [
        ("0123", "0123"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2026-12-01", "2026-12-01"),
        ("no", "no"),
        ("77", "77"),
    ],
)
def test_values_of_a_config_are_what_is_written(written: str, password: str, tmp_path: Path) -> None:
    """Old YAML makes other values of them."""
    text = YAML.replace(json.dumps(GOOD["password"]), written)

    assert ThalovantIdentity.from_config(write(tmp_path / "c.yaml", text)).password == password


@pytest.mark.parametrize("name", ["no", "on", "y", "1", "01", "1e3"])
def test_any_word_may_name_a_profile(name: str, tmp_path: Path) -> None:
    """With and without being asked for."""
    path = write(tmp_path / "c.yaml", f"profile: {name}\nprofiles:\n  {name}: {TEXT.replace(chr(10), ' ')}\n")

    assert ThalovantIdentity.from_config(path, profile=name).site_id == "kitchen"
    assert ThalovantIdentity.from_config(path).site_id == "kitchen"


@pytest.mark.parametrize("master", ["https://u:{}@hub.example", "u:{}@hub.example", "wss://u:{}/x?y@hub.example"])
def test_credentials_in_an_address(master: str, tmp_path: Path) -> None:
    """They are shown nowhere; the client that cannot use them says so."""
    values = GOOD | {"default_master": master.format(SECRETS[0])}
    try:
        identity = ThalovantIdentity.from_file(write(tmp_path / "mine", values))
    except ThalovantIdentityError as error:
        assert SECRETS[0] not in f"{error} {error.hint}"
        return
    assert SECRETS[0] not in f"{identity!r} {identity.as_dict()}"
    with pytest.raises(ThalovantIdentityError, match="must not hold a user name or password"):
        ThalovantClient(identity, protocol="https")
