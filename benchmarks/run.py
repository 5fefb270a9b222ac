"""All figures, one script after the other, each in a process of its own; then one table of all of them.

    python benchmarks/run.py [--quick] [--out FOLDER] [P2 P5 …]

Prints `ok` or `SHORT` for every figure that has a target; the exit code says whether everything could be measured, not
whether the targets were met: on a busy machine they are not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import Figure, table

HERE = Path(__file__).parent
SCRIPTS = {
    "P1": "p1_ask.py",
    "P1-calls": "p1_calls.py",
    "P1-real": "p1_real.py",
    "P2": "p2_codec.py",
    "P2-stack": "p2_stack.py",
    "P3": "p3_startup.py",
    "P4": "p4_memory.py",
    "P5": "p5_hub.py",
    "P6": "p6_sync.py",
    "P7": "p7_mqtt.py",
    "P8": "p8_binary.py",
    "admission": "admission.py",
    "Noise": "noise_transport.py",
    "WSS": "wss_link.py",
}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and clients: to see that it works")
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="where figures and drawings go (default: a new one)")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SCRIPTS)} (default: all)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(SCRIPTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(SCRIPTS)}")
    folder = arguments.out or Path(tempfile.mkdtemp(prefix="thalovant-bench-"))
    folder.mkdir(parents=True, exist_ok=True)
    figures, failed, weather = folder / "figures.jsonl", [], []
    figures.write_text("")
    for name in arguments.names or SCRIPTS:
        print(f"\n=== {name}: {SCRIPTS[name]}", flush=True)
        options = ["--json", str(figures), *(("--quick",) if arguments.quick else ())]
        options += ["--out", str(folder)] if name == "P5" else []
        code = subprocess.run([sys.executable, str(HERE / SCRIPTS[name]), *options], check=False).returncode
        failed += [f"{name} (exit code {code})"] if code else []
    rows = []
    for line in figures.read_text().splitlines():
        values = json.loads(line)
        report = f"{values['id']}: {values.pop('weather')}"
        weather += [report] if report not in weather else []
        rows.append(Figure(**values))
    print(f"\n=== all, also in {figures}\n")
    print(table(rows))
    print(*weather, sep="\n")
    short = sorted({row.id for row in rows if row.verdict == "SHORT"})
    print(f"\nshort: {', '.join(short) or 'none'}; not measured: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
