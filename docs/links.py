"""The check of `make docs`: whatever a page of this repository links or names as a path of it is there."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Final
from urllib.parse import unquote

ROOT: Final = Path(__file__).parent.parent
_FENCED: Final = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"(`+).+?\1")
_LINK: Final = re.compile(r"\]\(\s*<?([^\s)>]+)|^\[[^\]]+\]:\s*<?([^\s>]+)", re.MULTILINE)
_HEADING: Final = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_PATH: Final = re.compile(r"`((?:thalovant\w*|tests|docs|examples|benchmarks|fuzz|\.ci)/[\w./-]+)`")
_ANCHOR: Final = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")


def anchors(text: str) -> set[str]:
    """The names that links to a page may end with, as GitHub makes them from its headings."""
    text = _FENCED.sub("", text)
    found, seen = set(_ANCHOR.findall(text)), Counter[str]()
    for heading in _HEADING.findall(text):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


def lost(page: Path) -> list[str]:
    """Links of a page that lead nowhere, and paths in code spans; links to other sites are not followed."""
    text = _FENCED.sub("", page.read_text())
    found = [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    for inline, reference in _LINK.findall(_CODE.sub("", text)):
        link = inline or reference
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target.read_text())):
            found.append(link)
    return found


def main() -> int:
    """Print what is lost; 1 if anything is."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    failed = [f"{page.relative_to(ROOT)}: {link} leads nowhere" for page in sorted(pages) for link in lost(page)]
    print(*failed, sep="\n", end="\n" * bool(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
