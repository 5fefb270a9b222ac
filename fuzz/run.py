"""Runs every fuzz target beside this file for some seconds, as many at once as there are processors.

A target is a program `fuzz_<name>.py` that hands its arguments to `atheris.Setup`. Seeds that are kept lie in
`fuzz/seeds/<name>/`; what a run finds goes to `build/fuzz/<name>/`, so that the next run goes on from there, and the
input of a failure to `build/fuzz/<name>-crash-…`, to be given to the target as its only argument.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

HERE = Path(__file__).resolve().parent
FOUND = HERE.parent / "build" / "fuzz"
# Longer than any legal input needs: what is slower than this is a defect of its own.
SECONDS_PER_INPUT = 5
# Far above the interpreter with the instrumented packages: a decoder that needs more does not bound its input.
MEGABYTES = 1024

running: dict[str, subprocess.Popen[str]] = {}


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the fuzz targets.")
    parser.add_argument("--seconds", type=float, default=15, help="for each target (default 15)")
    parser.add_argument("--total", type=float, default=240, help="for all of them; shortens --seconds (default 240)")
    parser.add_argument("names", nargs="*", help="targets, without fuzz_ (default: all)")
    arguments = parser.parse_args()
    targets = {path.stem.removeprefix("fuzz_"): path for path in sorted(HERE.glob("fuzz_*.py"))}
    unknown = set(arguments.names) - set(targets)
    if unknown or not targets:
        parser.error(f"no such target: {', '.join(sorted(unknown))}" if unknown else f"no target in {HERE.name}/")
    names = arguments.names or list(targets)
    workers = min(len(names), os.cpu_count() or 1)
    rounds = -(-len(names) // workers)
    seconds = max(1, int(min(arguments.seconds, arguments.total / rounds)))
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    with ThreadPoolExecutor(workers) as pool:
        passed = list(pool.map(lambda name: fuzz(name, targets[name], seconds), names))
    return 0 if all(passed) else 1


def fuzz(name: str, target: Path, seconds: int) -> bool:
    """Run one target and print a line about it; True when it executed something and nothing failed."""
    corpus, seeds = FOUND / name, HERE / "seeds" / name
    corpus.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, str(target), str(corpus), *([str(seeds)] if seeds.is_dir() else [])]
    argv += [f"-max_total_time={seconds}", f"-timeout={SECONDS_PER_INPUT}", f"-rss_limit_mb={MEGABYTES}"]
    argv += [f"-artifact_prefix={corpus}-", "-print_final_stats=1", "-verbosity=1"]
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    running[name] = process
    output, _ = process.communicate()
    del running[name]
    counted = re.search(r"stat::number_of_executed_units:\s*(\d+)", output)
    executions = int(counted[1]) if counted else 0
    passed = process.returncode == 0 and executions > 0
    print(f"{'passed' if passed else 'FAILED'}  {name}: {executions} executions in {seconds} s", flush=True)
    if not passed:
        print("\n".join(output.splitlines()[-60:]), flush=True)
    return passed


def stop(number: int, _: FrameType | None) -> None:
    """End the targets that run, then ourselves."""
    for process in list(running.values()):
        process.kill()
    os._exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
