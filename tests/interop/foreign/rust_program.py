"""The program that asks with the published SDKs for Rust: compiled once per cache, sources and compiler."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from ..rig.installing import locked, log
from ..rigs import RigError, cache

SOURCES = Path(__file__).parent / "rust"
# What the newer SDK asks for. Debian has older ones only.
OLDEST_CARGO = (1, 88)


class NoToolchain(RigError):
    """There is no compiler, and no package of the system's that would bring it."""


def ask_program() -> Path:
    """The compiled program; compiles it if it is missing, which takes a minute or two.

    Raises:
        NoToolchain: there is no cargo that is new enough.
        RigError: it cannot be compiled; holds the end of the compiler's output.
    """
    cargo, version = _cargo()
    root = cache() / "clients" / "rust"
    root.mkdir(parents=True, exist_ok=True)
    program, stamp, build = root / "ask", root / ".made-of", root / "build"
    files = sorted(path for path in SOURCES.rglob("*") if path.is_file())
    made_of = "\n".join([version, *(path.read_text() for path in files)])
    with locked(root.parent / ".rust.lock"):
        if program.exists() and stamp.exists() and stamp.read_text() == made_of:
            return program
        log(f"compiling the SDKs for Rust into {root}")
        stamp.unlink(missing_ok=True)
        shutil.rmtree(build, ignore_errors=True)
        shutil.copytree(SOURCES, build)
        journal = root.parent / "rust-build.log"
        with journal.open("wb") as out:
            done = subprocess.run(
                # Clients that are asked meanwhile wait for answers against the clock: they go first.
                ["nice", cargo, "build", "--quiet"],
                cwd=build,
                env={**os.environ, "CARGO_TARGET_DIR": str(build / "target")},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                check=False,
            )
        if done.returncode:
            raise RigError(f"the SDKs for Rust cannot be compiled:\n{journal.read_text(errors='replace')[-2000:]}")
        (build / "target" / "debug" / "ask").replace(program)
        shutil.rmtree(build)
        stamp.write_text(made_of)
        return program


def _cargo() -> tuple[str, str]:
    """Where cargo is, and what it says of itself."""
    cargo = shutil.which("cargo") or shutil.which(Path.home() / ".cargo" / "bin" / "cargo")
    if cargo is None:
        raise NoToolchain("cargo is not installed")
    said = subprocess.run([cargo, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"cargo (\d+)\.(\d+)", said)
    if found is None or tuple(map(int, found.groups())) < OLDEST_CARGO:
        raise NoToolchain(f"cargo {'.'.join(map(str, OLDEST_CARGO))} or later is needed, this is: {said.strip()}")
    return cargo, said
