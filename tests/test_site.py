"""The site: tables of pages hold what the code holds, parts are generated whole, and a release is built and checked."""

from __future__ import annotations

import inspect
import os
import re
import runpy
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import thalovant
import thalovant.embedding
import thalovant.hub
from thalovant import MqttBrokerCredentials, ThalovantIdentity, cli, errors
from thalovant._internal.error_mapping import link_error
from thalovant_proto.failures import Failure, FailureKind

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GENERATED = runpy.run_path(str(DOCS / "generated.py"))
ON_PAGE = GENERATED["on_page_markdown"]
#: Public names that no program of a page and no docstring shows in use. It may only shrink.
WITHOUT_EXAMPLE: set[str] = set()


class Asked(Mapping[str, Any]):
    """A mapping that knows which keys it was asked for."""

    def __init__(self, **values: Any) -> None:
        self.values_there = values
        self.keys_asked: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.keys_asked.add(key)
        return self.values_there[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_there)

    def __len__(self) -> int:
        return len(self.values_there)


def words(page: str, heading: str, column: int, *, until: str = "\n## ") -> set[str]:
    """Words in code spans of some columns of the table below a line of a page."""
    part = (DOCS / page).read_text("utf-8").partition(heading)[2].partition(until)[0]
    rows = [line.split("|")[1 : column + 1] for line in part.splitlines() if line.startswith("| `")]
    return {word for row in rows for cell in row for word in re.findall(r"`([\w.]+)`", cell)}


def test_every_variable_is_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that an identity is read from, and no others."""
    asked = Asked()
    with monkeypatch.context() as patch, pytest.raises(thalovant.ThalovantIdentityError):
        patch.setattr(os, "environ", asked)
        ThalovantIdentity.from_env()

    read = {name for name in asked.keys_asked if name.startswith("THALOVANT_")}
    assert words("identity.md", "## Variables", 1) == read


def test_every_field_is_on_the_page() -> None:
    """Every spelling of every field of an identity file, and of its broker."""
    asked, broker = Asked(), Asked(endpoint="mqtts://x", username="x", password="x")
    identity = {"access_key": "x", "password": "x", "site_id": "x", "default_master": "https://x"}
    for missing in (*identity, "nothing"):
        asked.values_there = {key: value for key, value in identity.items() if key != missing}
        try:
            ThalovantIdentity.from_mapping(asked)
        except thalovant.ThalovantIdentityError:
            assert missing in identity
    MqttBrokerCredentials.from_mapping(broker)
    broker.values_there = {}
    MqttBrokerCredentials.from_mapping(broker)

    endpoints = {"https", "http", "wss", "ws", "mqtts"}  # also of the mapping itself; the page has them in words
    on_page = words("identity.md", "## The file", 2, until="Fields of `mqtt`")
    assert on_page - {"spec.protocols"} | {"spec"} == asked.keys_asked - endpoints
    assert words("identity.md", "Fields of `mqtt`", 2) == broker.keys_asked


def test_every_error_has_its_entry() -> None:
    """A heading for each class, a row for each name that an error can have, with a class that is there."""
    page = ON_PAGE((DOCS / "errors.md").read_text("utf-8"))
    classes = {name for name in vars(errors) if name.startswith("Thalovant") and name != "ThalovantQuota"}
    rows = dict(re.findall(r"^\| `(\w+)` \| \[(\w+)\]", page, re.MULTILINE))

    assert set(re.findall(r"^### (\w+)$", page, re.MULTILINE)) == classes
    assert set(rows.values()) <= classes
    codes = {"backend_unavailable", "quota_exceeded"}  # hints for what hubs call so
    told = {link_error(Failure(kind=kind, message="")).name for kind in FailureKind}
    assert (told | set(errors._HINTS) | {getattr(errors, name).name for name in classes}) - codes <= set(rows)


def test_every_command_is_on_the_page() -> None:
    """With each of its options."""
    page = ON_PAGE((DOCS / "command-line.md").read_text("utf-8"))

    for path, context in GENERATED["commands"](cli.cli):
        part = page.partition(f"### `{path}`\n")[2].partition("\n### ")[0]
        shown = [one for one in context.command.params if not getattr(one, "hidden", False)]
        options = [name for one in shown for name in one.opts if name.startswith("--")]
        assert [name for name in options if name not in part] == []


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.stem)
def test_no_mark_is_left_on_a_page(page: Path) -> None:
    """Every part that a page asks for is generated, and not empty."""
    text = page.read_text("utf-8")

    made = ON_PAGE(text)

    assert "<!-- generated" not in made
    assert len(made) - len(text) == 0 or len(made) - len(text) > 1000


def test_every_public_name_has_an_example() -> None:
    """In a program of README or of a page, or as code in its docstring."""
    pages = [ROOT / "README.md", *DOCS.rglob("*.md")]
    programs = [one for page in pages for one in re.findall(r"```python.*?\n(.*?)```", page.read_text("utf-8"), re.S)]
    shown = set(re.findall(r"\w+", "".join(programs)))
    public = {module: module.__all__ for module in (thalovant, thalovant.hub, thalovant.embedding)}
    lacking = {
        name
        for module, names in public.items()
        for name in names
        if name not in shown and not in_docstring(getattr(module, name))
    }

    assert lacking == WITHOUT_EXAMPLE


def in_docstring(value: object) -> bool:
    """Whether the docstring of a class or function has lines of code."""
    return callable(value) and bool(re.search(r"^ {4,}\S", inspect.getdoc(value) or "", re.MULTILINE))


def test_what_the_site_needs_is_an_extra() -> None:
    """The theme and the plugins of mkdocs.yml come with `pip install -e ".[docs]"`, and its pages are there."""
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = " ".join(project["optional-dependencies"]["docs"])

    assert site["theme"]["name"] == "material"
    assert [name for name in ("mkdocs>", "mkdocs-material>", "mkdocstrings[python]>") if name not in needed] == []
    assert [path for path in pages_of(site["nav"]) if not (DOCS / path).exists()] == []


def pages_of(nav: Any) -> list[str]:
    """The paths in a tree of navigation."""
    if isinstance(nav, str):
        return [nav]
    return [path for part in (nav.values() if isinstance(nav, dict) else nav) for path in pages_of(part)]


def test_a_release_is_built_and_checked_first() -> None:
    """Trusted publishing: environment `pypi`, one right, no token; nothing is published that was not checked."""
    flow = yaml.safe_load((ROOT / ".github/workflows/publish.yml").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    jobs = flow["jobs"]
    publish = jobs["publish"]

    assert set(project["urls"]) == {"Homepage", "Documentation", "Source", "Changelog", "Issues"}
    assert flow["permissions"] == {}
    assert (publish["environment"]["name"], publish["permissions"]) == ("pypi", {"id-token": "write"})
    assert (publish["needs"], jobs["check"]["needs"]) == ("check", "build")
    assert [name for name, job in jobs.items() if "id-token" in job["permissions"]] == ["publish"]
    assert "python -m build" in str(jobs["build"]["steps"])
    assert "thalovant ask" in str(jobs["check"]["steps"])
    assert publish["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert "secrets." not in str(flow)
