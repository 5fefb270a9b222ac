"""The runner of the long tiers: what has passed is not run again, until the code changes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.proof import run
from tests.proof.run import TIERS, Chunk, Tier, main

PATIENCE = 20.0


def printing(name: str, *lines: str) -> Chunk:
    """A chunk that prints lines, once for every time it is run, and ends with status 3 if one says FAIL."""
    script = f"import sys; print(*{lines!r}, sep='\\n'); sys.exit(3 * ('FAIL' in {lines!r}))"
    return Chunk(name, (sys.executable, "-c", script))


def ran(output: str) -> list[str]:
    """The chunks that a run ended."""
    return [line.partition(":")[0] for line in output.splitlines() if " in " in line and ": " in line]


def test_what_has_passed_is_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed is; so is all when the code changes or `--fresh` is given. Every tier says what it has covered."""
    tiers = [
        Tier(
            "search",
            "properties",
            [printing("a", "- 60 passing, 0 failing", "- 40 passing, 0 failing", "2 passed"), printing("b", "FAIL")],
        ),
        Tier("fuzz", "targets", [printing("x", "x: 1234 executions, 7/s: ok")], alone=True),
    ]

    def proof(*arguments: str) -> tuple[int, str]:
        return main(["--jobs", "1", *arguments], tiers, tmp_path), capsys.readouterr().out

    status, output = proof()
    assert (status, ran(output)) == (1, ["search a", "search b", "fuzz x"])
    assert "1 of 2 chunks passed, 1 FAILED, 2 tests, 100 examples, 0 s" in output
    assert "1 of 1 chunks passed, 1,234 executions" in output
    assert (tmp_path / "search-b.log").read_text() == "FAIL\n"

    assert ran(proof()[1]) == ["search b"]
    assert (proof("--only", "fuzz")[0], ran(proof("--list")[1])) == (0, [])
    assert ran(proof("--fresh", "--only", "fuzz")[1]) == ["fuzz x"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.setattr(run, "code", lambda: "another")
    assert ran(proof()[1]) == ["search a", "search b", "fuzz x"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_later(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C ends what runs, keeps what has passed, and is what the exit status says."""
    script = f"""
import sys
from pathlib import Path
from tests.proof.run import Chunk, Tier, main
programs = {{"quick": "", "endless": "import signal; signal.pause()"}}
chunks = [Chunk(name, (sys.executable, "-c", program)) for name, program in programs.items()]
sys.exit(main(["--jobs", "1"], [Tier("t", "", chunks)], Path({str(tmp_path)!r})))
"""
    command = (sys.executable, "-c", script)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=run.ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "t quick: passed in 0 s\n"
        process.send_signal(number)
        assert process.wait(PATIENCE) == 128 + number
        assert process.stdout.readline() == f"{'t':10} 1 of 2 chunks passed, 0 s\n"


def test_chunks_have_names_of_their_own() -> None:
    """The ledger and the logs go by them."""
    names = [f"{tier.name}-{chunk.name}" for tier in TIERS for chunk in tier.chunks]

    assert sorted(set(names)) == sorted(names)
