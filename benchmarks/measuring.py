"""What all benchmarks share: figures with their targets, rounds in turns, how busy the machine was, and the table.

Nothing here needs more than the standard library.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
CORES = os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table: what was measured, what it is held to, and what a peer needed in the same run.

    `most` or `least` bound `ours` (in `unit`), `most_share` bounds `ours / theirs`, and `least_speedup` is how many
    times as fast as the peer we have to be. Without any of the four the figure is only shown.
    """

    id: str
    what: str
    ours: float
    unit: str
    most: float | None = None
    least: float | None = None
    peer: str = ""
    theirs: float | None = None
    most_share: float | None = None
    least_speedup: float | None = None

    @property
    def share(self) -> float | None:
        """Ours as a part of theirs."""
        return self.ours / self.theirs if self.theirs else None

    @property
    def speedup(self) -> float | None:
        """How many times as fast as the peer."""
        share = self.share
        return share if share is None or self.unit.endswith("/s") else 1 / share

    @property
    def target(self) -> str:
        """What it is held to, in words; empty if to nothing."""
        parts = []
        if self.most is not None:
            parts.append(f"≤ {self.most:g} {self.unit}")
        if self.least is not None:
            parts.append(f"≥ {self.least:,.0f} {self.unit}")
        if self.most_share is not None:
            parts.append(f"≤ {self.most_share:g} × peer")
        if self.least_speedup is not None:
            parts.append(f"≥ {self.least_speedup:g} × as fast")
        return ", ".join(parts)

    @property
    def verdict(self) -> str:
        """`ok`, `SHORT`, or empty: no target, or no peer to hold it against."""
        checks: list[bool] = []
        if self.most is not None:
            checks.append(self.ours <= self.most)
        if self.least is not None:
            checks.append(self.ours >= self.least)
        if self.most_share is not None and self.share is not None:
            checks.append(self.share <= self.most_share)
        if self.least_speedup is not None and self.speedup is not None:
            checks.append(self.speedup >= self.least_speedup)
        if not checks:
            return ""
        return "ok" if all(checks) else "SHORT"

    @property
    def ratio(self) -> str:
        """How it compares, in the direction of its target; empty without a peer."""
        if self.share is None or self.speedup is None:
            return ""
        slower = self.speedup < 1 and self.least_speedup is None
        if slower or self.most_share is not None or not self.unit.endswith("s"):  # memory is no matter of speed
            return f"{self.share:.2f} × peer"
        return f"{self.speedup:.1f} × as fast"


class Weather:
    """How busy the machine was with other things, from when it is made to `report`."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._busy, self._own = _machine_seconds(), _own_seconds()

    def report(self) -> str:
        """One line. End child processes before: their time counts as other people's until then."""
        load = os.getloadavg()[0]
        busy = _machine_seconds()
        words = f"{CORES} cores, load average {load:.2f}"
        if busy is None or self._busy is None:
            return words
        elapsed = time.perf_counter() - self._since
        others = max(0.0, busy - self._busy - (_own_seconds() - self._own)) / elapsed
        return f"{words}; other processes kept {others:.2f} of {CORES} cores busy during the {elapsed:.0f} s"


def _machine_seconds() -> float | None:
    """Seconds of processor time that everybody has had, idling left out; None where Linux is not."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def in_turns(rounds: int, runs: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """What each run gave, in each of the rounds; one after the other, so that all share the weather."""
    results: dict[str, list[T]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            results[name].append(run())
    return results


def best_round(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """For a `Figure`: of rounds taken in turns the lowest of each, in which the machine did little else.

    Where processes wait for each other, others that run slow down the longer of two conversations more than the
    shorter: neither medians nor the ratios of rounds are those of a quiet machine.
    """
    return {"ours": min(ours), "theirs": min(theirs)}


def settle_allocator() -> None:
    """Take a large block and free it, as every program of some age has.

    After that glibc keeps what is freed, up to twice that size, instead of giving it back to the kernel and asking for
    it again with each message: which made some sizes ten times slower than their neighbours.
    """
    bytes(8 << 20)


def timed(work: Callable[[], object], count: int) -> float:
    """Seconds of processor time for each of `count` calls: what else runs on the machine does not count."""
    started = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - started) / count


def best(rounds: int, runs: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """The shortest time of each in turns, in µs, of runs that give seconds."""
    return {name: min(times) * 1e6 for name, times in in_turns(rounds, runs).items()}


def percentile(values: Iterable[float], percent: float) -> float:
    """The value that `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def median(values: Iterable[float]) -> float:
    """The value in the middle."""
    return statistics.median(values)


def table(figures: Sequence[Figure]) -> str:
    """The figures, one a line."""
    rows = [("", "figure", "target", "ours", "peer", "", "ratio", "")]
    for one in figures:
        theirs = "" if one.theirs is None else _number(one.theirs, one.unit)
        ours = _number(one.ours, one.unit)
        rows.append((one.id, one.what, one.target, ours, theirs, one.peer, one.ratio, one.verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(8)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) if column in (3, 4, 6) else cell.ljust(width)
                 for column, (cell, width) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _number(value: float, unit: str) -> str:
    digits = 0 if value >= 1000 or isinstance(value, int) else 1 if value >= 100 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f} {unit}"


def options(doc: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and clients: to see that it works")
    parser.add_argument("--json", metavar="FILE", type=Path, help="append the figures to FILE, one JSON object a line")
    return parser


def show(figures: Sequence[Figure], weather: Weather, arguments: argparse.Namespace) -> None:
    """Print the table and the weather; write the figures if that is asked for."""
    report = weather.report()
    print(table(figures))
    print(report)
    if arguments.json is not None:
        with arguments.json.open("a") as file:
            for one in figures:
                file.write(json.dumps({**dataclasses.asdict(one), "weather": report}) + "\n")
