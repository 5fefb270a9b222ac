"""The long tiers of tests, hours of them: `make proof`. Stop it at any time; the next run goes on from there.

    make proof                             everything that has not passed yet
    make proof ARGS="--list"               how far it is
    make proof ARGS="--only model fuzz"    some tiers
    make proof ARGS="--fresh"              from the beginning

A tier is cut into chunks, each one command of some minutes. What a chunk has covered is noted in `.proof/state.json`,
together with the code it ran against: when the code changes, it is to be covered again. What a chunk has printed is
kept beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Final

from attrs import field, frozen

ROOT: Final = Path(__file__).parent.parent.parent
CODE: Final = ("thalovant", "thalovant_io", "thalovant_proto", "tests", "fuzz")
PYTEST: Final = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=3600")
#: Of what a command has covered, by what it prints about it.
COUNTED: Final = {
    "tests": re.compile(r"(\d+) passed"),
    "examples": re.compile(r"(\d+) passing\b"),
    "executions": re.compile(r"(\d+) executions"),
}
#: Seconds that what is told to stop gets to stop what it has started, in turn.
GRACE: Final = 20.0


@frozen
class Chunk:
    """One command of a tier."""

    name: str
    command: Sequence[str]
    environment: dict[str, str] = field(factory=dict)


@frozen
class Tier:
    """A kind of long test. What is to have the machine to itself runs after all others, one chunk at a time."""

    name: str
    what: str
    chunks: Sequence[Chunk]
    alone: bool = False


def searching(name: str, seed: int, thoroughness: int, *arguments: str) -> Chunk:
    """A chunk of properties: of every seed other examples, many times those of `make test`."""
    command = (*PYTEST, f"--hypothesis-seed={seed}", "--hypothesis-show-statistics", *arguments)
    return Chunk(f"{name}-{seed}", command, {"THOROUGHNESS": str(thoroughness)})


def limited(files: int, *arguments: str) -> tuple[str, ...]:
    """A run of tests that may open so many files."""
    return ("/bin/sh", "-c", f'ulimit -n {files} && exec "$@"', "sh", *PYTEST, *arguments)


CELLS = [
    f"{transport}{generation}"
    for transport in ("Wss", "Https", "Mqtt")
    for generation in ("Preshared", "Password", "Noise")
]
TARGETS = [path.stem.removeprefix("fuzz_") for path in sorted((ROOT / "fuzz").glob("fuzz_*.py"))]
TIERS = (
    Tier(
        "model",
        "stories of client, hub and network, on each transport in each generation",
        [
            searching(cell, seed, 15 if "Https" in cell else 5, "tests/proto/test_model.py", "-k", cell)
            for seed in range(1, 11)
            for cell in CELLS
        ],
    ),
    Tier(
        "properties",
        "any cut, garbage, determinism, round trips: every property of the core",
        [
            searching("core", seed, 5, "-m", "hypothesis", "--deselect=tests/proto/test_model.py", "tests/proto")
            for seed in range(1, 21)
        ],
    ),
    Tier(
        "fuzz",
        "every fuzz target",
        [Chunk(name, (sys.executable, "fuzz/run.py", "--seconds=600", "--total=600", name)) for name in TARGETS],
    ),
    Tier(
        "debug",
        "drivers, hub and SDK with the checks of Python's development mode",
        [Chunk(name, (sys.executable, "-X", "dev", *PYTEST[1:], f"tests/{name}")) for name in ("io", "hub", "sdk")],
        alone=True,
    ),
    Tier(
        "files",
        "drivers and hub where few files may be open",
        [Chunk(f"{name}-{files}", limited(files, f"tests/{name}")) for name in ("io", "hub") for files in (256, 1024)],
        alone=True,
    ),
    Tier(
        "interop",
        "real hubs, brokers and the clients of others: all of them, twice",
        [Chunk(f"round-{number}", ("make", "--no-print-directory", "interop")) for number in (1, 2)],
        alone=True,
    ),
)


class Ledger:
    """What has been covered, by chunk, on disk after every one."""

    def __init__(self, folder: Path, code: str) -> None:
        self._path = folder / "state.json"
        self._code = code
        self._lock = threading.Lock()
        self._rows: dict[str, dict[str, Any]] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def row(self, tier: Tier, chunk: Chunk) -> dict[str, Any]:
        """What is known of a chunk; empty if it has not run against this code."""
        row = self._rows.get(f"{tier.name}/{chunk.name}", {})
        return row if row.get("code") == self._code else {}

    def write(self, tier: Tier, chunk: Chunk, **row: Any) -> None:
        """Note how a chunk ended."""
        with self._lock:
            self._rows[f"{tier.name}/{chunk.name}"] = row
            self._save()

    def forget(self, tiers: Sequence[Tier]) -> None:
        """Begin anew."""
        names = {tier.name for tier in tiers}
        self._rows = {name: row for name, row in self._rows.items() if name.partition("/")[0] not in names}
        self._save()

    def _save(self) -> None:
        self._path.parent.mkdir(exist_ok=True)
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self._rows, indent=1, sort_keys=True))
        new.replace(self._path)


class Running:
    """The commands that run; every one leads a session of its own, so that Ctrl-C reaches us alone."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self._folder, self._ledger = folder, ledger
        self._processes: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self._starting = threading.Lock()  # so that nothing is started that `stop` does not see

    def run(self, tier: Tier, chunk: Chunk) -> None:
        """Run a chunk to its end and note what came out, unless we are stopped first."""
        started, ours = time.monotonic(), code()
        with self._starting:
            if self._stopped:
                return
            process = subprocess.Popen(
                chunk.command,
                cwd=ROOT,
                env=os.environ | chunk.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._processes.add(process)
        output, _ = process.communicate()
        self._processes.discard(process)
        if self._stopped:
            return
        if code() != ours:
            print(f"{tier.name} {chunk.name}: does not count, for the code has changed meanwhile", flush=True)
            return
        seconds = round(time.monotonic() - started)
        passed = process.returncode == 0
        covered = {kind: sum(map(int, pattern.findall(output))) for kind, pattern in COUNTED.items()}
        log = self._folder / f"{tier.name}-{chunk.name}.log"
        log.write_text(output)
        self._ledger.write(tier, chunk, code=ours, passed=passed, seconds=seconds, commit=commit(), **covered)
        print(f"{tier.name} {chunk.name}: {'passed' if passed else f'FAILED, see {log}'} in {seconds} s", flush=True)

    def stop(self) -> None:
        """End what runs."""
        with self._starting:
            self._stopped = True
            processes = list(self._processes)
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + GRACE
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                pass
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class Stopped(BaseException):
    """Somebody wants us to end; holds the number of the signal."""


def commit() -> str:
    """The commit that is checked out."""
    return git("rev-parse", "--short", "HEAD")


def code() -> str:
    """A digest of the code as it is in the working tree."""
    parts = git("rev-parse", *(f"HEAD:{name}" for name in CODE)), git("diff", "HEAD", "--", *CODE)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def git(*arguments: str) -> str:
    return subprocess.run(("git", *arguments), cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def summary(tier: Tier, ledger: Ledger) -> str:
    """The line about a tier."""
    rows = [row for chunk in tier.chunks if (row := ledger.row(tier, chunk))]
    passed = sum(row["passed"] for row in rows)
    counted = [f"{total:,} {kind}" for kind in COUNTED if (total := sum(row[kind] for row in rows if row["passed"]))]
    words = [f"{passed} of {len(tier.chunks)} chunks passed"]
    if failed := len(rows) - passed:
        words.append(f"{failed} FAILED")
    words += [*counted, f"{sum(row['seconds'] for row in rows):,} s"] if rows else []
    return f"{tier.name:10} {', '.join(words)}\n{'':10} {tier.what}"


def main(arguments: Sequence[str], tiers: Sequence[Tier] = TIERS, folder: Path = ROOT / ".proof") -> int:
    """Run what has not passed yet; the exit status."""
    parser = argparse.ArgumentParser(description="Run the long tiers of tests; what has passed is not run again.")
    parser.add_argument("--list", action="store_true", help="only say how far it is")
    parser.add_argument("--only", nargs="+", default=[], metavar="TIER", choices=[tier.name for tier in tiers])
    parser.add_argument("--fresh", action="store_true", help="forget what has passed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="chunks at once (default: processors)")
    options = parser.parse_args(arguments)
    tiers = [tier for tier in tiers if not options.only or tier.name in options.only]
    ledger = Ledger(folder, code())
    if options.fresh:
        ledger.forget(tiers)
    status = 0 if options.list else work(tiers, ledger, Running(folder, ledger), options.jobs)
    print(*(summary(tier, ledger) for tier in tiers), sep="\n", flush=True)
    ended = [ledger.row(tier, chunk) for tier in tiers for chunk in tier.chunks]
    return status or (not options.list and not all(row.get("passed") for row in ended))


def work(tiers: Sequence[Tier], ledger: Ledger, running: Running, jobs: int) -> int:
    """Run every chunk that has not passed; 0, or what a shell says of a program that a signal ended."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        work_through(tiers, ledger, running, jobs)
        return 0
    except Stopped as stopped:
        return 128 + int(stopped.args[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def work_through(tiers: Sequence[Tier], ledger: Ledger, running: Running, jobs: int) -> None:
    """Run every chunk that has not passed, those of tiers that want the machine to themselves last."""
    for alone in (False, True):
        left = [
            (tier, chunk)
            for tier in tiers
            for chunk in tier.chunks
            if tier.alone is alone and not ledger.row(tier, chunk).get("passed")
        ]
        with ThreadPoolExecutor(1 if alone else jobs) as pool:
            try:
                for run in [pool.submit(running.run, tier, chunk) for tier, chunk in left]:
                    run.result()
            except BaseException:
                running.stop()
                pool.shutdown(cancel_futures=True)
                raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
