"""Runs one fuzz target: `python fuzz/target.py NAME …`.

What follows the name is libFuzzer's: folders of inputs, options, or one file, which is then run and nothing else. That
is how a finding is seen again.
"""

import importlib
import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    name = sys.argv.pop(1)
    sys.path[0] = str(ROOT)
    with atheris.instrument_imports(
        include=["thalovant_proto", "thalovant.hub.broker.gatekeeper", "thalovant._control", "h11", "wsproto"]
    ):
        target = importlib.import_module(f"fuzz.fuzz_{name}")

    def one(data: bytes) -> None:
        target.one(data)

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
