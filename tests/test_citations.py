"""Citations: whatever a comment, a docstring or a page names as its source is there to be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLACES = (
    "thalovant", "thalovant_io", "thalovant_proto", "tests", "fuzz", "benchmarks", "examples", "docs", ".ci",
    "Makefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "pyproject.toml",
)  # fmt: skip
SUFFIXES = ("", ".md", ".py", ".rs", ".toml")
PAGES = {page.name: page.read_text() for page in (ROOT / "docs").rglob("*.md")}

CLAUSES = r"§\d+(?:\.\d+)*(?:,? ?(?:to|and)?,? (?:§\d+(?:\.\d+)*|\d+\b|[a-z]\b))*"
CITATION = re.compile(rf"(?P<source>[\w-]+\.md|RFC \d+|Noise|MQTT)`? (?P<clauses>{CLAUSES})")
#: Names and numbers of documents that this repository does not have.
NOWHERE = re.compile(
    r"\b(?:sdk|contract|conformance-kit|STYLE)\.md|\b(?:DESIGN|QUALITY|STRUCTURE)\b[ :]|\.md [A-Z]\d|\brows? \d"
    r"|[\[(,] ?[ACIPRSU]\d+[a-z]?[\])]"
)
NAMED = re.compile(r"`((?:thalovant\w*|tests|docs|examples|benchmarks|fuzz|\.ci|\.github)/[\w/.-]+)`")


def texts() -> Iterator[tuple[Path, str]]:
    """Every text of the repository on one line, so that a citation may be broken by the end of a comment line."""
    for place in PLACES:
        start = ROOT / place
        for path in [start] if start.is_file() else sorted(start.rglob("*")):
            if path.is_file() and path != Path(__file__) and path.suffix in SUFFIXES and "seeds" not in path.parts:
                yield path.relative_to(ROOT), re.sub(r"\s*\n\s*(?:#:? )?", " ", path.read_text())


def headings(page: str) -> set[str]:
    """The numbers of a page's headings."""
    return set(re.findall(r"^#+ (\d+(?:\.\d+)*)\b", PAGES[page], re.MULTILINE))


def test_cited_sections_exist() -> None:
    """A citation of a page names one in `docs/` and a heading there; within a page its own sections need no name."""
    lost = []
    for path, text in texts():
        own = [(path.name, clause) for clause in re.findall(CLAUSES, CITATION.sub("", text)) if path.parts[0] == "docs"]
        for page, clauses in CITATION.findall(text) + own:
            if page.endswith(".md"):
                there = headings(page) if page in PAGES else set()
                lost += [f"{path}: {page} §{n}" for n in re.findall(r"§([\d.]*\d)", clauses) if n not in there]

    assert lost == []


def test_no_citation_lacks_a_source() -> None:
    """Only in the folders of MQTT does a clause without a name mean anything: one of MQTT 3.1.1."""
    lost = []
    for path, text in texts():
        if path.parts[0] != "docs" and "mqtt" not in path.parts:
            rest = CITATION.sub("", text)
            lost += [f"{path}: {rest[max(0, at.start() - 40) : at.end() + 10]}" for at in re.finditer("§", rest)]
        lost += [f"{path}: {text[at.start() : at.start() + 40]}" for at in NOWHERE.finditer(text)]

    assert lost == []


def test_files_that_pages_name_exist() -> None:
    """Links, and paths from the repository's root in code spans."""
    lost = []
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    for path in pages:
        text = path.read_text()
        linked = [path.parent / link for link in re.findall(r"\]\(([^)#:]+)", text)]
        named = [ROOT / name for name in NAMED.findall(text)]
        lost += [f"{path.name}: {target}" for target in linked + named if not target.exists()]

    assert lost == []
