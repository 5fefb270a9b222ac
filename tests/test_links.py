"""The check of links between pages."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOST = runpy.run_path(str(ROOT / "docs" / "links.py"))["lost"]
PAGE = """\
# The first heading

## `Code`, and (2.1) [a link](other.md)!

## Twice
## Twice
<a id="named"></a>

```sh
# no heading [no link](nowhere)
```
"""


@pytest.mark.parametrize(
    ("link", "leads"),
    [
        ("#the-first-heading", True),
        ("page.md#code-and-21-a-link", True),
        ("#twice", True),
        ("#twice-1", True),
        ("#named", True),
        ("other.md", True),
        ("https://example.org/nothing#here", True),
        ("#twice-2", False),
        ("#no-heading-no-linknowhere", False),
        ("other.md#first", False),
        ("missing.md", False),
    ],
)
def test_links_lead_somewhere(tmp_path: Path, link: str, leads: bool) -> None:
    """Anchors are those that GitHub makes of headings; fenced code holds none, and no links."""
    (tmp_path / "other.md").write_text("# Second")
    page = tmp_path / "page.md"
    page.write_text(f"{PAGE}See [it]({link}), `[no](link)`.\n")

    assert LOST(page) == ([] if leads else [link])


def test_paths_in_code_are_there(tmp_path: Path) -> None:
    """They count from the root of the repository."""
    page = tmp_path / "page.md"
    page.write_text("`docs/links.py`, `docs/lost.py`")

    assert LOST(page) == ["docs/lost.py"]
