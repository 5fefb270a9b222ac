"""Runs fuzz targets, as many at once as there are processors: for some seconds, or until each has seen so many inputs.

    python fuzz/run.py [--seconds N] [--total M] [NAME…]      in CI
    python fuzz/run.py --inputs 10000000 [NAME…]              before a release; stop it, and it goes on from there

A run starts from `fuzz/seeds/<name>/`, from what the target makes of the test vectors, and from what earlier runs found
worth keeping, in `build/fuzz/<name>/`. An input that breaks something goes to `fuzz/findings/`: make it a test.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FINDINGS = HERE / "findings"
BUILD = ROOT / "build" / "fuzz"
# Any input is far below; what is slower is a defect of its own.
SECONDS_PER_INPUT = 5
# Far above the interpreter with the instrumented packages: a decoder that needs more does not bound its input.
MEGABYTES = 1024
# Structured inputs hold many steps; the recorded ones are below.
BYTES_PER_INPUT = 8192
# Interpreter, imports and the seeds, before the clock of libFuzzer starts, and what it takes to end.
STARTING = 3
# What libFuzzer says of its own progress, and of an input that we name by its file.
_NOISE = re.compile(r"#\d+\t|INFO:|WARNING:|MS: |0x|artifact_prefix=|Base64:|stat::|\s*$")
# How long after its time a target counts as hanging.
PATIENCE = 60


class Stopped(BaseException):
    """Somebody wants us to end; holds the number of the signal."""


class Fuzzing:
    """One run of some targets."""

    def __init__(self) -> None:
        self._running: dict[int, subprocess.Popen[str]] = {}
        self._stopped = False
        self._starting = threading.Lock()  # so that nothing is started that `stop` does not see

    def run(self, name: str, seconds: int, inputs: int) -> bool | None:
        """Run one target and print a line about it: True if it held, False if not, None if we were stopped."""
        tally = Tally(name)
        wanted = max(0, inputs - tally.inputs) if inputs else 0
        if inputs and not wanted:
            print(f"{name}: {tally.inputs} executions, done before: ok", flush=True)
            return True
        command = self._command(name, seconds, wanted)
        with self._starting:
            if self._stopped:
                return None
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                cwd=ROOT,
                env=os.environ | {"PYTHONHASHSEED": "0"},
                start_new_session=True,  # Ctrl-C reaches us alone: we end it
            )
            self._running[process.pid] = process
        started = time.monotonic()
        try:
            output, _ = process.communicate(timeout=seconds + PATIENCE if seconds else None)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            output += f"\nthe target hangs: it was ended {PATIENCE} s after its time\n"
        del self._running[process.pid]
        if self._stopped:
            return None
        passed = process.returncode == 0
        executed = _last(r"stat::number_of_executed_units:\s*(\d+)", output) or _last(r"^#(\d+)\t", output)
        passed = passed and executed > 0
        if passed:
            tally.add(executed)
        speed = executed / max(1.0, time.monotonic() - started)
        covered = _last(r"\bcov: (\d+)", output)
        word = "ok" if passed else "CRASH"
        print(f"{name}: {executed} executions, {speed:.0f}/s, {covered} covered: {word}", flush=True)
        if not passed:
            self._explain(name, output)
        return passed

    def stop(self) -> None:
        """End the targets that run."""
        with self._starting:
            self._stopped = True
        for process in list(self._running.values()):
            process.kill()

    def _command(self, name: str, seconds: int, inputs: int) -> list[str]:
        corpus, made = BUILD / name, BUILD / f"{name}.seeds"
        corpus.mkdir(parents=True, exist_ok=True)
        FINDINGS.mkdir(exist_ok=True)
        seeds = importlib.import_module("fuzz.seeds")
        for old in made.glob("*"):
            old.unlink()
        seeds.write([*seeds.kept(name), *importlib.import_module(f"fuzz.fuzz_{name}").seeds()], made)
        command = [sys.executable, str(HERE / "target.py"), name, str(corpus), str(made)]
        command += [f"-timeout={SECONDS_PER_INPUT}", f"-rss_limit_mb={MEGABYTES}", f"-max_len={BYTES_PER_INPUT}"]
        command += [f"-artifact_prefix={FINDINGS / name}-", "-print_final_stats=1"]
        command += [f"-runs={inputs}"] if inputs else []
        return command + ([f"-max_total_time={seconds}"] if seconds else [])

    def _explain(self, name: str, output: str) -> None:
        found = re.findall(r"Test unit written to (\S+)", output)
        lines = [line for line in output.splitlines() if not _NOISE.match(line)]
        print("\n".join(lines[-60:]))
        for path in found:
            where = Path(path).resolve().relative_to(ROOT)
            print(f"\n  {where}\n  see it again:  {sys.executable} fuzz/target.py {name} {where}")
            print("  then make it a test in tests/proto/test_findings.py")
        sys.stdout.flush()


class Tally:
    """How many inputs a target has seen, over all runs against the same code."""

    def __init__(self, name: str) -> None:
        self._path = BUILD / f"{name}.tally"
        code = [*sorted((ROOT / "thalovant_proto").rglob("*.py")), HERE / "harness.py", HERE / f"fuzz_{name}.py"]
        self._code = hashlib.sha256(b"\0".join(path.read_bytes() for path in code)).hexdigest()
        known, _, inputs = self._path.read_text().partition(" ") if self._path.exists() else ("", "", "")
        self.inputs = int(inputs) if known == self._code else 0

    def add(self, inputs: int) -> None:
        """So many more."""
        self._path.write_text(f"{self._code} {self.inputs + inputs}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the fuzz targets.")
    parser.add_argument("--seconds", type=float, default=15, help="for each target (default 15)")
    parser.add_argument("--total", type=float, default=240, help="for all of them; shortens --seconds (default 240)")
    parser.add_argument("--inputs", type=int, default=0, help="in place of both: how many inputs each has to see")
    parser.add_argument("names", nargs="*", help="targets, without fuzz_ (default: all)")
    arguments = parser.parse_args()
    known = [path.stem.removeprefix("fuzz_") for path in sorted(HERE.glob("fuzz_*.py"))]
    if unknown := set(arguments.names) - set(known):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    names = arguments.names or known
    workers = min(len(names), os.cpu_count() or 1)
    rounds = -(-len(names) // workers)
    seconds = 0
    if not arguments.inputs:
        seconds = max(1, int(min(arguments.seconds, arguments.total / rounds - STARTING)))
    sys.path[0] = str(ROOT)

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    fuzzing = Fuzzing()
    started = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        try:
            runs = [pool.submit(fuzzing.run, name, seconds, arguments.inputs) for name in names]
            held = [run.result() for run in runs]
        except BaseException as end:
            fuzzing.stop()
            pool.shutdown(cancel_futures=True)
            if isinstance(end, Stopped):
                return 128 + int(end.args[0])
            raise
    passed = sum(one is True for one in held)
    print(f"{passed} passed, {len(held) - passed} failed")
    print(f"{time.monotonic() - started:.0f} s by the clock, {sum(os.times()[:4]):.0f} s of CPU")
    return 0 if passed == len(held) else 1


def _last(pattern: str, output: str) -> int:
    """The last number that the pattern finds, 0 if none."""
    found = re.findall(pattern, output, re.MULTILINE)
    return int(found[-1]) if found else 0


if __name__ == "__main__":
    sys.exit(main())
